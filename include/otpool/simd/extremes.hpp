// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Core>

#include <algorithm>

namespace otpool::detail {

/// The higher of two numbers; of registers, entry by entry, and across one.
struct Higher {
    template <class Number>
    Number operator()(const Number& a, const Number& b) const {
        return std::max(a, b);
    }
    template <class P>  // NOLINTNEXTLINE(readability-identifier-naming): Eigen's name
    EIGEN_ALWAYS_INLINE P packetOp(const P& a, const P& b) const {
        return Eigen::internal::pmax(a, b);
    }
    template <class P>
    EIGEN_ALWAYS_INLINE auto predux(const P& a) const {
        return Eigen::internal::predux_max(a);
    }
};

/// The highest and the lowest of at least one number, none of them NaN. Eigen's maxCoeff() and minCoeff() are the same,
/// but take the numbers of the last register through memory, which costs as much as three powers of a register.
template <class Derived>
auto highest_of(const Eigen::DenseBase<Derived>& numbers) {
    return numbers.redux(Higher());
}
template <class Derived>
auto lowest_of(const Eigen::DenseBase<Derived>& numbers) {
    return -highest_of(-numbers.derived());
}

}  // namespace otpool::detail

namespace Eigen::internal {
template <>
struct functor_traits<otpool::detail::Higher> {
    enum { Cost = 1, PacketAccess = 1 };
};
}  // namespace Eigen::internal
