// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/any_columns.hpp"
#include "otpool/core/block_reader.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/stream_options.hpp"
#include "otpool/kernel/streamed_kernel.hpp"
#include "otpool/kernel/streamed_sums.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// Passes over a streamed bag: reading, and sums that are always added in the same order. Blocks are summed one by one, in
/// parallel if the execution does; the sums of a block go to its part in rising order, and those of the parts to the
/// total. So the bits depend neither on the memory, nor on threads, nor on the direction of the pass, which alternates:
/// what a cache of files still has of the last pass comes first in the next one.
template <std::same_as<Real> Work = Real>
class StreamedPasses {
public:
    using Sums = StreamedSums<Work>;
    using Columns = typename StreamedKernel<Work>::Columns;

    /// `state`: bytes of the caller's own, which options.memory includes. Throws InvalidArgument if that is too little.
    StreamedPasses(const AnyColumns& columns, const StreamOptions& options, const Execution& execution, Index state)
        : columns_(columns),
          options_(options),
          execution_(execution),
          blocks_(columns.rows(), columns.cols()),
          room_(room(state)),
          reader_(columns, blocks_, room_.kept, room_.ring, options.readers),
          of_parts_(static_cast<std::size_t>(blocks_.parts())),
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
        const Index rows = columns_.rows();
        for (Sums& sums : of_parts_) sums.start(rows);
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
                const Index part = blocks_.part_of(blocks_.in_order(i + j, falling_));
                of_parts_[static_cast<std::size_t>(part)].add(of_block(j), inverse_alpha0);
                done(together(j), of_block(j));
                progress.bytes += together(j).count * columns_.bytes_of_column();
            }
            if (options_.progress) options_.progress(progress);
        }
        falling_ = !falling_;
        total_.start(rows);
        for (const Sums& sums : of_parts_) total_.add(sums, inverse_alpha0);
        return total_;
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
        const Index fixed = state + (blocks_.parts() + 1) * sums + workers * worker;
        const Index least = fixed + of_block + 2 * block;
        require_that(options_.memory >= least, "memory", options_.memory,
                     text("at least ", least, " bytes for bags of ", columns_.rows(), " features"));
        const Index wanted = (std::min)(workers > 1 ? 2 * workers : 1, blocks_.count());
        const Index together = std::clamp((options_.memory - fixed) / (2 * block + of_block), Index{1}, wanted);
        const Index slots = (options_.memory - fixed - together * of_block) / block;
        if (slots >= blocks_.count()) return {blocks_.count(), 0, together};
        const Index ring = (std::min)(slots, 2 * together + options_.readers);
        return {slots - ring, ring, together};
    }

    ColumnBlock& together(Index j) { return blocks_together_[static_cast<std::size_t>(j)]; }
    Sums& of_block(Index j) { return of_blocks_[static_cast<std::size_t>(j)]; }

    const AnyColumns& columns_;
    const StreamOptions& options_;
    const Execution& execution_;
    ColumnBlocks blocks_;
    Room room_;
    BlockReader<Work> reader_;
    std::vector<Sums> of_parts_, of_blocks_;
    std::vector<Columns> of_workers_;
    std::vector<ColumnBlock> blocks_together_;
    Sums total_;
    Index pass_ = 0;
    bool falling_ = false;
};

}  // namespace otpool::detail
