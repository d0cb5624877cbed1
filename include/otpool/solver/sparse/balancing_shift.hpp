// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"

namespace otpool::detail {

/// Lines of one side, and their potentials: `index` says which, or null for all.
struct HeldLines {
    const MarginalLine* lines;
    const Real* potential;
    const Index* index;
    Index size;

    Index at(Index i) const { return index == nullptr ? i : index[i]; }
    /// Whether all are hard; true if there are none.
    bool all_hard() const {
        for (Index i = 0; i < size; ++i) {
            if (!lines[at(i)].is_hard()) return false;
        }
        return true;
    }
    bool any_free() const {
        for (Index i = 0; i < size; ++i) {
            if (lines[at(i)].is_free()) return true;
        }
        return false;
    }
};

/// The log of the mass that lines ask for, shifted by t: log sum_i prior_i exp(-(potential_i + t) / alpha_i).
template <std::same_as<Real> Work = Real>
struct HeldMass {
    Work log_mass = 0;
    Work slope = 0;  ///< d log_mass / dt <= 0
    Work size = 0;   ///< Of the numbers that log_mass is computed from.

    HeldMass(const HeldLines& held, Work t) {
        Work top = -std::numeric_limits<Work>::infinity();
        const auto log_mass_of = [&](Index i) {
            const Index line = held.at(i);
            return held.lines[line].log_mass(held.potential[line] + t);
        };
        for (Index i = 0; i < held.size; ++i) top = (std::max)(top, log_mass_of(i));
        Work sum = 0;
        for (Index i = 0; i < held.size; ++i) {
            const Work mass = std::exp(log_mass_of(i) - top);
            sum += mass;
            const Work log_prior = held.lines[held.at(i)].log_prior;
            size += mass * (1 + std::abs(log_prior) + std::abs(log_mass_of(i) - log_prior));
            slope -= mass / held.lines[held.at(i)].alpha;  // 0 if it is hard
        }
        slope /= sum;
        size /= sum;
        log_mass = top + std::log(sum);
    }
};

/// The t for which rows of potentials f + t and columns of g - t ask for the same mass: the dual's maximum along this
/// shift, which does not change f + g. No line may be free, and one must be soft. With one alpha per side it is the
/// translation of Sejourne, Vialard & Peyre (arXiv 2201.00730), found in one of these Newton steps.
template <std::same_as<Real> Work = Real>
Work balancing_shift(const HeldLines& rows, const HeldLines& cols) {
    Work t = 0;
    Work low = -std::numeric_limits<Work>::infinity();
    Work high = -low;
    for (int i = 0; i < 100; ++i) {
        const HeldMass<Work> row_mass(rows, t);
        const HeldMass<Work> col_mass(cols, -t);
        const Work excess = row_mass.log_mass - col_mass.log_mass;  // falls as t grows
        if (!(std::abs(excess) > std::numeric_limits<Work>::epsilon() * (row_mass.size + col_mass.size))) break;
        (excess > 0 ? low : high) = t;
        const Work next = t - excess / (row_mass.slope + col_mass.slope);
        const Work inside = next > low && next < high ? next : low + (high - low) / 2;
        if (!std::isfinite(inside)) break;  // only if rounding moves it
        t = inside;
    }
    return t;
}

}  // namespace otpool::detail
