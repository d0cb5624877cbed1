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

/// Runs tasks with OpenMP; a thread that has ended a task takes the next. Inside a parallel region of the caller,
/// OpenMP allows one thread only, unless nested regions are switched on.
struct OpenMp {
    int threads = 0;  ///< At least 1, or 0 for OpenMP's default (OMP_NUM_THREADS).

    /// The number of threads. Throws InvalidArgument if `threads` is negative.
    Index workers() const {
        detail::require_that(threads >= 0, "threads", threads, "at least 1, or 0 for as many as OpenMP takes");
        return threads > 0 ? threads : omp_get_max_threads();
    }

    /// Runs all tasks; see ExecutionPolicy.
    void for_each(Index count, const Task& task) const {
        const int workers = static_cast<int>(this->workers());
#pragma omp parallel for schedule(dynamic, 1) num_threads(workers)
        for (Index i = 0; i < count; ++i) task(i, omp_get_thread_num());
    }
};

}  // namespace otpool
