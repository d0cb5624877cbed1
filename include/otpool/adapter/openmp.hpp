// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#ifndef _OPENMP
#error "otpool/adapter/openmp.hpp needs a compiler with OpenMP switched on: -fopenmp, or OpenMP::OpenMP_CXX of CMake"
#endif

#include <omp.h>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// Tasks by the threads of OpenMP, each of which takes the next task when it has ended one. Within a parallel region of
/// the caller's, the threads are those that OpenMP allows there: one, unless nested regions are switched on.
struct OpenMp {
    int threads = 0;  ///< At least 1, or 0: as many as OpenMP would take, OMP_NUM_THREADS.

    Index workers() const {
        detail::require(threads >= 0, "threads", threads, "at least 1, or 0 for as many as OpenMP takes");
        return threads > 0 ? threads : omp_get_max_threads();
    }

    void for_each(Index count, const Task& task) const {
        const int workers = static_cast<int>(this->workers());
#pragma omp parallel for schedule(dynamic, 1) num_threads(workers)
        for (Index i = 0; i < count; ++i) task(i, omp_get_thread_num());
    }
};

}  // namespace otpool
