#pragma once

#include <optional>

#include <otpool/otpool.hpp>

#include "settings.hpp"

namespace pool {

/// The solver that was chosen at run time. To the library it is a solver like any other: it has options and solve().
struct AnySolver {
    otpool::Options options = {};
    SolverName name = SolverName::automatic;
    std::optional<double> rho = {};

    template <otpool::BagScalar Scalar, otpool::Regularizer R>
    otpool::Solution<Scalar, R> solve(const otpool::UotProblem<Scalar, R>& problem,
                                      const otpool::Run<Scalar, R>& run = {}) const {
        if constexpr (otpool::EntropicRegularizer<R>) {
            if (name == SolverName::sinkhorn) return otpool::Sinkhorn{options}.solve(problem, run);
        }
        if (name == SolverName::newton) return otpool::Newton{options}.solve(problem, run);
        if (name == SolverName::active_set) return otpool::ActiveSet{options}.solve(problem, run);
        if (name == SolverName::badmm) return otpool::BregmanAdmm{options, rho}.solve(problem, run);
        return otpool::Automatic{options}.solve(problem, run);
    }
};

}  // namespace pool
