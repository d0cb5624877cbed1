#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"
#include "support/solvers.hpp"

using otpool::Entropy;
using otpool::Index;
using otpool::Matrix;
using otpool::Quadratic;
using otpool::RelativeEntropy;
using otpool::Solution;
using otpool::UotProblem;
using otpool::Vector;
using tests::Random;

namespace solution_test {

using Number = long double;
constexpr double inf = std::numeric_limits<double>::infinity();

const otpool::Options tight{.tolerance = 1e-10};

/// A value, and the sum of the absolute terms that it is made of: the unit of its rounding.
struct Sum {
    Number value = 0;
    Number size = 0;

    void add(Number factor, Number term) {
        value += factor * term;
        size += std::abs(factor * term);
    }
};

Number x_log_ratio(Number x, Number y) { return x > 0 ? x * std::log(x / y) : 0; }

/// The objective of a plan, written out; terms of infinite alphas are left out.
template <class Scalar, class R>
Sum objective_of(const UotProblem<Scalar, R>& problem, const Matrix<Scalar>& P) {
    Sum objective;
    const Matrix<Number> plan = P.template cast<Number>();
    const Vector<Number> p0 =
        problem.features.prior.template cast<Number>() / problem.features.prior.template cast<Number>().sum();
    const Vector<Number> q0 =
        problem.instances.prior.template cast<Number>() / problem.instances.prior.template cast<Number>().sum();
    for (Index n = 0; n < P.cols(); ++n) {
        for (Index d = 0; d < P.rows(); ++d) {
            const Number x = plan(d, n);
            objective.add(-x, problem.reward(d, n));
            const Number a0 = problem.alpha0;
            if (std::isinf(a0)) continue;
            if constexpr (std::is_same_v<R, Entropy>) objective.add(a0, x_log_ratio(x, 1) - x);
            if constexpr (std::is_same_v<R, RelativeEntropy>) {
                objective.add(a0, x_log_ratio(x, p0[d] * q0[n]) - x + p0[d] * q0[n]);
            }
            if constexpr (std::is_same_v<R, Quadratic>) objective.add(a0, x * x);
        }
    }
    const auto add_divergence = [&](Number alpha, const Vector<Number>& a, const Vector<Number>& b) {
        for (Index i = 0; i < a.size() && std::isfinite(alpha); ++i) {
            objective.add(alpha, x_log_ratio(a[i], b[i]));
            objective.add(alpha, b[i] - a[i]);
        }
    };
    add_divergence(problem.features.alpha, plan.rowwise().sum(), p0);
    add_divergence(problem.instances.alpha, plan.colwise().sum().transpose(), q0);
    return objective;
}

/// What a solution says of its plan, against the plan.
template <class Scalar, class R>
void check_consistent(const Solution<Scalar, R>& solution) {
    const double eps = std::numeric_limits<Scalar>::epsilon();
    const Matrix<Scalar> P = solution.plan();
    const Matrix<double> plan = P.template cast<double>();
    REQUIRE((P.rows() == solution.problem.reward.rows() && P.cols() == solution.problem.reward.cols()));
    CHECK(plan.minCoeff() >= 0);
    CHECK(plan.sum() > 0);
    CHECK(solution.mass() == Catch::Approx(plan.sum()).epsilon(20 * eps));
    CHECK(solution.log_mass == Catch::Approx(std::log(plan.sum())).epsilon(20 * eps).margin(20 * eps));

    const Vector<double> r = solution.feature_marginal().template cast<double>();
    const Vector<double> c = solution.instance_marginal().template cast<double>();
    REQUIRE(r.size() == P.rows());
    REQUIRE(c.size() == P.cols());
    for (Index d = 0; d < r.size(); ++d) CHECK(r[d] == Catch::Approx(plan.row(d).sum()).epsilon(20 * eps));
    for (Index n = 0; n < c.size(); ++n) CHECK(c[n] == Catch::Approx(plan.col(n).sum()).epsilon(20 * eps));
    for (Index n = 0; n < c.size(); ++n) {
        if (solution.problem.instances.prior[n] == 0) CHECK(P.col(n).isZero(0));
    }

    CHECK(solution.feature_potential.size() == P.rows());
    CHECK(solution.instance_potential.size() == P.cols());
    CHECK(solution.feature_potential.allFinite());
    CHECK(solution.instance_potential.allFinite());

    const Sum objective = objective_of(solution.problem, P);
    CHECK(std::abs(static_cast<Number>(solution.objective()) - objective.value) <= 50 * eps * objective.size);
}

/// Whether a hard marginal is its prior, and no other plan that we try has a smaller objective.
template <class Scalar, class R>
void check_optimal(const Solution<Scalar, R>& solution, Random& random) {
    const auto& problem = solution.problem;
    const Matrix<Scalar> plan = solution.plan();
    const double tolerance = sizeof(Scalar) == 8 ? 1e-8 : 1e-5;
    // To first order in what the hard marginals are missed by and in the plan's rounding; the steps below cost 1e-4 and
    // more.
    const double slack = sizeof(Scalar) == 8 ? 1e-8 : 1e-5;
    const auto near = [&](const Vector<Scalar>& marginal, const Vector<Scalar>& prior) {
        return (marginal - prior).cwiseAbs().maxCoeff() <= tolerance * prior.maxCoeff();
    };
    if (std::isinf(problem.features.alpha)) CHECK(near(solution.feature_marginal(), problem.features.prior));
    if (std::isinf(problem.instances.alpha)) CHECK(near(solution.instance_marginal(), problem.instances.prior));
    if (std::isinf(problem.alpha0)) return;

    const Sum optimum = objective_of(problem, plan);
    for (int trial = 0; trial < 20; ++trial) {
        Matrix<Scalar> other = plan;
        const double step = trial % 2 == 0 ? 0.3 : 0.03;
        for (Index n = 0; n < plan.cols(); ++n) {
            if (problem.instances.prior[n] == 0) continue;
            const double shared = random.normal();
            for (Index d = 0; d < plan.rows(); ++d) {
                const double entry =
                    std::max(static_cast<double>(plan(d, n)), 1e-4 * static_cast<double>(plan.maxCoeff()));
                other(d, n) = static_cast<Scalar>(entry * std::exp(step * (trial % 3 == 0 ? shared : random.normal())));
            }
        }
        // Put hard marginals back, alternating until both hold.
        const bool both = std::isinf(problem.features.alpha) && std::isinf(problem.instances.alpha);
        for (int i = 0; i < (both ? 2000 : 1); ++i) {
            if (std::isinf(problem.instances.alpha)) {
                for (Index n = 0; n < plan.cols(); ++n) {
                    const Scalar sum = other.col(n).sum();
                    if (sum > 0) other.col(n) *= problem.instances.prior[n] / sum;
                }
            }
            if (std::isinf(problem.features.alpha)) {
                for (Index d = 0; d < plan.rows(); ++d) other.row(d) *= problem.features.prior[d] / other.row(d).sum();
            }
        }
        const Sum tried = objective_of(problem, other);
        CHECK(tried.value >= optimum.value - slack * optimum.size);
    }
}

/// alpha0, alpha1, alpha2
constexpr std::array<std::array<double, 3>, 8> general = {{{0.5, 1, 2},
                                                           {0.2, 3, 0.1},
                                                           {0.5, inf, 0.7},
                                                           {1, 0.6, inf},
                                                           {0.4, inf, inf},
                                                           {0.5, inf, 0},
                                                           {0.7, 0, 2},
                                                           {2, 1, 0}}};

template <class Scalar, class R>
UotProblem<Scalar, R> problem_of(const Matrix<Scalar>& X, const std::array<double, 3>& alphas, Random& random) {
    UotProblem<Scalar, R> problem{.reward = X, .alpha0 = static_cast<Scalar>(alphas[0])};
    problem.features = {static_cast<Scalar>(alphas[1]), tests::uneven_prior<Scalar>(random, X.rows(), false)};
    problem.instances = {static_cast<Scalar>(alphas[2]), tests::uneven_prior<Scalar>(random, X.cols(), true)};
    return problem;
}

template <class Scalar, class R, class Solver>
void check_solutions(const Solver& solver) {
    std::uint64_t seed = 300;
    for (const auto& alphas : general) {
        for (const Index N : {Index(1), Index(9)}) {
            Random random(++seed);
            INFO("alphas " << alphas[0] << ' ' << alphas[1] << ' ' << alphas[2] << ", N " << N);
            const Matrix<Scalar> X = tests::random_bag<Scalar>(random, 4, N, tests::BagKind::normal);
            const auto solution = solver.solve(problem_of<Scalar, R>(X, alphas, random));
            CHECK(solution.converged());
            check_consistent(solution);
            check_optimal(solution, random);
        }
    }
}

TEMPLATE_TEST_CASE("An Entropy solution's plan, marginals, mass and objective agree", "", float, double) {
    tests::for_each_solver(tight, [](const auto& solver, const char* solver_name) {
        INFO(solver_name);
        check_solutions<TestType, Entropy>(solver);
    });
}

TEMPLATE_TEST_CASE("A RelativeEntropy solution's plan, marginals, mass and objective agree", "", float, double) {
    tests::for_each_solver(tight, [](const auto& solver, const char* solver_name) {
        INFO(solver_name);
        check_solutions<TestType, RelativeEntropy>(solver);
    });
}

TEMPLATE_TEST_CASE("A Quadratic solution's plan, marginals, mass and objective agree", "", float, double) {
    check_solutions<TestType, Quadratic>(otpool::BregmanAdmm{{.tolerance = 1e-9}});
}

TEMPLATE_TEST_CASE("At the limits of alpha0 a solution agrees with its plan, too", "", float, double) {
    const std::array<std::array<double, 3>, 8> limits = {
        {{0, inf, 0}, {0, 1, 0}, {0, 0, 1}, {0, 0, inf}, {inf, inf, inf}, {inf, inf, 0}, {inf, inf, 2}, {inf, 1, inf}}};
    std::uint64_t seed = 400;
    for (const auto& alphas : limits) {
        Random random(++seed);
        INFO("alphas " << alphas[0] << ' ' << alphas[1] << ' ' << alphas[2]);
        const Matrix<TestType> X = tests::random_bag<TestType>(random, 4, 9, tests::BagKind::rounded);
        tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
            INFO(solver_name);
            const auto solution = solver.solve(problem_of<TestType, Entropy>(X, alphas, random));
            CHECK(solution.converged());
            CHECK(solution.iterations == 0);
            check_consistent(solution);
            check_optimal(solution, random);
        });
        check_consistent(otpool::Sinkhorn{}.solve(problem_of<TestType, RelativeEntropy>(X, alphas, random)));
    }
}

TEST_CASE("Every status has a word") {
    CHECK(std::string(name(otpool::Status::converged)) == "converged");
    CHECK(std::string(name(otpool::Status::iteration_limit)) == "iteration_limit");
    CHECK(std::string(name(otpool::Status::stopped)) == "stopped");
    CHECK(std::string(name(otpool::Status::precision_limit)) == "precision_limit");
    CHECK(std::string(name(otpool::Status::mass_out_of_range)) == "mass_out_of_range");
}

}  // namespace solution_test
