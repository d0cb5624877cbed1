#include <algorithm>
#include <cmath>

#include "otpool/learning.hpp"
#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_problem.hpp"

// A penalty that the library does not have, in one struct.

namespace penalty_test {

using namespace otpool;
using namespace tests;

/// alpha sum_i max(m_i - p_i, 0): a marginal that may be above its prior at a fixed price, and below it for free.
struct Overdraft {
    double value(double ratio) const { return std::max(ratio - 1, 0.0); }
    double half_step(double excess, double strength) const { return std::clamp(excess, -strength, 0.0); }
};

/// The library's own penalty, written as one from outside.
struct KullbackLeiblerAgain {
    double value(double ratio) const { return ratio > 0 ? ratio * std::log(ratio) - ratio + 1 : 1; }
    double half_step(double excess, double strength) const { return excess * strength / (1 + strength); }
};

/// Problems whose alphas are neither 0 nor infinite, of rewards about zero: with far ones the mass of a plan that both
/// sides may leave at a fixed price is beyond all numbers.
template <class Scalar>
struct SoftProblem : RandomProblem<Scalar> {
    explicit SoftProblem(std::uint64_t seed)
        : RandomProblem<Scalar>(seed, {.most_features = 20,
                                       .most_instances = 60,
                                       .least_alpha0 = 0.05,
                                       .most_alpha0 = 10,
                                       .least_alpha = 0.05,
                                       .most_alpha = 5,
                                       .limits = 0}) {
        this->bag.array() -= this->bag.mean();
    }
};

template <class Scalar>
double distance(const Solution<Scalar, Entropy>& a, const Solution<Scalar, Entropy>& b) {
    const Matrix<Scalar> plan = b.plan();
    return static_cast<double>((a.plan() - plan).norm() / plan.norm());
}

TEMPLATE_TEST_CASE("A penalty from outside that equals Kullback-Leibler gives its plan", "", double, float) {
    const double tolerance = std::is_same_v<TestType, double> ? 1e-6 : 1e-3;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        SoftProblem<TestType> random(seed);
        INFO(random.drawn);
        const auto expected = Newton{}.solve(random.problem);
        random.problem.features.penalty = KullbackLeiblerAgain();
        if (seed % 3 > 0) random.problem.instances.penalty = KullbackLeiblerAgain();
        const auto by_sinkhorn = Sinkhorn{{.max_iterations = 200000}}.solve(random.problem);
        REQUIRE(by_sinkhorn.converged());
        CHECK(distance(by_sinkhorn, expected) < tolerance);
        CHECK(by_sinkhorn.objective() == Catch::Approx(expected.objective()).epsilon(tolerance));
        const auto by_admm = BregmanAdmm{{.max_iterations = 20000}}.solve(random.problem);
        REQUIRE(by_admm.converged());
        CHECK(distance(by_admm, expected) < tolerance);
    }
}

/// The largest violation of an overdraft's conditions, relative to alpha or in logarithms: a line's potential is 0 below
/// its prior, -alpha above it, and between them where it meets its prior.
template <class Scalar>
double overdraft_violation(const Marginal<Scalar>& side, const Vector<Scalar>& marginal,
                           const Vector<Scalar>& potential) {
    double worst = 0;
    const auto size = static_cast<double>(marginal.size());
    for (Index i = 0; i < marginal.size(); ++i) {
        const double prior = side.prior.size() == 0 ? 1 / size : static_cast<double>(side.prior[i] / side.prior.sum());
        if (prior == 0) continue;
        const double price = static_cast<double>(potential[i] / side.alpha);
        const double gap = std::log(static_cast<double>(marginal[i]) / prior);
        const double from_price = std::abs(price - std::clamp(-gap * 1e12, -1.0, 0.0));
        worst = std::max(worst, std::min(std::max({std::abs(gap), price, -1 - price}), from_price));
    }
    return worst;
}

TEMPLATE_TEST_CASE("An overdraft meets its conditions of optimality", "", double, float) {
    const double tolerance = std::is_same_v<TestType, double> ? 1e-6 : 1e-4;
    for (std::uint64_t seed = 100; seed < 140; ++seed) {
        SoftProblem<TestType> random(seed);
        INFO(random.drawn);
        auto& problem = random.problem;
        problem.features.penalty = Overdraft();
        problem.instances.penalty = Overdraft();
        const auto solution = Sinkhorn{{.max_iterations = 200000}}.solve(problem);
        REQUIRE(solution.converged());
        CHECK(overdraft_violation(problem.features, solution.feature_marginal(), solution.feature_potential) <
              tolerance);
        CHECK(overdraft_violation(problem.instances, solution.instance_marginal(), solution.instance_potential) <
              tolerance);
        const Vector<TestType> pooled = Pooling<TestType>{{problem.alpha0, problem.features, problem.instances},
                                                          {{.max_iterations = 200000}}}(random.bag);
        CHECK((pooled - ConditionalReadout{}(solution)).norm() <= tolerance * (1 + pooled.norm()));
    }
}

TEST_CASE("An overdraft's plan is the best of its neighbours") {
    for (std::uint64_t seed = 200; seed < 220; ++seed) {
        SoftProblem<double> random(seed);
        INFO(random.drawn);
        random.problem.features.penalty = Overdraft();
        random.problem.instances.penalty = Overdraft();
        const auto solution = Sinkhorn{{.tolerance = 1e-10, .max_iterations = 200000}}.solve(random.problem);
        const auto objective = [&](const Matrix<double>& plan) {
            const auto& [reward, values, alpha0, features, instances, mass, regularizer] = random.problem;
            const auto penalty = [&](const Marginal<double>& side, const Vector<double>& m) {
                const Vector<double> uniform = Vector<double>::Constant(m.size(), 1 / static_cast<double>(m.size()));
                const Vector<double> prior =
                    side.prior.size() > 0 ? Vector<double>(side.prior / side.prior.sum()) : uniform;
                return side.alpha * (m - prior).cwiseMax(0).sum();
            };
            double entropy = 0;
            for (const double p : plan.reshaped()) entropy += p > 0 ? p * (std::log(p) - 1) : 0;
            return -random.bag.cwiseProduct(plan).sum() + alpha0 * entropy + penalty(features, plan.rowwise().sum()) +
                   penalty(instances, plan.colwise().sum());
        };
        const Matrix<double> plan = solution.plan();
        const double best = objective(plan);
        CHECK(solution.objective() == Catch::Approx(best));
        Random numbers(seed);
        for (int i = 0; i < 20; ++i) {
            Matrix<double> other = plan;
            for (double& p : other.reshaped()) p *= std::exp(0.01 * numbers.normal());
            CHECK(objective(other) >= best - 1e-9 * std::abs(best));
        }
    }
}

TEST_CASE("On a free or a hard side all penalties are the same") {
    RandomProblem<double> random(7, {.least_alpha0 = 0.1, .most_alpha0 = 1, .limits = 0});
    auto& problem = random.problem;
    for (const auto& [alpha1, alpha2] : {std::pair<double, double>{hard, 0}, {0, hard}, {hard, hard}, {0, 0}}) {
        problem.features.alpha = alpha1;
        problem.instances.alpha = alpha2;
        const auto with = [&](const AnyPenalty& penalty) {
            problem.features.penalty = problem.instances.penalty = penalty;
            return Sinkhorn{{.closed_forms = false}}.solve(problem).plan();
        };
        CHECK(with(Overdraft()) == with(KullbackLeibler()));
    }
}

TEST_CASE("Newton, gradients and alpha0 = inf refuse a penalty from outside") {
    const Matrix<double> bag = Matrix<double>::Identity(3, 4);
    UotProblem<double> problem{.reward = bag, .instances = {.alpha = 1, .penalty = Overdraft()}};
    const std::string found = "a problem with a penalty other than KullbackLeibler; allowed: KullbackLeibler";
    CHECK_THAT(message_of<UnsupportedProblem>([&] { (void)Newton{}.solve(problem); }),
               Catch::StartsWith("Newton does not solve " + found));
    CHECK_THAT(message_of<UnsupportedProblem>([&] { (void)Implicit<Sinkhorn>{}.solve(problem); }),
               Catch::StartsWith("Implicit does not solve " + found));
    CHECK_THAT(message_of<UnsupportedProblem>([&] { (void)Unrolled<Sinkhorn>{{{.iterations = 4}}}.solve(problem); }),
               Catch::StartsWith("Unrolled does not solve " + found));
    UotProblem<double> free = problem;  // which its steps do not leave so
    free.instances.alpha = 0;
    const StepParameters soft{.alpha0 = 1, .alpha1 = hard, .alpha2 = 1};
    CHECK_THAT(message_of<UnsupportedProblem>([&] {
                   (void)Unrolled<Sinkhorn>{{{.iterations = 2}}, {soft, soft}}.solve(free);
               }),
               Catch::StartsWith("Unrolled does not solve " + found));
    problem.alpha0 = infinity;
    CHECK_THAT(message_of<UnsupportedProblem>([&] { (void)Sinkhorn{}.solve(problem); }),
               Catch::Contains("alpha0 = inf and a penalty other than KullbackLeibler"));
}

}  // namespace penalty_test
