// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/line_masses.hpp"
#include "otpool/problem/side.hpp"

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
    /// `penalty`: f / alpha; `log_mass` is read for free lines alone.
    void set(const Side& side, const Buffer<Work>& penalty, const Work* log_mass) {
        lines_.set(
            side.size(), !side.differ(),
            [&](Index i) { return side.line(i).is_free() ? log_mass[i] : side.log_prior[i] - penalty[i]; },
            [&](Index i) { return side.line(i).is_free() ? 1 : side.line(i).ratio; });
    }

    /// Cost: an exp per line; none if all lines are alike.
    AskedMass at(Work t) const { return lines_.at(t); }

private:
    LineMasses<Work> lines_;
};

}  // namespace otpool::detail
