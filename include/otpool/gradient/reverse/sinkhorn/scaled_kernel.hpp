// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A kernel times a factor for each row and column, of which the logarithms may be large:
///
///     exp(z_dk + row_exponent_d + col_exponent_k) (row_factor_d + slope_d value_dk) col_factor_k
struct ScaledKernel {
    /// Whose exponentials are weights, with sum 1: each row's, each column's or no one's.
    enum class Weights { none, of_rows, of_cols };

    Buffer<Real> row_exponent, row_factor;
    Buffer<Real> col_exponent, col_factor;
    Buffer<Real> slope = {};  ///< Empty for 0.
    Weights weights = Weights::none;
    Buffer<Real> row_sum = {};  ///< If rows have weights: sum_k (row_factor_d + slope_d value_dk) times weight.

    bool has_slope() const { return slope.size() > 0; }
};

}  // namespace otpool::detail
