// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <cstddef>

#include "otpool/core/matrix.hpp"
#include "otpool/streamed/column_source.hpp"

namespace otpool::detail {

/// Some columns of a bag in memory, one after the other.
struct ColumnBlock {
    Index first = 0;  ///< The place of the first one among the columns that are read.
    Index count = 0;
    const std::byte* numbers = nullptr;  ///< Of the bag's scalar.
};

/// A source of columns and a functor from an entry to its reward behind one type, so that code that streams is compiled
/// once for all. Views both. Concurrent use is safe.
class AnyColumns {
public:
    /// The columns [first, first + cols) of the source. `rewards_are_values`: whether the functor is the identity.
    /// `number`: of the first one in the bag, if the source has only some of its columns.
    template <ColumnSource S, class Reward>
    AnyColumns(const S& source, Index first, Index cols, const Reward& reward, bool rewards_are_values,
               Index number = 0)
        : rewards_are_values_(rewards_are_values),
          rows_(source.rows()),
          first_(first),
          cols_(cols),
          number_(number),
          bytes_of_number_(sizeof(typename S::Scalar)),
          source_(&source),
          reward_(&reward),
          read_(&read_of<S>),
          values_(&values_of<typename S::Scalar>),
          rewards_(&rewards_of<typename S::Scalar, Reward>) {}

    Index rows() const { return rows_; }
    Index cols() const { return cols_; }
    /// The number of a column in the bag.
    Index number(Index column) const { return number_ + column; }
    Index bytes_of_column() const { return rows_ * bytes_of_number_; }
    bool rewards_are_values() const { return rewards_are_values_; }

    void read(Index first, Index count, std::byte* to) const { read_(source_, first_ + first, count, to); }

    /// The values and the rewards of column `k` of a block, rows() numbers.
    void values(const ColumnBlock& block, Index k, Real* to) const {
        values_(block.numbers + k * bytes_of_column(), rows_, to);
    }
    void rewards(const ColumnBlock& block, Index k, Real* to) const {
        rewards_(reward_, block.numbers + k * bytes_of_column(), rows_, to);
    }

private:
    template <class S>
    static void read_of(const void* source, Index first, Index count, std::byte* to) {
        static_cast<const S*>(source)->read(first, count, reinterpret_cast<typename S::Scalar*>(to));
    }
    template <class Scalar>
    static void values_of(const std::byte* from, Index count, Real* to) {
        const auto* number = reinterpret_cast<const Scalar*>(from);
        for (Index i = 0; i < count; ++i) to[i] = static_cast<Real>(number[i]);
    }
    template <class Scalar, class Reward>
    static void rewards_of(const void* reward, const std::byte* from, Index count, Real* to) {
        const auto* number = reinterpret_cast<const Scalar*>(from);
        const auto& functor = *static_cast<const Reward*>(reward);
        for (Index i = 0; i < count; ++i) to[i] = static_cast<Real>(functor(number[i]));
    }

    bool rewards_are_values_;
    Index rows_, first_, cols_, number_, bytes_of_number_;
    const void* source_;
    const void* reward_;
    void (*read_)(const void* source, Index first, Index count, std::byte* to);
    void (*values_)(const std::byte* from, Index count, Real* to);
    void (*rewards_)(const void* reward, const std::byte* from, Index count, Real* to);
};

}  // namespace otpool::detail
