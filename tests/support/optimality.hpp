#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "support/random_bags.hpp"

// Certificates of optimality in extended precision, from the problem's definition and a plan alone. They share no code
// with the solvers.

namespace tests {

using otpool::Entropy;
using otpool::Quadratic;
using otpool::RelativeEntropy;
using otpool::Solution;
using otpool::UotProblem;

using Wide = long double;
using WideVector = Eigen::Matrix<Wide, Eigen::Dynamic, 1>;
using WideMatrix = Eigen::Matrix<Wide, Eigen::Dynamic, Eigen::Dynamic>;

/// A marginal's prior as the problem means it: uniform where it is left empty, of sum 1 unless it has masses.
template <class Scalar>
WideVector wide_prior(const otpool::Marginal<Scalar>& marginal, Index size) {
    if (marginal.prior.size() == 0) return WideVector::Constant(size, Wide(1) / static_cast<Wide>(size));
    const WideVector wide = marginal.prior.template cast<Wide>();
    return marginal.has_masses ? wide : WideVector(wide / wide.sum());
}

/// The alpha of each line.
template <class Scalar>
WideVector wide_alphas(const otpool::Marginal<Scalar>& marginal, Index size) {
    if (marginal.alphas.size() == 0) return WideVector::Constant(size, static_cast<Wide>(marginal.alpha));
    return marginal.alphas.template cast<Wide>();
}

/// Largest violation of log(r / p0) = -f / alpha1, log(c / q0) = -g / alpha2 and sum P = m by the plan's row and column
/// sums.
template <class Scalar, class R>
double marginal_violation(const Solution<Scalar, R>& solution) {
    const UotProblem<Scalar, R>& problem = solution.problem;
    const WideMatrix plan = solution.plan().template cast<Wide>();
    Wide worst = 0;
    const auto check = [&](Wide mass, Wide prior, Wide alpha, Wide potential) {
        if (prior == 0) worst = std::max(worst, mass > 0 ? std::numeric_limits<Wide>::infinity() : Wide(0));
        if (prior == 0 || alpha == 0) return;
        const Wide penalty = std::isinf(alpha) ? 0 : potential / alpha;
        // A marginal that Scalar cannot hold is as good as its limit.
        if (mass < std::numeric_limits<Scalar>::min() * static_cast<Wide>(plan.size()) && penalty > 60) return;
        worst = std::max(worst, std::abs(std::log(mass / prior) + penalty));
    };
    const WideVector p = wide_prior(problem.features, plan.rows());
    const WideVector q = wide_prior(problem.instances, plan.cols());
    const WideVector alpha1 = wide_alphas(problem.features, plan.rows());
    const WideVector alpha2 = wide_alphas(problem.instances, plan.cols());
    for (Index d = 0; d < plan.rows(); ++d) {
        check(plan.row(d).sum(), p[d], alpha1[d], solution.feature_potential[d]);
    }
    for (Index n = 0; n < plan.cols(); ++n) {
        check(plan.col(n).sum(), q[n], alpha2[n], solution.instance_potential[n]);
    }
    if (otpool::detail::fixed_mass(problem)) check(plan.sum(), *problem.mass, std::numeric_limits<Wide>::infinity(), 0);
    return static_cast<double>(worst);
}

/// sum_i alpha_i KL(a_i | b_i); nothing for a hard or free line.
inline Wide penalty_value(const WideVector& alpha, const WideVector& a, const WideVector& b) {
    Wide sum = 0;
    for (Index i = 0; i < a.size(); ++i) {
        if (std::isinf(alpha[i]) || alpha[i] == 0) continue;
        sum += alpha[i] * ((a[i] > 0 ? a[i] * std::log(a[i] / b[i]) : 0) - a[i] + b[i]);
    }
    return sum;
}

/// The conjugate of that penalty at -potential, with its sign changed: its term of the dual.
inline Wide penalty_dual(const WideVector& alpha, const WideVector& potential, const WideVector& prior) {
    Wide sum = 0;
    for (Index i = 0; i < prior.size(); ++i) {
        if (prior[i] == 0 || alpha[i] == 0) continue;
        sum += std::isinf(alpha[i]) ? potential[i] * prior[i]
                                    : -alpha[i] * prior[i] * std::expm1(-potential[i] / alpha[i]);
    }
    return sum;
}

/// The objective's value at the solution's plan minus the dual's at its potentials, over the reward's spread times the
/// mass: by weak duality an upper bound of how far the plan's value is from the optimum's. The terms are written out
/// from the problem's definition. For alpha0 = 0 the potentials are shifted until they are feasible. Infinite if the
/// plan draws on a pair of reward -inf.
template <class Scalar, class R>
double duality_gap(const Solution<Scalar, R>& solution, double reward_spread) {
    const UotProblem<Scalar, R>& problem = solution.problem;
    const WideMatrix x = problem.reward.matrix().template cast<Wide>();
    const WideMatrix plan = solution.plan().template cast<Wide>();
    const WideVector p = wide_prior(problem.features, plan.rows());
    const WideVector q = wide_prior(problem.instances, plan.cols());
    const Wide alpha0 = problem.alpha0;
    const WideVector alpha1 = wide_alphas(problem.features, plan.rows());
    const WideVector alpha2 = wide_alphas(problem.instances, plan.cols());
    WideVector f = solution.feature_potential.template cast<Wide>();
    const WideVector g = solution.instance_potential.template cast<Wide>();

    if (alpha0 == 0) {
        Wide slack = -std::numeric_limits<Wide>::infinity();
        for (Index n = 0; n < plan.cols(); ++n) {
            if (q[n] > 0) slack = std::max(slack, (x.col(n) + f).maxCoeff() + g[n]);
        }
        f.array() -= std::max(slack, Wide(0));
    }
    Wide primal = penalty_value(alpha1, plan.rowwise().sum(), p) + penalty_value(alpha2, plan.colwise().sum(), q);
    Wide dual = penalty_dual(alpha1, f, p) + penalty_dual(alpha2, g, q);
    dual += solution.mass_potential * static_cast<Wide>(problem.mass.value_or(0));
    for (Index n = 0; n < plan.cols(); ++n) {
        if (q[n] == 0) continue;
        for (Index d = 0; d < plan.rows(); ++d) {
            const Wide entry = plan(d, n);
            if (std::isinf(x(d, n)) && entry == 0) continue;
            primal -= x(d, n) * entry;
            if (alpha0 == 0) continue;
            const Wide slack = x(d, n) + f[d] + g[n] + solution.mass_potential;
            if constexpr (std::same_as<R, Quadratic>) {
                primal += alpha0 * entry * entry;
                dual -= slack > 0 ? slack * slack / (4 * alpha0) : 0;
            } else {
                const Wide base = std::same_as<R, RelativeEntropy> ? p[d] * q[n] : 1;
                primal += alpha0 * (entry > 0 ? entry * (std::log(entry / base) - 1) : 0);
                dual -= alpha0 * base * std::exp(slack / alpha0);
            }
        }
    }
    return static_cast<double>((primal - dual) / (static_cast<Wide>(reward_spread) * plan.sum()));
}
template <class Scalar, class R>
double duality_gap(const Solution<Scalar, R>& solution) {
    return duality_gap(solution, spread(solution.problem.reward.matrix()));
}

}  // namespace tests
