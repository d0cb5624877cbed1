#include <algorithm>
#include <cmath>

#include "otpool/learning.hpp"
#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/random_problem.hpp"

// Regularisers that the library does not have, in one struct each.

namespace regularizer_test {

using namespace otpool;
using namespace tests;

/// R(P) = KL(P | sqrt(p0 q0^T)), but for a constant: half way from Entropy to RelativeEntropy.
struct HalfRelativeEntropy {
    static constexpr double prior_weight = 0.5;
};

/// R(P) = sum P^3 / 3: between Quadratic's sparse plans and flatter ones.
struct Cubic {
    static double value(double entry) { return entry * entry * entry / 3; }
    static double derivative(double entry) { return entry * entry; }
    static double curvature(double entry) { return 2 * entry; }
    static double entry_at(double slack) { return std::sqrt(std::max(slack, 0.0)); }
};

/// The library's own Quadratic, written as one from outside, but without its closed forms.
struct QuadraticAgain {
    static double value(double entry) { return entry * entry; }
    static double derivative(double entry) { return 2 * entry; }
    static double curvature(double /*entry*/) { return 2; }
    static double entry_at(double slack) { return std::max(slack, 0.0) / 2; }
};

constexpr ProblemRange small{.most_features = 12,
                             .most_instances = 30,
                             .least_alpha0 = 0.05,
                             .most_alpha0 = 10,
                             .least_alpha = 0.05,
                             .most_alpha = 10};

TEMPLATE_TEST_CASE("An entropic regulariser from outside is Entropy with another reward", "", double, float) {
    const double tolerance = std::is_same_v<TestType, double> ? 1e-7 : 1e-4;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        ProblemRange range = small;
        range.zeros = false;
        const RandomProblem<TestType, HalfRelativeEntropy> random(seed, range);
        INFO(random.drawn);
        const auto& [reward, values, alpha0, features, instances, mass, regularizer] = random.problem;
        const auto prior = [](const Vector<TestType>& given, Index size) -> Vector<double> {
            if (given.size() == 0) return Vector<double>::Constant(size, 1 / static_cast<double>(size));
            return given.template cast<double>() / given.template cast<double>().sum();
        };
        const Vector<double> log_p = prior(features.prior, reward.rows()).array().log();
        const Vector<double> log_q = prior(instances.prior, reward.cols()).array().log();
        const Matrix<double> log_prior =
            log_p.replicate(1, log_q.size()) + log_q.transpose().replicate(log_p.size(), 1);
        const Matrix<double> other = random.bag.template cast<double>() + 0.5 * static_cast<double>(alpha0) * log_prior;
        UotProblem<double> same{.reward = other,
                                .values = random.in_double().reward,
                                .alpha0 = static_cast<double>(alpha0),
                                .features = random.in_double().features,
                                .instances = random.in_double().instances};
        const auto compare = [&](const auto& solver) {
            const auto found = solver.solve(random.problem);
            const auto expected = Newton{}.solve(same);
            if (!found.converged() || !expected.converged()) return;
            const Vector<double> difference =
                ConditionalReadout{}(found).template cast<double>() - ConditionalReadout{}(expected);
            CHECK(difference.cwiseAbs().maxCoeff() <= tolerance * spread(random.bag));
            CHECK(found.log_mass == Catch::Approx(expected.log_mass).margin(1e-3));
        };
        compare(Newton{});
        compare(Sinkhorn{});
        compare(BregmanAdmm{});
        compare(Sinkhorn{{.closed_forms = false}});
    }
}

TEST_CASE("The gradient of an entropic regulariser from outside is that of central differences") {
    const Matrix<double> bag = Matrix<double>::Random(3, 5);
    const Vector<double> dL_dy = Vector<double>::LinSpaced(3, -1, 2);
    UotProblem<double, HalfRelativeEntropy> problem{.reward = bag, .alpha0 = 0.4, .features = {.alpha = 0.7}};
    problem.instances = {.alpha = 0.5, .prior = Vector<double>::LinSpaced(5, 0.1, 0.3)};
    const auto check = [&](const auto& mode) {
        const auto gradient = mode.backward(ConditionalReadout{}, mode.solve(problem), dL_dy);
        const auto loss = [&](double alpha0, const Vector<double>& prior) {
            auto moved = problem;
            moved.alpha0 = alpha0;
            moved.instances.prior = prior;
            return dL_dy.dot(ConditionalReadout{}(*mode.solve(moved).solution));
        };
        const double h = 1e-5;
        const Vector<double>& q = problem.instances.prior;
        const double of_alpha0 = (loss(0.4 + h, q) - loss(0.4 - h, q)) / (2 * h);
        CHECK(gradient.alpha0[0] == Catch::Approx(of_alpha0).epsilon(1e-5));
        // With respect to log q0, in one direction; priors are normalised.
        const Vector<double> direction = Vector<double>::LinSpaced(5, -1, 1);
        const auto moved = [&](double step) -> Vector<double> { return q.array() * (step * direction.array()).exp(); };
        const double of_prior =
            (loss(0.4, moved(h) / moved(h).sum()) - loss(0.4, moved(-h) / moved(-h).sum())) / (2 * h);
        CHECK(gradient.log_q0.dot(direction) == Catch::Approx(of_prior).epsilon(1e-5));
    };
    check(Implicit<Newton>{{{.tolerance = 1e-12}}});
    check(Unrolled<Sinkhorn>{{{.iterations = 5}}});
    check(Unrolled<BregmanAdmm>{{{.iterations = 5}, 0.5}});
}

TEST_CASE("Cubic's plan meets its conditions of optimality") {
    int converged = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const RandomProblem<double, Cubic> random(seed, small);
        INFO(random.drawn);
        const auto solution = BregmanAdmm{{.tolerance = 1e-7, .max_iterations = 5000}}.solve(random.problem);
        if (!solution.converged()) continue;
        ++converged;
        const Matrix<double> plan = solution.plan();
        const double alpha0 = random.problem.alpha0;
        double largest = 0;
        for (Index n = 0; n < plan.cols(); ++n) {
            for (Index d = 0; d < plan.rows(); ++d) {
                if (random.problem.instances.prior.size() > 0 && random.problem.instances.prior[n] == 0) continue;
                const double slack = random.bag(d, n) + solution.feature_potential[d] + solution.instance_potential[n];
                const double entry = std::sqrt(std::max(slack, 0.0) / alpha0);
                largest = std::max(largest, std::abs(plan(d, n) - entry));
            }
        }
        CHECK(largest <= 1e-4 * plan.maxCoeff());
        CHECK(solution.residual <= 1e-7);
    }
    CHECK(converged >= 12);
}

TEST_CASE("A separable regulariser from outside that equals Quadratic gives its plan and gradient") {
    int compared = 0;
    for (std::uint64_t seed = 0; seed < 15; ++seed) {
        const RandomProblem<double, QuadraticAgain> random(seed, small);
        INFO(random.drawn);
        const UotProblem<double, Quadratic> same{
            random.problem.reward, {}, random.problem.alpha0, random.problem.features, random.problem.instances};
        const BregmanAdmm solver{{.tolerance = 1e-8, .max_iterations = 5000}};
        const auto found = solver.solve(random.problem);
        const auto expected = solver.solve(same);
        if (!found.converged() || !expected.converged()) continue;
        ++compared;
        CHECK((found.plan() - expected.plan()).norm() <= 1e-4 * expected.plan().norm());
        CHECK(found.objective() == Catch::Approx(expected.objective()).epsilon(1e-5));
    }
    CHECK(compared >= 10);
    const Matrix<double> bag = Matrix<double>::Random(3, 5);
    const Vector<double> dL_dy = Vector<double>::LinSpaced(3, -1, 2);
    const auto gradient = [&]<class R>(const auto& mode, R) {
        const UotProblem<double, R> problem{
            .reward = bag, .alpha0 = 0.4, .features = {.alpha = 0.7}, .instances = {.alpha = 0.5}};
        return mode.backward(ConditionalReadout{}, mode.solve(problem), dL_dy).reward;
    };
    const auto check = [&](const auto& mode) {
        CHECK((gradient(mode, QuadraticAgain()) - gradient(mode, Quadratic())).norm() < 1e-12);
    };
    check(Unrolled<BregmanAdmm>{{{.iterations = 6}, 1.0}});
    check(Implicit<BregmanAdmm>{{{.tolerance = 1e-9}}});
}

}  // namespace regularizer_test
