// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"
#include "otpool/streamed/any_columns.hpp"
#include "otpool/streamed/column_blocks.hpp"
#include "otpool/streamed/passes/block_reader.hpp"
#include "otpool/streamed/passes/block_tree.hpp"
#include "otpool/streamed/passes/rank_messages.hpp"
#include "otpool/streamed/passes/streamed_kernel.hpp"
#include "otpool/streamed/passes/streamed_sums.hpp"
#include "otpool/streamed/stream_options.hpp"

namespace otpool::detail {

/// Passes over a streamed bag: reading, and sums that are always added in the same order. Blocks are summed one by one, in
/// parallel if the execution does; the sums of blocks are added up in a BlockTree. So the bits depend neither on the memory,
/// nor on threads, nor on how many processes share the bag, nor on the direction of the pass, which alternates: what a cache
/// of files still has of the last pass comes first in the next one.
template <std::same_as<Real> Work = Real>
class StreamedPasses {
public:
    using Sums = StreamedSums<Work>;
    using Columns = typename StreamedKernel<Work>::Columns;

    /// `blocks`: of the columns. `messages`: to the other processes that share the bag, or null. `state`: bytes of the
    /// caller's own, which options.memory includes. Throws InvalidArgument if that is too little.
    StreamedPasses(const AnyColumns& columns, const ColumnBlocks& blocks, RankMessages* messages,
                   const StreamOptions& options, const Execution& execution, Index state)
        : columns_(columns),
          messages_(messages),
          options_(options),
          execution_(execution),
          blocks_(blocks),
          room_(room(state)),
          reader_(columns, blocks_, room_.kept, room_.ring, options.readers),
          tree_(blocks),
          of_blocks_(static_cast<std::size_t>(room_.together)),
          of_workers_(static_cast<std::size_t>(execution.workers())),
          blocks_together_(static_cast<std::size_t>(room_.together)) {}

    /// One pass. Calls visit(block, columns, sums), which sets the sums of each block. Returns the sums of all.
    /// `inverse_alpha0` as in StreamedSums::add().
    template <class Visit>
    const Sums& operator()(Real inverse_alpha0, const Visit& visit) {
        return pass(inverse_alpha0, visit, [](const ColumnBlock&, const Sums&) {});
    }

    /// The same in rising order; then calls done(block, sums) for one block after the other.
    template <class Visit, class Done>
    void in_rising_order(Real inverse_alpha0, const Visit& visit, const Done& done) {
        falling_ = false;
        pass(inverse_alpha0, visit, done);
    }

private:
    const Sums& pass(Real inverse_alpha0, const auto& visit, const auto& done) {
        const auto join = [&](Sums& sums, const Sums& next) { sums.add(next, inverse_alpha0); };
        tree_.clear();
        add_blocks(visit, done, join);
        falling_ = !falling_;
        if (messages_ != nullptr) {
            const Index rows = columns_.rows();
            messages_->add_up(
                RankMessages::Kind::sums, tree_, [](const Sums& sums, Real* to) { sums.copy_to(to); },
                [&](Sums& sums, const Real* from) { sums.copy_from(rows, from); }, join);
        }
        std::swap(total_, tree_.nodes()[0].sums);
        return total_;
    }

    void add_blocks(const auto& visit, const auto& done, const auto& join) {
        StreamProgress progress{.pass = ++pass_, .total_bytes = columns_.cols() * columns_.bytes_of_column()};
        const Ending ending{reader_};
        reader_.start(falling_);
        for (Index i = 0; i < blocks_.count(); i += room_.together) {
            const Index count = (std::min)(room_.together, blocks_.count() - i);
            for (Index j = 0; j < count; ++j) together(j) = reader_.next();
            execution_.for_each(count, [&](Index j, Index worker) {
                visit(together(j), of_workers_[static_cast<std::size_t>(worker)], of_block(j));
            });
            reader_.release();
            for (Index j = 0; j < count; ++j) {
                done(together(j), of_block(j));
                progress.bytes += together(j).count * columns_.bytes_of_column();
                tree_.add(0, blocks_.number(blocks_.in_order(i + j, falling_)), together(j).count, of_block(j), join);
            }
            if (options_.progress) options_.progress(progress);
        }
    }

    /// How many blocks stay in memory, pass through the ring, and are summed at the same time.
    struct Room {
        Index kept, ring, together;
    };

    /// Stops the threads, also when a pass throws.
    struct Ending {
        BlockReader<Work>& reader;
        ~Ending() { reader.stop(); }
    };

    Room room(Index state) const {
        require_that(options_.readers >= 1, "readers", options_.readers, "at least 1");
        constexpr auto number = static_cast<Index>(sizeof(Real));
        const Index workers = execution_.workers();
        const Index block = blocks_.width() * columns_.bytes_of_column() + number;
        const Index sums = 5 * padded(columns_.rows()) * number;
        const Index worker = (5 * blocks_.width() + 4 * padded(columns_.rows())) * number;
        const Index of_block = sums + blocks_.width() * number;
        const Index of_messages = messages_ != nullptr ? messages_->bytes() : 0;
        const Index fixed = state + of_messages + (BlockTree<Sums>::most_nodes(blocks_) + 1) * sums + workers * worker;
        const Index least = fixed + of_block + 2 * block;
        require_that(options_.memory >= least, "memory", options_.memory,
                     text("at least ", least, " bytes for bags of ", columns_.rows(), " features"));
        const Index wanted = std::clamp(blocks_.count(), Index{1}, workers > 1 ? 2 * workers : 1);
        const Index together = std::clamp((options_.memory - fixed) / (2 * block + of_block), Index{1}, wanted);
        const Index slots = (options_.memory - fixed - together * of_block) / block;
        if (slots >= blocks_.count()) return {blocks_.count(), 0, together};
        const Index ring = (std::min)(slots, 2 * together + options_.readers);
        return {slots - ring, ring, together};
    }

    ColumnBlock& together(Index j) { return blocks_together_[static_cast<std::size_t>(j)]; }
    Sums& of_block(Index j) { return of_blocks_[static_cast<std::size_t>(j)]; }

    const AnyColumns& columns_;
    RankMessages* messages_;
    const StreamOptions& options_;
    const Execution& execution_;
    ColumnBlocks blocks_;
    Room room_;
    BlockReader<Work> reader_;
    BlockTree<Sums> tree_;
    std::vector<Sums> of_blocks_;
    std::vector<Columns> of_workers_;
    std::vector<ColumnBlock> blocks_together_;
    Sums total_;
    Index pass_ = 0;
    bool falling_ = false;
};

}  // namespace otpool::detail
