// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// Where the numbers of a matrix are, as Work, that whole registers hold of each item of a block: in the matrix itself,
/// or gathered here, until the next call.
template <BagScalar Scalar, BagScalar Work = Scalar>
class ItemLanes {
public:
    /// Items are `count` instances, their lanes the features. `any_padding`: what pads them may be numbers of other
    /// instances.
    const Work* const* of_features(const MatrixView<Scalar>& matrix, const Index* instances, Index count,
                                   bool any_padding) {
        const Index rows = matrix.rows();
        const Index lanes = padded(rows);
        items_.resize(static_cast<std::size_t>(count));
        const Work** const items = items_.data();
        Index i = 0;
        if constexpr (std::same_as<Scalar, Work>) {
            // What follows the columns before this one fills a register.
            const Index followed = any_padding && matrix.is_contiguous() ? matrix.cols() - (lanes - 1) / rows : 0;
            const bool whole = matrix.has_contiguous_cols() && rows == lanes;
            const auto all = matrix.matrix();
            for (; i < count && (whole || instances[i] < followed); ++i) {
                items[i] = all.data() + instances[i] * all.outerStride();
            }
        }
        column_.resize(rows);
        for (; i < count; ++i) {
            Work* const copy = gathered(count * lanes) + i * lanes;
            std::copy_n(matrix.contiguous_col(instances[i], column_.data()).data(), rows, copy);
            std::fill(copy + rows, copy + lanes, Work(0));
            items[i] = copy;
        }
        return items;
    }

    /// Items are the features, their lanes `count` instances, padded by zeros.
    const Work* const* of_instances(const MatrixView<Scalar>& matrix, const Index* instances, Index count) {
        const Index rows = matrix.rows();
        const Index lanes = padded(count);
        transposed_.resize(rows * lanes);
        if (rows < fewest_transposed) {
            for (Index i = 0; i < rows; ++i) {
                Work* const row = transposed_.data() + i * lanes;
                copy_row(matrix, i, instances, count, row);
                std::fill(row + count, row + lanes, Work(0));
            }
        } else {
            transpose(of_features(matrix, instances, count, true), rows, count);
        }
        items_.resize(static_cast<std::size_t>(rows));
        for (Index i = 0; i < rows; ++i) items_[static_cast<std::size_t>(i)] = transposed_.data() + i * lanes;
        return items_.data();
    }

private:
    /// Fewer rows are copied one by one.
    static constexpr Index fewest_transposed = 6;

    /// transposed_ <- `count` columns of so many rows.
    void transpose(const Work* const* columns, Index rows, Index count) {
        zeros_.resize(padded(rows));
        zeros_.setZero();
        for (Index first = 0; first < count; first += register_lanes) {
            std::array<const Work*, register_lanes> together;
            together.fill(zeros_.data());
            std::copy_n(columns + first, std::min(register_lanes, count - first), together.begin());
            transpose_differences<Work>(together, zeros_.data(), rows, transposed_.data() + first, padded(count));
        }
    }

    Work* gathered(Index size) {
        if (gathered_.size() < size) gathered_.resize(size);
        return gathered_.data();
    }

    std::vector<const Work*> items_;
    Buffer<Work> gathered_, transposed_, zeros_;
    Buffer<Scalar> column_;
};

}  // namespace otpool::detail
