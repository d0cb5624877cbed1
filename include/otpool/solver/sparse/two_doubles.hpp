// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A number as the sum of two doubles, of about 32 digits (Dekker, "A floating-point technique for extending the
/// available precision", 1971). Infinite if the first is; the second is then 0.
template <std::same_as<Real> Work = Real>
struct TwoDoubles {
    Work high = 0;
    Work low = 0;

    /// a + b, exactly (Knuth's two-sum).
    static TwoDoubles sum(Work a, Work b) {
        const Work high = a + b;
        if (!std::isfinite(high)) return {high, 0};
        const Work of_b = high - a;
        return {high, (a - (high - of_b)) + (b - of_b)};
    }
    TwoDoubles plus(Work number) const {
        const TwoDoubles both = sum(high, number);
        return std::isfinite(both.high) ? sum(both.high, both.low + low) : both;
    }
    TwoDoubles plus(const TwoDoubles& other) const { return plus(other.high).plus(other.low); }
    /// The difference, rounded. Of two numbers near each other it keeps all digits of a double that they have.
    Work minus(const TwoDoubles& other) const { return (high - other.high) + (low - other.low); }

    friend bool operator<(const TwoDoubles& a, const TwoDoubles& b) {
        return a.high < b.high || (a.high == b.high && a.low < b.low);
    }
};

}  // namespace otpool::detail
