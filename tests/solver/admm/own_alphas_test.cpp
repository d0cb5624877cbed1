#include <algorithm>
#include <cmath>
#include <cstdint>

#include "otpool/problem/at_most.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "solver/mixed_problem.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/sample.hpp"

// BregmanAdmm with an alpha for each feature or instance.

namespace admm_own_alphas_test {

using namespace otpool;
using namespace tests;

template <class Scalar, class R>
void check_optimal(const Solution<Scalar, R>& solution, double unit) {
    const bool in_double = std::same_as<Scalar, double>;
    CHECK(solution.status == Status::converged);
    CHECK(marginal_violation(solution) < (in_double ? 1e-7 : 2e-4));
    CHECK(std::abs(duality_gap(solution, unit)) < (in_double ? 1e-6 : 1e-3));
}

TEMPLATE_TEST_CASE("BregmanAdmm takes an alpha for each feature and instance", "", double, float) {
    const double tolerance = std::same_as<TestType, double> ? 1e-9 : 1e-6;
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        if (!in_sample(seed)) continue;
        INFO("seed " << seed);
        const auto check = [&](const auto& mixed) {
            const BregmanAdmm solver{{.tolerance = tolerance, .max_iterations = 100000}};
            check_optimal(solver.solve(mixed.problem), mixed.unit());
        };
        check(Mixed<TestType, Entropy>(seed));
        check(Mixed<TestType, RelativeEntropy>(seed));
    }
}

/// It may take tens of thousands of iterations there. What it says is true.
TEST_CASE("BregmanAdmm takes an alpha for each feature and instance with Quadratic") {
    int taken = 0;
    int converged = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        if (!in_sample(seed)) continue;
        ++taken;
        INFO("seed " << seed);
        const Mixed<double, Quadratic> mixed(seed, 0.1, 3);
        const auto solution = BregmanAdmm{{.tolerance = 1e-8, .max_iterations = 4000}}.solve(mixed.problem);
        if (!solution.converged()) continue;
        check_optimal(solution, mixed.unit());
        ++converged;
    }
    CHECK(2 * converged + 1 >= taken);
}

TEST_CASE("BregmanAdmm takes alphas of their own at alpha0 = 0, with free lines on one side") {
    int taken = 0;
    int converged = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        if (!in_sample(seed)) continue;
        ++taken;
        INFO("seed " << seed);
        Mixed<double> mixed(seed);
        mixed.problem.alpha0 = 0;
        auto& alphas = seed % 2 == 0 ? mixed.problem.features.alphas : mixed.problem.instances.alphas;
        for (double& alpha : alphas) alpha = alpha > 0 ? alpha : mixed.unit();
        const auto solution = BregmanAdmm{{.tolerance = 1e-6, .max_iterations = 5000}}.solve(mixed.problem);
        converged += solution.converged() ? 1 : 0;
        CHECK(marginal_violation(solution) < 2 * solution.residual + 1e-9);
        if (solution.converged()) CHECK(duality_gap(solution, mixed.unit()) < 1e-4);
    }
    CHECK(2 * converged + 1 >= taken);
}

TEST_CASE("steps of BregmanAdmm with alphas for each line pool what their plan says") {
    check_pools_its_plan(BregmanAdmm{{.iterations = 3, .closed_forms = false}});
}

TEST_CASE("BregmanAdmm takes a penalty with alphas for each line as Sinkhorn does") {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        if (!in_sample(seed)) continue;
        INFO("seed " << seed);
        Mixed<double> mixed(seed, 0.2, 5);
        mixed.problem.instances.penalty = AtMost();
        const auto by_sinkhorn = Sinkhorn{{.tolerance = 1e-9, .max_iterations = 100000}}.solve(mixed.problem);
        const auto by_admm = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 100000}}.solve(mixed.problem);
        CHECK(by_sinkhorn.status == by_admm.status);
        if (!by_sinkhorn.converged() || !by_admm.converged()) continue;
        const Matrix<double> plan = by_sinkhorn.plan();
        CHECK((by_admm.plan() - plan).cwiseAbs().maxCoeff() < 1e-6 * plan.maxCoeff());
    }
}

TEST_CASE("BregmanAdmm refuses a mass without bound") {
    const Matrix<double> bag = Matrix<double>::Random(3, 4);
    UotProblem<double> problem{.reward = bag, .alpha0 = 0};
    problem.features.alphas = Vector<double>{{0, 1, 1}};
    problem.instances.alphas = Vector<double>{{0, 1, 1, 1}};
    CHECK(
        message_of<UnsupportedProblem>([&] { BregmanAdmm{}.solve(problem); }) ==
        "BregmanAdmm does not solve a problem with alpha0 = 0 and both free features and free instances; allowed: free "
        "lines on one side, or all lines free");
}

}  // namespace admm_own_alphas_test
