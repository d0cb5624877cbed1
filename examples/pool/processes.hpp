#pragma once

#include <otpool/streamed/ranks.hpp>

#ifdef POOL_HAS_MPI
#include <cstdlib>
#include <otpool/adapter/mpi.hpp>
#endif

// The processes that pool together: those that mpirun has started, or this one alone.

namespace pool {

#ifdef POOL_HAS_MPI

/// Whether mpirun, or another launcher with MPI's process management, has started this program.
inline bool has_launcher() {
    for (const char* const variable : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
        if (std::getenv(variable) != nullptr) return true;
    }
    return false;
}

/// Initialises MPI if there is a launcher, and ends it. If a process dies, MPI ends the others.
class Processes {
public:
    Processes() {
        if (!has_launcher()) return;
        int level = 0;
        MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);
        started_ = true;
        ranks_ = otpool::MpiRanks();
        MPI_Comm of_machine = MPI_COMM_NULL;
        MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &of_machine);
        on_this_machine_ = otpool::MpiRanks{of_machine}.size();
        MPI_Comm_free(&of_machine);
    }
    Processes(const Processes&) = delete;
    Processes& operator=(const Processes&) = delete;
    ~Processes() {
        if (started_) MPI_Finalize();
    }

    const otpool::AnyRanks& ranks() const { return ranks_; }
    /// How many of them share the memory.
    otpool::Index on_this_machine() const { return on_this_machine_; }
    /// Ends them all, if there are several.
    void abort(int status) const {
        if (ranks_.size() > 1) MPI_Abort(MPI_COMM_WORLD, status);
    }

private:
    bool started_ = false;
    otpool::AnyRanks ranks_;
    otpool::Index on_this_machine_ = 1;
};

#else

class Processes {
public:
    const otpool::AnyRanks& ranks() const { return ranks_; }
    otpool::Index on_this_machine() const { return 1; }
    void abort(int) const {}

private:
    otpool::AnyRanks ranks_;
};

#endif

}  // namespace pool
