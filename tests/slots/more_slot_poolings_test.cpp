#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "otpool/slots/named_slot_poolings.hpp"
#include "otpool/slots/plasma_alignment.hpp"
#include "slots/difference.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

namespace more_slot_poolings_test {

using namespace otpool;
using namespace tests;

template <class Scalar>
constexpr double near = std::same_as<Scalar, double> ? 1e-11 : 1e-5;

TEMPLATE_TEST_CASE("soft_moe is softmax over instances, and over slots", "", double, float) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Index K = random.integer(1, 20);
        const Index N = random.integer(1, 50);
        const Matrix<TestType> S =
            static_cast<TestType>(random.log_uniform(0.01, 30)) * random_matrix<TestType>(random, K, N);
        Matrix<double> dispatch = S.template cast<double>();
        Matrix<double> combine = dispatch;
        for (Index k = 0; k < K; ++k) {
            dispatch.row(k) = (dispatch.row(k).array() - dispatch.row(k).maxCoeff()).exp();
            dispatch.row(k) /= dispatch.row(k).sum();
        }
        for (Index n = 0; n < N; ++n) {
            combine.col(n) = (combine.col(n).array() - combine.col(n).maxCoeff()).exp();
            combine.col(n) /= combine.col(n).sum();
        }
        const auto found = soft_moe<TestType>(S);
        CHECK(difference(found.dispatch, dispatch) < near<TestType>);
        CHECK(difference(found.combine, combine) < near<TestType>);
    }
}

TEMPLATE_TEST_CASE("sliced_embedding sorts, which is exact transport of every slice", "", double, float) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Index N = random.integer(1, 25);
        const Index L = random.integer(1, 4);
        const Matrix<TestType> x = random_matrix<TestType>(random, random.integer(1, 6), N);
        const Matrix<TestType> w = random_matrix<TestType>(random, x.rows(), L);
        Matrix<TestType> z = random_matrix<TestType>(random, L, N);
        for (Index l = 0; l < L; ++l) std::sort(z.row(l).begin(), z.row(l).end());
        const Matrix<TestType> found = sliced_embedding<TestType>(x, w, z);
        for (Index l = 0; l < L; ++l) {
            const Matrix<double> slice = w.col(l).template cast<double>().transpose() * x.template cast<double>();
            const Matrix<double> points = z.row(l).template cast<double>();
            // Where two points and two instances are both close, to d, exchanging them costs d^2 only.
            const Matrix<double> moved = -lot_embedding<double>(points)(MatrixView<double>(slice));
            CHECK(difference(found.row(l), moved) < (std::same_as<TestType, double> ? 1e-6 : 1e-5));
        }
    }
}

TEST_CASE("the score of an alignment is its formula") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Index K = random.integer(1, 9);
        const Index N = random.integer(1, 9);
        const Index D = random.integer(1, 4);
        const Index T = random.integer(0, std::min(K, N));
        const Matrix<double> w = random_matrix<double>(random, D, K);
        const Matrix<double> x = random_matrix<double>(random, D, N);
        const Matrix<double> plan = sinkhorn_assignment<double>(random_matrix<double>(random, K, N), 0.2, 5);
        const double threshold = random.uniform(0, 0.8);
        Vector<double> of_query = Vector<double>::Zero(D);
        Vector<double> of_candidate = of_query;
        double diagonal = 0;
        for (Index n = 0; n < N; ++n) {
            bool counts = false;
            for (Index k = 0; k < K; ++k) counts = counts || plan(k, n) > threshold;
            for (Index d = 0; d < D; ++d) of_candidate[d] += counts ? x(d, n) : 0;
            for (Index k = 0; counts && k < K; ++k) {
                bool also = false;
                for (Index m = 0; m < N; ++m) also = also || plan(k, m) > threshold;
                for (Index d = 0; d < D; ++d) of_query[d] += also ? plan(k, n) * w(d, k) : 0;
            }
        }
        for (Index k = 0; k + T <= K; ++k) {
            for (Index n = 0; n + T <= N; ++n) {
                diagonal = std::max(diagonal, plan.block(k, n, T, T).diagonal().sum());
            }
        }
        double expected = T > 0 ? std::min(diagonal, double(T)) / double(T) : 1;
        const double norms = of_query.norm() * of_candidate.norm();
        expected *= norms > 0 ? std::max(0.0, of_query.dot(of_candidate) / norms) : 0;
        CHECK(plasma_score<double>(w, x, plan, threshold, T) == Catch::Approx(expected).margin(1e-14));
        CHECK(expected <= 1 + 1e-14);
    }
}

TEST_CASE("a query that a candidate contains aligns with it") {
    Random random(3);
    const Matrix<double> candidate = 4 * random_matrix<double>(random, 20, 30);
    const Matrix<double> query = candidate.middleCols(7, 12);
    const auto found = plasma_alignment<double>(query, candidate);
    CHECK(found.plan.rows() == 12);
    CHECK((found.plan.colwise().sum().array() - 1).abs().maxCoeff() < 1e-12);
    CHECK(found.plan.block(0, 7, 12, 12).diagonal().minCoeff() > 0.5);
    CHECK(found.score > 0.5);
}

TEST_CASE("what does not fit is refused in a sentence") {
    const auto refusal = [](const auto& work) { return message_of<InvalidArgument>(work); };
    const Matrix<double> x = Matrix<double>::Random(3, 4);
    const Matrix<double> w = Matrix<double>::Random(3, 2);
    const Matrix<double> z{{0, 1, 2, 3}, {0, 1, 0.5, 2}};
    CHECK(
        refusal([&] { sliced_embedding<double>(x, w, z.leftCols(3)); }) ==
        "number of reference points is 3; allowed: 4, the number of instances (PSWE interpolates others, which is not "
        "transport)");
    CHECK(refusal([&] { sliced_embedding<double>(x, w, z); }) ==
          "reference(1, 2) is 0.5; allowed: at least 1, the point before it (of others PSWE is not transport)");
    CHECK(refusal([&] { sliced_embedding<double>(x, w, z.topRows(1)); }) ==
          "rows of the reference is 1; allowed: 2, the number of directions");
    CHECK(refusal([&] { sliced_embedding<double>(z, w, z); }) ==
          "features of the prototypes is 3; allowed: 2, those of the instances");
    Matrix<double> broken = x;
    broken(1, 2) = std::numeric_limits<double>::quiet_NaN();
    CHECK(refusal([&] { sliced_embedding<double>(broken, w, z); }) ==
          "an instance is not finite; allowed: finite numbers");
    CHECK(refusal([&] { plasma_alignment<double>(w, x); }) ==
          "length of the diagonal is 10; allowed: 0 to 2, the shorter side of the plan");
    CHECK(refusal([&] { plasma_score<double>(w, x, Matrix<double>::Zero(3, 3), 0.5, 0); }) ==
          "shape of the plan is 3 x 3; allowed: 2 x 4");
}

}  // namespace more_slot_poolings_test
