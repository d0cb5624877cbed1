#include <array>
#include <cstdint>
#include <limits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/direct_poolings.hpp"
#include "support/every_pooling.hpp"
#include "support/random_bags.hpp"
#include "support/solvers.hpp"

using otpool::Bag;
using otpool::Entropy;
using otpool::Index;
using otpool::Matrix;
using otpool::Vector;
using tests::BagKind;
using tests::Random;
using tests::direct::by_feature;
using tests::direct::Number;
using tests::direct::Numbers;
using tests::direct::pooled_error;

namespace readout_test {

constexpr double inf = std::numeric_limits<double>::infinity();

/// alpha0, alpha1, alpha2: soft, hard and free sides, and no reward.
constexpr std::array<std::array<double, 3>, 9> alphas = {{{0.5, inf, 0},
                                                          {0.5, 1, 2},
                                                          {0.3, inf, 2},
                                                          {1, 0.7, inf},
                                                          {0.4, inf, inf},
                                                          {0.5, 0, 1},
                                                          {0.5, 2, 0},
                                                          {inf, inf, inf},
                                                          {inf, inf, 1}}};

/// sum_n P_dn v_dn, and with `conditional` over sum_n P_dn, from the plan as the solution gives it.
template <class Scalar>
Vector<Number> read(const Matrix<Scalar>& plan, const Matrix<Scalar>& values, bool conditional) {
    Vector<Number> pooled(plan.rows());
    for (Index d = 0; d < plan.rows(); ++d) {
        const Numbers P = tests::direct::numbers(plan.row(d));
        pooled[d] = tests::direct::weighted(P, tests::direct::numbers(values.row(d)));
        if (conditional) pooled[d] /= tests::direct::sum(P);
    }
    return pooled;
}

/// The plan is rounded to Scalar before the tests read it.
template <class Scalar>
inline constexpr double plan_tolerance = sizeof(Scalar) == 8 ? 1e-12 : 1e-5;

TEMPLATE_TEST_CASE("The readouts are sums over the plan", "", float, double) {
    using Scalar = TestType;
    std::uint64_t seed = 100;
    for (const std::array<double, 3>& alpha : alphas) {
        for (const bool own_reward : {false, true}) {
            Random random(++seed);
            const Matrix<Scalar> X = tests::random_bag<Scalar>(random, 4, 11, BagKind::normal);
            const Matrix<Scalar> reward = own_reward ? tests::random_bag<Scalar>(random, 4, 11, BagKind::relu) : X;
            otpool::PoolingParameters<Scalar> parameters{.alpha0 = static_cast<Scalar>(alpha[0])};
            parameters.features = {static_cast<Scalar>(alpha[1]), tests::uneven_prior<Scalar>(random, 4, false)};
            parameters.instances = {static_cast<Scalar>(alpha[2]), tests::uneven_prior<Scalar>(random, 11, true)};
            Bag<Scalar> bag{.instances = X};
            if (own_reward) bag.reward = reward;

            tests::for_each_solver({}, [&](auto solver, const char* solver_name) {
                INFO(solver_name << ", alphas " << alpha[0] << ' ' << alpha[1] << ' ' << alpha[2]);
                using Solver = decltype(solver);
                const otpool::Pooling<Scalar, Solver> conditional{parameters, solver};
                const otpool::Pooling<Scalar, Solver, Entropy, otpool::JointReadout> joint{parameters, solver};
                const otpool::Pooling<Scalar, Solver, Entropy, otpool::SumReadout> sum{parameters, solver};
                const auto solution = conditional.solve(bag);
                REQUIRE(solution.converged());
                const Matrix<Scalar> plan = solution.plan();

                CHECK(pooled_error(conditional(bag), read(plan, X, true), X) <= plan_tolerance<Scalar>);
                CHECK(pooled_error(conditional.read(solution), read(plan, X, true), X) <= plan_tolerance<Scalar>);
                const Number D = 4;
                const Vector<Number> by_mass = D * read(plan, X, false);
                const Matrix<Scalar> mass_scale = X * std::max(Scalar(1), 4 * plan.sum());
                CHECK(pooled_error(joint(bag), by_mass, mass_scale) <= plan_tolerance<Scalar>);
                const Number active = (parameters.instances.prior.array() > 0).count();
                const Matrix<Scalar> sum_scale = X * Scalar(11);
                CHECK(pooled_error(sum(bag), active * read(plan, X, true), sum_scale) <= plan_tolerance<Scalar>);
            });
        }
    }
}

TEMPLATE_TEST_CASE("The joint readout is the conditional one where the feature marginal is hard and uniform", "", float,
                   double) {
    using Scalar = TestType;
    Random random(7);
    const Matrix<Scalar> X = tests::random_bag<Scalar>(random, 6, 20, BagKind::uneven);
    otpool::PoolingParameters<Scalar> parameters{.alpha0 = 2};
    const otpool::Sinkhorn solver;
    const Vector<Scalar> y = otpool::Pooling{parameters, solver}(X);
    const Vector<Scalar> joint = otpool::Pooling{parameters, solver, otpool::JointReadout{}}(X);
    CHECK(pooled_error(joint, Vector<Number>(y.template cast<Number>()), X) <= plan_tolerance<Scalar>);
    parameters.features.prior = tests::uneven_prior<Scalar>(random, 6, false);
    const Vector<Scalar> uneven = otpool::Pooling{parameters, solver, otpool::JointReadout{}}(X);
    const Vector<Number> scaled = (6 * parameters.features.prior.array() * y.array()).matrix().template cast<Number>();
    CHECK(pooled_error(uneven, scaled, Matrix<Scalar>(6 * X)) <= plan_tolerance<Scalar>);
}

TEMPLATE_TEST_CASE("A bag's own reward decides where its instances are drawn from", "", float, double) {
    using Scalar = TestType;
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        Random random(seed);
        const Matrix<Scalar> X = tests::random_bag<Scalar>(random, 3, 15, BagKind::normal);
        const Matrix<Scalar> reward = tests::random_bag<Scalar>(random, 3, 15, BagKind::rounded);
        const Bag<Scalar> bag{.instances = X, .reward = reward};
        const auto expected = [&](Number t) {
            Vector<Number> pooled(3);
            for (Index d = 0; d < 3; ++d) {
                pooled[d] =
                    tests::direct::softmax(tests::direct::numbers(reward.row(d)), t, tests::direct::numbers(X.row(d)));
            }
            return pooled;
        };
        tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
            INFO(solver_name << ", seed " << seed);
            const auto softmax = otpool::softmax_pooling<Scalar>(Scalar(0.5), solver);
            CHECK(pooled_error(softmax(bag), expected(0.5), X) <= tests::closed_form_tolerance<Scalar>);
            const auto max = otpool::max_pooling<Scalar>(solver);
            CHECK(pooled_error(max(bag), expected(0), X) <= tests::closed_form_tolerance<Scalar>);
            const auto mean = otpool::mean_pooling<Scalar>(solver);
            CHECK(pooled_error(mean(bag), by_feature(X, tests::direct::mean), X) <=
                  tests::closed_form_tolerance<Scalar>);
        });
        // The log of the mean exponential is the reward's.
        const auto lse = otpool::log_sum_exp_pooling<Scalar>(Scalar(0.5));
        CHECK(pooled_error(lse(bag),
                           by_feature(reward, [](const Numbers& x) { return tests::direct::log_mean_exp(x, 0.5); }),
                           reward) <= tests::closed_form_tolerance<Scalar>);
    }
}

TEMPLATE_TEST_CASE("The bag's prior goes before the parameters', and multiplies what the functor computes", "", float,
                   double) {
    using Scalar = TestType;
    const Matrix<Scalar> X{{1, 2, 4}};
    const Vector<Scalar> first{{Scalar(0.75), 0, Scalar(0.25)}};
    const Vector<Scalar> second{{0, Scalar(0.5), Scalar(0.5)}};
    const Vector<Scalar> third{{Scalar(0.25), Scalar(0.25), Scalar(0.5)}};
    auto pooling = otpool::attention_pooling<Scalar>(otpool::FixedPrior<Scalar>{third});
    const double epsilon = 4 * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
    CHECK(pooling(X)[0] == Catch::Approx(0.25 * 1 + 0.25 * 2 + 0.5 * 4).epsilon(epsilon));
    pooling.parameters.instances.prior = second;
    CHECK(pooling(X)[0] == Catch::Approx((1 * 2 + 2 * 4) / 3.0).epsilon(epsilon));
    CHECK(pooling(Bag<Scalar>{.instances = X, .prior = first})[0] ==
          Catch::Approx((3 * 1 + 2 * 4) / 5.0).epsilon(epsilon));
}

TEMPLATE_TEST_CASE("Reward and output transforms are applied entry by entry", "", float, double) {
    using Scalar = TestType;
    Random random(9);
    const Matrix<Scalar> X = tests::random_bag<Scalar>(random, 3, 9, BagKind::normal);
    const auto halved = [](Scalar x) { return x / 2; };
    const auto negated = [](Scalar x) { return -x; };
    const otpool::Pooling<Scalar, otpool::Sinkhorn, Entropy, otpool::ConditionalReadout, otpool::UniformPrior,
                          decltype(halved), decltype(negated)>
        pooling{.parameters = {.alpha0 = 1}, .reward = halved, .output = negated};
    const Vector<Number> expected = by_feature(X, [](const Numbers& x) { return -tests::direct::softmax(x, 2); });
    CHECK(pooled_error(pooling(X), expected, X) <= tests::closed_form_tolerance<Scalar>);
}

TEMPLATE_TEST_CASE("Excluded instances influence nothing", "", float, double) {
    using Scalar = TestType;
    const Index D = 4;
    Random random(31);
    const Matrix<Scalar> X = tests::random_bag<Scalar>(random, D, 12, BagKind::relu);
    const Vector<Scalar> prior = tests::uneven_prior<Scalar>(random, 12, false);
    Matrix<Scalar> wide(D, 17);
    Vector<Scalar> wide_prior = Vector<Scalar>::Zero(17);
    wide.setConstant(Scalar(1e6));
    wide.col(16).setZero();
    wide.col(15) *= 1000;
    wide.middleCols(2, 12) = X;
    wide_prior.segment(2, 12) = prior;
    const Matrix<Scalar> reward = tests::random_bag<Scalar>(random, D, 12, BagKind::normal);
    Matrix<Scalar> wide_reward = wide;
    wide_reward.middleCols(2, 12) = reward;

    tests::for_each_pooling<Scalar>(random, D, [&](const char* name, const auto& pooling) {
        INFO(name);
        const Vector<Scalar> y = pooling(Bag<Scalar>{.instances = X, .prior = prior});
        const Vector<Scalar> wide_y = pooling(Bag<Scalar>{.instances = wide, .prior = wide_prior});
        const double unit = 12 * tests::closed_form_tolerance<Scalar> * tests::spread(X);
        CHECK((wide_y - y).cwiseAbs().maxCoeff() <= unit);

        const Vector<Scalar> z = pooling(Bag<Scalar>{.instances = X, .reward = reward, .prior = prior});
        const Vector<Scalar> wide_z =
            pooling(Bag<Scalar>{.instances = wide, .reward = wide_reward, .prior = wide_prior});
        CHECK((wide_z - z).cwiseAbs().maxCoeff() <= unit);
    });
}

}  // namespace readout_test
