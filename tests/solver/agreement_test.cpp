#include <cmath>
#include <string>

#include "otpool/otpool.hpp"
#include "solver/sparse_problem.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/random_problem.hpp"

// Sinkhorn and Bregman ADMM against Newton in double, at alpha0 = 0 against ActiveSet; and what `converged` promises, recomputed from the plan.

namespace agreement_test {

using namespace otpool;
using namespace tests;

template <class Scalar>
constexpr double tolerance = std::is_same_v<Scalar, double> ? 1e-10 : 1e-5;
template <class Scalar>
constexpr double allowed_error = std::is_same_v<Scalar, double> ? 1e-8 : 1e-4;

/// Pools random problems by `solver` and by Newton in double, compares, and returns the share that converged.
template <class Scalar, class R, class Solver>
double compare_with_newton(const Solver& solver, const ProblemRange& range, std::uint64_t first, std::uint64_t count) {
    int converged = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        const RandomProblem<Scalar, R> random(seed, range);
        INFO(random.drawn);
        const auto solution = solver.solve(random.problem);
        const Vector<double> pooled = ConditionalReadout{}(solution).template cast<double>();
        CHECK(pooled.allFinite());
        CHECK(std::isfinite(solution.residual));
        if (solution.status != Status::converged && solution.status != Status::mass_out_of_range) continue;
        ++converged;
        CHECK(solution.residual <= tolerance<Scalar>);
        if (solution.converged()) CHECK(marginal_violation(solution) <= (std::is_same_v<Scalar, double> ? 1e-9 : 1e-4));
        const auto reference = Newton{{.tolerance = 1e-11, .closed_forms = false}}.solve(random.in_double());
        const Vector<double> difference = pooled - ConditionalReadout{}(reference);
        CHECK(difference.cwiseAbs().maxCoeff() <= allowed_error<Scalar> * spread(random.bag));
    }
    return converged / static_cast<double>(count);
}

TEMPLATE_TEST_CASE("Sinkhorn finds Newton's solution", "", double, float) {
    const Sinkhorn solver{{.tolerance = tolerance<TestType>, .max_iterations = 3000, .closed_forms = false}};
    const ProblemRange range{.least_alpha0 = 1e-2};
    CHECK(compare_with_newton<TestType, Entropy>(solver, range, 1000, 150) > 0.9);
    CHECK(compare_with_newton<TestType, RelativeEntropy>(solver, range, 1200, 50) > 0.9);
}

TEMPLATE_TEST_CASE("Bregman ADMM finds Newton's solution", "", double, float) {
    const BregmanAdmm solver{{.tolerance = tolerance<TestType>, .max_iterations = 2000, .closed_forms = false}};
    const ProblemRange range{.most_features = 32, .most_instances = 150, .least_alpha0 = 1e-3};
    CHECK(compare_with_newton<TestType, Entropy>(solver, range, 2000, 120) > 0.9);
    CHECK(compare_with_newton<TestType, RelativeEntropy>(solver, range, 2200, 50) > 0.9);
}

TEST_CASE("Newton in float finds Newton's solution in double") {
    const Newton solver{{.tolerance = tolerance<float>, .closed_forms = false}};
    CHECK(compare_with_newton<float, Entropy>(solver, {}, 3000, 150) == 1);
}

TEMPLATE_TEST_CASE("closed forms are the solutions that iterating finds", "", Entropy, RelativeEntropy) {
    int compared = 0;
    for (std::uint64_t seed = 4000; seed < 4200; ++seed) {
        const RandomProblem<double, TestType> random(seed, {.limits = 0.4});
        INFO(random.drawn);
        if (!detail::has_closed_form(random.problem)) continue;
        ++compared;
        const auto closed = Sinkhorn{}.solve(random.problem);
        CHECK(closed.iterations == 0);
        CHECK((closed.converged() || closed.status == Status::mass_out_of_range));
        const auto iterated = Newton{{.tolerance = 1e-11, .closed_forms = false}}.solve(random.problem);
        const Vector<double> difference = ConditionalReadout{}(closed)-ConditionalReadout{}(iterated);
        CHECK(difference.cwiseAbs().maxCoeff() <= 1e-9 * spread(random.bag));
        CHECK(std::abs(closed.log_mass - iterated.log_mass) <= 1e-8 * (1 + std::abs(closed.log_mass)));
    }
    CHECK(compared > 50);
}

TEST_CASE("Newton for Quadratic finds the plan of Bregman ADMM") {
    int compared = 0;
    for (std::uint64_t seed = 6000; seed < 6024; ++seed) {
        const SparseProblem<double, Quadratic> made(seed, 0.5, 10);
        if (made.drawn.D * made.drawn.N > 1500) continue;
        const auto by_admm = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 2000}}.solve(made.problem);
        if (!by_admm.converged()) continue;
        ++compared;
        const Matrix<double> plan = Newton{{.tolerance = 1e-10}}.solve(made.problem).plan();
        INFO(made);
        CHECK((by_admm.plan() - plan).cwiseAbs().maxCoeff() <= 1e-5 * plan.maxCoeff());
    }
    CHECK(compared > 8);
}

TEST_CASE("ActiveSet finds the value and the marginals of Bregman ADMM at alpha0 = 0") {
    int compared = 0;
    for (std::uint64_t seed = 7000; seed < 7024; ++seed) {
        const SparseProblem<double, Entropy> made(seed, 0, 0);
        if (made.drawn.D * made.drawn.N > 1500) continue;
        const auto by_admm = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 2000}}.solve(made.problem);
        if (!by_admm.converged()) continue;
        ++compared;
        const auto solution = ActiveSet{}.solve(made.problem);
        INFO(made);
        const double mass = solution.mass();
        // (The plans may differ where rewards tie.)
        CHECK(std::abs(by_admm.objective() - solution.objective()) <= 1e-6 * mass * spread(made.bag));
        CHECK((by_admm.feature_marginal() - solution.feature_marginal()).cwiseAbs().maxCoeff() <= 1e-6 * mass);
        CHECK((by_admm.instance_marginal() - solution.instance_marginal()).cwiseAbs().maxCoeff() <= 1e-6 * mass);
    }
    CHECK(compared > 8);
}

TEST_CASE("the translation step does away with the slow mode of strong marginals") {
    Random random(7);
    const Matrix<double> bag = random_bag<double>(random, 8, 40, BagKind::normal);
    for (const double alpha1 : {100.0, std::numeric_limits<double>::infinity()}) {
        const UotProblem<double> problem{
            .reward = bag, .alpha0 = 0.1, .features = {.alpha = alpha1}, .instances = {.alpha = 100}};
        const Options options{.tolerance = 1e-8, .max_iterations = 100000};
        const Anderson plain{.memory = 0};  // acceleration would do away with it, too
        const auto with = Sinkhorn{options, true, plain}.solve(problem);
        const auto without = Sinkhorn{options, false, plain}.solve(problem);
        REQUIRE(with.converged());
        REQUIRE(without.converged());
        CHECK(10 * with.iterations < without.iterations);
        CHECK((ConditionalReadout{}(with)-ConditionalReadout{}(without)).cwiseAbs().maxCoeff() < 1e-6);
    }
}

}  // namespace agreement_test
