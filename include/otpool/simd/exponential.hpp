// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <type_traits>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// Inner loops use exponents and logarithms in base two, as 2^x takes less time than exp(x).
inline constexpr double log2_e = std::numbers::log2e;
inline constexpr double log_2 = std::numbers::ln2;

/// The bits of a positive number 2^n m, 1 <= m < 2: n + bias, then m's mantissa_bits.
template <BagScalar Number>
struct NumberBits {
    using Bits = std::conditional_t<std::same_as<Number, float>, std::uint32_t, std::uint64_t>;
    static constexpr int mantissa_bits = std::numeric_limits<Number>::digits - 1;
    static constexpr int bias = std::numeric_limits<Number>::max_exponent - 1;
    static constexpr Number two_to_mantissa_bits = 1 / std::numeric_limits<Number>::epsilon();
};

/// sum_k coefficients_k x^k. Always inlined, like all of this folder: in large programs compilers stop inlining by
/// themselves, and a call costs as much as a power.
template <BagScalar Number, std::size_t size>
EIGEN_ALWAYS_INLINE Packet<Number> polynomial(const std::array<Number, size>& coefficients, const Packet<Number>& x) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    Packet<Number> sum = pset1<Packet<Number>>(coefficients[size - 1]);
    for (std::size_t k = size - 1; k-- > 0;) sum = pmadd(sum, x, pset1<Packet<Number>>(coefficients[k]));
    return sum;
}

/// Coefficients of the polynomial of this degree with the least relative error to exp(r), |r| <= log(2) / 2.
template <BagScalar Number>
constexpr auto coefficients_of_exp() {
    if constexpr (std::same_as<Number, float>) {
        return std::array{1.0,
                          0.9999997071712808,
                          0.4999914952729174,
                          0.16667636284720913,
                          0.04189792987799079,
                          0.008290307161315624};
    } else {
        return std::array{1.0,
                          1.0,
                          0.5000000000000019,
                          0.1666666666666668,
                          0.0416666666664881,
                          0.008333333333319601,
                          0.0013888888952314775,
                          0.00019841269890047113,
                          2.4801485482328494e-05,
                          2.755724091857897e-06,
                          2.763263963904103e-07,
                          2.5110037605963777e-08};
    }
}

/// The same for factor base^r, given log(base).
template <BagScalar Number>
constexpr auto coefficients_of_power(double log_base, double factor) {
    constexpr auto of_exp = coefficients_of_exp<Number>();
    std::array<Number, of_exp.size()> coefficients = {};
    for (std::size_t k = 0; k < of_exp.size(); ++k, factor *= log_base) {
        coefficients[k] = static_cast<Number>(of_exp[k] * factor);
    }
    return coefficients;
}

/// Powers base^x = 2^n base^r of a register of numbers x = n log_base(2) + r. The relative error is at most 4e-16 for
/// double, 2e-7 for float.
template <BagScalar Number>
class Powers {
    using P = Packet<Number>;
    using Bits = typename NumberBits<Number>::Bits;
    static constexpr bool single = std::same_as<Number, float>;

public:
    /// exp2_or_zero() gives 0 for this exponent and below.
    static constexpr Number least = single ? -115 : -1010;

    /// exp(x) for x up to 88 (double: 708); x below -87 (double: -708) counts as that. With AVX-512 it takes 0.13 ns
    /// per float and 0.5 ns per double. Eigen's takes 0.25 and 1.1 ns: it handles all numbers, and divides doubles.
    EIGEN_ALWAYS_INLINE static P bounded_exp(const P& x) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        P r = pmax(x, all(single ? -87 : -708));
        const P biased = pmadd(r, all(static_cast<Number>(log2_e)), all(to_integer));
        const P n = psub(biased, all(to_integer));
        for (const Number part : log_2_parts) r = pmadd(n, all(-part), r);
        return times_power(polynomial(of_e, r), biased);
    }

    /// 2^x for x up to 127 (double: 1023); x below -126 (double: -1022) counts as that. Takes a tenth to a fifth less
    /// time than bounded_exp(), as splitting x needs no multiplication.
    EIGEN_ALWAYS_INLINE static P bounded_exp2(const P& x) {
        return exp2_within(Eigen::internal::pmax(x, all(std::numeric_limits<Number>::min_exponent - 1)));
    }

    /// 2^x for x within those bounds.
    EIGEN_ALWAYS_INLINE static P exp2_within(const P& x) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        const P biased = padd(x, all(to_integer));
        return times_power(polynomial(of_two, psub(x, psub(biased, all(to_integer)))), biased);
    }

    /// 2^x for x up to the same bound; 0 if x is NaN or rounds to `least` or below. It needs no comparison: the number
    /// with n - least as exponent bits and 0 as mantissa is 2^(n - least - bias), and 0 if n = least.
    EIGEN_ALWAYS_INLINE static P exp2_or_zero(const P& x) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        const P bounded = at_least(x);
        const P biased = padd(bounded, all(to_integer - least));  // n - least in the lowest bits
        const P r = psub(bounded, psub(biased, all(to_integer - least)));
        std::array<Number, packet_size<Number>> factor;
        pstoreu(factor.data(), biased);
        for (Number& number : factor) number = std::bit_cast<Number>(to_exponent(number));  // compilers vectorise it
        return pmul(polynomial(of_two_times_bias, r), ploadu<P>(factor.data()));
    }

private:
    /// Adding it to n puts n in the lowest bits.
    static constexpr Number to_integer = Number(1.5) * NumberBits<Number>::two_to_mantissa_bits;
    /// Their sum is log(2); n times the first is exact.
    static constexpr auto log_2_parts =
        single ? std::array{Number(0x1.62ep-1), Number(0x1.0bfbe8p-15)}
               : std::array{Number(6.93147180369123816490e-01), Number(1.90821492927058770002e-10)};
    static constexpr auto of_e = coefficients_of_power<Number>(1, 1);
    static constexpr auto of_two = coefficients_of_power<Number>(log_2, 1);
    static constexpr auto of_two_times_bias =
        coefficients_of_power<Number>(log_2, 1 << (NumberBits<Number>::bias + static_cast<int>(least)));

    EIGEN_ALWAYS_INLINE static P all(Number number) { return Eigen::internal::pset1<P>(number); }

    /// The higher of x and `least`; `least` if x is NaN.
    EIGEN_ALWAYS_INLINE static P at_least(const P& x) {
#ifdef EIGEN_VECTORIZE_SSE
        return Eigen::internal::pmax(all(least), x);  // x86's instruction gives the first of its operands if one is NaN
#else
        return Eigen::internal::pmax<Eigen::PropagateNumbers>(all(least), x);
#endif
    }

    /// Moves the lowest bits to the exponent.
    static Bits to_exponent(Number biased) { return std::bit_cast<Bits>(biased) << NumberBits<Number>::mantissa_bits; }

    /// factor 2^n, given n + to_integer.
    EIGEN_ALWAYS_INLINE static P times_power(const P& factor, const P& biased) {
        std::array<Number, packet_size<Number>> result;
        std::array<Number, packet_size<Number>> shift;
        Eigen::internal::pstoreu(result.data(), factor);
        Eigen::internal::pstoreu(shift.data(), biased);
        for (std::size_t i = 0; i < result.size(); ++i) {  // compilers vectorise it
            result[i] = std::bit_cast<Number>(std::bit_cast<Bits>(result[i]) + to_exponent(shift[i]));
        }
        return Eigen::internal::ploadu<P>(result.data());
    }
};

}  // namespace otpool::detail
