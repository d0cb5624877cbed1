#pragma once

#include <optional>

#include <otpool/otpool.hpp>

namespace pool {

enum class SolverName { automatic, sinkhorn, newton, active_set, badmm };

/// The solver that was chosen at run time. To the library it is a solver like any other: it has options and solve().
struct AnySolver {
    otpool::Options options = {};
    SolverName name = SolverName::automatic;
    std::optional<double> rho = {};                     ///< Of badmm.
    bool translation = true;                            ///< Of sinkhorn.
    otpool::HalfStep first = otpool::Sinkhorn{}.first;  ///< Of sinkhorn.

    /// The solver of a pooling that has a name.
    static AnySolver of(const AnySolver& solver) { return solver; }
    static AnySolver of(const otpool::ClosedForm& solver) { return {.options = solver.options}; }
    static AnySolver of(const otpool::ActiveSet& solver) {
        return {.options = solver.options, .name = SolverName::active_set};
    }
    static AnySolver of(const otpool::Sinkhorn& solver) {
        return {.options = solver.options,
                .name = SolverName::sinkhorn,
                .translation = solver.translation,
                .first = solver.first};
    }

    template <otpool::BagScalar Scalar, otpool::Regularizer R>
    otpool::Solution<Scalar, R> solve(const otpool::UotProblem<Scalar, R>& problem,
                                      const otpool::Run<Scalar, R>& run = {}) const {
        if constexpr (otpool::EntropicRegularizer<R>) {
            if (name == SolverName::sinkhorn) {
                return otpool::Sinkhorn{.options = options, .translation = translation, .first = first}.solve(problem,
                                                                                                              run);
            }
        }
        if (name == SolverName::newton) return otpool::Newton{options}.solve(problem, run);
        if (name == SolverName::active_set) return otpool::ActiveSet{options}.solve(problem, run);
        if (name == SolverName::badmm) return otpool::BregmanAdmm{options, rho}.solve(problem, run);
        return otpool::Automatic{options}.solve(problem, run);
    }
};

}  // namespace pool
