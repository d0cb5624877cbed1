// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/regularizers.hpp"

namespace otpool::detail {

/// The steps that a solver took from a problem to its solution, and their reverse. Specialised for the solvers that can
/// be unrolled.
template <class Solver, BagScalar Scalar, Regularizer R>
class Trajectory;

/// Of a tape that is only to pool.
template <class Readout>
void require_conditional_mean() {
    if constexpr (!std::same_as<Readout, ConditionalReadout>) {
        throw UnsupportedProblem("a tape of no more than pooled vectors", "another readout", "ConditionalReadout");
    }
}

/// The entry of step k, from 0, of a parameter's gradient: there is one for every step, or one for all.
inline Real& of_step(auto& gradient, auto k) { return gradient[gradient.size() == 1 ? 0 : static_cast<Index>(k)]; }

/// Of the damping alpha / (alpha + scale): adds dL/dalpha to `of_alpha`, returns dL/dscale.
inline Real pull_back_damping(Real of_damping, Real alpha, Real scale, Real& of_alpha) {
    if (std::isinf(alpha)) return 0;
    const Real sum = alpha + scale;
    of_alpha += of_damping * (scale / sum) / sum;
    return -of_damping * (alpha / sum) / sum;
}

}  // namespace otpool::detail
