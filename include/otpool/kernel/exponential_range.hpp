// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Within these bounds, exponentials in Scalar and their sums keep all digits.
template <BagScalar Scalar>
struct ExponentialRange {
    static constexpr bool single = std::same_as<Scalar, float>;
    /// Bounds of log scalings: what counts as zero in M stays negligible when scaled up, and little else becomes
    /// denormal when scaled down.
    static constexpr Scalar smallest_log_scaling = single ? -20 : -230;
    static constexpr Scalar largest_log_scaling = single ? 20 : 230;
    /// Down to here more becomes denormal, but nothing is lost, as the sums are in range.
    static constexpr Scalar least_log_scaling = 3 * smallest_log_scaling;
    /// How far exponents are raised before the first scalings, which then make up for it.
    static constexpr Scalar largest_log_raise = 40;
    static constexpr Scalar smallest_sum = single ? Scalar(1e-14) : Scalar(1e-180);
    /// Exponent of two; below it exp2_or_zero() gives 0, as products of such numbers are denormal and cost a hundred
    /// times as much.
    static constexpr Scalar smallest_exponent = Powers<Scalar>::least;
    /// Exponent of two; above it a sum is out of range anyway.
    static constexpr Scalar largest_exponent = single ? 127 : 1023;
    static constexpr Scalar largest_sum = single ? Scalar(1e30) : Scalar(1e250);
    /// Exponents lose digits to potentials added to them; up to here, the error in float is at most 1e-5.
    static constexpr Scalar largest_potential_summed = single ? 64 : 1e10;
    /// What a feature and an instance together add to an exponent of two; the error is as above.
    static constexpr Scalar largest_parts = 128;
    /// Above largest_potential_summed, exponents of floats are summed in double. Up to here, scalings make up for a
    /// potential's rounding.
    static constexpr Real largest_potential = single ? 1e6 : 1e10;
};

/// Whether all numbers are within the bounds; NaN is not.
template <class Number>
bool within(const Number* numbers, Index size, Number low, Number high) {
    int outside = 0;  // a search that ends early is not vectorised
    for (Index i = 0; i < size; ++i) {
        outside |= static_cast<int>(!(numbers[i] >= low)) | static_cast<int>(!(numbers[i] <= high));
    }
    return outside == 0;
}

/// scaling <- exp(potential - absorbed), with `absorbed` in units of log 2. Returns whether it is in range, with
/// logarithms from `smallest` up; if not, scaling is unspecified.
template <BagScalar Scalar>
bool set_scaling(const Real* potential, const Scalar* absorbed, Index size, Scalar* scaling,
                 Scalar smallest = ExponentialRange<Scalar>::smallest_log_scaling) {
    using Range = ExponentialRange<Scalar>;
    int outside = 0;  // as in within(), but in the same loop
    for (Index i = 0; i < size; ++i) {
        const auto logarithm = static_cast<Scalar>(potential[i] - static_cast<Real>(absorbed[i]) * log_2);
        outside |= static_cast<int>(!(logarithm >= smallest));
        outside |= static_cast<int>(!(logarithm <= Range::largest_log_scaling));
        scaling[i] = logarithm;
    }
    if (outside != 0) return false;
    bounded_exp(scaling, size, scaling);
    return true;
}

}  // namespace otpool::detail
