// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>

#include "otpool/core/compiler.hpp"

namespace otpool {

// Maps from a number without bounds (raw), which an optimiser steps, to a positive value.

/// exp(raw), bounded to [e^-40, e^40]. Equal steps are equal ratios: 0.01 and 100 are equally far from 1.
struct PositiveExp {
    /// The positive value.
    static double value(double raw) { return std::exp(std::clamp(raw, -40.0, 40.0)); }
    /// d value / d raw
    static double derivative(double raw) { return std::abs(raw) <= 40 ? std::exp(raw) : 0; }
    /// The inverse of value().
    static double raw(double value) { return std::log(value); }
};

/// log(1 + exp(raw)), as in the paper; at least 1e-18.
struct PositiveSoftplus {
    /// The positive value.
    static double value(double raw) { return (std::max)(1e-18, raw > 30 ? raw : std::log1p(std::exp(raw))); }
    /// d value / d raw
    static double derivative(double raw) { return raw > -41 ? 1 / (1 + std::exp(-raw)) : 0; }
    /// The inverse of value().
    static double raw(double value) { return value > 30 ? value : std::log(std::expm1(value)); }
};

}  // namespace otpool
