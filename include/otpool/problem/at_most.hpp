// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <limits>

#include "otpool/core/compiler.hpp"

namespace otpool {

/// A marginal that is at most its prior: m_i <= p_i, at no price below it. A MarginalPenalty, psi(t) = 0 up to t = 1,
/// infinite above. Half step: f_i = min(0, a0 (log p_i - log sum)). The strength alpha does not matter as long as it is
/// finite and > 0. With both marginals at most their priors and UotProblem::mass, it is partial transport (Benamou,
/// Carlier, Cuturi, Nenna & Peyre, arXiv 1412.5154).
struct AtMost {
    /// A solution's marginal may be above its prior by its residual, so values count as 0 up to t = 1.001.
    double value(double ratio) const { return ratio <= 1.001 ? 0 : std::numeric_limits<double>::infinity(); }
    /// As in MarginalPenalty.
    double half_step(double excess, double /*strength*/) const { return (std::min)(excess, 0.0); }
};

}  // namespace otpool
