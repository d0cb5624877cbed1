// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/problem/regularizers.hpp"

namespace otpool::detail {

/// The steps that a solver took from a problem to its solution, and their reverse. There is a specialisation for every
/// solver that can be unrolled:
///
///     Trajectory(solver, problem, steps, pooled_only, workspace)    steps: as in Unrolled
///     mean, outcome, solution                                       as in ForwardPass
///     add_to(gradient, pass, readout, dL_dy, workspace)             pass: made of these
template <class Solver, BagScalar Scalar, Regularizer R>
class Trajectory;

/// Throws UnsupportedProblem for readouts that need more than the conditional mean, as the steps were only to pool.
template <class Readout>
void require_multiple_of_mean() {
    if constexpr (!MultipleOfMean<Readout>) {
        throw UnsupportedProblem("a tape of no more than pooled vectors", "another readout", "ConditionalReadout");
    }
}

}  // namespace otpool::detail
