// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

#include "otpool/plan/log_plan.hpp"

namespace otpool {

/// How a solve ended.
enum class Status {
    converged,        ///< The residual is within the tolerance.
    iteration_limit,  ///< The iterations ran out first.
    stopped,          ///< The observer asked to stop.
    precision_limit,  ///< The residual is down to rounding, which is above the tolerance: the rewards' spread is too many
                      ///< times alpha0 for double to resolve the plan's exponents to the tolerance.
    mass_out_of_range,  ///< Converged, but the plan's mass is outside the range of the scalar: plan() saturates (or is all
                        ///< zero); the pooled vector and log_mass do not suffer.
};

/// The status as a word, "converged" for Status::converged.
inline const char* name(Status status) {
    switch (status) {
        case Status::converged: return "converged";
        case Status::iteration_limit: return "iteration_limit";
        case Status::stopped: return "stopped";
        case Status::precision_limit: return "precision_limit";
        case Status::mass_out_of_range: return "mass_out_of_range";
    }
    return "unknown";
}

namespace detail {

/// exp(log_value), at most the largest finite Scalar over `count`, so that `count` of them can be added up.
template <BagScalar Scalar>
Scalar saturated_exp(Real log_value, Index count = 1) {
    static const Real log_max = std::log(static_cast<Real>(std::numeric_limits<Scalar>::max()));
    const Real cap = log_max - std::log(static_cast<Real>(count)) - 1e-6 * log_max;
    return static_cast<Scalar>(std::exp(std::min(log_value, cap)));
}

/// The nearest finite Scalar; NaN does not occur.
template <BagScalar Scalar>
Scalar saturated(Real value) {
    const Real max = std::numeric_limits<Scalar>::max();
    return static_cast<Scalar>(std::clamp(value, -max, max));
}

}  // namespace detail

/// What every solver returns: how it ended, the potentials and the plan, computed on request.
///
/// Views the problem's matrices, which must outlive it. Const use is thread-safe. Marginals, plan and objective cost
/// one exp an element each; numbers outside the range of Scalar saturate at its limits.
template <BagScalar Scalar, Regularizer R>
struct Solution {
    UotProblem<Scalar, R> problem;
    Status status = Status::iteration_limit;
    int iterations = 0;  ///< Number of iterations done; 0 for a closed form.
    /// Largest violation of the optimality conditions by the plan, in log-marginal units:
    ///     max( |log(r/p0) + f/alpha1|_inf , |log(c/q0) + g/alpha2|_inf ),  r = P 1_N, c = P^T 1_D, f, g the potentials
    /// (f/alpha1 is 0 on a hard side; a free side adds nothing), and where the plan is not a function of the
    /// potentials, as BregmanAdmm's, how far the plan that they generate is from it, relative to the marginals.
    double residual = 0;
    std::vector<double> history = {};        ///< The residual after each iteration, if Options::history.
    Vector<Scalar> feature_potential = {};   ///< f, D entries, in the reward's unit.
    Vector<Scalar> instance_potential = {};  ///< g, N entries; the lowest finite number where q0 is zero.
    double log_mass = 0;                     ///< log sum P
    detail::LogPlan<Scalar> log_plan = {};
    /// sum_n P_dn v_dn / sum_n P_dn, if the solver has taken it on the way (Run::pooled_only).
    std::optional<RealVector> conditional_mean = {};

    bool converged() const { return status == Status::converged; }

    /// sum P
    Scalar mass() const { return detail::saturated_exp<Scalar>(log_mass); }

    /// P, D x N.
    Matrix<Scalar> plan() const {
        Matrix<Scalar> plan = Matrix<Scalar>::Zero(problem.reward.rows(), problem.reward.cols());
        for_each_log_column([&](Index n, const RealVector& log_column) {
            for (Index d = 0; d < plan.rows(); ++d) {
                plan(d, n) = detail::saturated_exp<Scalar>(log_column[d], plan.size());
            }
        });
        return plan;
    }

    /// r = P 1_N, D entries.
    Vector<Scalar> feature_marginal() const {
        const RealVector log_marginal = log_plan.log_row_sums() + log_plan.log_scale();
        return log_marginal.unaryExpr([&](Real v) { return detail::saturated_exp<Scalar>(v, log_marginal.size()); });
    }

    /// c = P^T 1_D, N entries.
    Vector<Scalar> instance_marginal() const {
        Vector<Scalar> marginal = Vector<Scalar>::Zero(problem.reward.cols());
        for_each_log_column([&](Index n, const RealVector& log_column) {
            const bool empty = log_column.maxCoeff() == -std::numeric_limits<Real>::infinity();
            if (!empty) marginal[n] = detail::saturated_exp<Scalar>(detail::log_sum_exp(log_column), marginal.size());
        });
        return marginal;
    }

    /// -<X, P> + alpha0 R(P) + alpha1 KL(r | p0) + alpha2 KL(c | q0), without the terms whose alpha is infinite.
    Scalar objective() const {
        const RealVector p = detail::normalized_prior(problem.features.prior, problem.reward.rows());
        const RealVector q = detail::normalized_prior(problem.instances.prior, problem.reward.cols());
        // Of Q = P / m, m = sum P: the objective is m (its terms at Q + those in log m) + constants, whatever the
        // range of m.
        RealVector r = RealVector::Zero(p.size());
        RealVector c = RealVector::Zero(q.size());
        Real reward = 0;
        Real entropy = 0;        // <Q, log Q>
        Real cross_entropy = 0;  // <Q, log p0 q0^T>
        Real square = 0;         // ||Q||^2
        for_each_log_column([&](Index n, const RealVector& log_column) {
            for (Index d = 0; d < p.size(); ++d) {
                const Real log_entry = log_column[d] - log_mass;
                const Real entry = std::exp(std::min(log_entry, 300.0));  // above 0 only where nothing converged
                if (entry == 0) continue;
                r[d] += entry;
                c[n] += entry;
                reward += entry * static_cast<Real>(problem.reward(d, n));
                entropy += entry * log_entry;
                cross_entropy += entry * (std::log(p[d]) + std::log(q[n]));
                square += entry * entry;
            }
        });
        const auto weighted = [](Real alpha, Real term) { return std::isinf(alpha) || alpha == 0 ? 0 : alpha * term; };
        const Real alpha0 = problem.alpha0;
        Real per_mass = -reward + weighted(problem.features.alpha, relative_entropy(r, p) + log_mass - 1) +
                        weighted(problem.instances.alpha, relative_entropy(c, q) + log_mass - 1);
        Real constant = weighted(problem.features.alpha, 1) + weighted(problem.instances.alpha, 1);
        if constexpr (std::same_as<R, Entropy>) per_mass += weighted(alpha0, entropy + log_mass - 1);
        if constexpr (std::same_as<R, RelativeEntropy>) {
            per_mass += weighted(alpha0, entropy - cross_entropy + log_mass - 1);
            constant += weighted(alpha0, 1);
        }
        if constexpr (std::same_as<R, Quadratic>)
            per_mass += weighted(alpha0, square * detail::saturated_exp<Real>(log_mass));
        const Real size = detail::saturated_exp<Real>(log_mass + std::log(std::abs(per_mass)));
        return detail::saturated<Scalar>(std::copysign(size, per_mass) + constant);
    }

private:
    template <class Visit>
    void for_each_log_column(Visit&& visit) const {
        RealVector log_column;
        log_plan.for_each_column([&](Index, Index n, const RealVector& score) {
            log_column = score + log_plan.log_scale();
            visit(n, log_column);
        });
    }

    static Real relative_entropy(const RealVector& a, const RealVector& b) {
        Real sum = 0;
        for (Index i = 0; i < a.size(); ++i) sum += a[i] > 0 ? a[i] * std::log(a[i] / b[i]) : 0;
        return sum;
    }
};

namespace detail {

/// The memory of Solution::conditional_mean, in a Workspace: solvers take it from there, who reads the solution returns
/// it.
struct PooledMean {
    RealVector values;
};

/// What Run::pooled_only asks for, and nothing else.
template <class Scalar, class R>
Solution<Scalar, R> pooled_solution(RealVector&& conditional_mean, int iterations = 0) {
    return {.problem = {}, .iterations = iterations, .conditional_mean = std::move(conditional_mean)};
}

/// Replaces `converged` where the plan's mass cannot be written as a Scalar.
template <class Scalar, class R>
void check_mass_range(Solution<Scalar, R>& solution) {
    const Real log_max = std::log(static_cast<Real>(std::numeric_limits<Scalar>::max()));
    const Real log_min = std::log(static_cast<Real>(std::numeric_limits<Scalar>::min()));
    if (solution.converged() && !(solution.log_mass < log_max && solution.log_mass > log_min)) {
        solution.status = Status::mass_out_of_range;
    }
}

}  // namespace detail
}  // namespace otpool
