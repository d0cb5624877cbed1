#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "otpool/solver/admm/admm_sweep.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/pooled_by_sweeps.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// The corners of the parameter space: always finite, never a false `converged`.

namespace extremes_test {

using namespace otpool;
using namespace tests;

template <class Scalar>
struct Grid {
    std::vector<Scalar> alphas{0, Scalar(1e-6), Scalar(1e-3), 1, Scalar(1e6), infinity};
    std::vector<Scalar> scales{Scalar(1e-30), 1, Scalar(1e30)};

    static std::vector<Matrix<Scalar>> bags() {
        Matrix<double> sample(3, 4);
        sample << 0.3, -1.2, 0.7, 0.1, 1.5, 0.2, -0.4, 0.9, -0.8, 0.6, 0.05, -0.3;
        const Matrix<Scalar> general = sample.cast<Scalar>();
        Matrix<Scalar> ties = general;
        ties.col(1) = ties.col(2);
        ties.row(0).setOnes();
        return {general, general.col(0),     general.row(0),      Matrix<Scalar>::Constant(3, 4, Scalar(0.7)),
                ties,    general.cwiseAbs(), -general.cwiseAbs(), Matrix<Scalar>::Zero(2, 3)};
    }
};

template <class Scalar, class R, class Solver>
void check_extreme(const UotProblem<Scalar, R>& problem, const Solver& solver) {
    Solution<Scalar, R> solution;
    try {
        solution = solver.solve(problem);
    } catch (const UnsupportedProblem&) {
        REQUIRE(problem.alpha0 == 0);  // the one thing that Sinkhorn and Newton may refuse
        return;
    }
    const Vector<Scalar> pooled = ConditionalReadout{}(solution);
    const bool finite = pooled.allFinite() && solution.plan().allFinite() && JointReadout{}(solution).allFinite() &&
                        std::isfinite(solution.objective()) && std::isfinite(solution.residual) &&
                        std::isfinite(solution.log_mass) && std::isfinite(solution.mass()) &&
                        solution.feature_potential.allFinite() && solution.instance_potential.allFinite() &&
                        solution.feature_marginal().allFinite() && solution.instance_marginal().allFinite();
    // One assertion a problem where all is well: there are a hundred thousand.
    const Matrix<Scalar> x = problem.reward.matrix();
    const Scalar slack = x.cwiseAbs().maxCoeff() * Scalar(1e-5);
    const bool between = (pooled.array() >= x.rowwise().minCoeff().array() - slack).all() &&
                         (pooled.array() <= x.rowwise().maxCoeff().array() + slack).all();
    const double violation = solution.converged() ? marginal_violation(solution) : 0;
    const double allowed = std::is_same_v<Scalar, double> ? 1e-7 : 1e-4;
    if (!finite || !between || !(violation <= allowed)) {
        FAIL_CHECK("bag\n"
                   << x << "\nalphas " << problem.alpha0 << ' ' << problem.features.alpha << ' '
                   << problem.instances.alpha << ", q0 " << problem.instances.prior.transpose() << ", "
                   << name(solution.status) << ", residual " << solution.residual << ", recomputed " << violation
                   << ", finite " << finite << ", pooled between min and max " << between);
    }
}

template <class Scalar, class R, class Visit>
void for_each_extreme(const Visit& visit) {
    const Grid<Scalar> grid;
    std::uint64_t number = 0;
    for (const Matrix<Scalar>& shape : Grid<Scalar>::bags()) {
        for (const Scalar scale : grid.scales) {
            const Matrix<Scalar> bag = scale * shape;
            for (const Scalar alpha0 : grid.alphas) {
                for (const Scalar alpha1 : grid.alphas) {
                    for (const Scalar alpha2 : grid.alphas) {
                        UotProblem<Scalar, R> problem{.reward = bag,
                                                      .alpha0 = alpha0,
                                                      .features = {.alpha = alpha1},
                                                      .instances = {.alpha = alpha2}};
                        if (!tests::in_sample(number++)) continue;
                        visit(problem);
                        if (bag.cols() < 2) continue;
                        problem.instances.prior =
                            Vector<Scalar>::Constant(bag.cols(), 1 / static_cast<Scalar>(bag.cols() - 1));
                        problem.instances.prior[1] = 0;
                        visit(problem);
                    }
                }
            }
        }
    }
    SUCCEED();
}

TEMPLATE_TEST_CASE("Sinkhorn and Newton at the extremes", "", double, float) {
    for (const bool closed_forms : {true, false}) {
        const Options options{.max_iterations = 60, .closed_forms = closed_forms};
        for_each_extreme<TestType, Entropy>([&](const auto& problem) {
            check_extreme(problem, Sinkhorn{options});
            check_extreme(problem, Newton{options});
        });
        for_each_extreme<TestType, RelativeEntropy>(
            [&](const auto& problem) { check_extreme(problem, Newton{options}); });
    }
}

TEMPLATE_TEST_CASE("Bregman ADMM at the extremes", "", double, float) {
    for (const bool closed_forms : {true, false}) {
        const Options options{.max_iterations = 60, .closed_forms = closed_forms};
        for_each_extreme<TestType, Entropy>([&](const auto& problem) { check_extreme(problem, BregmanAdmm{options}); });
        for_each_extreme<TestType, Quadratic>(
            [&](const auto& problem) { check_extreme(problem, BregmanAdmm{options}); });
    }
}

TEMPLATE_TEST_CASE("Newton for Quadratic, and ActiveSet, at the extremes", "", double, float) {
    for (const bool closed_forms : {true, false}) {
        const Options options{.closed_forms = closed_forms};
        for_each_extreme<TestType, Quadratic>([&](const auto& problem) { check_extreme(problem, Newton{options}); });
        for_each_extreme<TestType, Entropy>([&](const auto& problem) {
            if (problem.alpha0 == 0) check_extreme(problem, ActiveSet{options});
        });
    }
}

TEMPLATE_TEST_CASE("Steps of Bregman ADMM in one pass each, at the extremes", "", double, float) {
    int swept = 0;
    int all = 0;
    for_each_extreme<TestType, Entropy>([&](const auto& problem) {
        const Matrix<TestType> x = problem.reward.matrix();
        const double slack = (std::is_same_v<TestType, double> ? 1e-9 : 1e-5) * spread(x);
        for (const int steps : {1, 4}) {
            const double rho = BregmanAdmm::default_rho(problem);
            const auto pooled = tests::pooled_by_sweeps(problem, rho, steps);
            ++all;
            if (!pooled) continue;  // the log domain must do
            ++swept;
            const auto solution = BregmanAdmm{{.iterations = steps, .closed_forms = false}, rho}.solve(problem);
            const double error = (*pooled - detail::conditional_mean(solution)).cwiseAbs().maxCoeff();
            if (error <= slack) continue;
            FAIL_CHECK("bag\n"
                       << x << "\nalphas " << problem.alpha0 << ' ' << problem.features.alpha << ' '
                       << problem.instances.alpha << ", q0 " << problem.instances.prior.transpose() << ", " << steps
                       << " steps, error " << error);
        }
    });
    CHECK(2 * swept > all);
}

TEST_CASE("an alpha0 too small for double is not called converged") {
    Random random(3);
    const Matrix<double> bag = random_bag<double>(random, 6, 20, BagKind::normal);
    const UotProblem<double> problem{
        .reward = bag, .alpha0 = 1e-13, .features = {.alpha = hard}, .instances = {.alpha = hard}};
    for (const auto& solution :
         {Newton{{.tolerance = 1e-10}}.solve(problem), Sinkhorn{{.tolerance = 1e-10}}.solve(problem)}) {
        CHECK_FALSE(solution.converged());
        CHECK(solution.residual > 1e-10);
        CHECK(ConditionalReadout{}(solution).allFinite());
    }
}

}  // namespace extremes_test
