// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>

#include "otpool/core/matrix.hpp"

namespace otpool {

/// The columns of a bag that are read piece by piece, from a file or anywhere else.
///
/// read(first, count, to) sets rows() * count numbers, column after column. It may be called from several threads at
/// once, and throws what the caller is to see. rows() and cols() are D and N; they do not change.
template <class S>
concept ColumnSource = BagScalar<typename S::Scalar> &&
    requires(const S& source, Index first, Index count, typename S::Scalar* to) {
    { source.rows() } -> std::convertible_to<Index>;
    { source.cols() } -> std::convertible_to<Index>;
    source.read(first, count, to);
};

/// The columns of a matrix in memory, which must outlive the source.
template <BagScalar Number>
struct MatrixColumns {
    using Scalar = Number;  ///< Of the matrix.

    MatrixView<Scalar> matrix;  ///< D x N, column n is instance n.

    Index rows() const { return matrix.rows(); }  ///< D
    Index cols() const { return matrix.cols(); }  ///< N

    /// Copies the columns [first, first + count) to `to`.
    void read(Index first, Index count, Scalar* to) const {
        for (Index n = 0; n < count; ++n, to += rows()) {
            const Scalar* column = matrix.contiguous_col(first + n, to);
            if (column != to) std::copy(column, column + rows(), to);
        }
    }
};

}  // namespace otpool
