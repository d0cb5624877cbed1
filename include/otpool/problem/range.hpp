// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/error.hpp"

namespace otpool {

/// A marginal within a range about its prior: low p_i <= m_i <= high p_i, at no price inside. A MarginalPenalty,
/// psi(t) = 0 from t = low to high, infinite elsewhere (Chizat, Peyre, Schmitzer & Vialard, arXiv 1607.05816, section
/// 3). The strength alpha does not matter as long as it is finite and > 0. Range(1, 1) is a hard marginal.
class Range {
public:
    /// 0 <= low <= 1 <= high; high may be infinite. Throws InvalidArgument.
    Range(double low, double high) : low_(low), high_(high), log_low_(std::log(low)), log_high_(std::log(high)) {
        detail::require_that(low >= 0 && low <= 1, "low of Range", low, "0 to 1");
        detail::require_that(high >= 1, "high of Range", high, "1 to inf");
    }

    /// A solution's marginal may be outside by its residual, so values count as 0 from 0.999 low to 1.001 high.
    double value(double ratio) const {
        return ratio >= 0.999 * low_ && ratio <= 1.001 * high_ ? 0 : std::numeric_limits<double>::infinity();
    }
    /// As in MarginalPenalty.
    double half_step(double excess, double /*strength*/) const {
        return excess - std::clamp(excess, -log_high_, -log_low_);
    }

private:
    double low_, high_;
    double log_low_, log_high_;
};

}  // namespace otpool
