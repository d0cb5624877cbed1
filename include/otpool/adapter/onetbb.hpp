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

/// Runs tasks with oneTBB, in the calling thread's arena or in an arena of its own, which copies share.
class OneTbb {
public:
    /// Uses all threads of the calling thread's arena.
    OneTbb() = default;
    /// Makes an arena of `threads` threads, or of fewer if oneTBB has fewer. Throws InvalidArgument if threads < 1.
    explicit OneTbb(int threads) {
        detail::require_that(threads >= 1, "threads", threads, "at least 1");
        arena_ = std::make_shared<tbb::task_arena>((std::min)(threads, tbb::info::default_concurrency()));
    }

    /// The number of threads of the arena.
    Index workers() const { return arena_ ? arena_->max_concurrency() : tbb::this_task_arena::max_concurrency(); }

    /// Runs all tasks; see ExecutionPolicy.
    void for_each(Index count, const Task& task) const {
        const auto work = [&](Index i) { task(i, tbb::this_task_arena::current_thread_index()); };
        // Isolated: a thread that waits here for others must not begin another of the caller's tasks, which would have
        // the same worker number.
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
