// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/penalties.hpp"

namespace otpool::detail {

/// The alphas of the lines (features or instances) of a side: one for all of them, or one each.
class Alphas {
public:
    Alphas() = default;
    /// One for all lines.
    explicit(false) Alphas(Real alpha) : common_(alpha) {}

    void set(Real alpha) {
        common_ = alpha;
        own_.resize(0);
    }
    /// alpha_of(i) for line i of `count`. If all lines are hard, or all free, that is one alpha for all. (Not so if they
    /// are soft and alike: Sinkhorn's steps start elsewhere, and what they give is to be smooth in each alpha.)
    void set(Index count, const auto& alpha_of) {
        own_.resize(count);
        for (Index i = 0; i < count; ++i) own_[i] = alpha_of(i);
        if (all_hard() || all_free()) set(own_[0]);
    }

    /// How many lines have alphas of their own.
    Index size() const { return own_.size(); }
    /// Whether lines have alphas of their own.
    bool differ() const { return own_.size() > 0; }
    /// The alpha of all lines, unless they differ.
    Real common() const { return common_; }
    Real operator[](Index i) const { return differ() ? own_[i] : common_; }

    bool all_hard() const {
        return all([](Real alpha) { return std::isinf(alpha); });
    }
    bool all_free() const {
        return all([](Real alpha) { return alpha == 0; });
    }
    bool any_hard() const {
        return !all([](Real alpha) { return !std::isinf(alpha); });
    }
    bool any_free() const {
        return !all([](Real alpha) { return alpha != 0; });
    }
    bool any_soft() const {
        return !all([](Real alpha) { return alpha == 0 || std::isinf(alpha); });
    }

    /// Replaces every alpha by f(alpha).
    void transform(const auto& f) {
        common_ = f(common_);
        std::transform(own_.begin(), own_.end(), own_.begin(), f);
    }

private:
    /// Whether holds(alpha) for every line.
    bool all(const auto& holds) const {
        return differ() ? std::all_of(own_.begin(), own_.end(), holds) : holds(common_);
    }

    Real common_ = 0;
    Buffer<Real> own_;  ///< Empty: common_ for all.
};

/// Whether a side's penalty acts as KullbackLeibler: others differ from it only on soft lines.
inline bool is_kullback_leibler(const AnyPenalty& penalty, const Alphas& alphas) {
    return penalty.is_kullback_leibler() || !alphas.any_soft();
}

/// alpha1 + alpha2: infinite if a side is hard, else NaN if lines of a side differ.
inline Real sum_of_alphas(const Alphas& alpha1, const Alphas& alpha2) {
    if (alpha1.all_hard() || alpha2.all_hard()) return std::numeric_limits<Real>::infinity();
    if (alpha1.differ() || alpha2.differ()) return std::numeric_limits<Real>::quiet_NaN();
    return alpha1.common() + alpha2.common();
}

}  // namespace otpool::detail
