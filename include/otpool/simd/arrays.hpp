// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

// Functions on `size` numbers in memory. Results do not depend on alignment.

/// Calls visit(i, register_lanes) at every whole group of lanes, then visit(i, count) for what is left, if anything.
template <class Visit>
EIGEN_ALWAYS_INLINE void for_each_lanes(Index size, const Visit& visit) {
    Index i = 0;
    for (; i + register_lanes <= size; i += register_lanes) visit(i, register_lanes);
    if (i < size) visit(i, size - i);
}

template <BagScalar Number>
EIGEN_ALWAYS_INLINE Lanes<Number> load_some(const Number* from, Index count, Number rest) {
    return count == register_lanes ? Lanes<Number>::load(from) : Lanes<Number>::load_first(from, count, rest);
}
template <BagScalar Number>
EIGEN_ALWAYS_INLINE void store_some(const Lanes<Number>& lanes, Number* to, Index count) {
    if (count == register_lanes) return lanes.store(to);
    lanes.store_first(to, count);
}

/// to_i = bounded_exp(x_i - shift); x and to may be the same.
template <BagScalar Number>
void bounded_exp(const Number* x, Index size, Number* to, Number shift = 0) {
    for_each_lanes(size, [&](Index i, Index count) {
        store_some(bounded_exp(load_some(x + i, count, shift) - shift), to + i, count);
    });
}

/// to_i = exp_or_zero(x_i); x and to may be the same.
template <BagScalar Number>
void exp_or_zero(const Number* x, Index size, Number* to) {
    for_each_lanes(size, [&](Index i, Index count) {
        store_some(exp_or_zero(load_some(x + i, count, Number(0))), to + i, count);
    });
}

/// to_i = log(x_i) of positive normal numbers (log_of_normal()); x and to may be the same.
template <BagScalar Number>
void log_of_normal(const Number* x, Index size, Number* to) {
    for_each_lanes(size, [&](Index i, Index count) {
        store_some(log_of_normal(load_some(x + i, count, Number(1))), to + i, count);
    });
}

/// The highest and lowest of at least one number; none may be NaN.
template <BagScalar Number>
Number highest(const Number* x, Index size) {
    Lanes<Number> top(x[0]);
    for_each_lanes(size, [&](Index i, Index count) { top = higher(top, load_some(x + i, count, x[0])); });
    return highest(top);
}
template <BagScalar Number>
Number lowest(const Number* x, Index size) {
    Lanes<Number> bottom(x[0]);
    for_each_lanes(size, [&](Index i, Index count) { bottom = lower(bottom, load_some(x + i, count, x[0])); });
    return lowest(bottom);
}
/// The largest |x_i|; 0 without numbers.
template <BagScalar Number>
Number largest_magnitude(const Number* x, Index size) {
    Lanes<Number> negative(Number(0));
    for_each_lanes(size, [&](Index i, Index count) {
        negative = lower(negative, negative_magnitude(load_some(x + i, count, Number(0))));
    });
    return Number(0) - lowest(negative);  // 0, not -0
}

/// Whether no number is NaN or infinite.
template <BagScalar Number>
bool all_finite(const Number* x, Index size) {
    Lanes<Number> zero(Number(0));  // x * 0 is 0 or NaN, and so is the sum
    for_each_lanes(size, [&](Index i, Index count) {
        zero = multiply_add(load_some(x + i, count, Number(0)), Lanes<Number>(Number(0)), zero);
    });
    return sum(zero) == 0;
}

/// log sum_i exp(x_i), without overflow, of at least one number; -inf if all are -inf.
template <BagScalar Number>
Number log_sum_exp(const Number* x, Index size) {
    constexpr Number nothing = -std::numeric_limits<Number>::infinity();
    const Number top = highest(x, size);
    if (top == nothing) return nothing;
    Lanes<Number> sums(Number(0));
    for_each_lanes(size, [&](Index i, Index count) { sums += bounded_exp(load_some(x + i, count, nothing) - top); });
    return top + std::log(sum(sums));
}

}  // namespace otpool::detail
