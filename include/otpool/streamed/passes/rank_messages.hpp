// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/streamed/column_blocks.hpp"
#include "otpool/streamed/passes/block_tree.hpp"
#include "otpool/streamed/rank_errors.hpp"
#include "otpool/streamed/ranks.hpp"

namespace otpool::detail {

/// What ranks tell each other while they pool one bag: nodes of a BlockTree, pass after pass.
///
/// Every message has the same length, and begins with whether the rank has failed. So a rank that fails, at any point, takes
/// part in the next message of the others with fail(), whatever that message is for; then all throw the same error. A rank
/// that has all it needs says so with end(), as others may have failed since.
class RankMessages {
public:
    enum class Kind : unsigned char { failure, prior, sums, end };

    /// `begins`: the first column of every rank, and at last their number. `numbers`: of a node's sums at most.
    RankMessages(const AnyRanks& ranks, std::span<const Index> begins, Index rows, Index numbers)
        : ranks_(ranks), numbers_(numbers) {
        for (Index r = 0; r < ranks.size(); ++r) {
            const auto at = static_cast<std::size_t>(r);
            const ColumnBlocks blocks(rows, begins.back(), begins[at], begins[at + 1]);
            counts_.push_back(head + BlockTree<Real>::nodes_left(blocks) * (numbers_of_node + numbers));
        }
    }

    /// The bytes of a message and of what comes back.
    Index bytes() const {
        const Index all = std::accumulate(counts_.begin(), counts_.end(), Index{0});
        return (counts_[static_cast<std::size_t>(ranks_.rank())] + all) * Index{sizeof(double)};
    }

    /// Adds up the nodes of all ranks, in the order of ranks: tree has this rank's before, and the total after.
    /// copy_to(sums, numbers) and copy_from(sums, numbers) as StreamedSums has them, join as in BlockTree::add().
    template <class Sums>
    void add_up(Kind kind, BlockTree<Sums>& tree, const auto& copy_to, const auto& copy_from, const auto& join) {
        start(kind);
        double* to = own_.data() + head;
        for (const auto& node : tree.nodes()) {
            to[0] = static_cast<double>(node.level);
            to[1] = static_cast<double>(node.place);
            to[2] = static_cast<double>(node.columns);
            copy_to(node.sums, to + numbers_of_node);
            to += numbers_of_node + numbers_;
        }
        exchange({});
        tree.clear();
        Sums sums{};
        const double* from = all_.data();
        for (const Index count : counts_) {
            const double* const end = from + count;
            for (from += head; from < end; from += numbers_of_node + numbers_) {
                copy_from(sums, from + numbers_of_node);
                tree.add(static_cast<Index>(from[0]), static_cast<Index>(from[1]), static_cast<Index>(from[2]), sums,
                         join);
            }
        }
    }

    /// Throws the error of the lowest rank that has failed, on all ranks: `own`, if no other has.
    [[noreturn]] void fail(const std::exception_ptr& own) {
        if (!failed_) {
            start(Kind::failure);
            exchange(own);
        }
        std::rethrow_exception(own);
    }

    /// Waits until all ranks have what they need. Throws if one has failed.
    void end() {
        start(Kind::end);
        exchange({});
    }

private:
    static constexpr Index head = 2;             ///< Whether the rank has failed, and what the message is for.
    static constexpr Index numbers_of_node = 3;  ///< Level, place and columns.

    void start(Kind kind) {
        own_.assign(static_cast<std::size_t>(counts_[static_cast<std::size_t>(ranks_.rank())]), 0);
        own_[1] = static_cast<double>(kind);
    }

    void exchange(const std::exception_ptr& own) {
        failed_ = true;  // if nothing else is said
        own_[0] = static_cast<double>(FailureText(own).kind);
        all_.resize(static_cast<std::size_t>(std::accumulate(counts_.begin(), counts_.end(), Index{0})));
        ranks_.gather(own_, counts_, all_);
        std::vector<Failure> failures;
        bool agree = true;
        const double* head_of = all_.data();
        for (const Index count : counts_) {
            failures.push_back(static_cast<Failure>(head_of[0]));
            agree = agree && head_of[1] == own_[1];
            head_of += count;
        }
        const bool all_well =
            std::all_of(failures.begin(), failures.end(), [](Failure kind) { return kind == Failure::none; });
        if (!all_well) throw_first(ranks_, failures, own);
        require_that(agree, "the step that ranks are at", "not the same on all of them",
                     "the same program, with the same parameters, on processors of one kind");
        failed_ = false;
    }

    const AnyRanks& ranks_;
    Index numbers_;
    std::vector<Index> counts_;  ///< Of the numbers of every rank's message.
    std::vector<double> own_, all_;
    bool failed_ = false;  ///< Whether all ranks know of an error.
};

}  // namespace otpool::detail
