// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Core>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "otpool/simd/exponential.hpp"

namespace otpool::detail {

/// The numbers that logarithms of a Scalar are made of.
template <class Scalar>
struct LogarithmOf;

template <>
struct LogarithmOf<float> {
    using Bits = std::uint32_t;
    static constexpr unsigned mantissa_bits = 23;
    static constexpr Bits root_of_half = 0x3f3504f3;
    static constexpr Bits one = 0x3f800000;
    static constexpr Bits integer = 0x4b000000;  ///< Of 2^23, in whose lowest bits n makes it 2^23 + n.
    static constexpr float two_to_mantissa_bits = 0x1p23F;
    /// The polynomial in t = s^2 of its degree that makes 2 s + s t p(t) nearest to log((1 + s) / (1 - s)), relative to
    /// it, where that is a logarithm of 1/sqrt(2) to sqrt(2); from the constant term.
    static constexpr std::array polynomial = {0.66666776085428964825F, 0.39977574022900131809F,
                                              0.29870937079782826813F};
};

template <>
struct LogarithmOf<double> {
    using Bits = std::uint64_t;
    static constexpr unsigned mantissa_bits = 52;
    static constexpr Bits root_of_half = 0x3fe6a09e667f3bcd;
    static constexpr Bits one = 0x3ff0000000000000;
    static constexpr Bits integer = 0x4330000000000000;
    static constexpr double two_to_mantissa_bits = 0x1p52;
    static constexpr std::array polynomial = {0.66666666666667341565, 0.39999999999416367826, 0.28571428742016067946,
                                              0.22222198610749335463, 0.1818356240611156965,  0.15314098824974122786,
                                              0.14795475158002209053};
};

/// log(x) of a positive normal number, or of a register of them: n log(2) + log(m), where x = 2^n m and m is 1/sqrt(2)
/// to sqrt(2), of which log(m) = log((1 + s) / (1 - s)), s = (m - 1) / (m + 1).
template <class Scalar>
struct LogOfNormal {
    using Of = LogarithmOf<Scalar>;
    using Bits = typename Of::Bits;

    Scalar operator()(Scalar x) const { return packetOp(x); }

    template <class P>
    EIGEN_ALWAYS_INLINE P packetOp(const P& x) const {  // NOLINT(readability-identifier-naming): Eigen's name
        using namespace Eigen::internal;                // NOLINT(google-build-using-namespace)
        const auto all = [](Scalar number) { return pset1<P>(number); };
        constexpr Bits bias = Of::one >> Of::mantissa_bits;
        constexpr std::size_t size = unpacket_traits<P>::size;
        std::array<Scalar, size> mantissa;
        std::array<Scalar, size> exponent;
        pstoreu(mantissa.data(), x);
        for (std::size_t i = 0; i < size; ++i) {  // compilers vectorise it
            const Bits bits = std::bit_cast<Bits>(mantissa[i]);
            const Bits biased = (bits + (Of::one - Of::root_of_half)) >> Of::mantissa_bits;
            mantissa[i] = std::bit_cast<Scalar>(bits - ((biased - bias) << Of::mantissa_bits));
            exponent[i] = std::bit_cast<Scalar>(biased | Of::integer);
        }
        const P m = ploadu<P>(mantissa.data());
        const P n = psub(ploadu<P>(exponent.data()), all(Of::two_to_mantissa_bits + static_cast<Scalar>(bias)));
        const P s = pdiv(psub(m, all(1)), padd(m, all(1)));
        const P t = pmul(s, s);
        P sum = all(Of::polynomial.back());
        for (std::size_t k = Of::polynomial.size() - 1; k-- > 0;) sum = pmadd(sum, t, all(Of::polynomial[k]));
        const P log_m = pmul(s, pmadd(sum, t, all(2)));
        return pmadd(n, all(static_cast<Scalar>(log_2)), log_m);
    }
};

/// log(x), an expression, of positive normal numbers; of others it is any numbers. Within 3e-7, in double 5e-16, of it,
/// relative to it: near 1, too.
template <class Derived>
auto log_of_normal(const Eigen::ArrayBase<Derived>& x) {
    return x.unaryExpr(LogOfNormal<typename Derived::Scalar>());
}

}  // namespace otpool::detail

namespace Eigen::internal {
template <class Scalar>
struct functor_traits<otpool::detail::LogOfNormal<Scalar>> {
    enum { Cost = 25, PacketAccess = 1 };
};
}  // namespace Eigen::internal
