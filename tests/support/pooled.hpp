#pragma once

#include "otpool/plan/solved_plan.hpp"
#include "otpool/solver/solver.hpp"

namespace tests {

/// What a solver pools without a solution, and how that went.
template <class Scalar>
struct Pooled {
    otpool::Vector<Scalar> vector;
    otpool::Outcome outcome;
};

template <class Solver, otpool::BagScalar Scalar, otpool::Regularizer R>
Pooled<Scalar> pooled(const Solver& solver, const otpool::UotProblem<Scalar, R>& problem,
                      const otpool::Run<Scalar, R>& run = {}) {
    Pooled<Scalar> result{otpool::Vector<Scalar>(problem.reward.rows()), {}};
    result.outcome = solver.pool(problem, result.vector, run);
    return result;
}

}  // namespace tests
