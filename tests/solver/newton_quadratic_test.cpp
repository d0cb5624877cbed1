#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "solver/sparse_problem.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/sample.hpp"

// Newton for Quadratic, against the conditions of optimality and the duality gap, computed from their formulas.

namespace newton_quadratic_test {

using namespace otpool;
using namespace tests;

/// How far the plan is from max(0, X + f + g) / (2 alpha0), over the size of the numbers that it is a difference of.
template <class Scalar>
double distance_from_potentials(const Solution<Scalar, Quadratic>& solution) {
    const WideMatrix x = solution.problem.reward.matrix().template cast<Wide>();
    const WideMatrix plan = solution.plan().template cast<Wide>();
    const Vector<Scalar>& q = solution.problem.instances.prior;
    const WideVector f = solution.feature_potential.template cast<Wide>();
    WideVector g = solution.instance_potential.template cast<Wide>();
    const Wide unit = 2 * static_cast<Wide>(solution.problem.alpha0);
    Wide worst = 0;
    for (Index n = 0; n < plan.cols(); ++n) {
        if (q.size() > 0 && q[n] == 0) {
            if (!plan.col(n).isZero(0)) return std::numeric_limits<double>::infinity();
            g[n] = 0;
            continue;
        }
        for (Index d = 0; d < plan.rows(); ++d) {
            const Wide slack = x(d, n) + f[d] + g[n];
            worst = std::max(worst, std::abs(unit * plan(d, n) - std::max(slack, Wide(0))));
        }
    }
    const Wide size =
        x.cwiseAbs().maxCoeff() + f.cwiseAbs().maxCoeff() + g.cwiseAbs().maxCoeff() + unit * plan.maxCoeff();
    return static_cast<double>(size > 0 ? worst / size : 0);
}

/// Solves and checks a problem; whether it converged.
template <class Scalar>
bool check(const SparseProblem<Scalar, Quadratic>& made, double tolerance) {
    INFO(made);
    const auto solution = Newton{{.tolerance = tolerance, .closed_forms = false}}.solve(made.problem);
    CHECK(std::isfinite(solution.residual));
    if (!solution.converged()) return false;
    constexpr double digits = std::numeric_limits<Scalar>::epsilon();
    CHECK(solution.residual <= tolerance);
    // Of rounding: a soft marginal's potential is rounded to Scalar, and its mass is the exponential of it over alpha.
    const double allowed = std::is_same_v<Scalar, double> ? 1e-9 : 1e-4;
    CHECK(marginal_violation(solution) <= std::max(allowed, 2 * tolerance));
    CHECK(distance_from_potentials(solution) <= 20 * digits);
    return true;
}

TEST_CASE("Newton solves Quadratic to 1e-10 over all kinds of marginals and priors") {
    int iterations = 0;
    for (std::uint64_t seed = 0; seed < 480; ++seed) {
        if (!in_sample(seed)) continue;
        const SparseProblem<double, Quadratic> made(seed, 0.1, 10);
        CHECK(check(made, 1e-10));
        const auto solution = Newton{{.tolerance = 1e-10}}.solve(made.problem);
        iterations = std::max(iterations, solution.iterations);
        INFO(made);
        // Of masses near 1 it is 1e-11; where marginals are weak, they are far from it.
        if (!made.is_constant()) CHECK(std::abs(duality_gap(solution)) <= 1e-8);
    }
    CHECK(iterations <= 120);
}

TEST_CASE("Newton solves Quadratic where alpha0 is small or large") {
    int converged = 0;
    int count = 0;
    for (std::uint64_t seed = 1000; seed < 1160; ++seed) {
        if (!in_sample(seed)) continue;
        ++count;
        converged += check<double>({seed, 1e-2, 0.1}, 1e-10) ? 1 : 0;
        CHECK(check<double>({seed, 10, 1e4}, 1e-10));
    }
    CHECK(converged >= count - count / 50);
}

TEST_CASE("Newton solves Quadratic to 1e-10 where entries are far smaller than potentials") {
    int converged = 0;
    int count = 0;
    for (std::uint64_t seed = 1000; seed < 1160; ++seed) {
        if (!in_sample(seed)) continue;
        ++count;
        converged += check<double>({seed, 1e-5, 1e-3}, 1e-10) ? 1 : 0;
    }
    CHECK(converged >= count - (count + 49) / 50);
}

TEST_CASE("Newton for Quadratic does not depend on the reward's unit") {
    for (std::uint64_t seed = 2000; seed < 2100; ++seed) {
        if (!in_sample(seed)) continue;
        const SparseProblem<double, Quadratic> made(seed, 0.1, 10);
        const Matrix<double> plan = Newton{{.tolerance = 1e-10}}.solve(made.problem).plan();
        for (const double scale : {1e-150, 1e150}) {
            const SparseProblem<double, Quadratic> scaled(seed, 0.1, 10, scale);
            CHECK(check(scaled, 1e-10));
            INFO(scaled);
            const Matrix<double> other = Newton{{.tolerance = 1e-10}}.solve(scaled.problem).plan();
            CHECK((other - plan).cwiseAbs().maxCoeff() <= 1e-7 * plan.maxCoeff());
        }
    }
}

TEST_CASE("Newton for Quadratic takes rewards far from zero, if the mass is a number") {
    for (std::uint64_t seed = 3000; seed < 3100; ++seed) {
        if (!in_sample(seed)) continue;
        for (const double offset : {-10.0, 1000.0}) {
            const SparseProblem<double, Quadratic> made(seed, 0.1, 10, 1, offset);
            if (made.marginals == std::string("weak") && offset < 0) continue;  // masses of e^-50
            CHECK(check(made, 1e-10));
        }
    }
}

TEST_CASE("Newton for Quadratic takes bags of float") {
    for (std::uint64_t seed = 4000; seed < 4100; ++seed) {
        if (!in_sample(seed)) continue;
        CHECK(check<float>({seed, 0.1, 10}, 1e-6));
    }
}

Vector<double> light_prior(Random& random, Index size) {
    Vector<double> prior(size);
    for (double& mass : prior) mass = random.log_uniform(1e-30, 1);
    return prior / prior.sum();
}

TEST_CASE("Newton for Quadratic takes priors down to 1e-30") {
    int converged = 0;
    int count = 0;
    for (std::uint64_t seed = 5000; seed < 5100; ++seed) {
        if (!in_sample(seed)) continue;
        ++count;
        SparseProblem<double, Quadratic> made(seed, 0.1, 10);
        Random random(seed);
        made.problem.features.prior = light_prior(random, made.drawn.D);
        converged += check(made, 1e-10) ? 1 : 0;
    }
    CHECK(converged >= count - (count + 24) / 25);  // 98 of 100
}

TEST_CASE("Newton for Quadratic takes priors down to 1e-30 on both sides, with alphas of eight decades") {
    int converged = 0;
    int count = 0;
    for (std::uint64_t seed = 6000; seed < 6400; ++seed) {
        if (!in_sample(seed)) continue;
        ++count;
        SparseProblem<double, Quadratic> made(seed, 1e-3, 10);
        Random random(seed);
        for (auto* side : {&made.problem.features, &made.problem.instances}) {
            side->prior = light_prior(random, side == &made.problem.features ? made.drawn.D : made.drawn.N);
            side->alpha = random.chance(0.25) ? double(hard) : random.log_uniform(1e-4, 1e4);
        }
        converged += check(made, 1e-10) ? 1 : 0;
    }
    CHECK(converged >= count - (count + 49) / 50);  // 399 of 400
}

TEST_CASE("Newton for Quadratic moves a light part of the plan to where it draws on a heavy line") {
    // The first feature has little but the first instance's mass, and asks for more. Its potential has to rise by 0.5 before
    // it meets the second instance, and other steps move it by no more than the first instance's mass.
    const Matrix<double> bag{{0.01, -0.84, -2.2}, {-1.2, -0.19, 0.98}};
    UotProblem<double, Quadratic> problem{.reward = bag, .alpha0 = 0.24};
    problem.features = {.alpha = 0.0186, .prior = Vector<double>{{5e-6, 1}}};
    problem.instances = {.alpha = 1400, .prior = Vector<double>{{1e-23, 1, 4e-22}}};
    const auto solution = Newton{{.tolerance = 1e-10}}.solve(problem);
    REQUIRE(solution.converged());
    CHECK(solution.iterations <= 20);
    CHECK(marginal_violation(solution) <= 1e-9);
    CHECK(distance_from_potentials(solution) <= 1e-14);
    CHECK(solution.plan()(0, 1) > 0);
}

TEST_CASE("Newton for Quadratic has the iteration control of other solvers") {
    const SparseProblem<double, Quadratic> made(sizeable_seed, 0.1, 0.3);
    INFO(made);
    const auto cold = Newton{{.tolerance = 1e-10, .history = true}}.solve(made.problem);
    REQUIRE(cold.converged());
    CHECK(cold.history.size() == static_cast<std::size_t>(cold.iterations));
    CHECK(cold.history.back() == cold.residual);
    const auto warm = Newton{{.tolerance = 1e-9}}.solve(made.problem, {.warm_start = &cold});
    CHECK(warm.converged());
    CHECK(warm.iterations == 1);
    const auto fixed = Newton{{.iterations = 3, .tolerance = 1e-10}}.solve(made.problem);
    CHECK(fixed.iterations == 3);
    CHECK(fixed.converged() == (fixed.residual <= 1e-10));
    const auto stopped = Newton{{.iterations = 9, .tolerance = 1e-14}}.solve(
        made.problem, {.observer = [](int i, double) { return i == 2; }});
    CHECK(stopped.iterations == 2);
    CHECK(stopped.status == Status::stopped);
    auto none = made.problem;
    none.alpha0 = 0;
    CHECK_THROWS_AS(Newton{}.solve(none), UnsupportedProblem);
    // pool() pools what solve() finds
    Vector<double> pooled(made.drawn.D);
    CHECK(Newton{{.tolerance = 1e-10}}.pool(made.problem, pooled).converged());
    CHECK((pooled - ConditionalReadout{}(cold)).cwiseAbs().maxCoeff() < 1e-8);
}

}  // namespace newton_quadratic_test
