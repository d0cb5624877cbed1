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
#include "otpool/closed_form/quadratic_line.hpp"
#include "otpool/closed_form/winners.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/plan/sparse_solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/regularizers.hpp"

namespace otpool::detail {

/// Quadratic with 0 < alpha0 < inf and a free side: the plan max(0, X + f + g) / (2 alpha0), exactly. Free instances: g
/// = 0, and each f_d is found by itself. Free features: f = 0, and each g_n is found by itself. With a limit m
/// (KSparse, TopK), a line that is found so has its m largest rewards only.
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
        const Priors& priors = problem.priors;
        // Both may be free: then a limit says which lines to solve.
        const bool free_instances = problem.alpha2.all_free() && !problem.regularizer.limits_instances;
        for (Index d = 0; d < rows() && free_instances; ++d) {
            f_[static_cast<std::size_t>(d)] = threshold(d, rows(), cols(), {priors.log_p[d], problem.alpha1[d]});
        }
        for (Index k = 0; k < cols() && !free_instances; ++k) {
            g_[static_cast<std::size_t>(k)] = threshold(k * rows(), 1, rows(), {priors.log_q[k], problem.alpha2[k]});
        }
    }

    SolvedPlan solution(double tolerance) {
        SolvedPlan found = sparse_solution(problem_, std::move(log_plan_), f_.data(), g_.data());
        found.outcome.status = residual_ <= tolerance ? Status::converged : Status::precision_limit;
        found.outcome.residual = residual_;
        check_mass_range(found, problem_.reward.is_float());
        return found;
    }

private:
    Index rows() const { return problem_.features(); }
    Index cols() const { return problem_.active_instances(); }

    /// Computes one line of the plan, `size` entries from `first` with this stride. Returns its potential.
    Real threshold(Index first, Index stride, Index size, const MarginalLine& line) {
        const Real unit = 2 * problem_.alpha0;
        const Work* x = reward_.data() + first;
        Real highest = x[0];
        for (Index i = 1; i < size; ++i) highest = (std::max)(highest, x[i * stride]);
        // (An entry without a reward, -inf, has an infinite gap, also if there are no others.)
        const auto gap_of = [&](Index i) {
            const Real reward = x[i * stride];
            return reward >= std::numeric_limits<Real>::lowest() ? (highest - reward) / unit
                                                                 : std::numeric_limits<Real>::infinity();
        };
        gap_.resize(static_cast<std::size_t>(size));
        for (Index i = 0; i < size; ++i) gap_[static_cast<std::size_t>(i)] = gap_of(i);
        if (const Index most = problem_.regularizer.most; most > 0 && most < size) keep_smallest(most);
        kept_gap_ = gap_;  // the line reorders its own
        MarginalLine scaled = line.in_units_of(unit);
        // Made hard by an alpha far above alpha0: its potential is the reward's, -highest.
        if (line.is_soft() && scaled.is_hard()) {
            scaled.log_prior += log_growth(highest, line.alpha);
        }
        constexpr Real most = (std::numeric_limits<Real>::max)() / 4;
        const Real in_unit = std::clamp(highest / unit, -most, most);
        if (std::abs(in_unit) == most && !scaled.is_hard()) residual_ = most;  // its mass depends on what is cut off
        const QuadraticLine<Work> solved(gap_.data(), size, in_unit, scaled);
        for (Index i = 0; i < size; ++i)
            log_plan_[static_cast<std::size_t>(first + i * stride)] =
                solved.log_entry(kept_gap_[static_cast<std::size_t>(i)]);
        residual_ = (std::max)(residual_, (std::min)(solved.error, most));
        // Of a hard line, the reward is not to lose digits, nor to overflow, in other units.
        return scaled.is_hard() ? unit * solved.excess - highest : unit * solved.potential;
    }

    /// Leaves so many gaps, the smallest ones; the others have no mass.
    void keep_smallest(Index most) {
        order_.resize(gap_.size());
        for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = i;
        std::nth_element(order_.begin(), order_.begin() + most, order_.end(),
                         [&](std::size_t a, std::size_t b) { return gap_[a] < gap_[b]; });
        for (auto i = order_.begin() + most; i != order_.end(); ++i) gap_[*i] = std::numeric_limits<Work>::infinity();
    }

    const Inspection& problem_;
    std::vector<Work> reward_, log_plan_;  ///< D x N, one column per active instance
    std::vector<Work> f_, g_, gap_, kept_gap_;
    std::vector<std::size_t> order_;
    Real residual_ = 0;
};

/// A closed form that pools by its plan.
template <Regularizer R>
struct PooledByPlan {
    /// mean <- the conditional mean of the values.
    template <BagScalar Scalar>
    static Outcome pool(const Inspection& problem, double tolerance, const Execution&, Workspace&, RealVector& mean) {
        SolvedPlan found = closed_form_of<R>(problem, tolerance);
        mean = conditional_mean(found.log_plan, problem.pooled_values());
        return std::move(found.outcome);
    }
};

/// Quadratic has a closed form if a side is free (the other is thresholded line by line), or if alpha0 is infinite and
/// a side is not hard (the reward drops out, and the plan is constant along that side).
template <std::same_as<Quadratic> R>
struct ClosedFormOf<R> : PooledByPlan<R> {
    template <BagScalar Scalar>
    static bool exists(const UotProblem<Scalar, R>& problem) {
        if (std::isinf(problem.alpha0))
            return !alphas_of(problem.features).any_hard() || !alphas_of(problem.instances).any_hard();
        return has_free_side(problem);
    }

    static SolvedPlan solve(const Inspection& problem, double tolerance) {
        if (problem.alpha0 == 0) return WinnersLimit<>(problem).solution();
        if (std::isinf(problem.alpha0)) return constant_plan(problem);
        return ThresholdLimit<>(problem).solution(tolerance);
    }

private:
    /// alpha0 = inf, hard lines on at most one side: P_dn = p0_d / N (hard features), q0_n / D (hard instances), 0 (all
    /// others).
    static SolvedPlan constant_plan(const Inspection& problem) {
        const Real infinity = std::numeric_limits<Real>::infinity();
        const auto log_part = [&](const Alphas& alphas, Index i, Real part) {
            return std::isinf(alphas[i]) ? part : -infinity;
        };
        const Priors& priors = problem.priors;
        const Real log_rows = std::log(static_cast<Real>(problem.features()));
        const Real log_cols = std::log(static_cast<Real>(problem.active_instances()));
        RealVector log_scale(problem.features());
        std::vector<Real> log_weight(priors.active.size(), 0);
        for (Index d = 0; d < log_scale.size(); ++d)
            log_scale[d] = log_part(problem.alpha1, d, priors.log_p[d] - log_cols);
        Real log_mass = log_sum_exp(log_scale.data(), log_scale.size()) + log_cols;
        if (log_mass == -infinity && problem.alpha2.any_hard()) {
            log_scale.setZero();
            for (Index k = 0; k < priors.log_q.size(); ++k)
                log_weight[static_cast<std::size_t>(k)] = log_part(problem.alpha2, k, priors.log_q[k] - log_rows);
            log_mass = log_sum_exp(log_weight.data(), static_cast<Index>(log_weight.size())) + log_rows;
        }
        SolvedPlan found;
        found.outcome.status = log_mass > -infinity ? Status::converged : Status::mass_out_of_range;
        found.log_mass = (std::max)(log_mass, std::numeric_limits<double>::lowest());
        found.feature_potential = RealVector::Zero(problem.features());
        found.instance_potential = RealVector::Zero(problem.reward.cols());
        found.log_plan =
            LogPlan([weight = std::move(log_weight), rows = problem.features()](
                        Index k, Real* score) { std::fill_n(score, rows, weight[static_cast<std::size_t>(k)]); },
                    std::move(log_scale), priors.active);
        return found;
    }
};

/// A limit on the lines of one side leaves a closed form where the other side is free: KSparse with free features, TopK
/// with free instances.
template <LimitedRegularizer R>
struct ClosedFormOf<R> : PooledByPlan<R> {
    template <BagScalar Scalar>
    static bool exists(const UotProblem<Scalar, R>& problem) {
        const Alphas other = alphas_of(std::same_as<R, TopK> ? problem.instances : problem.features);
        return problem.alpha0 > 0 && std::isfinite(problem.alpha0) && other.all_free() && is_kullback_leibler(problem);
    }

    static SolvedPlan solve(const Inspection& problem, double tolerance) {
        return ThresholdLimit<>(problem).solution(tolerance);
    }
};

}  // namespace otpool::detail
