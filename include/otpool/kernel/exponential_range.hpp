// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Within these bounds exponentials in Scalar, and sums of them, keep all the digits that Scalar has.
template <BagScalar Scalar>
struct ExponentialRange {
    static constexpr bool single = std::same_as<Scalar, float>;
    /// Logarithms of scalings: what counts as zero in M stays nothing when it is scaled up, little else becomes
    /// denormal when it is scaled down.
    static constexpr Scalar smallest_log_scaling = single ? -20 : -230;
    static constexpr Scalar largest_log_scaling = single ? 20 : 230;
    /// Down to here more becomes denormal, but nothing is lost, as sums of it are in range.
    static constexpr Scalar least_log_scaling = 3 * smallest_log_scaling;
    /// By how much exponents are raised before there are scalings, which then make up for it.
    static constexpr Scalar largest_log_raise = 40;
    static constexpr Scalar smallest_sum = single ? Scalar(1e-14) : Scalar(1e-180);
    /// Of a power of two, which exp2_or_zero() takes for zero below it: products of such numbers are denormal, and cost
    /// a hundred times as much.
    static constexpr Scalar smallest_exponent = Powers<Scalar>::least;
    /// Of a power of two, beyond which a sum is out of range anyway.
    static constexpr Scalar largest_exponent = single ? 127 : 1023;
    static constexpr Scalar largest_sum = single ? Scalar(1e30) : Scalar(1e250);
    /// A potential takes digits of the exponent that it is added to. With floats up to here, the error is 1e-5.
    static constexpr Scalar largest_potential_summed = single ? 64 : 1e10;
    /// What a feature and an instance add to the exponent of a power of two, together. With floats up to here, the
    /// error is 1e-5, too.
    static constexpr Scalar largest_parts = 128;
    /// Beyond it, exponents of floats are summed in double. Up to here scalings make up for a potential's rounding.
    static constexpr Real largest_potential = single ? 1e6 : 1e10;
};

/// Whether all numbers are within the bounds; NaN is not.
template <class Number>
bool within(const Number* numbers, Index size, Number low, Number high) {
    int outside = 0;  // gathered, as a search that ends early is not vectorised
    for (Index i = 0; i < size; ++i) {
        outside |= static_cast<int>(!(numbers[i] >= low)) | static_cast<int>(!(numbers[i] <= high));
    }
    return outside == 0;
}

/// scaling <- exp(potential - absorbed), of what has been absorbed in units of log 2. Whether it is in range, its
/// logarithm from `smallest`; otherwise scaling is any numbers.
template <BagScalar Scalar>
bool set_scaling(const Real* potential, const Scalar* absorbed, Index size, Scalar* scaling,
                 Scalar smallest = ExponentialRange<Scalar>::smallest_log_scaling) {
    using Range = ExponentialRange<Scalar>;
    int outside = 0;  // as within(), in one loop with what it is to look at
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
