// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <memory>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// Tasks by oneTBB, in the calling thread's arena or in one of this policy's own, which its copies share.
class OneTbb {
public:
    /// The arena that it is called in, with all its threads.
    OneTbb() = default;
    /// An arena of `threads` threads, at least 1; of fewer where oneTBB would have no more for it.
    explicit OneTbb(int threads) {
        detail::require(threads >= 1, "threads", threads, "at least 1");
        arena_ = std::make_shared<tbb::task_arena>(std::min(threads, tbb::info::default_concurrency()));
    }

    Index workers() const { return arena_ ? arena_->max_concurrency() : tbb::this_task_arena::max_concurrency(); }

    void for_each(Index count, const Task& task) const {
        const auto work = [&](Index i) { task(i, tbb::this_task_arena::current_thread_index()); };
        // Isolated: a thread that waits here for others must not begin another task of the caller's, as the same
        // worker.
        const auto run = [&] {
            tbb::this_task_arena::isolate([&] { tbb::parallel_for(Index{0}, count, work, tbb::simple_partitioner()); });
        };
        if (arena_) {
            arena_->execute(run);
        } else {
            run();
        }
    }

private:
    std::shared_ptr<tbb::task_arena> arena_ = {};
};

}  // namespace otpool
