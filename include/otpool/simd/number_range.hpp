// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <algorithm>
#include <type_traits>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

/// The lowest of all numbers added, unspecified if they are not all finite.
template <BagScalar Scalar>
class NumberRange {
public:
    explicit NumberRange(Scalar first) : rest_(first) {
        std::fill_n(low_, abreast, Eigen::internal::pset1<P>(first));
        std::fill_n(zero_, abreast, Eigen::internal::pset1<P>(Scalar(0)));
    }

    /// Adds x; sets top_i <- max(top_i, x_i).
    EIGEN_ALWAYS_INLINE void add(const Scalar* x, Index size, Scalar* top) {
        constexpr Index register_size = packet_size<Scalar>;
        Index i = 0;
        for (; i + abreast * register_size <= size; i += abreast * register_size) {
            for_each_constant<abreast>([&](auto r) {
                fetch_ahead(x + i + r * register_size);
                add_register(x + i + r * register_size, top + i + r * register_size, r);
            });
        }
        for (; i + register_size <= size; i += register_size) {
            add_register(x + i, top + i, std::integral_constant<int, 0>());
        }
        for (; i < size; ++i) {
            top[i] = (std::max)(top[i], x[i]);
            rest_ = (std::min)(rest_, x[i]);
            zero_of_rest_ += x[i] * 0;
        }
    }

    Scalar lowest() const {
        Scalar lowest = rest_;
        for (const P& low : low_) lowest = (std::min)(lowest, Eigen::internal::predux_min(low));
        return lowest;
    }
    bool all_finite() const {
        Scalar sum = zero_of_rest_;
        for (const P& zero : zero_) sum += Eigen::internal::predux(zero);
        return sum == 0;
    }

private:
    using P = Packet<Scalar>;
    static constexpr int abreast = 4;  ///< Registers at a time: each operation waits for the one before.

    EIGEN_ALWAYS_INLINE void add_register(const Scalar* x, Scalar* top, auto r) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        const P numbers = ploadu<P>(x);
        pstoreu(top, pmax(ploadu<P>(top), numbers));
        low_[r] = pmin(low_[r], numbers);
        zero_[r] = pmadd(numbers, pset1<P>(Scalar(0)), zero_[r]);
    }

    // NOLINTBEGIN(modernize-avoid-c-arrays): std::array drops the alignment of P, with a warning
    P low_[abreast];
    P zero_[abreast];  ///< x * 0 is 0 or NaN, and so is the sum.
    // NOLINTEND(modernize-avoid-c-arrays)
    Scalar rest_;
    Scalar zero_of_rest_ = 0;
};

}  // namespace otpool::detail
