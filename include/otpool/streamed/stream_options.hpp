// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <functional>
#include <span>

#include "otpool/core/matrix.hpp"

namespace otpool {

/// How far the passes over a streamed bag are.
struct StreamProgress {
    Index pass = 0;         ///< The number of the present pass, from 1.
    Index bytes = 0;        ///< How much of the bag this pass has been over.
    Index total_bytes = 0;  ///< The size of the bag.
};

/// How a bag is streamed.
struct StreamOptions {
    /// Memory to work in, in bytes: for columns that stay in memory, for those being read, and for all sums. At least what
    /// two blocks of columns and the sums take: about 8 MB for 1000 features. A message says how much.
    Index memory = Index{512} << 20U;
    /// Threads that read, at least 1, beside those of the pooling's execution.
    Index readers = 2;
    /// Called from the pooling's thread after every few blocks, if set. What it throws ends the pooling.
    std::function<void(const StreamProgress&)> progress = {};
    /// Called with the plan's sums over features, c_n = sum_d P_dn, if set: for the instances first, first + 1, ..., a block
    /// at a time and in rising order, from the pooling's thread. Takes one more pass.
    std::function<void(Index first, std::span<const double> weights)> weights = {};
    /// The features' potentials f that Sinkhorn starts from, D finite numbers, instead of from the priors: those of a solve
    /// that was cut short, or of another bag. Takes one more pass. Empty: none. A closed form needs none.
    RealVector start = {};
    /// Called after every iteration of Sinkhorn with f, D numbers, if set: with them as `start` a solve goes on.
    std::function<void(std::span<const double> f)> potential = {};
};

}  // namespace otpool
