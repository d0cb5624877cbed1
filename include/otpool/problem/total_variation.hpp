// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>

#include "otpool/core/compiler.hpp"

namespace otpool {

/// alpha sum_i |m_i - p_i|: a marginal that may leave its prior at a fixed price. A MarginalPenalty, psi(t) = |t - 1|
/// (Chizat, Peyre, Schmitzer & Vialard, arXiv 1607.05816, section 3). If both marginals have it, features and instances
/// whose reward is above alpha1 + alpha2 are paid for more mass than any prior says: the regulariser alone bounds it, and
/// the plan's mass grows like exp((X - alpha1 - alpha2) / alpha0).
struct TotalVariation {
    double value(double ratio) const { return std::abs(ratio - 1); }  ///< psi(t)
    /// As in MarginalPenalty.
    double half_step(double excess, double strength) const { return std::clamp(excess, -strength, strength); }
};

}  // namespace otpool
