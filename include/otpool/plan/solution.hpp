// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// What every solver returns: how it ended, the potentials, and the plan, which is computed on request.
///
/// Views the problem's matrices, which must outlive it. Const use is thread-safe. Marginals, plan and objective cost
/// one exp per element each. Numbers outside the range of Scalar saturate at its limits.
template <BagScalar Scalar, Regularizer R>
struct Solution {
    UotProblem<Scalar, R> problem;            ///< The problem that was solved.
    Status status = Status::iteration_limit;  ///< How the solve ended.
    int iterations = 0;                       ///< Number of iterations done; 0 for a closed form.
    /// The plan's largest violation of the optimality conditions, in log-marginal units:
    ///     max( |log(r/p0) + f/alpha1|_inf , |log(c/q0) + g/alpha2|_inf ),  r = P 1_N, c = P^T 1_D, f, g the potentials
    /// (f/alpha1 is 0 on a hard side; a free side adds nothing, nor does a line that has, and should have, less than
    /// exp(-700) of the heaviest one's mass), and |log(sum P / m)| if the mass m is fixed. If the plan is not computed
    /// from the potentials (BregmanAdmm), its distance from the plan that they generate counts too, relative to the
    /// marginals of the features, and of the instances unless they are free.
    double residual = 0;
    std::vector<double> history = {};        ///< The residual after each iteration, if Options::history.
    Vector<Scalar> feature_potential = {};   ///< f, D entries, in the reward's unit.
    Vector<Scalar> instance_potential = {};  ///< g, N entries; the lowest finite number where q0 is zero.
    Scalar mass_potential = 0;  ///< lambda, the multiplier of UotProblem::mass; 0 without one, or where a side is hard.
    double log_mass = 0;        ///< log sum P
    detail::LogPlan log_plan = {};  ///< log P, a column at a time; plan() returns all of P.
    double structural_term = 0;     ///< What Structural adds to the objective; 0 of other solvers.

    /// Whether the status is `converged`.
    bool converged() const { return status == Status::converged; }

    /// sum P
    Scalar mass() const { return detail::saturated_exp<Scalar>(log_mass); }

    /// P, D x N.
    Matrix<Scalar> plan() const {
        Matrix<Scalar> plan = Matrix<Scalar>::Zero(problem.reward.rows(), problem.reward.cols());
        log_plan.for_each_log_column([&](Index, Index n, const RealVector& log_column) {
            for (Index d = 0; d < plan.rows(); ++d) {
                plan(d, n) = detail::saturated_exp<Scalar>(log_column[d]);
            }
        });
        return plan;
    }

    /// r = P 1_N, D entries.
    Vector<Scalar> feature_marginal() const {
        const RealVector log_sum = detail::log_row_sums(log_plan);
        Vector<Scalar> marginal(log_sum.size());
        for (Index d = 0; d < marginal.size(); ++d) {
            marginal[d] = detail::saturated_exp<Scalar>(log_sum[d] + log_plan.log_scale()[d]);
        }
        return marginal;
    }

    /// c = P^T 1_D, N entries.
    Vector<Scalar> instance_marginal() const {
        Vector<Scalar> marginal = Vector<Scalar>::Zero(problem.reward.cols());
        log_plan.for_each_log_column([&](Index, Index n, const RealVector& log_column) {
            const Real log_sum = detail::log_sum_exp(log_column.data(), log_column.size());
            marginal[n] = detail::saturated_exp<Scalar>(log_sum);
        });
        return marginal;
    }

    /// -<X, P> + alpha0 R(P) + alpha1 KL(r | p0) + alpha2 KL(c | q0), or other penalties, without the terms whose alpha
    /// is infinite; with the term of Structural.
    Scalar objective() const {
        const auto prior_of = [](const Marginal<Scalar>& side, Index size) {
            return detail::prior_of_mass(side.prior, size, detail::prior_mass(side));
        };
        const RealVector p = prior_of(problem.features, problem.reward.rows());
        const RealVector q = prior_of(problem.instances, problem.reward.cols());
        // With Q = P / m, m = sum P, the objective is m (terms in Q + terms in log m) + constants. This does not
        // overflow, however large m is. Nor do the terms, in units of the largest number.
        const Real unit = largest_coefficient();
        std::vector<Real> r(static_cast<std::size_t>(p.size()), 0);
        std::vector<Real> c(static_cast<std::size_t>(q.size()), 0);
        Real reward = 0;
        Real entropy = 0;        // <Q, log Q>
        Real cross_entropy = 0;  // <Q, log p0 q0^T>
        Real separable = 0;      // R(P) / m
        const Real mass = detail::saturated_exp<Real>(log_mass);
        log_plan.for_each_log_column([&](Index, Index n, const RealVector& log_column) {
            for (Index d = 0; d < p.size(); ++d) {
                const Real log_entry = log_column[d] - log_mass;
                const Real entry = std::exp((std::min)(log_entry, 300.0));  // above 0 only if nothing converged
                if (entry == 0) continue;
                r[static_cast<std::size_t>(d)] += entry;
                c[static_cast<std::size_t>(n)] += entry;
                reward += entry * (static_cast<Real>(problem.reward(d, n)) / unit);
                entropy += entry * log_entry;
                cross_entropy += entry * (std::log(p[d]) + std::log(q[n]));
                if constexpr (SeparableRegularizer<R>) separable += mass > 0 ? R::value(entry * mass) / mass : 0;
            }
        });
        const auto weighted = [&](Real alpha, Real term) {
            return std::isinf(alpha) || alpha / unit == 0 ? 0 : alpha / unit * term;
        };
        const Real alpha0 = Real(problem.alpha0);
        Real per_mass = -reward;
        Real constant = 0;
        const auto add_penalty = [&](const Marginal<Scalar>& side, const std::vector<Real>& m,
                                     const RealVector& prior) {
            const bool is_kullback_leibler = side.penalty.is_kullback_leibler();
            for (Index i = 0; i < prior.size(); ++i) {
                const Real alpha = detail::alpha_of(side, i);
                const Real part = m[static_cast<std::size_t>(i)];
                if (is_kullback_leibler) {
                    const Real log_ratio = part > 0 ? std::log(part) - std::log(prior[i]) + log_mass - 1 : 0;
                    per_mass += weighted(alpha, part * log_ratio);
                    constant += weighted(alpha, prior[i]);
                } else if (prior[i] > 0) {
                    constant += weighted(alpha, penalty_of(side.penalty, part, prior[i]));
                }
            }
        };
        add_penalty(problem.features, r, p);
        add_penalty(problem.instances, c, q);
        if constexpr (EntropicRegularizer<R>) {
            per_mass += weighted(alpha0, entropy - R::prior_weight * cross_entropy + log_mass - 1);
            constant += weighted(alpha0, R::prior_weight * p.sum() * q.sum());
        } else {
            per_mass += weighted(alpha0, separable);
        }
        const Real size = detail::saturated_exp<Real>(log_mass + std::log(std::abs(per_mass)));
        return detail::saturated<Scalar>((std::copysign(size, per_mass) + constant) * unit + structural_term);
    }

private:
    /// The largest of 1, the finite alphas and the |rewards| that are not -inf.
    Real largest_coefficient() const {
        Real largest = 1;
        const auto add = [&](Real number) {
            if (std::isfinite(number)) largest = (std::max)(largest, std::abs(number));
        };
        add(Real(problem.alpha0));
        for (Index d = 0; d < problem.reward.rows(); ++d) add(detail::alpha_of(problem.features, d));
        for (Index n = 0; n < problem.reward.cols(); ++n) {
            add(detail::alpha_of(problem.instances, n));
            for (Index d = 0; d < problem.reward.rows(); ++d) add(Real(problem.reward(d, n)));
        }
        return largest;
    }

    /// p psi(part exp(log_mass) / p)
    Real penalty_of(const AnyPenalty& penalty, Real part, Real p) const {
        return p * penalty.value(part * detail::saturated_exp<Real>(log_mass) / p);
    }
};

namespace detail {

/// Makes a solution of `problem` from the plan that was found.
template <BagScalar Scalar, Regularizer R>
Solution<Scalar, R> solution_of(const UotProblem<Scalar, R>& problem, SolvedPlan&& found) {
    const auto to_scalar = [](const RealVector& numbers) {
        Vector<Scalar> converted(numbers.size());
        for (Index i = 0; i < numbers.size(); ++i) converted[i] = saturated<Scalar>(numbers[i]);
        return converted;
    };
    return {problem,
            found.outcome.status,
            found.outcome.iterations,
            found.outcome.residual,
            std::move(found.outcome.history),
            to_scalar(found.feature_potential),
            to_scalar(found.instance_potential),
            saturated<Scalar>(found.mass_potential),
            found.log_mass,
            std::move(found.log_plan)};
}

}  // namespace detail
}  // namespace otpool
