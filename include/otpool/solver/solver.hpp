// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <string>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"

namespace otpool {

/// What a solver takes besides the problem.
template <BagScalar Scalar, Regularizer R>
struct Run {
    /// Start from the potentials of a solution of a problem of the same shape, instead of from the priors.
    const Solution<Scalar, R>* warm_start = nullptr;
    Observer observer = {};
    /// All that is wanted of the solution is the conditional mean of the values, which the solver may then take while
    /// it has the plan at hand (Solution::conditional_mean), and leave out the rest: plan, potentials, residual.
    bool pooled_only = false;
    /// How the passes over a large bag are run: Sinkhorn's, and BregmanAdmm's where it pools only.
    Execution execution = {};
    /// Memory to work in, which the next solve may use again; left empty: the solve's own.
    Workspace* workspace = nullptr;
};

/// A solver: a value type of options whose solve() is const and thread-safe.
template <class S, class Scalar, class R>
concept SolverOf = requires(const S& solver, const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) {
    { solver.solve(problem) } -> std::same_as<Solution<Scalar, R>>;
    { solver.solve(problem, run) } -> std::same_as<Solution<Scalar, R>>;
    solver.options;
};

namespace detail {

/// Whether a number of steps is taken of which nothing will be seen but what the last one pools.
template <class Scalar, class R>
bool only_pools(const Options& options, const Run<Scalar, R>& run) {
    return run.pooled_only && options.iterations && !options.history && !run.observer;
}

template <class Scalar, class R>
void require_positive_alpha0(const std::string& solver, const UotProblem<Scalar, R>& problem) {
    if (!(problem.alpha0 > 0)) {
        throw UnsupportedProblem(solver, "alpha0 = 0 and no closed form", "alpha0 > 0 (BregmanAdmm takes alpha0 = 0)");
    }
}

template <class Scalar, class R>
void validate_warm_start(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) {
    if (run.warm_start == nullptr) return;
    const auto& other = run.warm_start->problem.reward;
    const MatrixView<Scalar>& reward = problem.reward;
    require(other.rows() == reward.rows() && other.cols() == reward.cols(), "shape of the warm start",
            shape_text(other.rows(), other.cols()),
            text(shape_text(reward.rows(), reward.cols()), ", the shape of the reward"));
}

/// Throws InvalidArgument if anything that a solver is given is not well formed. The pass is in the workspace.
template <class Scalar, class R>
const FirstPass<Scalar>& first_pass(const Options& options, const UotProblem<Scalar, R>& problem,
                                    const Run<Scalar, R>& run, Workspace& workspace) {
    validate(options);
    auto& pass = workspace.get<FirstPass<Scalar>>();
    pass.set(problem, run.execution);
    validate_warm_start(problem, run);
    return pass;
}

}  // namespace detail
}  // namespace otpool
