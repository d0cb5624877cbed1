// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// Makes finite numbers of all: the largest one of an infinity, which a plan's mass out of range brings, and 0 of what
/// has no digits left, where the rewards are some 1e20 times alpha0.
void saturate(auto& array) {
    using Number = std::decay_t<decltype(array(0))>;
    if (MatrixView<Number>(array).all_finite()) return;  // to look is faster than to write
    array = array.unaryExpr([](Number value) {
        return std::isnan(value)
                   ? Number(0)
                   : std::clamp(value, std::numeric_limits<Number>::lowest(), std::numeric_limits<Number>::max());
    });
}

/// A bag's derivatives with respect to D x N numbers, in the batch's memory: any numbers until the first are added, or
/// set where all are known at once, which spares a pass over memory.
template <BagScalar Scalar>
class ElementGradient {
public:
    using Columns = Eigen::Map<Matrix<Scalar>>;

    ElementGradient(Scalar* numbers, Index rows, Index cols) : columns_(numbers, rows, cols) {}

    bool empty() const { return columns_.size() == 0; }

    /// To add to: zeros at first. Cost: the first time, to write them.
    Columns& sum() {
        if (is_new_) columns_.setZero();
        is_new_ = is_finite_ = false;
        return columns_;
    }

    /// Whether nothing has been added or set.
    bool is_new() const { return is_new_; }
    /// The same, if is_new(), any numbers that are all to be set.
    Columns& columns() {
        is_new_ = is_finite_ = false;
        return columns_;
    }

    /// What has been seen of its present numbers, so that saturate() need not look.
    void set_finite(bool is_finite) { is_finite_ = is_finite; }

    /// Numbers of all, if they are not.
    void saturate() {
        if (!is_finite_) detail::saturate(sum());
    }

private:
    Columns columns_;
    bool is_new_ = true;
    bool is_finite_ = false;
};

}  // namespace otpool::detail
