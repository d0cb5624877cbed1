// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>

namespace otpool {

// How a positive number is made of one without bounds, which an optimiser steps. value(raw), its derivative, and the
// raw number of a value.

/// exp(raw): equal steps are equal ratios, so that 0.01 and 100 are equally near to 1. Bounded to [e^-40, e^40].
struct PositiveExp {
    static double value(double raw) { return std::exp(std::clamp(raw, -40.0, 40.0)); }
    static double derivative(double raw) { return std::abs(raw) <= 40 ? std::exp(raw) : 0; }
    static double raw(double value) { return std::log(value); }
};

/// log(1 + exp(raw)), the paper's. At least 1e-18.
struct PositiveSoftplus {
    static double value(double raw) { return std::max(1e-18, raw > 30 ? raw : std::log1p(std::exp(raw))); }
    static double derivative(double raw) { return raw > -41 ? 1 / (1 + std::exp(-raw)) : 0; }
    static double raw(double value) { return value > 30 ? value : std::log(std::expm1(value)); }
};

}  // namespace otpool
