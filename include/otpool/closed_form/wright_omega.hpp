// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// Wright's omega function: the w > 0 that solves w + log w = x. Its logarithm is x - w, also where w underflows. The
/// iteration is that of Fritsch, Shafer & Crowley (CACM 1973), of fourth order; the first guesses are those of Lawrence,
/// Corless & Jeffrey, "Algorithm 917" (2012). Cost: four logarithms at most.
template <std::same_as<Real> Work = Real>
Work wright_omega(Work x) {
    if (!(x > -40)) return std::exp(x);
    if (x > 1e17) return x;  // log w is below its rounding
    Work w;
    if (x > 1) {
        const Work log_x = std::log(x);
        w = x - log_x + log_x / x;
    } else {
        w = x > -2 ? std::exp(2 * (x - 1) / 3) : std::exp(x);
    }
    for (int i = 0; i < 2; ++i) {
        const Work residual = x - w - std::log(w);
        const Work q = 2 * (1 + w) * (1 + w + residual * 2 / 3);
        w *= 1 + residual / (1 + w) * (q - residual) / (q - 2 * residual);
    }
    return w;
}

}  // namespace otpool::detail
