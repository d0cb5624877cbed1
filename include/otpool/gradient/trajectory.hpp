// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"
#include "otpool/problem/regularizer.hpp"

namespace otpool::detail {

/// The steps that a solver took from a problem to its solution, and their reverse. Specialised for the solvers that can be
/// unrolled.
template <class Solver, BagScalar Scalar, Regularizer R>
class Trajectory;

}  // namespace otpool::detail
