// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// What holds the mass of one line (a row or a column of the plan): alpha KL(mass | prior). At the optimum
/// log(mass / prior) = -potential / alpha.
struct MarginalLine {
    Real log_prior = 0;
    Real alpha = 0;

    bool is_hard() const { return std::isinf(alpha); }
    bool is_free() const { return alpha == 0; }
    bool is_soft() const { return alpha > 0 && !is_hard(); }

    /// The same line where potentials and rewards are in another unit. A soft line becomes hard if its alpha leaves the
    /// range of double: no potential that does not is a part of it. It never becomes free.
    MarginalLine in_units_of(Real unit) const {
        return {log_prior, is_soft() ? (std::max)(alpha / unit, std::numeric_limits<Real>::denorm_min()) : alpha};
    }

    /// The log mass that the potential asks for; not for free lines.
    Real log_mass(Real potential) const { return is_hard() ? log_prior : log_prior - potential / alpha; }
    /// How far a log mass is from that; 0 for a free line, NaN if a number is.
    Real violation(Real log_mass_, Real potential) const {
        return is_free() ? 0 : std::abs(log_mass_ - log_mass(potential));
    }
    /// The line's term of the dual: minus the conjugate of its penalty at -potential.
    Real dual(Real potential) const {
        if (is_free()) return 0;
        if (is_hard()) return potential * std::exp(log_prior);
        return -alpha * std::exp(log_prior) * std::expm1((std::min)(-potential / alpha, 700.0));
    }
};

/// The larger of two violations; infinity if one is NaN.
inline Real larger_violation(Real a, Real b) {
    return std::isnan(a) || std::isnan(b) ? std::numeric_limits<Real>::infinity() : (std::max)(a, b);
}

}  // namespace otpool::detail
