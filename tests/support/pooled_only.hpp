#pragma once

#include "otpool/gradient/unrolled.hpp"

namespace tests {

/// A mode whose tapes are only to pool.
template <class Solver>
struct PooledOnly {
    otpool::Unrolled<Solver> mode;

    template <otpool::BagScalar Scalar, otpool::Regularizer R>
    auto solve(const otpool::UotProblem<Scalar, R>& problem) const {
        return mode.solve(problem, true);
    }

    template <class Tape, class Scalar>
    auto backward(const otpool::ConditionalReadout& readout, const Tape& tape,
                  const otpool::Vector<Scalar>& dL_dy) const {
        return mode.backward(readout, tape, dL_dy);
    }
};
template <class Solver>
PooledOnly(otpool::Unrolled<Solver>) -> PooledOnly<Solver>;

}  // namespace tests
