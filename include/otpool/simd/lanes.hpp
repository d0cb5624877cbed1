// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <cmath>
#include <cstddef>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/logarithm.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// register_lanes numbers in SIMD registers, with arithmetic lane by lane. Hot loops compute with it: it is as fast as
/// an Eigen array of that size, but is compiled once per number type instead of once per expression. Memory need not be
/// aligned.
template <BagScalar Number>
struct Lanes {
    using P = Packet<Number>;
    static constexpr int registers = static_cast<int>(register_lanes / packet_size<Number>);

    // NOLINTNEXTLINE(modernize-avoid-c-arrays): std::array drops the alignment of P, with a warning
    P packet[std::size_t{registers}];

    Lanes() = default;
    /// The same number in every lane.
    EIGEN_ALWAYS_INLINE explicit(false) Lanes(Number number) {
        for (P& p : packet) p = Eigen::internal::pset1<P>(number);
    }

    EIGEN_ALWAYS_INLINE static Lanes load(const Number* from) {
        Lanes lanes;
        for (int r = 0; r < registers; ++r)
            lanes.packet[r] = Eigen::internal::ploadu<P>(from + r * packet_size<Number>);
        return lanes;
    }
    EIGEN_ALWAYS_INLINE void store(Number* to) const {
        for (int r = 0; r < registers; ++r) Eigen::internal::pstoreu(to + r * packet_size<Number>, packet[r]);
    }

    /// Loads the first `count` lanes and sets the others to `rest`; store_first() stores the first `count` lanes. Only
    /// partly used registers need an extra copy.
    static Lanes load_first(const Number* from, Index count, Number rest) {
        Lanes lanes;
        for (int r = 0; r < registers; ++r) {
            const Index first = r * packet_size<Number>;
            const Index present = count - first;
            if (present >= packet_size<Number>) {
                lanes.packet[r] = Eigen::internal::ploadu<P>(from + first);
            } else if (present <= 0) {
                lanes.packet[r] = Eigen::internal::pset1<P>(rest);
            } else {
                Number numbers[packet_size<Number>];  // NOLINT(modernize-avoid-c-arrays)
                for (Index i = 0; i < packet_size<Number>; ++i) numbers[i] = i < present ? from[first + i] : rest;
                lanes.packet[r] = Eigen::internal::ploadu<P>(numbers);
            }
        }
        return lanes;
    }
    void store_first(Number* to, Index count) const {
        for (int r = 0; r < registers; ++r) {
            const Index first = r * packet_size<Number>;
            if (count - first >= packet_size<Number>) {
                Eigen::internal::pstoreu(to + first, packet[r]);
                continue;
            }
            Number numbers[packet_size<Number>];  // NOLINT(modernize-avoid-c-arrays)
            Eigen::internal::pstoreu(numbers, packet[r]);
            for (Index i = first; i < count; ++i) to[i] = numbers[i - first];
        }
    }
    /// x in the first `count` lanes, `rest` in the others.
    friend Lanes first_lanes(const Lanes& x, Index count, Number rest) {
        if (count == register_lanes) return x;
        Number numbers[register_lanes];  // NOLINT(modernize-avoid-c-arrays)
        x.store(numbers);
        return load_first(numbers, count, rest);
    }

    EIGEN_ALWAYS_INLINE Lanes& operator+=(const Lanes& other) { return *this = *this + other; }
    EIGEN_ALWAYS_INLINE Lanes& operator*=(const Lanes& other) { return *this = *this * other; }

    friend EIGEN_ALWAYS_INLINE Lanes operator+(const Lanes& a, const Lanes& b) {
        return map(a, b, [](const P& x, const P& y) { return Eigen::internal::padd(x, y); });
    }
    friend EIGEN_ALWAYS_INLINE Lanes operator-(const Lanes& a, const Lanes& b) {
        return map(a, b, [](const P& x, const P& y) { return Eigen::internal::psub(x, y); });
    }
    friend EIGEN_ALWAYS_INLINE Lanes operator*(const Lanes& a, const Lanes& b) {
        return map(a, b, [](const P& x, const P& y) { return Eigen::internal::pmul(x, y); });
    }
    friend EIGEN_ALWAYS_INLINE Lanes operator/(const Lanes& a, const Lanes& b) {
        return map(a, b, [](const P& x, const P& y) { return Eigen::internal::pdiv(x, y); });
    }
    /// The lower and higher number per lane; none may be NaN.
    friend EIGEN_ALWAYS_INLINE Lanes lower(const Lanes& a, const Lanes& b) {
        return map(a, b, [](const P& x, const P& y) { return Eigen::internal::pmin(x, y); });
    }
    friend EIGEN_ALWAYS_INLINE Lanes higher(const Lanes& a, const Lanes& b) {
        return map(a, b, [](const P& x, const P& y) { return Eigen::internal::pmax(x, y); });
    }
    /// a b + c, fused where the machine has an instruction for it.
    friend EIGEN_ALWAYS_INLINE Lanes multiply_add(const Lanes& a, const Lanes& b, const Lanes& c) {
        Lanes result;
        for (int r = 0; r < registers; ++r)
            result.packet[r] = Eigen::internal::pmadd(a.packet[r], b.packet[r], c.packet[r]);
        return result;
    }
    /// -|x|
    friend EIGEN_ALWAYS_INLINE Lanes negative_magnitude(const Lanes& x) {
        return map(x, [](const P& p) { return Eigen::internal::por(p, Eigen::internal::pset1<P>(Number(-0.0))); });
    }
    /// |magnitude| with the sign of `sign`.
    friend EIGEN_ALWAYS_INLINE Lanes copy_sign(const Lanes& magnitude, const Lanes& sign) {
        const P minus = Eigen::internal::pset1<P>(Number(-0.0));
        return map(magnitude, sign, [&](const P& m, const P& s) {
            return Eigen::internal::por(Eigen::internal::pand(s, minus), Eigen::internal::pandnot(m, minus));
        });
    }

    /// exp(x), 2^x and log(x) with the bounds and errors of Powers and log_of_packet().
    friend EIGEN_ALWAYS_INLINE Lanes bounded_exp(const Lanes& x) {
        return map(x, [](const P& p) { return Powers<Number>::bounded_exp(p); });
    }
    friend EIGEN_ALWAYS_INLINE Lanes bounded_exp2(const Lanes& x) {
        return map(x, [](const P& p) { return Powers<Number>::bounded_exp2(p); });
    }
    friend EIGEN_ALWAYS_INLINE Lanes exp2_within(const Lanes& x) {
        return map(x, [](const P& p) { return Powers<Number>::exp2_within(p); });
    }
    friend EIGEN_ALWAYS_INLINE Lanes exp2_or_zero(const Lanes& x) {
        return map(x, [](const P& p) { return Powers<Number>::exp2_or_zero(p); });
    }
    /// exp(x) as a power of two, with fewer digits if |x| is large; 0 for NaN and very low x, never infinite.
    friend EIGEN_ALWAYS_INLINE Lanes exp_or_zero(const Lanes& x) {
        constexpr auto highest_power = static_cast<Number>(std::numeric_limits<Number>::max_exponent - 1);
        return exp2_or_zero(lower(x * Lanes(static_cast<Number>(log2_e)), Lanes(highest_power)));
    }
    friend EIGEN_ALWAYS_INLINE Lanes log_of_normal(const Lanes& x) {
        return map(x, [](const P& p) { return log_of_packet<Number>(p); });
    }

    /// Over all lanes.
    friend EIGEN_ALWAYS_INLINE Number sum(const Lanes& x) {
        return Eigen::internal::predux(fold(x, [](const P& a, const P& b) { return Eigen::internal::padd(a, b); }));
    }
    friend EIGEN_ALWAYS_INLINE Number highest(const Lanes& x) {
        return Eigen::internal::predux_max(fold(x, [](const P& a, const P& b) { return Eigen::internal::pmax(a, b); }));
    }
    friend EIGEN_ALWAYS_INLINE Number lowest(const Lanes& x) {
        return Eigen::internal::predux_min(fold(x, [](const P& a, const P& b) { return Eigen::internal::pmin(a, b); }));
    }

private:
    template <class Operation>
    EIGEN_ALWAYS_INLINE static Lanes map(const Lanes& x, const Operation& operation) {
        Lanes result;
        for (int r = 0; r < registers; ++r) result.packet[r] = operation(x.packet[r]);
        return result;
    }
    template <class Operation>
    EIGEN_ALWAYS_INLINE static Lanes map(const Lanes& a, const Lanes& b, const Operation& operation) {
        Lanes result;
        for (int r = 0; r < registers; ++r) result.packet[r] = operation(a.packet[r], b.packet[r]);
        return result;
    }
    template <class Operation>
    EIGEN_ALWAYS_INLINE static P fold(const Lanes& x, const Operation& operation) {
        P all = x.packet[0];
        for (int r = 1; r < registers; ++r) all = operation(all, x.packet[r]);
        return all;
    }
};

/// The same lanes in another number type.
template <BagScalar To, BagScalar From>
EIGEN_ALWAYS_INLINE Lanes<To> converted(const Lanes<From>& x) {
    From from[register_lanes];  // NOLINT(modernize-avoid-c-arrays)
    To to[register_lanes];      // NOLINT(modernize-avoid-c-arrays)
    x.store(from);
    for (Index i = 0; i < register_lanes; ++i) to[i] = static_cast<To>(from[i]);  // compilers vectorise it
    return Lanes<To>::load(to);
}

}  // namespace otpool::detail
