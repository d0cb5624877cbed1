// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/plan.hpp"
#include "otpool/solver/priors.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/solution.hpp"

namespace otpool::detail {

/// The threshold t of P_i = max(0, x_i / (2 alpha0) - t) at which alpha log(sum P / prior) = 2 alpha0 t, or sum P = prior where
/// alpha is infinite: one marginal of a Quadratic plan whose other marginal is free. (Where alpha is infinite, the projection
/// onto the simplex of Held, Wolfe & Crowder 1974, known as sparsemax.) Returned as the excess s = max x / (2 alpha0) - t >= 0,
/// which loses no digits to a shift of x. Cost: O(n log n).
inline Real quadratic_excess(RealVector gap, Real highest, Real alpha, Real alpha0, Real log_prior) {
    // gap_i = (max x - x_i) / (2 alpha0) >= 0; with k entries in the support, sum P = k s - sum of their gaps.
    std::sort(gap.begin(), gap.end());
    const auto meets = [&](Real log_mass, Real s) {
        if (std::isinf(alpha)) return log_mass >= log_prior;
        return alpha * (log_mass - log_prior) >= highest - 2 * alpha0 * s;
    };
    Real gaps = 0;
    Index support = 0;
    while (support < gap.size()) {  // grow the support while its next breakpoint has too little mass
        const Real mass = static_cast<Real>(support) * gap[support] - gaps;
        if (support > 0 && meets(std::log(mass), gap[support])) break;
        gaps += gap[support++];
    }
    const Real count = static_cast<Real>(support);
    if (std::isinf(alpha)) return (std::exp(log_prior) + gaps) / count;
    // In m = sum P the condition is monotone: alpha (log m - log prior) = highest - 2 alpha0 (m + gaps) / count.
    Real low = -745;
    Real high = 745;
    for (int i = 0; i < 200; ++i) {
        const Real middle = (low + high) / 2;
        (meets(middle, (std::exp(middle) + gaps) / count) ? high : low) = middle;
    }
    return (std::exp(high) + gaps) / count;
}

}  // namespace otpool::detail
