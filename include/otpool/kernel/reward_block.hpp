// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// Pointers to a block's numbers, padded to whole SIMD registers; copied only if needed. Kernels read raw bags only
/// through it.
template <BagScalar Work>
class RewardBlock {
public:
    /// Items are `count` instances, their lanes the features. `any_padding`: numbers of other instances may pad them.
    /// Valid until the next call.
    const Work* const* of_features(const AnyView& matrix, const Index* instances, Index count, bool any_padding) {
        const Index rows = matrix.rows();
        const Index lanes = padded(rows);
        items_.resize(static_cast<std::size_t>(count));
        const Work** const items = items_.data();
        Index i = 0;
        if (matrix.in_place<Work>(0) != nullptr) {
            // Columns before this one have enough numbers behind them to fill a register.
            const Index followed = any_padding && matrix.is_contiguous() ? matrix.cols() - (lanes - 1) / rows : 0;
            const bool whole = rows == lanes;
            for (; i < count && (whole || instances[i] < followed); ++i) items[i] = matrix.in_place<Work>(instances[i]);
        }
        if (i < count) gathered_.resize(count * lanes);
        for (; i < count; ++i) {
            Work* const copy = gathered_.data() + i * lanes;
            matrix.copy_column(instances[i], copy);
            std::fill(copy + rows, copy + lanes, Work(0));
            items[i] = copy;
        }
        return items;
    }

    /// Items are the features, their lanes `count` instances, padded by zeros.
    const Work* const* of_instances(const AnyView& matrix, const Index* instances, Index count) {
        const Index rows = matrix.rows();
        const Index lanes = padded(count);
        zeros_.assign(padded(rows), 0);
        transposed_.resize(rows * lanes);
        transpose(matrix, instances, count, zeros_.data(), transposed_.data());
        items_.resize(static_cast<std::size_t>(rows));
        for (Index i = 0; i < rows; ++i) {
            Work* const row = transposed_.data() + i * lanes;
            std::fill(row + count, row + lanes, Work(0));
            items_[static_cast<std::size_t>(i)] = row;
        }
        return items_.data();
    }

    /// to[i padded(count) + k] = matrix(i, instances[k]) - anchor_i, padded by copies of the last instance. The anchor
    /// is padded, too.
    void transpose(const AnyView& matrix, const Index* instances, Index count, const Work* anchor, Work* to) {
        const Index rows = matrix.rows();
        const Index lanes = padded(count);
        if (rows < fewest_transposed) {
            for (Index i = 0; i < rows; ++i, to += lanes) {
                matrix.copy_row(i, instances, count, to);
                std::fill(to + count, to + lanes, to[count - 1]);
                for (Index k = 0; k < lanes; ++k) to[k] -= anchor[i];
            }
            return;
        }
        const Work* const* columns = of_features(matrix, instances, count, true);
        for (Index first = 0; first < count; first += register_lanes) {
            std::array<const Work*, register_lanes> together;
            together.fill(columns[count - 1]);
            std::copy_n(columns + first, (std::min)(register_lanes, count - first), together.begin());
            transpose_differences<Work>(together, anchor, rows, to + first, lanes);
        }
    }

private:
    /// Fewer rows are copied one by one.
    static constexpr Index fewest_transposed = 6;

    std::vector<const Work*> items_;
    Buffer<Work> gathered_, transposed_, zeros_;
};

}  // namespace otpool::detail
