// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/side.hpp"

namespace otpool::detail {

/// A UOT problem in units of alpha0, as Sinkhorn and Newton solve it:
///
///     log P_dk = z_dk + feature_potential_d + instance_potential_k + mass_shift,   z <= 0
///
/// These are "kernel potentials", f/alpha0 + anchor. The kernel has differences of rewards, so that shifted rewards
/// lose no digits: each feature's largest reward is taken off (or each instance's, if features are free and only
/// instances compare features). The largest of all is also taken off the problem if a side is hard or the mass fixed, as
/// the plan stays the same, or if penalties are KullbackLeibler with one alpha for each side, as its mass changes by a known
/// factor: with reward X + c it is exp(c / (alpha0 + alpha1 + alpha2)) times as large.
///
/// If the mass is fixed, the potentials of one side have its multiplier lambda / alpha0 as a part (MassHalfStep).
///
/// If the inspection was a glance, the largest rewards cover a few instances, and z may be above 0; nothing else
/// changes.
struct ScaledProblem {
    ScaledReward kernel;
    Side features;
    Side instances;
    LogPriors forbidden;  ///< Priors::forbidden
    Real highest_reward = 0;
    bool takes_offset = false;     ///< Whether the largest reward is taken off the problem.
    Real offset = 0;               ///< Taken off every reward: the highest, or 0.
    Real mass_shift = 0;           ///< offset / (alpha0 + alpha1 + alpha2), unless the mass is fixed.
    std::optional<Real> log_mass;  ///< Inspection::log_mass
    /// Whether the largest rewards of lines are further apart, over alpha0, than exponents reach: then they tie.
    bool has_ties = false;
    /// Whether a reward or a soft alpha is further above alpha0 than exponents reach: then potentials may be lost.
    bool may_lose_potentials = false;

    /// The offset that a hard side's potential makes up for; if both are hard, the features'. None if the mass is fixed, as
    /// its multiplier does.
    Real offset_of_features() const { return features.is_hard() ? offset : 0; }
    Real offset_of_instances() const { return features.is_hard() || log_mass ? 0 : offset; }

    /// A feature and an instance whose reward is the largest of all. Cost: O(D + N).
    std::pair<Index, Index> highest() const {
        const auto place_of_highest = [](const auto& v) { return std::max_element(v.begin(), v.end()) - v.begin(); };
        if (!kernel.shifts_rows) {
            const Index n = kernel.instance(place_of_highest(kernel.col_shift));
            std::vector<Real> column(static_cast<std::size_t>(kernel.rows()));
            kernel.reward.copy_column(n, column.data());
            return {place_of_highest(column), n};
        }
        const Index d = place_of_highest(kernel.row_shift);
        return {d, *std::find_if(kernel.active.begin(), kernel.active.end(),
                                 [&](Index n) { return kernel.reward(d, n) >= highest_reward; })};
    }

    ScaledProblem() = default;
    explicit ScaledProblem(const Inspection& problem) { set(problem); }

    void set(const Inspection& problem) {
        const Real alpha0 = problem.alpha0;
        const Priors& priors = problem.priors;
        kernel.reward = problem.reward;
        kernel.active = priors.active;
        forbidden = priors.forbidden;
        kernel.inverse_alpha0 = (std::min)(1 / alpha0, (std::numeric_limits<Real>::max)());
        kernel.row_shift.assign(kernel.rows(), 0);
        kernel.col_shift.assign(kernel.cols(), 0);
        features.set(problem.alpha1, alpha0);
        instances.set(problem.alpha2, alpha0);
        features.kind = problem.feature_penalty;
        instances.kind = problem.instance_penalty;
        features.kept_sum = priors.kept_sum_of_p;
        instances.kept_sum = priors.kept_sum_of_q;
        copy(priors.log_p, features.log_prior);
        copy(priors.log_q, instances.log_prior);
        kernel.shifts_rows = !features.has_no_penalty() || instances.has_no_penalty();
        if (kernel.shifts_rows) {
            copy(problem.highest, kernel.row_shift);
        } else {
            std::vector<Real> column(static_cast<std::size_t>(kernel.rows()));
            for (Index k = 0; k < kernel.cols(); ++k) {
                kernel.reward.copy_column(kernel.instance(k), column.data());
                kernel.col_shift[k] = *std::max_element(column.begin(), column.end());
            }
        }
        const Buffer<Real>& shift = kernel.shifts_rows ? kernel.row_shift : kernel.col_shift;
        highest_reward = *std::max_element(shift.begin(), shift.end());
        log_mass = problem.log_mass;
        const bool differ = features.differ() || instances.differ();
        takes_offset =
            log_mass || features.is_hard() || instances.is_hard() || (problem.is_kullback_leibler() && !differ);
        offset = takes_offset ? highest_reward : 0;
        has_ties = false;
        set_anchor(features, kernel.row_shift, kernel.shifts_rows, problem.regularizer.prior_weight);
        set_anchor(instances, kernel.col_shift, !kernel.shifts_rows, problem.regularizer.prior_weight);
        may_lose_potentials = std::abs(highest_reward) * kernel.inverse_alpha0 > -lowest_exponent ||
                              features.has_lost_lines() || instances.has_lost_lines();
        const Real infinity = std::numeric_limits<Real>::infinity();
        kernel.lowest = problem.looked_at_all ? problem.lowest : -infinity;
        kernel.highest = problem.looked_at_all ? highest_reward : infinity;
        mass_shift = log_mass ? 0 : log_growth(offset, alpha0, features.common.alpha, instances.common.alpha);
    }

private:
    static void copy(const auto& from, Buffer<Real>& to) {
        to.resize(from.size());
        std::copy(from.begin(), from.end(), to.begin());
    }

    /// R is Entropy with reward X + alpha0 prior_weight log(p0 q0^T).
    void set_anchor(Side& side, const Buffer<Real>& shift, bool shifts, Real prior_weight) {
        side.anchor.resize(shift.size());
        for (Index i = 0; i < shift.size(); ++i) {
            side.anchor[i] = shifts ? kernel.exponent(shift[i], offset, 0) : 0;
            has_ties = has_ties || side.anchor[i] <= lowest_exponent;
            if (prior_weight != 0) side.anchor[i] += prior_weight * side.log_prior[i];
        }
    }
};

}  // namespace otpool::detail
