// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/closed_form/closed_form_of.hpp"
#include "otpool/closed_form/winners.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// One line (row or column) of a Quadratic plan whose other marginal is free: P_i = max(0, x_i / (2 alpha0) - t), where
/// t solves alpha log(sum P / prior) = 2 alpha0 t. If alpha is infinite, t solves sum P = prior: the projection onto
/// the simplex of Held, Wolfe & Crowder (1974), known as sparsemax.
struct QuadraticLine {
    Real log_mass = 0;  ///< log sum P
    Real excess = 0;    ///< max x / (2 alpha0) - t >= 0; a shift of x costs it no digits
    Real support = 0;   ///< number of entries > 0
    Real error = 0;     ///< what rounding may have added to log_mass

    /// gap_i = (max x - x_i) / (2 alpha0) >= 0. Cost: O(n log n).
    QuadraticLine(std::vector<Real> gap, Real highest, Real alpha, Real alpha0, Real log_prior) {
        // If the support is the `count` smallest gaps, sum P = count * excess - (sum of those gaps).
        std::sort(gap.begin(), gap.end());
        const auto too_heavy = [&](Real log_m, Real s) {
            if (std::isinf(alpha)) return log_m >= log_prior;
            return alpha * (log_m - log_prior) >= highest - 2 * alpha0 * s;
        };
        Real gaps = 0;
        std::size_t count = 0;
        while (count < gap.size()) {  // the support grows while the mass at its next breakpoint is too small
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
                (std::max)(log_prior + (highest / alpha - 2 * alpha0 / alpha * excess_at(lightest)), lowest_exponent);
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

    /// log P_i, -inf outside the support. (Below `lightest` the excess underflows; the support is the largest x alone.)
    Real log_entry(Real gap) const {
        if (gap == 0 && log_mass < lightest) return log_mass - std::log(support);
        return gap < excess ? std::log(excess - gap) : -std::numeric_limits<Real>::infinity();
    }

private:
    static constexpr Real lightest = -600;
};

/// Quadratic with 0 < alpha0 < inf and a free side: the plan max(0, X + f + g) / (2 alpha0), exactly. Free instances:
/// g = 0, and each f_d is found by itself. Free features: f = 0, and each g_n is found by itself.
template <std::same_as<Real> Work = Real>
class ThresholdLimit {
public:
    explicit ThresholdLimit(const Inspection& problem)
        : problem_(problem),
          reward_(static_cast<std::size_t>(rows() * cols())),
          log_plan_(reward_.size()),
          f_(static_cast<std::size_t>(rows()), 0),
          g_(static_cast<std::size_t>(cols()), 0) {
        for (Index k = 0; k < cols(); ++k) {
            problem.reward.copy_column(problem.priors.active[static_cast<std::size_t>(k)], reward_.data() + k * rows());
        }
        if (problem.alpha2 == 0) {
            for (Index d = 0; d < rows(); ++d) {
                f_[static_cast<std::size_t>(d)] = threshold(d, rows(), cols(), problem.alpha1, problem.priors.log_p[d]);
            }
        } else {
            for (Index k = 0; k < cols(); ++k) {
                g_[static_cast<std::size_t>(k)] =
                    threshold(k * rows(), 1, rows(), problem.alpha2, problem.priors.log_q[k]);
            }
        }
    }

    SolvedPlan solution(double tolerance) {
        const Real highest = *std::max_element(log_plan_.begin(), log_plan_.end());
        SolvedPlan found;
        found.log_mass =
            highest > nothing ? log_sum_exp(log_plan_.data(), static_cast<Index>(log_plan_.size())) : lowest_exponent;
        RealVector log_scale = fill_empty_features();
        found.outcome.status = residual_ <= tolerance ? Status::converged : Status::precision_limit;
        found.outcome.residual = residual_;
        const bool is_float = problem_.reward.is_float();
        found.feature_potential.resize(rows());
        for (Index d = 0; d < rows(); ++d) {
            found.feature_potential[d] = saturated(f_[static_cast<std::size_t>(d)], is_float);
        }
        found.instance_potential = on_all_instances(problem_.reward.cols(), problem_.priors.active, [&](Index k) {
            return saturated(g_[static_cast<std::size_t>(k)], is_float);
        });
        found.log_plan = LogPlan([plan = std::move(log_plan_), rows = rows()](
                                     Index k, Real* score) { std::copy_n(plan.data() + k * rows, rows, score); },
                                 std::move(log_scale), problem_.priors.active);
        check_mass_range(found, is_float);
        return found;
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    Index rows() const { return problem_.features(); }
    Index cols() const { return problem_.active_instances(); }

    /// Computes one line of the plan, `size` entries from `first` with this stride, from its marginal's alpha and
    /// prior. Returns its potential.
    Real threshold(Index first, Index stride, Index size, Real alpha, Real log_prior) {
        const Real alpha0 = problem_.alpha0;
        const Work* x = reward_.data() + first;
        Work* log_plan = log_plan_.data() + first;
        Real highest = x[0];
        for (Index i = 1; i < size; ++i) highest = (std::max)(highest, x[i * stride]);
        if (alpha == 0) {
            for (Index i = 0; i < size; ++i) {
                const Real entry = x[i * stride];
                log_plan[i * stride] = entry > 0 ? std::log(entry) - std::log(2 * alpha0) : nothing;
            }
            return 0;
        }
        std::vector<Real> gap(static_cast<std::size_t>(size));
        for (std::size_t i = 0; i < gap.size(); ++i) {
            gap[i] = (std::min)((highest - x[static_cast<Index>(i) * stride]) / (2 * alpha0), 1e290);
        }
        const QuadraticLine line(gap, highest, alpha, alpha0, log_prior);
        for (std::size_t i = 0; i < gap.size(); ++i) log_plan[static_cast<Index>(i) * stride] = line.log_entry(gap[i]);
        residual_ = (std::max)(residual_, line.error);
        // A soft potential from the mass: as a difference of large numbers it would lose digits.
        return std::isinf(alpha) ? 2 * alpha0 * line.excess - highest : -alpha * (line.log_mass - log_prior);
    }

    /// log_scale: 0, but -inf for a feature without mass. The scores of such a feature become those of its vanishing
    /// mass, at argmax_n (x_dn + g_n).
    RealVector fill_empty_features() {
        RealVector log_scale(rows());
        for (Index d = 0; d < rows(); ++d) {
            Real highest = nothing;
            Real best = nothing;
            const auto gain = [&](Index k) {
                return reward_[static_cast<std::size_t>(k * rows() + d)] + g_[static_cast<std::size_t>(k)];
            };
            for (Index k = 0; k < cols(); ++k) {
                highest = (std::max)(highest, log_plan_[static_cast<std::size_t>(k * rows() + d)]);
                best = (std::max)(best, gain(k));
            }
            log_scale[d] = highest > nothing ? 0 : nothing;
            for (Index k = 0; k < cols() && highest == nothing; ++k) {
                if (gain(k) == best) log_plan_[static_cast<std::size_t>(k * rows() + d)] = 0;
            }
        }
        return log_scale;
    }

    const Inspection& problem_;
    std::vector<Work> reward_, log_plan_;  ///< D x N, one column per active instance
    std::vector<Real> f_, g_;
    Real residual_ = 0;
};

/// Quadratic has a closed form if a side is free (the other is thresholded line by line), or if alpha0 is infinite and
/// a side is not hard (the reward drops out, and the plan is constant along that side).
template <std::same_as<Quadratic> R>
struct ClosedFormOf<R> {
    static bool exists(Real alpha0, Real alpha1, Real alpha2) {
        if (std::isinf(alpha0)) return std::isfinite(alpha1) || std::isfinite(alpha2);
        return alpha1 == 0 || alpha2 == 0;
    }

    static SolvedPlan solve(const Inspection& problem, double tolerance) {
        if (problem.alpha0 == 0) return WinnersLimit<>(problem).solution();
        if (std::isinf(problem.alpha0)) return constant_plan(problem);
        return ThresholdLimit<>(problem).solution(tolerance);
    }

    /// mean <- the conditional mean of the values.
    template <BagScalar Scalar>
    static Outcome pool(const Inspection& problem, double tolerance, const Execution&, Workspace&, RealVector& mean) {
        SolvedPlan found = solve(problem, tolerance);
        mean = conditional_mean(found.log_plan, problem.pooled_values());
        return std::move(found.outcome);
    }

private:
    /// alpha0 = inf, at most one hard side: P_dn = p0_d / N (hard features), q0_n / D (hard instances), 0 (neither).
    static SolvedPlan constant_plan(const Inspection& problem) {
        const Real infinity = std::numeric_limits<Real>::infinity();
        const bool of_features = std::isinf(problem.alpha1);
        const bool of_instances = !of_features && std::isinf(problem.alpha2);
        const Priors& priors = problem.priors;
        const Real log_rows = std::log(static_cast<Real>(problem.features()));
        const Real log_cols = std::log(static_cast<Real>(problem.active_instances()));
        RealVector log_scale(problem.features());
        std::vector<Real> log_weight(priors.active.size(), 0);
        for (Index d = 0; d < log_scale.size(); ++d) {
            log_scale[d] = of_features ? priors.log_p[d] - log_cols : of_instances ? 0 : -infinity;
        }
        for (std::size_t k = 0; of_instances && k < log_weight.size(); ++k) {
            log_weight[k] = priors.log_q[static_cast<Index>(k)] - log_rows;
        }
        SolvedPlan found;
        const bool has_mass = of_features || of_instances;
        found.outcome.status = has_mass ? Status::converged : Status::mass_out_of_range;
        found.log_mass = has_mass ? 0 : std::numeric_limits<double>::lowest();
        found.feature_potential = RealVector::Zero(problem.features());
        found.instance_potential = RealVector::Zero(problem.reward.cols());
        found.log_plan =
            LogPlan([weight = std::move(log_weight), rows = problem.features()](
                        Index k, Real* score) { std::fill_n(score, rows, weight[static_cast<std::size_t>(k)]); },
                    std::move(log_scale), priors.active);
        return found;
    }
};

}  // namespace otpool::detail
