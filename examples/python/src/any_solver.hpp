// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <optional>

#include <otpool/core/error.hpp>
#include <otpool/plan/solution.hpp>
#include <otpool/solver/solver.hpp>
#include <otpool/solver/steps/acceleration.hpp>

namespace otpool_python {

enum class SolverName { automatic, closed_form, sinkhorn, newton, active_set, bregman_admm };

/// The solver that was chosen at run time; to the library it is a solver like any other. Its functions are compiled once, in
/// any_solver.cpp, for double with all regularisers of the library, and for float with the entropic ones.
struct AnySolver {
    otpool::Options options = {};
    SolverName name = SolverName::automatic;
    bool translation = true;                 ///< Of Sinkhorn.
    int memory = otpool::Anderson{}.memory;  ///< Of Sinkhorn's acceleration.
    bool instances_first = false;            ///< Of Sinkhorn.
    std::optional<double> rho = {};          ///< Of BregmanAdmm.

    template <otpool::BagScalar Scalar, otpool::Regularizer R>
    otpool::Solution<Scalar, R> solve(const otpool::UotProblem<Scalar, R>& problem,
                                      const otpool::Run<Scalar, R>& run = {}) const;
    /// The conditional mean alone, which Sinkhorn, BregmanAdmm and closed forms find faster.
    template <otpool::BagScalar Scalar, otpool::Regularizer R>
    otpool::Outcome pool(const otpool::UotProblem<Scalar, R>& problem, otpool::PooledVector<Scalar> pooled,
                         const otpool::Run<Scalar, R>& run = {}) const;
    /// The plan alone, likewise.
    template <otpool::BagScalar Scalar, otpool::Regularizer R>
    otpool::detail::LogPlan log_plan(const otpool::UotProblem<Scalar, R>& problem,
                                     const otpool::Run<Scalar, R>& run = {}) const;
};

}  // namespace otpool_python
