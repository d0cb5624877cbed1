// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

// otpool.hpp, with the solvers' code once in a program instead of once in every file that uses them, which then compile
// in a fraction of the time: all solvers, for float and double, with every regulariser they take. Exactly one file of
// the program defines OTPOOL_COMPILE before it includes this, and is compiled with the same flags as the others.

#include "otpool/otpool.hpp"

#ifdef OTPOOL_COMPILE
#define OTPOOL_TEMPLATE template
#else
#define OTPOOL_TEMPLATE extern template
#endif

#define OTPOOL_SOLVE(Solver, Scalar, R) \
    OTPOOL_TEMPLATE Solution<Scalar, R> Solver::solve(const UotProblem<Scalar, R>&, const Run<Scalar, R>&) const;

#define OTPOOL_SOLVERS(Scalar)                         \
    OTPOOL_SOLVE(Sinkhorn, Scalar, Entropy)            \
    OTPOOL_SOLVE(Sinkhorn, Scalar, RelativeEntropy)    \
    OTPOOL_SOLVE(Newton, Scalar, Entropy)              \
    OTPOOL_SOLVE(Newton, Scalar, RelativeEntropy)      \
    OTPOOL_SOLVE(BregmanAdmm, Scalar, Entropy)         \
    OTPOOL_SOLVE(BregmanAdmm, Scalar, RelativeEntropy) \
    OTPOOL_SOLVE(BregmanAdmm, Scalar, Quadratic)

namespace otpool {

OTPOOL_SOLVERS(float)
OTPOOL_SOLVERS(double)

}  // namespace otpool

#undef OTPOOL_SOLVERS
#undef OTPOOL_SOLVE
#undef OTPOOL_TEMPLATE
