// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/streamed/ranks.hpp"

namespace otpool {

/// The processes of an MPI communicator, as Ranks: for Shared, on_every_rank() and others. The caller initialises MPI, and
/// ends it. Of a program on several threads, one thread at a time may call it (MPI_THREAD_SERIALIZED).
///
/// If a process dies, MPI's own error handler ends the others. If the communicator's handler returns errors instead, they are
/// thrown as Error.
struct MpiRanks {
    MPI_Comm communicator = MPI_COMM_WORLD;  ///< Must stay valid.
    /// The most numbers that one call of MPI gathers, whose counts are of type int; more go rank by rank.
    Index longest = std::numeric_limits<int>::max();

    /// MPI_Comm_rank
    Index rank() const {
        int number = 0;
        succeed(MPI_Comm_rank(communicator, &number));
        return number;
    }
    /// MPI_Comm_size
    Index size() const {
        int count = 0;
        succeed(MPI_Comm_size(communicator, &count));
        return count;
    }

    /// MPI_Allgatherv; see Ranks.
    void gather(std::span<const double> own, std::span<const Index> counts, std::span<double> all) const {
        const Index total = std::accumulate(counts.begin(), counts.end(), Index{0});
        if (total > longest) return gather_by_rank(own, counts, all);
        std::vector<int> lengths, places;
        int place = 0;
        for (const Index count : counts) {
            lengths.push_back(static_cast<int>(count));
            places.push_back(place);
            place += static_cast<int>(count);
        }
        succeed(MPI_Allgatherv(own.data(), static_cast<int>(own.size()), MPI_DOUBLE, all.data(), lengths.data(),
                               places.data(), MPI_DOUBLE, communicator));
    }

private:
    /// The same by a broadcast of each rank's numbers, in pieces.
    void gather_by_rank(std::span<const double> own, std::span<const Index> counts, std::span<double> all) const {
        const Index self = rank();
        double* to = all.data();
        for (Index r = 0; r < std::ssize(counts); ++r) {
            Index left = counts[static_cast<std::size_t>(r)];
            if (r == self) std::copy(own.begin(), own.end(), to);
            while (left > 0) {
                const Index count = (std::min)(left, longest);
                succeed(MPI_Bcast(to, static_cast<int>(count), MPI_DOUBLE, static_cast<int>(r), communicator));
                to += count;
                left -= count;
            }
        }
    }

    static void succeed(int code) {
        if (code == MPI_SUCCESS) return;
        std::string text(MPI_MAX_ERROR_STRING, ' ');
        int length = 0;
        MPI_Error_string(code, text.data(), &length);
        throw Error("MPI: " + text.substr(0, static_cast<std::size_t>(length)));
    }
};

}  // namespace otpool
