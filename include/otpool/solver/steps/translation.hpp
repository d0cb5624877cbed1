// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/balancing_shift.hpp"

namespace otpool::detail {

/// Whether Sinkhorn's translation moves the potentials of these sides. The mass of free instances is not known before
/// their update; where both sides are hard, or the features are free, nothing moves.
inline bool has_translation(const Side& features, const Side& instances) {
    return !features.is_free() && !instances.has_free_lines() && !(features.is_hard() && instances.is_hard()) &&
           features.is_kullback_leibler() && instances.is_kullback_leibler();
}

/// The total mass that a scaled problem's side asks for, as a function of t, where the potentials of its lines that are
/// not free move by t alpha0:
///
///     sum_soft p_i exp(-(f_i / alpha0 + t) theta_i) + sum_hard p_i + sum_free m_i exp(-t),   theta = alpha0 / alpha_i
///
/// m_i is the mass of free line i. It falls with t, as the other side moves by -t.
template <std::same_as<Real> Work = Real>
class TranslatedMass {
public:
    /// Views the side. `penalty`: f / alpha; `log_mass` is read for free lines alone.
    void set(const Side& side, const Buffer<Work>& penalty, const Work* log_mass) {
        side_ = &side;
        term_.resize(side.size());
        for (Index i = 0; i < side.size(); ++i) {
            term_[i] = side.line(i).is_free() ? log_mass[i] : side.log_prior[i] - penalty[i];
        }
        log_sum_ = log_sum_exp(term_.data(), term_.size());
        largest_ = largest_magnitude(term_.data(), term_.size());
    }

    /// Cost: an exp per line; none if all lines are alike.
    AskedMass at(Work t) const {
        if (!side_->differ()) {
            const Work ratio = side_->common.ratio;
            return {log_sum_ - ratio * t, ratio, 1 + largest_ + std::abs(ratio * t)};
        }
        const auto slope_of = [&](Index i) { return side_->line(i).is_free() ? 1 : side_->line(i).ratio; };
        Work top = term_[0] - slope_of(0) * t;
        for (Index i = 1; i < term_.size(); ++i) top = (std::max)(top, term_[i] - slope_of(i) * t);
        AskedMass asked;
        Work sum = 0;
        for (Index i = 0; i < term_.size(); ++i) {
            const Work slope = slope_of(i);
            const Work mass = std::exp(term_[i] - slope * t - top);
            sum += mass;
            asked.slope += mass * slope;
            asked.size += mass * (1 + std::abs(term_[i]) + std::abs(slope * t));
        }
        return {top + std::log(sum), asked.slope / sum, asked.size / sum};
    }

private:
    const Side* side_ = nullptr;
    Buffer<Work> term_;
    Work log_sum_ = 0, largest_ = 0;
};

}  // namespace otpool::detail
