// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Core>

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "otpool/core/matrix.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // a vector type as template argument loses none that matters
#endif

namespace otpool::detail {

// The innermost loops, on Eigen's packets (the vector registers of whatever machine it is compiled for). Matrices are
// column-major with `lanes` rows, a multiple of the packet's size.

template <BagScalar Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;

template <BagScalar Scalar>
inline constexpr Index packet_size = Eigen::internal::unpacket_traits<Packet<Scalar>>::size;

/// As many integers as Packet<Scalar> has floats.
template <BagScalar Scalar>
using IntegerPacket = typename Eigen::internal::unpacket_traits<Packet<Scalar>>::integer_packet;

/// The smallest multiple of the packet's size that holds `size` numbers.
template <BagScalar Scalar>
Index padded(Index size) {
    return (size + packet_size<Scalar> - 1) / packet_size<Scalar> * packet_size<Scalar>;
}

/// 1/k! for k = 0 to degree
template <std::size_t degree>
constexpr std::array<double, degree + 1> inverse_factorials() {
    std::array<double, degree + 1> inverse{1};
    for (std::size_t k = 1; k <= degree; ++k) inverse[k] = inverse[k - 1] / static_cast<double>(k);
    return inverse;
}

/// exp(x) of a packet to about one unit in the last place, where the result is a normal number; about the smallest
/// normal number below, the largest power above. Eigen's own takes half as long again in float, and three times in double,
/// for what is not needed here: infinities and denormal numbers.
template <BagScalar Scalar>
Packet<Scalar> exponential(Packet<Scalar> x) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace): pset1 and its like
    using P = Packet<Scalar>;
    if constexpr (packet_size<Scalar> == 1) {
        return std::exp(x);
    } else {
        constexpr bool single = std::same_as<Scalar, float>;
        const auto all = [](double value) { return pset1<P>(static_cast<Scalar>(value)); };
        x = pmin(pmax(x, all(single ? -87 : -708)), all(single ? 88 : 709));
        // x = n log 2 + r, |r| <= log(2)/2; adding 1.5 * 2^digits rounds to an integer, which is left in the lowest bits
        const P rounder = all(single ? 0x1.8p23 : 0x1.8p52);
        const P shifted = pmadd(x, all(1.4426950408889634), rounder);
        const P n = psub(shifted, rounder);
        // log 2 in two parts, the first with few enough digits that n times it is exact
        const P high = all(single ? -0x1.62ep-1 : -0x1.62e42feep-1);
        const P low = all(single ? -0x1.0bfbe8p-15 : -0x1.a39ef35793c76p-33);
        const P r = pmadd(n, low, pmadd(n, high, x));
        // Taylor's polynomial: its next term is below the rounding error
        constexpr std::size_t degree = single ? 7 : 13;
        constexpr auto coefficient = inverse_factorials<degree>();
        P sum = all(coefficient[degree]);
        [&]<std::size_t... k>(std::index_sequence<k...>) {
            ((sum = pmadd(sum, r, all(coefficient[degree - 1 - k]))), ...);
        }(std::make_index_sequence<degree>());
        if constexpr (single) {
            using Integers = IntegerPacket<Scalar>;
            const Integers exponent = plogical_shift_left<23>(preinterpret<Integers>(shifted));
            return preinterpret<P>(padd(preinterpret<Integers>(sum), exponent));
        } else {
            return pldexp(sum, n);
        }
    }
}

/// sums_i = sum_l M_li weight_l
template <BagScalar Scalar>
void multiply_transposed(const Scalar* M, Index lanes, Index items, const Scalar* weight, Scalar* sums) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    const auto dot = [&]<int count>(std::integral_constant<int, count>, Index first) {
        P sum[count];  // std::array would drop the alignment of P, with a warning
        for (P& zero : sum) zero = pset1<P>(Scalar(0));
        for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
            const P w = ploadu<P>(weight + l);
            for (int c = 0; c < count; ++c) sum[c] = pmadd(ploadu<P>(M + (first + c) * lanes + l), w, sum[c]);
        }
        for (int c = 0; c < count; ++c) sums[first + c] = predux(sum[c]);
    };
    Index first = 0;
    for (; first + 4 <= items; first += 4) dot(std::integral_constant<int, 4>(), first);
    for (; first < items; ++first) dot(std::integral_constant<int, 1>(), first);
}

/// sums_l = sum_i M_li weight_i
template <BagScalar Scalar>
void multiply(const Scalar* M, Index lanes, Index items, const Scalar* weight, Scalar* sums) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    const auto add = [&]<int count>(std::integral_constant<int, count>, Index first) {
        P sum[count];  // std::array would drop the alignment of P, with a warning
        for (P& zero : sum) zero = pset1<P>(Scalar(0));
        for (Index i = 0; i < items; ++i) {
            const P w = pset1<P>(weight[i]);
            const Scalar* lane = M + i * lanes + first;
            for (int c = 0; c < count; ++c) sum[c] = pmadd(ploadu<P>(lane + c * packet_size<Scalar>), w, sum[c]);
        }
        for (int c = 0; c < count; ++c) pstoreu(sums + first + c * packet_size<Scalar>, sum[c]);
    };
    Index first = 0;
    constexpr Index four = 4 * packet_size<Scalar>;
    for (; first + four <= lanes; first += four) add(std::integral_constant<int, 4>(), first);
    for (; first < lanes; first += packet_size<Scalar>) add(std::integral_constant<int, 1>(), first);
}

}  // namespace otpool::detail

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
