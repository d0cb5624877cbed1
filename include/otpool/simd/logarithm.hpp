// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <numbers>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// Coefficients of the polynomial p of this degree for which 2 s + s t p(t), t = s^2, has the least relative error to
/// log((1 + s) / (1 - s)), where (1 + s) / (1 - s) is 1/sqrt(2) to sqrt(2).
template <BagScalar Number>
constexpr auto coefficients_of_log() {
    if constexpr (std::same_as<Number, float>) {
        return std::array{0.66666776085428964825F, 0.39977574022900131809F, 0.29870937079782826813F};
    } else {
        return std::array{0.66666666666667341565, 0.39999999999416367826, 0.28571428742016067946,
                          0.22222198610749335463, 0.1818356240611156965,  0.15314098824974122786,
                          0.14795475158002209053};
    }
}

/// log(x) of a register of positive normal numbers; unspecified for others. The relative error is at most 3e-7 for
/// float, 5e-16 for double, even near 1. It is n log(2) + log(m), where x = 2^n m, m is 1/sqrt(2) to sqrt(2), and
/// log(m) = log((1 + s) / (1 - s)) with s = (m - 1) / (m + 1).
template <BagScalar Number>
EIGEN_ALWAYS_INLINE Packet<Number> log_of_packet(const Packet<Number>& x) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Number>;
    using Format = NumberBits<Number>;
    using Bits = typename Format::Bits;
    constexpr auto one = std::bit_cast<Bits>(Number(1));
    constexpr auto root_of_half = std::bit_cast<Bits>(static_cast<Number>(std::numbers::sqrt2 / 2));
    constexpr auto integer = std::bit_cast<Bits>(Format::two_to_mantissa_bits);  // setting its lowest bits to n adds n
    constexpr auto coefficients = coefficients_of_log<Number>();
    const auto all = [](Number number) { return pset1<P>(number); };
    std::array<Number, packet_size<Number>> mantissa;
    std::array<Number, packet_size<Number>> exponent;
    pstoreu(mantissa.data(), x);
    for (std::size_t i = 0; i < mantissa.size(); ++i) {  // compilers vectorise it
        const auto bits = std::bit_cast<Bits>(mantissa[i]);
        const Bits biased = (bits + (one - root_of_half)) >> Format::mantissa_bits;
        mantissa[i] = std::bit_cast<Number>(bits - ((biased - Bits{Format::bias}) << Format::mantissa_bits));
        exponent[i] = std::bit_cast<Number>(biased | integer);
    }
    const P m = ploadu<P>(mantissa.data());
    const P n = psub(ploadu<P>(exponent.data()), all(Format::two_to_mantissa_bits + Number(Format::bias)));
    const P s = pdiv(psub(m, all(1)), padd(m, all(1)));
    const P t = pmul(s, s);
    const P log_m = pmul(s, pmadd(polynomial(coefficients, t), t, all(2)));
    return pmadd(n, all(static_cast<Number>(log_2)), log_m);
}

}  // namespace otpool::detail
