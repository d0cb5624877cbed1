#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "otpool/solver/sinkhorn.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// Plans of a fixed number of Sinkhorn's steps in scalings, against the same steps with potentials, in double.

namespace plan_by_scalings_test {

using namespace otpool;
using namespace tests;

/// The largest difference of the plan of `problem` in scalings from that of the same numbers in double by potentials,
/// relative to the largest entry of each row.
template <class Scalar>
double difference(const Sinkhorn& solver, const UotProblem<Scalar>& problem, const Execution& execution = {}) {
    const auto in_double = [](const Marginal<Scalar>& side) {
        return Marginal<double>{.alpha = side.alpha, .prior = side.prior.template cast<double>()};
    };
    const Matrix<double> reward = problem.reward.matrix().template cast<double>();
    const UotProblem<double> wide{.reward = reward,
                                  .alpha0 = problem.alpha0,
                                  .features = in_double(problem.features),
                                  .instances = in_double(problem.instances)};
    const auto expected = solver.solve(wide);
    const detail::LogPlan found = solver.log_plan(problem, {.execution = execution});
    Matrix<double> P = Matrix<double>::Zero(reward.rows(), reward.cols());
    found.for_each_log_column(
        [&](Index, Index n, const RealVector& log_column) { P.col(n) = log_column.array().exp(); });
    double largest = 0;
    const Matrix<double> of_potentials = expected.plan();
    for (Index k = 0; k < P.rows(); ++k) {
        const double off = (P.row(k) - of_potentials.row(k)).cwiseAbs().maxCoeff();
        largest = std::max(largest, off / of_potentials.row(k).maxCoeff());
    }
    return largest;
}

template <class Scalar>
constexpr double near = std::same_as<Scalar, double> ? 1e-10 : 3e-5;

TEMPLATE_TEST_CASE("the plan of steps in scalings is that of steps in potentials", "", double, float) {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        if (!in_sample(seed)) continue;
        INFO("seed " << seed);
        Random random(seed);
        const BagKind kind = all_bag_kinds[static_cast<std::size_t>(seed) % all_bag_kinds.size()];
        const Index N = seed % 20 == 0 ? random.integer(2000, 4000) : random.integer(1, 60);
        const Matrix<TestType> bag = random_bag<TestType>(random, random.integer(1, 70), N, kind);
        const auto spread = static_cast<double>(bag.maxCoeff() - bag.minCoeff());
        UotProblem<TestType> problem{.reward = bag};
        problem.alpha0 = static_cast<TestType>(random.log_uniform(0.003, 10) * (spread > 0 ? spread : 1));
        problem.features.alpha = hard;
        problem.instances.alpha = hard;
        if (random.chance(0.3)) problem.features.alpha = static_cast<TestType>(random.log_uniform(0.1, 10));
        if (std::isinf(problem.features.alpha) && random.chance(0.3)) problem.instances.alpha = TestType(0.7);
        if (random.chance(0.5)) problem.features.prior = uneven_prior<TestType>(random, bag.rows(), false);
        if (random.chance(0.5)) problem.instances.prior = uneven_prior<TestType>(random, bag.cols(), bag.cols() > 1);
        for (const int steps : {1, 3, 10}) {
            for (const HalfStep first : {HalfStep::features, HalfStep::instances}) {
                const Sinkhorn solver{
                    .options = {.iterations = steps, .closed_forms = false}, .translation = false, .first = first};
                CHECK(difference(solver, problem) < near<TestType>);
            }
        }
    }
}

TEMPLATE_TEST_CASE("the plan of steps is right where a few rewards are far above the rest", "", double, float) {
    Random random(1);
    Matrix<TestType> bag = random_bag<TestType>(random, 5, 400, BagKind::normal);
    for (const double above : {10.0, 100.0, 1e4}) {
        bag(2, 123) = static_cast<TestType>(above);
        const UotProblem<TestType> problem{
            .reward = bag, .alpha0 = 1, .features = {.alpha = hard}, .instances = {.alpha = hard}};
        for (const HalfStep first : {HalfStep::features, HalfStep::instances}) {
            // with the translation, which moves nothing here
            CHECK(difference(Sinkhorn{.options = {.iterations = 3}, .first = first}, problem) < near<TestType>);
        }
    }
}

TEST_CASE("what runs without scalings has the plan of a solve") {
    Random random(2);
    const Matrix<double> bag = random_bag<double>(random, 4, 30, BagKind::normal);
    UotProblem<double> problem{.reward = bag, .alpha0 = 0.5, .features = {.alpha = 1}, .instances = {.alpha = 2}};
    CHECK(difference(Sinkhorn{}, problem) < 1e-14);
    CHECK(difference(Sinkhorn{.options = {.iterations = 3}}, problem) < 1e-14);
    problem.features.alpha = hard;
    CHECK(difference(Sinkhorn{.options = {.iterations = 3}}, problem) < 1e-14);
    problem.alpha0 = hard;
    CHECK(difference(Sinkhorn{.options = {.iterations = 3}}, problem) < 1e-14);
}

TEST_CASE("a plan of steps refuses what a solve refuses") {
    Matrix<float> bag = Matrix<float>::Zero(3, 200);
    bag(1, 150) = std::numeric_limits<float>::quiet_NaN();
    const UotProblem<float> problem{
        .reward = bag, .alpha0 = 1, .features = {.alpha = hard}, .instances = {.alpha = hard}};
    const Sinkhorn solver{.options = {.iterations = 3}};
    const auto refusal = [&](const auto& work) { return message_of<InvalidArgument>(work); };
    CHECK(refusal([&] { solver.log_plan(problem); }) == refusal([&] { solver.solve(problem); }));
    CHECK(refusal([&] { Sinkhorn{.options = {.iterations = 0}}.log_plan(problem); }) ==
          "iterations is 0; allowed: at least 1");
}

}  // namespace plan_by_scalings_test
