// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// The total mass that a side's potentials ask for, after they have moved by t.
struct AskedMass {
    Real log = 0;    ///< Its logarithm.
    Real slope = 0;  ///< -d log / dt >= 0
    Real size = 0;   ///< Of the numbers that the logarithm is computed from.
};

/// The t for which rows of potentials f + t and columns of g - t ask for the same mass: the dual's maximum along this
/// shift, which does not change f + g. rows.at(t) and columns.at(-t) are their AskedMass. By Newton's method on the
/// difference of logarithms, within the bounds that its signs give. With one alpha per side it is the translation of
/// Sejourne, Vialard & Peyre (arXiv 2201.00730), found in one step.
template <std::same_as<Real> Work = Real>
Work balancing_shift(const auto& rows, const auto& columns) {
    Work t = 0;
    Work low = -std::numeric_limits<Work>::infinity();
    Work high = -low;
    for (int i = 0; i < 100; ++i) {
        const AskedMass of_rows = rows.at(t);
        const AskedMass of_columns = columns.at(-t);
        const Work excess = of_rows.log - of_columns.log;  // falls as t grows
        if (!(std::abs(excess) > std::numeric_limits<Work>::epsilon() * (of_rows.size + of_columns.size))) break;
        (excess > 0 ? low : high) = t;
        const Work slope = of_rows.slope + of_columns.slope;
        // Across a flat part faster and faster: its slope can be 1e-100, and few numbers are left that far away.
        const Work longest = std::ldexp(std::abs(excess), 20 + 10 * i);
        const Work next = t + (slope > 0 ? std::clamp(excess / slope, -longest, longest) : std::ldexp(excess, i));
        const Work inside = next > low && next < high ? next : low + (high - low) / 2;
        if (!std::isfinite(inside) || inside == t) break;  // only if rounding moves it
        t = inside;
    }
    return t;
}

}  // namespace otpool::detail
