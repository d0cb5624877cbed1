// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/streamed/column_blocks.hpp"

namespace otpool::detail {

/// Sums over the blocks of a bag, added pair by pair in a binary tree: block 2i and 2i + 1, then two such pairs, and so on. A
/// sum is added to its neighbour as soon as both are there. So the total has the same bits in whichever order blocks come,
/// and also if several processes add up some blocks each and then the sums that are left.
///
/// About 2 log2(blocks) sums are kept at a time.
template <class Sums>
class BlockTree {
public:
    /// The sum of the blocks [place 2^level, (place + 1) 2^level), as far as the bag has them. `columns`: how many columns
    /// are in it; fewer than the blocks have if a process has a part of a block only.
    struct Node {
        Index level = 0;
        Index place = 0;
        Index columns = 0;
        Sums sums{};

        Index first_block() const { return place << level; }
    };

    explicit BlockTree(const ColumnBlocks& blocks) : cols_(blocks.cols()), width_(blocks.width()) {}

    void clear() { used_ = 0; }

    /// Adds a node, whose sums are swapped for any others. Parts of one block come in the order of their columns.
    /// join(a, b): a <- a + b, where b follows a.
    void add(Index level, Index place, Index columns, Sums& sums, const auto& join) {
        if (used_ == std::ssize(nodes_)) nodes_.emplace_back();
        Index at = used_++;
        node(at).level = level;
        node(at).place = place;
        node(at).columns = columns;
        std::swap(node(at).sums, sums);
        for (; at > 0 && node(at).first_block() < node(at - 1).first_block(); --at) std::swap(node(at), node(at - 1));
        settle(at, join);
    }

    /// The sums that wait for their neighbours, in the order of their blocks: if all blocks have been added, the total.
    std::span<Node> nodes() { return {nodes_.data(), static_cast<std::size_t>(used_)}; }

    /// How many sums are left when these blocks have been added.
    static Index nodes_left(const ColumnBlocks& blocks) {
        Index all = blocks.count_in_bag();
        Index first = blocks.number(0);
        Index end = first + blocks.count();
        Index nodes = 0;
        if (first < end && blocks.is_cut(0)) ++nodes, ++first;  // its other part is not among them
        if (first < end && blocks.is_cut(blocks.count() - 1)) ++nodes, --end;
        while (first < end) {
            if (all == 1) return nodes + 1;
            if (first % 2 == 1) ++nodes, ++first;           // its left neighbour is not among them
            if (end % 2 == 1 && end < all) ++nodes, --end;  // nor its right one
            first /= 2;
            end = (end + 1) / 2;
            all = (all + 1) / 2;
        }
        return nodes;
    }
    /// How many there are at most on the way, in both orders of ColumnBlocks.
    static Index most_nodes(const ColumnBlocks& blocks) {
        const auto levels = static_cast<Index>(std::bit_width(static_cast<std::size_t>(blocks.count_in_bag())));
        return (std::min)(blocks.count(), 2 * levels + 12) + 1;
    }

private:
    Node& node(Index i) { return nodes_[static_cast<std::size_t>(i)]; }

    /// How many columns the blocks of a node have in all.
    Index columns_of(const Node& of) const {
        const Index first = of.first_block() * width_;
        return (std::min)(first + (width_ << of.level), cols_) - first;
    }
    bool is_whole(Index i, Index level, Index place) {
        return i >= 0 && i < used_ && node(i).level == level && node(i).place == place &&
               node(i).columns == columns_of(node(i));
    }

    /// Joins node `at` with its neighbours as far as they are there.
    void settle(Index at, const auto& join) {
        for (;;) {
            if (at > 0 && node(at - 1).level == node(at).level && node(at - 1).place == node(at).place) {
                join_next(--at, join);  // two parts of a block
                continue;
            }
            Node& here = node(at);
            if (here.columns == cols_ || here.columns < columns_of(here)) return;
            const Index neighbour = here.place ^ 1;
            if ((neighbour << here.level) * width_ < cols_) {
                const Index left = here.place % 2 == 1 ? at - 1 : at;
                if (!is_whole(left == at ? at + 1 : left, here.level, neighbour)) return;
                at = left;
                join_next(at, join);
            }
            ++node(at).level;
            node(at).place /= 2;
        }
    }

    /// Adds the next node to this one.
    void join_next(Index at, const auto& join) {
        join(node(at).sums, node(at + 1).sums);
        node(at).columns += node(at + 1).columns;
        for (Index i = at + 1; i + 1 < used_; ++i) std::swap(node(i), node(i + 1));
        --used_;
    }

    Index cols_, width_;
    std::vector<Node> nodes_;  ///< Those in use by their blocks, then others, whose memory the next ones take.
    Index used_ = 0;
};

}  // namespace otpool::detail
