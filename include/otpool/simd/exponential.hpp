// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Core>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

namespace otpool::detail {

/// Exponents and logarithms in inner loops are to the base of two, as powers of two take less time than exponentials.
inline constexpr double log2_e = std::numbers::log2e;
inline constexpr double log_2 = std::numbers::ln2;

/// a b + c, of an entry.
struct MultiplyAdd {
    template <class Number>
    Number operator()(const Number& a, const Number& b, const Number& c) const {
        return a * b + c;
    }
    template <class P>  // NOLINTNEXTLINE(readability-identifier-naming): Eigen's name
    EIGEN_ALWAYS_INLINE P packetOp(const P& a, const P& b, const P& c) const {
        return Eigen::internal::pmadd(a, b, c);
    }
};

/// a b + c, of arrays: with the machine's fused instruction, if it has one, which not all compilers make of a * b + c.
template <class A, class B, class C>
auto multiply_add(const Eigen::ArrayBase<A>& a, const Eigen::ArrayBase<B>& b, const Eigen::ArrayBase<C>& c) {
    return Eigen::CwiseTernaryOp<MultiplyAdd, const A, const B, const C>(a.derived(), b.derived(), c.derived());
}

template <class A, class C>
auto multiply_add(const Eigen::ArrayBase<A>& a, typename A::Scalar b, const Eigen::ArrayBase<C>& c) {
    return multiply_add(a, A::PlainObject::Constant(b), c);
}

/// The numbers that powers of a Scalar are made of.
template <class Scalar>
struct ExponentialOf;

template <>
struct ExponentialOf<float> {
    using Bits = std::uint32_t;
    static constexpr unsigned mantissa_bits = 23;
    static constexpr float lowest = -87;
    static constexpr float lowest_of_two = -126;
    static constexpr float least_power = -115;               ///< PowerOrZero takes it for nothing.
    static constexpr double two_to_least_and_bias = 0x1p12;  ///< 2^(least_power + the bias of exponents)
    static constexpr float to_integer = 0x1.8p23F;           ///< Added to n, it leaves n in the lowest bits.
    static constexpr std::array log_2_parts = {0x1.62ep-1F, 0x1.0bfbe8p-15F};  ///< n times the first is exact
    /// The polynomial of its degree that is nearest to exp(r), |r| <= log(2) / 2, relative to it; from the constant
    /// term, 1.
    static constexpr std::array polynomial = {
        1.0, 0.9999997071712808, 0.4999914952729174, 0.16667636284720913, 0.04189792987799079, 0.008290307161315624};
};

template <>
struct ExponentialOf<double> {
    using Bits = std::uint64_t;
    static constexpr unsigned mantissa_bits = 52;
    static constexpr double lowest = -708;
    static constexpr double lowest_of_two = -1022;
    static constexpr double least_power = -1010;
    static constexpr double two_to_least_and_bias = 0x1p13;
    static constexpr double to_integer = 0x1.8p52;
    static constexpr std::array log_2_parts = {6.93147180369123816490e-01, 1.90821492927058770002e-10};
    static constexpr std::array polynomial = {1.0,
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
};

enum class Base { e, two };

/// factor base^r, |r log(base)| <= log(2) / 2, as a polynomial.
template <class Scalar, Base base>
class PowerPolynomial {
public:
    constexpr explicit PowerPolynomial(double factor) {
        for (std::size_t k = 0; k < coefficients_.size(); ++k, factor *= base == Base::two ? log_2 : 1) {
            coefficients_[k] = static_cast<Scalar>(ExponentialOf<Scalar>::polynomial[k] * factor);
        }
    }

    template <class P>
    EIGEN_ALWAYS_INLINE P operator()(const P& r) const {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        P power = pset1<P>(coefficients_.back());
        for (std::size_t k = coefficients_.size() - 1; k-- > 0;) power = pmadd(power, r, pset1<P>(coefficients_[k]));
        return power;
    }

private:
    std::array<Scalar, ExponentialOf<Scalar>::polynomial.size()> coefficients_ = {};
};

/// base^x of a number, or of a register of them: 2^n base^r, where x = n log_base(2) + r. Always inlined, here and
/// below: large programs are past what compilers inline by themselves, and a call costs as much as the power.
template <class Scalar, Base base>
struct BoundedPower {
    using Of = ExponentialOf<Scalar>;
    using Bits = typename Of::Bits;

    Scalar operator()(Scalar x) const { return packetOp(x); }

    template <class P>
    EIGEN_ALWAYS_INLINE P packetOp(const P& x) const {  // NOLINT(readability-identifier-naming): Eigen's name
        return unbounded(
            Eigen::internal::pmax(x, Eigen::internal::pset1<P>(base == Base::two ? Of::lowest_of_two : Of::lowest)));
    }

    /// Any number for an x below the lowest.
    template <class P>
    EIGEN_ALWAYS_INLINE static P unbounded(const P& x) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        const auto all = [](Scalar number) { return pset1<P>(number); };
        P biased;  // n + to_integer
        P r;
        if constexpr (base == Base::two) {
            biased = padd(x, all(Of::to_integer));
            r = psub(x, psub(biased, all(Of::to_integer)));
        } else {
            biased = pmadd(x, all(static_cast<Scalar>(log2_e)), all(Of::to_integer));
            const P n = psub(biased, all(Of::to_integer));
            r = x;
            for (const Scalar part : Of::log_2_parts) r = pmadd(n, all(-part), r);
        }
        constexpr std::size_t size = unpacket_traits<P>::size;
        std::array<Scalar, size> result;
        std::array<Scalar, size> shift;
        pstoreu(result.data(), polynomial(r));
        pstoreu(shift.data(), biased);
        for (std::size_t i = 0; i < size; ++i) {  // n to the exponent's bits; compilers vectorise it
            result[i] = std::bit_cast<Scalar>(std::bit_cast<Bits>(result[i]) +
                                              (std::bit_cast<Bits>(shift[i]) << Of::mantissa_bits));
        }
        return ploadu<P>(result.data());
    }

private:
    static constexpr PowerPolynomial<Scalar, base> polynomial = PowerPolynomial<Scalar, base>(1);
};

/// 2^x of a number known to be neither below BoundedPower's lowest nor above its highest.
template <class Scalar>
struct PowerWithin {
    Scalar operator()(Scalar x) const { return packetOp(x); }

    template <class P>
    EIGEN_ALWAYS_INLINE P packetOp(const P& x) const {  // NOLINT(readability-identifier-naming): Eigen's name
        return BoundedPower<Scalar, Base::two>::unbounded(x);
    }
};

/// 2^x, but 0 of what rounds to the least power or below, and of NaN. Without a comparison: a number with n - least in
/// the bits of the exponent and none in the mantissa is 2^(n - least - bias), but 0 if n is the least.
template <class Scalar>
struct PowerOrZero {
    using Of = ExponentialOf<Scalar>;

    Scalar operator()(Scalar x) const { return packetOp(x); }

    template <class P>
    EIGEN_ALWAYS_INLINE P packetOp(const P& x) const {  // NOLINT(readability-identifier-naming): Eigen's name
        using namespace Eigen::internal;                // NOLINT(google-build-using-namespace)
        using Bits = typename Of::Bits;
        const P to_integer = pset1<P>(Of::to_integer - Of::least_power);
        const P bounded = pmax(pset1<P>(Of::least_power), x);  // in this order, so that it is the least if x is NaN
        const P biased = padd(bounded, to_integer);            // n - least_power in the lowest bits
        const P r = psub(bounded, psub(biased, to_integer));

        std::array<Scalar, unpacket_traits<P>::size> factor;
        pstoreu(factor.data(), biased);
        for (Scalar& number : factor) {  // compilers vectorise it
            number = std::bit_cast<Scalar>(std::bit_cast<Bits>(number) << Of::mantissa_bits);
        }
        return pmul(polynomial(r), ploadu<P>(factor.data()));
    }

private:
    static constexpr auto polynomial = PowerPolynomial<Scalar, Base::two>(Of::two_to_least_and_bias);
};

/// -|x| of an entry.
struct NegativeMagnitude {
    template <class Number>
    Number operator()(const Number& x) const {
        return -std::abs(x);
    }
    template <class P>
    EIGEN_ALWAYS_INLINE P packetOp(const P& x) const {  // NOLINT(readability-identifier-naming): Eigen's name
        using Eigen::internal::pset1;
        return Eigen::internal::por(x, pset1<P>(typename Eigen::internal::unpacket_traits<P>::type(-0.0)));
    }
};

/// -|x|, by one instruction.
template <class Derived>
auto negative_magnitude(const Eigen::ArrayBase<Derived>& x) {
    return x.unaryExpr(NegativeMagnitude());
}

/// exp(x), an expression, of numbers up to 88, in double 708: doubles within 4e-16 of it, floats within 2e-7; what is
/// below -87, in double -708, counts as that. Half of the time of Eigen's, which looks after every number there is and
/// divides doubles: 0.13 ns a float and 0.5 ns a double with AVX-512, against 0.25 and 1.1.
template <class Derived>
auto bounded_exp(const Eigen::ArrayBase<Derived>& x) {
    return x.unaryExpr(BoundedPower<typename Derived::Scalar, Base::e>());
}

/// 2^x, as near, of numbers up to 127, in double 1023; what is below -126, in double -1022, counts as that. Takes a
/// tenth to a fifth less time than bounded_exp(), as x is taken apart without a multiplication.
template <class Derived>
auto bounded_exp2(const Eigen::ArrayBase<Derived>& x) {
    return x.unaryExpr(BoundedPower<typename Derived::Scalar, Base::two>());
}

/// 2^x of numbers that are within those bounds.
template <class Derived>
auto exp2_within(const Eigen::ArrayBase<Derived>& x) {
    return x.unaryExpr(PowerWithin<typename Derived::Scalar>());
}

/// 2^x, as near, of numbers up to the same bounds, but 0 of NaN and of what rounds to -115 or less, in double
/// -1010.
template <class Derived>
auto exp2_or_zero(const Eigen::ArrayBase<Derived>& x) {
    return x.unaryExpr(PowerOrZero<typename Derived::Scalar>());
}

}  // namespace otpool::detail

namespace Eigen::internal {
template <>
struct functor_traits<otpool::detail::MultiplyAdd> {
    enum { Cost = 2, PacketAccess = 1 };
};
template <>
struct functor_traits<otpool::detail::NegativeMagnitude> {
    enum { Cost = 1, PacketAccess = 1 };
};
template <class Scalar, otpool::detail::Base base>
struct functor_traits<otpool::detail::BoundedPower<Scalar, base>> {
    enum { Cost = 16, PacketAccess = 1 };
};
template <class Scalar>
struct functor_traits<otpool::detail::PowerWithin<Scalar>> {
    enum { Cost = 15, PacketAccess = 1 };
};
template <class Scalar>
struct functor_traits<otpool::detail::PowerOrZero<Scalar>> {
    enum { Cost = 16, PacketAccess = 1 };
};
}  // namespace Eigen::internal
