#pragma once

#include <algorithm>

#include <Eigen/Core>

#ifdef POOL_HAS_TBB
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#endif

namespace pool {

/// Calls work(b) for every bag b, `threads` of them at a time (0: one a processor). An exception of one ends
/// them all.
template <class Work>
void for_each_bag(Eigen::Index bags, [[maybe_unused]] int threads, const Work& work) {
#ifdef POOL_HAS_TBB
    if (threads != 1 && bags > 1) {
        const Eigen::Index most = threads == 0 ? tbb::this_task_arena::max_concurrency() : threads;
        tbb::task_arena arena(static_cast<int>(std::min(most, bags)));
        arena.execute([&] { tbb::parallel_for(Eigen::Index(0), bags, work); });
        return;
    }
#endif
    for (Eigen::Index b = 0; b < bags; ++b) work(b);
}

}  // namespace pool
