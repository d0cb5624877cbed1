// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Makes finite numbers of all: the largest one of an infinity, which a plan's mass out of range brings, and 0 of what
/// has no digits left, where the rewards are some 1e20 times alpha0.
template <class Number>
void saturate(Number* numbers, Index size) {
    if (all_finite(numbers, size)) return;  // to look is faster than to write
    constexpr Number largest = std::numeric_limits<Number>::max();
    for (Index i = 0; i < size; ++i) {
        numbers[i] = std::isnan(numbers[i]) ? Number(0) : std::clamp(numbers[i], -largest, largest);
    }
}

/// A bag's derivatives with respect to D x N numbers, column by column in the batch's memory: any numbers until the
/// first are added, or set where all are known at once, which spares a pass over memory.
template <BagScalar Scalar>
class ElementGradient {
public:
    ElementGradient(Scalar* numbers, Index rows, Index cols) : numbers_(numbers), rows_(rows), cols_(cols) {}

    bool empty() const { return rows_ * cols_ == 0; }

    /// To add to: zeros at first. Cost: the first time, to write them.
    Scalar* sum() {
        if (is_new_) std::fill_n(numbers_, rows_ * cols_, Scalar(0));
        is_new_ = is_finite_ = false;
        return numbers_;
    }
    /// Column n of the same.
    Scalar* sum_of(Index n) { return sum() + n * rows_; }

    /// Whether nothing has been added or set.
    bool is_new() const { return is_new_; }
    /// The numbers, if is_new() any, which are all to be set.
    Scalar* numbers() {
        is_new_ = is_finite_ = false;
        return numbers_;
    }

    /// What has been seen of its present numbers, so that saturate() need not look.
    void set_finite(bool is_finite) { is_finite_ = is_finite; }

    /// Numbers of all, if they are not.
    void saturate() {
        if (!is_finite_) detail::saturate(sum(), rows_ * cols_);
    }

private:
    Scalar* numbers_;
    Index rows_, cols_;
    bool is_new_ = true;
    bool is_finite_ = false;
};

}  // namespace otpool::detail
