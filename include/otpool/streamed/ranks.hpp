// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <utility>

#include "otpool/core/matrix.hpp"
#include "otpool/streamed/column_blocks.hpp"

namespace otpool {

/// Processes, mostly on several machines, that pool together. They are numbered from 0, and exchange numbers in one way:
///
///     rank()                     the number of this process
///     size()                     how many there are
///     gather(own, counts, all)   every process gives counts[rank()] numbers, and gets those of all of them, one after the
///                                other in the order of ranks. All call it, in the same order; it waits for the others.
///
/// `counts` are the same on all of them. Models: OneProcess here; MpiRanks in adapter/mpi.hpp.
template <class R>
concept Ranks = requires(const R& ranks, std::span<const double> own, std::span<const Index> counts,
                         std::span<double> all) {
    { ranks.rank() } -> std::convertible_to<Index>;
    { ranks.size() } -> std::convertible_to<Index>;
    ranks.gather(own, counts, all);
};

/// No others.
struct OneProcess {
    Index rank() const { return 0; }  ///< 0
    Index size() const { return 1; }  ///< 1
    /// all <- own
    void gather(std::span<const double> own, std::span<const Index> /*counts*/, std::span<double> all) const {
        std::copy(own.begin(), own.end(), all.begin());
    }
};

/// Any ranks; OneProcess by default.
class AnyRanks {
public:
    AnyRanks() : AnyRanks(OneProcess()) {}
    /// A copy of `ranks`.
    template <class R>
    requires(!std::same_as<R, AnyRanks> && Ranks<R>) AnyRanks(R ranks)  // NOLINT(google-explicit-constructor)
        : rank_(ranks.rank()),
          size_(ranks.size()),
          gather_([ranks = std::move(ranks)](std::span<const double> own, std::span<const Index> counts,
                                             std::span<double> all) { ranks.gather(own, counts, all); }) {}

    Index rank() const { return rank_; }  ///< The number of this process.
    Index size() const { return size_; }  ///< How many there are.
    /// As Ranks says.
    void gather(std::span<const double> own, std::span<const Index> counts, std::span<double> all) const {
        gather_(own, counts, all);
    }

private:
    Index rank_ = 0;
    Index size_ = 1;
    std::function<void(std::span<const double>, std::span<const Index>, std::span<double>)> gather_;
};

/// Neighbouring columns of a bag.
struct ColumnRange {
    Index first = 0;  ///< The first one,
    Index count = 0;  ///< and how many there are.
};

/// The columns of a D x N bag that a rank had best hold, of so many ranks: all have as many within 2 %, if there are enough,
/// and Shared gives the same bits for any number of ranks, as every block of columns is on one of them.
inline ColumnRange columns_of_rank(Index rows, Index cols, Index rank, Index size) {
    const detail::ColumnBlocks blocks(rows, cols);
    // Round numbers of blocks leave fewer sums to be sent (BlockTree).
    const auto least = static_cast<std::size_t>((std::max)(blocks.count() / (64 * size), Index{1}));
    const auto round = static_cast<Index>(std::bit_floor(least));
    const auto border = [&](Index r) {
        return r == size ? cols : blocks.count() * r / size / round * round * blocks.width();
    };
    return {border(rank), border(rank + 1) - border(rank)};
}

}  // namespace otpool
