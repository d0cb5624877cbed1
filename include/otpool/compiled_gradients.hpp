// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

// learning.hpp, with the code of solvers and gradients once in a program: see compiled_solvers.hpp, which it includes.
// All of Unrolled and the gradient of an optimum, for the conditional readout, which is every layer's default.

#include "otpool/compiled_solvers.hpp"
#include "otpool/learning.hpp"

#ifdef OTPOOL_COMPILE
#define OTPOOL_TEMPLATE template
#else
#define OTPOOL_TEMPLATE extern template
#endif

#define OTPOOL_UNROLLED(Solver, Scalar, R)                                                                        \
    OTPOOL_TEMPLATE Unrolled<Solver>::Tape<Scalar, R> Unrolled<Solver>::solve(const UotProblem<Scalar, R>&, bool, \
                                                                              Workspace&) const;                  \
    OTPOOL_TEMPLATE void Unrolled<Solver>::add_gradient(                                                          \
        const ConditionalReadout&, const Unrolled<Solver>::Tape<Scalar, R>&, const Vector<Scalar>&,               \
        detail::BagGradient<Scalar>&, Workspace&) const;

#define OTPOOL_OPTIMUM(Scalar, R)                                                                               \
    OTPOOL_TEMPLATE void detail::add_gradient_of_optimum(const ConditionalReadout&, const Solution<Scalar, R>&, \
                                                         const Vector<Scalar>&, detail::BagGradient<Scalar>&);

#define OTPOOL_GRADIENTS(Scalar)                          \
    OTPOOL_OPTIMUM(Scalar, Entropy)                       \
    OTPOOL_OPTIMUM(Scalar, RelativeEntropy)               \
    OTPOOL_OPTIMUM(Scalar, Quadratic)                     \
    OTPOOL_UNROLLED(Sinkhorn, Scalar, Entropy)            \
    OTPOOL_UNROLLED(Sinkhorn, Scalar, RelativeEntropy)    \
    OTPOOL_UNROLLED(BregmanAdmm, Scalar, Entropy)         \
    OTPOOL_UNROLLED(BregmanAdmm, Scalar, RelativeEntropy) \
    OTPOOL_UNROLLED(BregmanAdmm, Scalar, Quadratic)

namespace otpool {

OTPOOL_GRADIENTS(float)
OTPOOL_GRADIENTS(double)

}  // namespace otpool

#undef OTPOOL_GRADIENTS
#undef OTPOOL_OPTIMUM
#undef OTPOOL_UNROLLED
#undef OTPOOL_TEMPLATE
