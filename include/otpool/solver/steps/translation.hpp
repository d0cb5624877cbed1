// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The total mass that one side asks for, as a function of t, where the potentials of its lines that are not free move by
/// t alpha0:
///
///     sum_soft p_i exp(-(f_i / alpha0 + t) theta_i) + sum_hard p_i + sum_free m_i exp(-t),   theta = alpha0 / alpha_i
///
/// m_i is the mass of free line i. It falls with t, as the other side moves by -t.
template <std::same_as<Real> Work = Real>
class AskedMass {
public:
    struct Value {
        Work log;    ///< The logarithm of the mass.
        Work slope;  ///< Minus the derivative of that.
    };

    /// Views the side. `penalty`: f / alpha; `log_mass` is read for free lines alone.
    void set(const Side& side, const Buffer<Work>& penalty, const Work* log_mass) {
        side_ = &side;
        term_.resize(side.size());
        moved_.resize(side.size());
        for (Index i = 0; i < side.size(); ++i) {
            term_[i] = side.line(i).is_free() ? log_mass[i] : side.log_prior[i] - penalty[i];
        }
        log_sum_ = log_sum_exp(term_.data(), term_.size());
    }

    /// Cost: an exp per line; none if all lines are alike.
    Value at(Work t) {
        if (!side_->differ()) return {log_sum_ - side_->common.ratio * t, side_->common.ratio};
        const auto slope = [&](Index i) { return side_->line(i).is_free() ? 1 : side_->line(i).ratio; };
        for (Index i = 0; i < term_.size(); ++i) moved_[i] = term_[i] - slope(i) * t;
        const Work log_sum = log_sum_exp(moved_.data(), moved_.size());
        Work mean_slope = 0;
        for (Index i = 0; i < term_.size(); ++i) mean_slope += slope(i) * std::exp(moved_[i] - log_sum);
        return {log_sum, mean_slope};
    }

private:
    const Side* side_ = nullptr;
    Buffer<Work> term_, moved_;
    Work log_sum_ = 0;
};

/// The t for which both sides ask for the same mass, where one moves by t and the other by -t. By Newton's method on the
/// difference of logarithms, which is one step where the lines of each side are alike, within the bounds that its signs
/// give.
template <std::same_as<Real> Work = Real>
Work balancing_translation(AskedMass<Work>& features, AskedMass<Work>& instances) {
    Work t = 0;
    Work least = -std::numeric_limits<Work>::infinity();
    Work most = std::numeric_limits<Work>::infinity();
    for (int step = 0; step < 100; ++step) {
        const auto [log_features, slope_of_features] = features.at(t);
        const auto [log_instances, slope_of_instances] = instances.at(-t);
        const Work excess = log_features - log_instances;
        if (std::abs(excess) <= 2e-15 * (std::max)({Work(1), std::abs(log_features), std::abs(t)})) break;
        (excess > 0 ? least : most) = t;
        Work next = t + excess / (slope_of_features + slope_of_instances);
        if (!(next > least && next < most)) next = least + (most - least) / 2;
        if (!std::isfinite(next) || next == t) break;
        t = next;
    }
    return t;
}

}  // namespace otpool::detail
