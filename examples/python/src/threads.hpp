// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include <otpool/core/error.hpp>
#include <otpool/core/execution.hpp>

namespace otpool_python {

/// An execution policy that starts threads and waits for them, so that none are left for a fork() of the process, and a wheel
/// needs no library. A thread that has ended a task takes the next.
struct Threads {
    int count = 1;  ///< At least 1.

    otpool::Index workers() const { return count; }
    void for_each(otpool::Index tasks, const otpool::Task& task) const {
        std::atomic<otpool::Index> next = 0;
        const auto work = [&](otpool::Index worker) {
            for (otpool::Index i = next++; i < tasks; i = next++) task(i, worker);
        };
        std::vector<std::jthread> others;
        for (otpool::Index worker = 1; worker < std::min<otpool::Index>(count, tasks); ++worker) {
            others.emplace_back(work, worker);
        }
        work(0);
    }
};

/// So many threads, or one per processor of 0. Throws InvalidArgument.
inline otpool::Execution execution(int threads) {
    otpool::detail::require_that(threads >= 0, "threads", threads, "at least 1, or 0 for one per processor");
    if (threads == 0) threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    if (threads == 1) return {};
    return Threads{threads};
}

}  // namespace otpool_python
