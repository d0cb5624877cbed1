#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/direct_poolings.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/solvers.hpp"

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;
using tests::BagKind;
using tests::Random;
using tests::direct::by_feature;
using tests::direct::Number;
using tests::direct::Numbers;
using tests::direct::pooled_error;

namespace attention_test {

template <class Scalar>
struct Weights {
    Matrix<Scalar> V, U;
    Vector<Scalar> w;

    /// Of a size that neither saturates nor linearises tanh on bags of this scale.
    Weights(Random& random, Index L, Index D, double scale)
        : V(Matrix<Scalar>::NullaryExpr(L, D, [&] { return static_cast<Scalar>(random.normal() / scale); })),
          U(Matrix<Scalar>::NullaryExpr(L, D, [&] { return static_cast<Scalar>(random.normal() / scale); })),
          w(Vector<Scalar>::NullaryExpr(L, [&] { return static_cast<Scalar>(2 * random.normal()); })) {}
};

template <class Scalar, class Visit>
void for_each_case(const Visit& visit) {
    for (std::uint64_t seed = 1; seed <= 18; ++seed) {
        Random random(seed);
        const BagKind kind = tests::all_bag_kinds[seed % tests::all_bag_kinds.size()];
        const Index D = seed % 5 == 0 ? 1 : random.integer(2, 20);
        const Index N = seed % 7 == 0 ? 1 : random.integer(2, 50);
        INFO((tests::Case{.seed = seed, .D = D, .N = N, .kind = kind}));
        const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, D, N, kind);
        const double scale = std::sqrt(static_cast<double>(D)) * static_cast<double>(bag.cwiseAbs().maxCoeff());
        visit(bag, Weights<Scalar>(random, random.integer(1, 8), D, scale));
    }
}

TEMPLATE_TEST_CASE("Attention pooling is that of Ilse et al. 2018", "", float, double) {
    using Scalar = TestType;
    for_each_case<Scalar>([](const Matrix<Scalar>& bag, const Weights<Scalar>& weights) {
        const Numbers q0 = tests::direct::attention_weights(bag, weights.V, weights.w);
        const Vector<Number> expected =
            by_feature(bag, [&](const Numbers& x) { return tests::direct::weighted(q0, x); });
        const otpool::Attention<Scalar> attention{weights.V, weights.w};
        tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
            INFO(solver_name);
            CHECK(pooled_error(otpool::attention_pooling<Scalar>(attention, solver)(bag), expected, bag) <=
                  tests::closed_form_tolerance<Scalar>);
        });
        const Vector<Scalar> prior = attention(bag);
        CHECK(prior.sum() == Catch::Approx(1));
        for (Index n = 0; n < bag.cols(); ++n) {
            CHECK(prior[n] == Catch::Approx(static_cast<double>(q0[static_cast<std::size_t>(n)]))
                                  .epsilon(tests::closed_form_tolerance<Scalar>));
        }
    });
}

TEMPLATE_TEST_CASE("Gated attention pooling is that of Ilse et al. 2018", "", float, double) {
    using Scalar = TestType;
    for_each_case<Scalar>([](const Matrix<Scalar>& bag, const Weights<Scalar>& weights) {
        const Numbers q0 = tests::direct::attention_weights(bag, weights.V, weights.w, &weights.U);
        const Vector<Number> expected =
            by_feature(bag, [&](const Numbers& x) { return tests::direct::weighted(q0, x); });
        const otpool::GatedAttention<Scalar> gate{weights.V, weights.U, weights.w};
        tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
            INFO(solver_name);
            CHECK(pooled_error(otpool::gated_attention_pooling<Scalar>(gate, solver)(bag), expected, bag) <=
                  tests::closed_form_tolerance<Scalar>);
        });
    });
}

TEMPLATE_TEST_CASE("Gates that are saturated are open or shut, not NaN", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> bag{{-1000, 0, 1000}};
    const otpool::GatedAttention<Scalar> gate{Matrix<Scalar>{{1}}, Matrix<Scalar>{{5}}, Vector<Scalar>{{3}}};
    // Scores: 3 tanh(-1000) sigmoid(-5000) = 0, 0, and 3.
    const double open = std::exp(3) / (std::exp(3) + 2);
    const Vector<Scalar> q0 = gate(bag);
    CHECK(q0[0] == Catch::Approx((1 - open) / 2));
    CHECK(q0[1] == Catch::Approx((1 - open) / 2));
    CHECK(q0[2] == Catch::Approx(open));
}

TEMPLATE_TEST_CASE("Dynamic routing updates its scores from the pooled vector", "", float, double) {
    using Scalar = TestType;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        Random random(seed);
        const BagKind kind = seed % 2 == 0 ? BagKind::normal : BagKind::relu;
        const Index D = seed == 3 ? 1 : random.integer(1, 12);
        const Index N = seed == 5 ? 1 : random.integer(1, 40);
        const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, D, N, kind);
        INFO((tests::Case{.seed = seed, .D = D, .N = N, .kind = kind}));
        for (const int iterations : {0, 1, 3, 6}) {
            INFO("iterations " << iterations);
            const Vector<Number> expected = tests::direct::dynamic_routing(bag, iterations);
            tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
                INFO(solver_name);
                // Every update feeds the scores' rounding to Scalar back.
                const Vector<Scalar> y = otpool::dynamic_routing_pooling<Scalar>(iterations, solver)(bag);
                CHECK(pooled_error(y, expected, bag) <= (1 + 3 * iterations) * tests::closed_form_tolerance<Scalar>);
            });
        }
    }
}

TEMPLATE_TEST_CASE("Dynamic routing squashes vectors of any length", "", float, double) {
    // |y| y / (1 + |y|^2) has length 1 where y is long, so the first instance's score is 1e30 above the second's.
    Matrix<TestType> bag(2, 2);
    bag << TestType(2e30), TestType(1e30), 0, 0;
    const Vector<Number> expected = tests::direct::dynamic_routing(bag, 1);
    REQUIRE(expected[0] == Catch::Approx(2e30));
    CHECK(pooled_error(otpool::dynamic_routing_pooling<TestType>(1)(bag), expected, bag) <= 1e-6);
    const Matrix<TestType> zero = Matrix<TestType>::Zero(2, 3);
    CHECK(otpool::dynamic_routing_pooling<TestType>(3)(zero) == Vector<TestType>::Zero(2));
}

TEMPLATE_TEST_CASE("softmax turns scores into a prior", "", float, double) {
    using Scalar = TestType;
    CHECK(otpool::softmax(Vector<Scalar>()).size() == 0);
    CHECK(otpool::softmax(Vector<Scalar>{{-7}}) == Vector<Scalar>{{1}});
    const Vector<Scalar> far_apart = otpool::softmax(Vector<Scalar>{{1000, -1000, 1000, 990}});
    const double total = 2 + std::exp(-10);
    CHECK(far_apart[0] == Catch::Approx(1 / total));
    CHECK(far_apart[1] <= 1e-30);
    CHECK(far_apart[2] == far_apart[0]);
    CHECK(far_apart[3] == Catch::Approx(std::exp(-10) / total).epsilon(1e-5));

    const Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
    const Scalar inf = std::numeric_limits<Scalar>::infinity();
    const auto refusal = [](Scalar score) {
        return tests::message_of<otpool::InvalidArgument>([&] { otpool::softmax(Vector<Scalar>{{0, score}}); });
    };
    CHECK(refusal(nan) == "scores[1] is nan; allowed: finite numbers");
    CHECK(refusal(-inf) == "scores[1] is -inf; allowed: finite numbers");
}

TEMPLATE_TEST_CASE("Attention weights that do not fit are refused", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> bag = Matrix<Scalar>::Ones(4, 5);
    const auto ones = [](Index rows, Index cols) { return Matrix<Scalar>::Ones(rows, cols); };
    const auto refusal = [&](const auto& prior) {
        return tests::message_of<otpool::InvalidArgument>([&] { otpool::attention_pooling<Scalar>(prior)(bag); });
    };
    using Plain = otpool::Attention<Scalar>;
    using Gated = otpool::GatedAttention<Scalar>;
    CHECK(refusal(Plain{ones(2, 4), ones(2, 1)}) == "no error");
    CHECK(refusal(Plain{ones(2, 3), ones(2, 1)}) ==
          "columns of the attention's V is 3; allowed: 4, the number of features");
    CHECK(refusal(Plain{ones(2, 4), ones(3, 1)}) ==
          "length of the attention's w is 3; allowed: 2, the number of rows of V");
    CHECK(refusal(Gated{ones(2, 4), ones(2, 4), ones(2, 1)}) == "no error");
    CHECK(refusal(Gated{ones(2, 4), ones(4, 2), ones(2, 1)}) ==
          "shape of the attention's U is 4 x 2; allowed: 2 x 4, the shape of V");
    CHECK(refusal(Gated{ones(2, 5), ones(2, 5), ones(2, 1)}) ==
          "columns of the attention's V is 5; allowed: 4, the number of features");
    CHECK(refusal(otpool::FixedPrior<Scalar>{Vector<Scalar>{{0.5, 0.5}}}) == "length of q0 is 2; allowed: 5");
}

}  // namespace attention_test
