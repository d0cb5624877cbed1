// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// No exponent is below it, except -inf of forbidden pairs. It is far below what any exp() resolves, and far from
/// overflow.
inline constexpr Real lowest_exponent = -1e100;

/// offset / (a + b + c): log of what a mass held by these alphas grows by if every reward does by the offset; 0 if that sum
/// is 0 or NaN, as for alphas that differ. The sum may overflow.
inline Real log_growth(Real offset, Real a, Real b = 0, Real c = 0) {
    const Real sum = a + b + c;
    if (!(sum > 0)) return 0;
    const Real growth = std::isinf(sum) ? offset / 4 / (a / 4 + b / 4 + c / 4) : offset / sum;
    return std::clamp(growth, lowest_exponent, -lowest_exponent);
}

/// The exponents z_dk = (x_dk - row_shift_d - col_shift_k) / alpha0 of the kernel, computed a column at a time from
/// the reward in place.
struct ScaledReward {
    AnyView reward;
    std::vector<Index> active;  ///< The instances of prior > 0; every loop over instances k runs over these.
    bool shifts_rows = true;    ///< Whether row_shift has feature maxima; if not, col_shift has instance maxima.
    Buffer<Real> row_shift;
    Buffer<Real> col_shift;
    Real inverse_alpha0 = 0;
    /// No reward of an active instance is below or above these, if they have been looked at.
    Real lowest = -std::numeric_limits<Real>::infinity();
    Real highest = std::numeric_limits<Real>::infinity();

    Index rows() const { return reward.rows(); }
    Index cols() const { return static_cast<Index>(active.size()); }
    bool looked_at() const { return highest < std::numeric_limits<Real>::infinity(); }
    Index instance(Index k) const { return active[static_cast<std::size_t>(k)]; }

    /// (x - row - col) / alpha0, at least lowest_exponent.
    Real exponent(Real x, Real row, Real col) const {
        const Real difference = (x - row) - col;
        if (std::isinf(difference)) {  // halves are in range
            return (std::max)((x / 2 - row / 2 - col / 2) * inverse_alpha0 * 2, lowest_exponent);
        }
        return (std::max)(difference * inverse_alpha0, lowest_exponent);
    }

    /// z_k, rows() numbers.
    void column(Index k, Real* out) const {
        reward.copy_column(instance(k), out);
        const Real* shift = row_shift.data();
        for (Index d = 0; d < rows(); ++d) {
            if (out[d] < std::numeric_limits<Real>::lowest()) continue;  // forbidden
            out[d] = exponent(out[d], shift[d], col_shift[k]);
        }
    }
};

}  // namespace otpool::detail
