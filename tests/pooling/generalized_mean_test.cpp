#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/direct_poolings.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/solvers.hpp"

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;
using tests::direct::Number;
using tests::direct::Numbers;

namespace generalized_mean_test {

/// The result is computed by its logarithm in double, which is at most 710; for float it is rounded once.
template <class Scalar>
inline constexpr double tolerance = sizeof(Scalar) == 8 ? 1e-12 : 1.2e-7;

template <class Scalar>
const std::vector<Scalar>& powers() {
    constexpr Scalar inf = std::numeric_limits<Scalar>::infinity();
    static const std::vector<Scalar> all = {-inf, -20, -2, -1, -0.5, -1e-3F, 0, 1e-3F, 0.5, 1, 2, 3, 20, inf};
    return all;
}

/// The largest error over the features, relative to the expected number or, if that is larger, to `floor` times the
/// feature's largest entry.
template <class Scalar>
double relative_error(const Vector<Scalar>& pooled, const Vector<Number>& expected, const Matrix<Scalar>& bag,
                      Number floor) {
    double worst = 0;
    for (Index d = 0; d < pooled.size(); ++d) {
        if (std::isnan(pooled[d])) return std::numeric_limits<double>::infinity();
        const Number error = std::abs(static_cast<Number>(pooled[d]) - expected[d]);
        const Number scale = std::max(expected[d], floor * static_cast<Number>(bag.row(d).maxCoeff()));
        if (error > 0) worst = std::max(worst, static_cast<double>(error / scale));
    }
    return worst;
}

template <class Scalar>
void check_powers(const Matrix<Scalar>& bag, Number floor = 0) {
    for (const Scalar p : powers<Scalar>()) {
        INFO("power " << p);
        const Vector<Number> expected =
            tests::direct::by_feature(bag, [&](const Numbers& x) { return tests::direct::power_mean(x, p); });
        tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
            INFO(solver_name);
            const Vector<Scalar> y = otpool::generalized_mean_pooling<Scalar>(p, solver)(bag);
            CHECK(relative_error(y, expected, bag, floor) <= tolerance<Scalar>);
        });
    }
}

TEMPLATE_TEST_CASE("The generalized mean is the power mean of positive entries", "", float, double) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        tests::Random random(seed);
        const Index D = random.integer(1, 5);
        const Index N = seed % 4 == 0 ? 1 : random.integer(2, 60);
        INFO((tests::Case{.seed = seed, .D = D, .N = N}));
        const Matrix<TestType> bag = tests::random_bag<TestType>(random, D, N, tests::BagKind::normal).array().exp();
        check_powers(bag);
    }
}

TEMPLATE_TEST_CASE("The generalized mean of a bag with zeros is the power mean's limit", "", float, double) {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        tests::Random random(seed);
        const Index N = seed % 2 == 0 ? random.integer(2, 10) : random.integer(1000, 3000);
        INFO((tests::Case{.seed = seed, .D = 3, .N = N, .kind = tests::BagKind::relu}));
        Matrix<TestType> bag = tests::random_bag<TestType>(random, 4, N, tests::BagKind::relu);
        bag.row(1).setZero();
        bag.row(2).array() += 1;
        bag(2, 0) = 0;  // a single zero among many
        bag.row(3).array() += 1;
        check_powers(bag, 1);
    }
}

TEMPLATE_TEST_CASE("The generalized mean takes entries from 1e-30 to 1e30", "", float, double) {
    for (const double scale : {1e-30, 1e-6, 1e6, 1e30}) {
        tests::Random random(3);
        INFO("scale " << scale);
        Matrix<TestType> bag(3, 30);
        for (Index n = 0; n < 30; ++n) {
            for (Index d = 0; d < 3; ++d) bag(d, n) = static_cast<TestType>(scale * random.uniform(0.1, 1));
        }
        check_powers(bag);
    }
    Matrix<TestType> far_apart(1, 3);
    far_apart << TestType(1e-30), 1, TestType(1e30);
    check_powers(far_apart);
}

TEMPLATE_TEST_CASE("The generalized mean needs entries that are not negative", "", float, double) {
    Matrix<TestType> bag = Matrix<TestType>::Ones(2, 3);
    bag(1, 2) = -0.5;
    const auto message = [&](const auto& pool) { return tests::message_of<otpool::InvalidArgument>(pool); };
    const auto pooling = otpool::generalized_mean_pooling<TestType>(3);
    CHECK(message([&] { pooling(bag); }) ==
          "feature 1, instance 2: entry of the bag is -0.5; allowed: >= 0, as its logarithm is taken");
    CHECK(message([&] {
              pooling(otpool::Bags{bag, {0, 1, 3}});
          }) == "bag 1: feature 1, instance 1: entry of the bag is -0.5; allowed: >= 0, as its logarithm is taken");
}

}  // namespace generalized_mean_test
