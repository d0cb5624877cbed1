// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/streamed/any_columns.hpp"
#include "otpool/streamed/column_blocks.hpp"

namespace otpool::detail {

/// Reads the blocks of a bag, pass after pass, on threads of its own. The first blocks of the bag stay in memory, as many
/// as there is room for; the others go through a ring of slots.
///
/// Use it from one thread: start(), then next() for every block and release() in the same order, then stop(). The threads
/// read ahead as far as the ring has room.
template <std::same_as<Real> Work = Real>
class BlockReader {
public:
    /// Room for `kept` blocks that stay and for `ring` others.
    BlockReader(const AnyColumns& columns, const ColumnBlocks& blocks, Index kept, Index ring, Index threads)
        : columns_(columns), blocks_(blocks), kept_(kept), ring_(ring), wanted_threads_(threads) {
        constexpr auto unit = static_cast<Index>(sizeof(Real));
        bytes_of_slot_ = (blocks.width() * columns.bytes_of_column() + unit - 1) / unit * unit;
        memory_.resize((kept + ring) * (bytes_of_slot_ / unit));
        is_kept_.assign(static_cast<std::size_t>(kept), 0);
        filled_.assign(static_cast<std::size_t>(ring), 0);
    }
    BlockReader(const BlockReader&) = delete;
    BlockReader& operator=(const BlockReader&) = delete;
    ~BlockReader() { stop(); }

    /// Begins a pass. The reader must be at rest.
    void start(bool falling) {
        falling_ = falling;
        stopping_ = false;
        error_ = nullptr;
        taken_ = given_ = 0;
        taken_in_ring_ = given_in_ring_ = released_in_ring_ = 0;
        std::fill(filled_.begin(), filled_.end(), 0);
        const bool all_in_memory =
            kept_ == blocks_.count() && std::find(is_kept_.begin(), is_kept_.end(), 0) == is_kept_.end();
        const Index threads = all_in_memory ? 0 : (std::min)(wanted_threads_, blocks_.count());
        for (Index i = 0; i < threads; ++i) threads_.emplace_back([this] { read_blocks(); });
    }

    /// The pass's next block. Waits for it; rethrows what read() threw.
    ColumnBlock next() {
        const Index block = blocks_.in_order(given_++, falling_);
        const bool stays = block < kept_;
        const Index place = stays ? block : given_in_ring_++;
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return error_ || (stays ? is_kept(block) : filled(place) == place + 1); });
        if (error_) std::rethrow_exception(error_);
        return {blocks_.first(block), blocks_.size(block), slot(stays ? block : kept_ + place % ring_)};
    }

    /// Gives back all blocks that next() has returned.
    void release() {
        {
            const std::lock_guard lock(mutex_);
            released_in_ring_ = given_in_ring_;
        }
        changed_.notify_all();
    }

    /// Ends the pass, and its threads, at any point.
    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        changed_.notify_all();
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

private:
    char& is_kept(Index block) { return is_kept_[static_cast<std::size_t>(block)]; }
    Index& filled(Index place) { return filled_[static_cast<std::size_t>(place % ring_)]; }
    std::byte* slot(Index number) { return reinterpret_cast<std::byte*>(memory_.data()) + number * bytes_of_slot_; }

    /// A thread: takes one block after the other, until there are none or the pass ends.
    void read_blocks() {
        std::unique_lock lock(mutex_);
        while (!stopping_ && taken_ < blocks_.count()) {
            const Index block = blocks_.in_order(taken_, falling_);
            const bool stays = block < kept_;
            if (stays && is_kept(block)) {
                ++taken_;
                continue;
            }
            if (!stays && taken_in_ring_ >= released_in_ring_ + ring_) {
                changed_.wait(lock);
                continue;
            }
            ++taken_;
            const Index place = stays ? block : taken_in_ring_++;
            lock.unlock();
            std::exception_ptr error;
            try {
                columns_.read(blocks_.first(block), blocks_.size(block), slot(stays ? block : kept_ + place % ring_));
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            if (error) {
                if (!error_) error_ = error;
                stopping_ = true;
            } else if (stays) {
                is_kept(block) = 1;
            } else {
                filled(place) = place + 1;
            }
            changed_.notify_all();
        }
    }

    const AnyColumns& columns_;
    const ColumnBlocks& blocks_;
    Index kept_, ring_, wanted_threads_;
    Index bytes_of_slot_ = 0;
    Buffer<Real> memory_;  ///< Slots: of the blocks that stay, then of the ring.
    std::vector<std::thread> threads_;
    Index given_ = 0, given_in_ring_ = 0;  ///< By next(): of all blocks, and of those in the ring.

    std::mutex mutex_;  ///< Of all below.
    std::condition_variable changed_;
    std::vector<char> is_kept_;  ///< Whether a block that stays has been read.
    std::vector<Index> filled_;  ///< 1 + the number of the block in a slot of the ring.
    std::exception_ptr error_;
    bool falling_ = false;
    bool stopping_ = false;
    Index taken_ = 0, taken_in_ring_ = 0;  ///< By the threads, likewise.
    Index released_in_ring_ = 0;
};

}  // namespace otpool::detail
