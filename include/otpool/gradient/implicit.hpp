// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/optimum.hpp"
#include "otpool/gradient/reverse/optimum_gradient.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/winners_gradient.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

namespace detail {

/// Adds dL/d(problem) of a solution taken for the optimum.
template <class Readout, class Scalar, class R>
void add_gradient_of_optimum(const Readout& readout, const Solution<Scalar, R>& solution, const Vector<Scalar>& dL_dy,
                             BagGradient<Scalar>& gradient) {
    const PlanCotangent cotangent = pull_back(readout, solution, in_double(dL_dy), gradient);
    const Optimum optimum(solution);
    if (optimum.alpha0 > 0) {
        OptimumGradient<>(optimum, cotangent).add_to(gradient);
    } else {
        WinnersGradient(optimum, cotangent).add_to(gradient);
    }
    gradient.saturate();
}

}  // namespace detail

/// Gradient mode: differentiates the optimum that `solver` finds, by the implicit function theorem; whatever solver it
/// is, and however many iterations it took. Closed forms have closed gradients here, too.
///
/// Choices where there is no derivative: at alpha0 = 0 the winners stay the winners, and ties share as the plan does
/// (max pooling routes to them); at alpha0 = inf the reward does not matter; where an alpha is infinite its derivative
/// is 0.
///
/// Cost beside the solver's: with m = min(D, N), M = max(D, N), M m^2 + m^3/3 flops up to m = 1000, conjugate gradients
/// of 4 D N flops a step above, and about ten exps an element; memory is one D x N matrix of double, and one m x m.
template <class Solver>
struct Implicit {
    Solver solver = {};
    /// Whether to differentiate a solution that did not converge as if it had, instead of refusing it.
    bool accept_unconverged = false;

    template <BagScalar Scalar, Regularizer R>
    struct Tape {
        Solution<Scalar, R> solution;

        const UotProblem<Scalar, R>& problem() const { return solution.problem; }
        /// What a readout makes of it.
        template <class Readout>
        Vector<Scalar> read(const Readout& readout) const {
            return readout(solution);
        }
    };

    /// `workspace`: memory to work in, which the next solve may use again.
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool /*pooled_only*/ = false) const {
        return {solver.solve(problem)};
    }
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool /*pooled_only*/, Workspace& workspace) const {
        return {solver.solve(problem, {.workspace = &workspace})};
    }

    /// dL/d(problem), given the tape of its solution and dL/dy of its readout. Throws InvalidArgument for a solution
    /// that has not converged, UnsupportedProblem at alpha0 = 0 without a closed form, where the plan is a vertex.
    template <class Readout, BagScalar Scalar, Regularizer R>
    ProblemGradient<Scalar> backward(const Readout& readout, const Tape<Scalar, R>& tape,
                                     const Vector<Scalar>& dL_dy) const {
        return detail::gradient_of(*this, readout, tape, dL_dy);
    }

    /// How many alphas and rhos the gradient has entries for.
    Index parameters() const { return 1; }

    /// The same, added to a bag's part of a batch's gradient.
    template <class Readout, BagScalar Scalar, Regularizer R>
    void add_gradient(const Readout& readout, const Tape<Scalar, R>& tape, const Vector<Scalar>& dL_dy,
                      detail::BagGradient<Scalar>& gradient, Workspace& /*workspace*/) const {
        const Solution<Scalar, R>& solution = tape.solution;
        const bool solved = solution.converged() || solution.status == Status::mass_out_of_range;
        detail::require(solved || accept_unconverged, "status of the solution", name(solution.status),
                        "converged, or any with accept_unconverged");
        detail::add_gradient_of_optimum(readout, solution, dL_dy, gradient);
    }
};

}  // namespace otpool
