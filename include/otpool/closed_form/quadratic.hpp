// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "otpool/closed_form/entropic.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// One line (row or column) of a Quadratic plan whose other marginal is free: P_i = max(0, x_i / (2 alpha0) - t) with
/// the t at which alpha log(sum P / prior) = 2 alpha0 t, or sum P = prior where alpha is infinite (then the
/// projection onto the simplex of Held, Wolfe & Crowder, 1974, known as sparsemax).
struct QuadraticLine {
    Real log_mass = 0;  ///< log sum P
    Real excess = 0;    ///< max x / (2 alpha0) - t >= 0, which loses no digits to a shift of x
    Real support = 0;   ///< number of entries > 0
    Real error = 0;     ///< that rounding leaves in log_mass

    /// gap_i = (max x - x_i) / (2 alpha0) >= 0. Cost: O(n log n).
    QuadraticLine(RealVector gap, Real highest, Real alpha, Real alpha0, Real log_prior) {
        // With the `support` smallest gaps, sum P = support * excess - sum of those gaps.
        std::sort(gap.begin(), gap.end());
        const auto too_heavy = [&](Real log_m, Real s) {
            if (std::isinf(alpha)) return log_m >= log_prior;
            return alpha * (log_m - log_prior) >= highest - 2 * alpha0 * s;
        };
        Real gaps = 0;
        Index count = 0;
        while (count < gap.size()) {  // the support grows while its next breakpoint has too little mass
            const Real mass = static_cast<Real>(count) * gap[count] - gaps;
            if (count > 0 && too_heavy(std::log(mass), gap[count])) break;
            gaps += gap[count++];
        }
        support = static_cast<Real>(count);
        const auto excess_at = [&](Real log_m) { return (std::exp(log_m) + gaps) / support; };
        if (std::isinf(alpha)) {
            log_mass = log_prior;
        } else if (too_heavy(lightest, excess_at(lightest))) {
            log_mass =
                std::max(log_prior + (highest / alpha - 2 * alpha0 / alpha * excess_at(lightest)), lowest_exponent);
        } else {
            Real low = lightest;
            Real high = 745;
            for (int i = 0; i < 100; ++i) {
                const Real middle = (low + high) / 2;
                (too_heavy(middle, excess_at(middle)) ? high : low) = middle;
            }
            log_mass = high;
        }
        excess = excess_at(log_mass);
        if (std::isfinite(alpha)) {
            const Real violation = alpha * (log_mass - log_prior) - highest + 2 * alpha0 * excess;
            error = std::abs(violation) / (alpha + 2 * alpha0 * std::exp(log_mass) / support);
        }
    }

    /// log P_i, -inf outside the support. (Below `lightest` the support is the largest x alone, and their excess
    /// underflows.)
    Real log_entry(Real gap) const {
        if (gap == 0 && log_mass < lightest) return log_mass - std::log(support);
        return gap < excess ? std::log(excess - gap) : -std::numeric_limits<Real>::infinity();
    }

private:
    static constexpr Real lightest = -600;
};

/// Whether a Quadratic problem's solution is known without iterating: a side is free (the other is thresholded line
/// by line), or alpha0 is infinite and a side is not hard (the reward drops out and the plan is constant along that
/// side).
template <BagScalar Scalar>
bool has_closed_form(const UotProblem<Scalar, Quadratic>& problem) {
    const auto& [features, instances] = std::tie(problem.features, problem.instances);
    if (std::isinf(problem.alpha0)) return std::isfinite(features.alpha) || std::isfinite(instances.alpha);
    return features.alpha == 0 || instances.alpha == 0;
}

/// Quadratic with 0 < alpha0 < inf and a free side: the plan max(0, X + f + g) / (2 alpha0), exactly. Free instances:
/// g = 0 and every feature finds its own f_d; free features: f = 0 and every instance its g_n.
template <BagScalar Scalar>
class ThresholdLimit {
public:
    ThresholdLimit(const UotProblem<Scalar, Quadratic>& problem, const Priors& priors)
        : problem_(problem),
          priors_(priors),
          reward_(problem.reward.rows(), static_cast<Index>(priors_.active.size())),
          log_plan_(reward_.rows(), reward_.cols()),
          f_(RealVector::Zero(reward_.rows())),
          g_(RealVector::Zero(reward_.cols())) {
        for (Index k = 0; k < reward_.cols(); ++k) {
            reward_.col(k) = problem.reward.col(priors_.active[static_cast<std::size_t>(k)]);
        }
        if (problem.instances.alpha == 0) {
            for (Index d = 0; d < f_.size(); ++d) {
                threshold(reward_.row(d), log_plan_.row(d), f_[d], problem.features.alpha, priors_.log_p[d]);
            }
        } else {
            for (Index k = 0; k < g_.size(); ++k) {
                threshold(reward_.col(k), log_plan_.col(k), g_[k], problem.instances.alpha, priors_.log_q[k]);
            }
        }
    }

    Solution<Scalar, Quadratic> solution(double tolerance) {
        const Real log_mass =
            log_plan_.maxCoeff() > nothing ? log_sum_exp(log_plan_.data(), log_plan_.size()) : lowest_exponent;
        RealVector log_scale = fill_empty_features();
        Solution<Scalar, Quadratic> solution{.problem = problem_};
        solution.status = residual_ <= tolerance ? Status::converged : Status::precision_limit;
        solution.residual = residual_;
        const auto to_scalar = [](Real value) { return saturated<Scalar>(value); };
        solution.feature_potential = f_.unaryExpr(to_scalar);
        solution.instance_potential =
            on_all_instances<Scalar>(problem_.reward.cols(), priors_.active, [&](Index k) { return to_scalar(g_[k]); });
        solution.log_mass = log_mass;
        solution.log_plan = LogPlan<Scalar>(DensePlan{std::move(log_plan_)}, std::move(log_scale), priors_.active);
        check_mass_range(solution);
        return solution;
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    /// One line of the plan and its potential, given its marginal's alpha and prior.
    template <class Reward, class LogPlanLine>
    void threshold(const Reward& x, LogPlanLine log_plan, Real& potential, Real alpha, Real log_prior) {
        const Real alpha0 = problem_.alpha0;
        const Real highest = x.maxCoeff();
        RealVector gap(x.size());
        for (Index i = 0; i < gap.size(); ++i) gap[i] = std::min((highest - x(i)) / (2 * alpha0), 1e290);
        if (alpha == 0) {
            for (Index i = 0; i < gap.size(); ++i)
                log_plan(i) = x(i) > 0 ? std::log(x(i)) - std::log(2 * alpha0) : nothing;
            return;
        }
        const QuadraticLine line(gap, highest, alpha, alpha0, log_prior);
        for (Index i = 0; i < gap.size(); ++i) log_plan(i) = line.log_entry(gap[i]);
        residual_ = std::max(residual_, line.error);
        // From the mass a potential has the digits that the difference of large numbers lacks.
        potential = std::isinf(alpha) ? 2 * alpha0 * line.excess - highest : -alpha * (line.log_mass - log_prior);
    }

    /// Zero, but -inf for features without mass, whose scores become those of their vanishing mass: argmax_n x_dn +
    /// g_n.
    RealVector fill_empty_features() {
        RealVector log_scale = RealVector::Zero(f_.size());
        for (Index d = 0; d < f_.size(); ++d) {
            if (log_plan_.row(d).maxCoeff() > nothing) continue;
            log_scale[d] = nothing;
            const RealVector gain = reward_.row(d).transpose() + g_;
            const Real best = gain.maxCoeff();
            for (Index k = 0; k < g_.size(); ++k) {
                if (gain[k] == best) log_plan_(d, k) = 0;
            }
        }
        return log_scale;
    }

    const UotProblem<Scalar, Quadratic>& problem_;
    const Priors& priors_;
    RealMatrix reward_;
    RealMatrix log_plan_;
    RealVector f_, g_;
    Real residual_ = 0;
};

/// Quadratic with alpha0 = inf and a side not hard: constant along that side, p0_d / N or q0_n / D; nothing without a
/// hard side.
template <BagScalar Scalar>
Solution<Scalar, Quadratic> constant_limit(const UotProblem<Scalar, Quadratic>& problem,
                                           const FirstPass<Scalar>& pass) {
    ScaledProblem<Scalar> scaled;
    scaled.set(problem, pass);
    RealVector log_scale = RealVector::Zero(scaled.kernel.rows());
    RealVector log_weight = RealVector::Zero(scaled.kernel.cols());
    if (scaled.features.is_hard()) {
        log_scale = scaled.features.log_prior.array() - std::log(static_cast<Real>(log_weight.size()));
    } else if (scaled.instances.is_hard()) {
        log_weight = scaled.instances.log_prior.array() - std::log(static_cast<Real>(log_scale.size()));
    } else {
        log_scale.setConstant(-std::numeric_limits<Real>::infinity());
    }
    Solution<Scalar, Quadratic> solution{.problem = problem};
    const bool has_mass = scaled.features.is_hard() || scaled.instances.is_hard();
    solution.status = has_mass ? Status::converged : Status::mass_out_of_range;
    solution.log_mass = has_mass ? 0 : std::numeric_limits<double>::lowest();
    solution.feature_potential = Vector<Scalar>::Zero(problem.reward.rows());
    solution.instance_potential = Vector<Scalar>::Zero(problem.reward.cols());
    std::vector<Index> active = scaled.kernel.active;
    solution.log_plan = LogPlan<Scalar>(ExponentialPlan<Scalar>{std::move(scaled.kernel), std::move(log_weight)},
                                        std::move(log_scale), std::move(active));
    return solution;
}

/// The exact solution where has_closed_form().
template <BagScalar Scalar>
Solution<Scalar, Quadratic> closed_form(const UotProblem<Scalar, Quadratic>& problem, const FirstPass<Scalar>& pass,
                                        double tolerance, const Run<Scalar, Quadratic>&, Workspace&) {
    if (problem.alpha0 == 0) return WinnersLimit<Scalar, Quadratic>(problem, pass).solution();
    if (std::isinf(problem.alpha0)) return constant_limit(problem, pass);
    return ThresholdLimit<Scalar>(problem, pass.priors).solution(tolerance);
}

}  // namespace otpool::detail
