// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/optimum.hpp"
#include "otpool/gradient/reverse/optimum_gradient.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/gradient/reverse/unregularized_gradient.hpp"
#include "otpool/gradient/reverse/vertex_gradient.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

namespace detail {

/// The forward pass that ended with `solution`.
template <BagScalar Scalar, Regularizer R>
ForwardPass<Scalar, R> forward_pass_of(Solution<Scalar, R>&& solution) {
    RealVector mean = conditional_mean(solution);
    return {solution.problem,
            std::move(mean),
            {solution.status, solution.iterations, solution.residual, solution.history},
            std::move(solution)};
}

/// Adds dL/d(problem), taking the solution for the optimum.
template <BagScalar Scalar, Regularizer R>
void add_gradient_of_optimum(const Solution<Scalar, R>& solution, PlanGradient of_plan, BagGradient<Scalar>& gradient) {
    pull_back_values(solution.log_plan, of_plan, gradient);
    const Optimum optimum(solution);
    if (optimum.alpha0 > 0) {
        OptimumGradient<>(optimum, of_plan).add_to(gradient);
    } else if (optimum.has_free_side) {
        UnregularizedGradient<>(optimum, of_plan).add_to(gradient);
    } else {
        VertexGradient<>(optimum, of_plan).add_to(gradient);
    }
    gradient.saturate();
}

}  // namespace detail

/// Gradient mode: differentiates the optimum by the implicit function theorem, whichever solver found it and however
/// many iterations it took. Closed forms have closed gradients.
///
/// At alpha0 = 0 without a free side, the plan has to be a vertex, as ActiveSet's is, and the gradient follows it.
///
/// Where no derivative exists: at alpha0 = 0 the gradient goes to the winners, and ties share it as they share the
/// plan, and the derivative with respect to an alpha of 0 is 0; at alpha0 = inf the reward's derivative is 0; an infinite
/// alpha's derivative is 0.
///
/// Cost besides the solver's, with m = min(D, N), M = max(D, N): M m^2 + m^3/3 flops up to m = 1000, above it conjugate
/// gradients of 4 D N flops per step; about ten exps per element. Memory: one D x N and one m x m matrix of double.
template <class Solver>
struct Implicit {
    static_assert(
        !requires { Solver::has_structural_term; },
        "otpool: the gradient of Structural is structural_gradient(), in otpool/gradient/structural_gradient.hpp");

    Solver solver = {};  ///< Finds the optimum.
    /// Whether to differentiate a solution that did not converge as if it had, instead of refusing it.
    bool accept_unconverged = false;

    /// What backward() needs from solve().
    template <BagScalar Scalar, Regularizer R>
    using Tape = ForwardPass<Scalar, R>;

    /// Solves the problem. The tape always has a solution, also if it is only to pool. Throws what the solver throws.
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool /*pooled_only*/ = false) const {
        Workspace workspace;
        return solve(problem, false, workspace);
    }
    /// The same in the memory of `workspace`, which the next solve can reuse.
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool /*pooled_only*/, Workspace& workspace) const {
        detail::require_kullback_leibler("Implicit", problem);
        detail::require_free_mass("Implicit", problem);
        return detail::forward_pass_of(solver.solve(problem, {.workspace = &workspace}));
    }

    /// dL/d(problem), given its tape and dL/dy of the readout. Throws InvalidArgument for a solution that has not
    /// converged, UnsupportedProblem at alpha0 = 0 without a free side, if the plan's entries do not form a forest (those
    /// of ActiveSet do).
    template <class Readout, BagScalar Scalar, Regularizer R>
    ProblemGradient<Scalar> backward(const Readout& readout, const ForwardPass<Scalar, R>& tape,
                                     const Vector<Scalar>& dL_dy) const {
        return detail::gradient_of(*this, readout, tape, dL_dy);
    }

    /// The number of entries in the gradient of each alpha and of rho: 1.
    Index parameters() const { return 1; }

    /// Like backward(), but adds to a bag's part of a batch's gradient.
    template <class Readout, BagScalar Scalar, Regularizer R>
    void add_gradient(const Readout& readout, const ForwardPass<Scalar, R>& tape, const RealVector& dL_dy,
                      detail::BagGradient<Scalar>& gradient, Workspace& workspace) const {
        add_gradient_of_plan(tape, detail::pull_back_readout(readout, tape, dL_dy, gradient), gradient, workspace);
    }

    /// The same, given what is read out of the plan; its values may be others than the problem's. Theirs is the
    /// derivative that becomes that of the values.
    template <BagScalar Scalar, Regularizer R>
    void add_gradient_of_plan(const ForwardPass<Scalar, R>& tape, const detail::PlanGradient& of_plan,
                              detail::BagGradient<Scalar>& gradient, Workspace& /*workspace*/) const {
        const Status status = tape.outcome.status;
        detail::require_that(tape.outcome.converged() || status == Status::mass_out_of_range || accept_unconverged,
                             "status of the solution", name(status), "converged, or any with accept_unconverged");
        detail::add_gradient_of_optimum(*tape.solution, of_plan, gradient);
    }
};

}  // namespace otpool
