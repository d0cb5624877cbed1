// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A bag's columns split into blocks of about 2^17 entries, which depend on the bag's size alone, and of these the blocks
/// that one process has: the columns [begin, end). Its first and last block may be cut there.
///
/// A pass takes them in rising or falling order, but in runs of 32, in which it always rises, as disks read best.
class ColumnBlocks {
public:
    /// All of a bag.
    ColumnBlocks(Index rows, Index cols) : ColumnBlocks(rows, cols, 0, cols) {}
    ColumnBlocks(Index rows, Index cols, Index begin, Index end)
        : cols_(cols),
          begin_(begin),
          end_(end),
          width_(std::clamp((Index{1} << 17) / (std::max)(rows, Index{1}), Index{1}, (std::max)(cols, Index{1}))),
          first_number_(begin / width_),
          count_(end > begin ? (end - 1) / width_ - first_number_ + 1 : 0) {}

    Index count() const { return count_; }
    Index width() const { return width_; }                             ///< Columns of a block that is not cut.
    Index cols() const { return cols_; }                               ///< Of the bag,
    Index count_in_bag() const { return blocks_of(cols_); }            ///< and its blocks.
    Index number(Index block) const { return first_number_ + block; }  ///< Of a block of this process, in the bag.

    /// The first column of a block, counted from `begin`, and how many it has.
    Index first(Index block) const { return (std::max)(number(block) * width_, begin_) - begin_; }
    Index size(Index block) const { return (std::min)((number(block) + 1) * width_, end_) - begin_ - first(block); }

    /// Whether other processes have columns of the block, too.
    bool is_cut(Index block) const { return size(block) < (std::min)(width_, cols_ - number(block) * width_); }

    /// The i-th block of a pass.
    Index in_order(Index i, bool falling) const {
        if (!falling) return i;
        const Index of_last = (count_ - 1) % run + 1;  // only the last run is shorter
        if (i < of_last) return count_ - of_last + i;
        const Index left = i - of_last;
        return count_ - of_last - (left / run + 1) * run + left % run;
    }

private:
    static constexpr Index run = 32;

    Index blocks_of(Index cols) const { return (cols + width_ - 1) / width_; }

    Index cols_, begin_, end_;
    Index width_;
    Index first_number_;
    Index count_;
};

}  // namespace otpool::detail
