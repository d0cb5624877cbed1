// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/closed_form/closed_form_of.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/implicit.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/admm_trajectory.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/sinkhorn_trajectory.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// What an Unrolled mode does where the answer has a closed form: it takes that, or the steps all the same. (Types, so
/// that layers, which take steps alone, compile no gradient of closed forms.)
struct StepsOrClosedForm {};
struct StepsAlone {};

/// Gradient mode: differentiates the K = solver.options.iterations steps that the solver takes, by reverse mode,
/// whether they converge or not. For Sinkhorn with alpha0 in (0, inf) and BregmanAdmm with alpha0 in [0, inf).
///
/// All steps take the problem's parameters, or each its own (`steps`), which the gradient then has one entry for. Where
/// the answer has a closed form and all steps share their parameters, that is what runs, unless
/// Options::closed_forms or `Steps` say otherwise, and its gradient is exact.
///
/// Memory of a tape: Sinkhorn's D + N numbers a step. BregmanAdmm's 3 (D + N), where the regulariser is entropic and
/// the tape is only to pool, and D N numbers of the bag's own scalar every eight steps; else 3 D N doubles a step,
/// which take ten times as long. The backward pass costs about two forward ones.
template <class Solver, class Steps = StepsOrClosedForm>
struct Unrolled {
    Solver solver = {};
    std::vector<StepParameters> steps = {};  ///< Empty: the problem's in every step. Else K of them.

    template <BagScalar Scalar, Regularizer R>
    struct Tape : ForwardPass<Scalar, R> {
        std::optional<detail::Trajectory<Solver, Scalar, R>> trajectory = {};  ///< None for a closed form.
    };

    /// Throws InvalidArgument if the problem or `steps` is not well formed, or the solver has no number of iterations,
    /// or BregmanAdmm no rho (its default would depend on the bag).
    /// `pooled_only`: the tape is for readouts that are multiples of the conditional mean, and has no solution.
    /// `workspace`: memory to work in, which the next solve may use again.
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool pooled_only = false) const {
        Workspace workspace;
        return solve(problem, pooled_only, workspace);
    }
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool pooled_only, Workspace& workspace) const {
        detail::require(solver.options.iterations.has_value(), "number of iterations to unroll", "not set",
                        "at least 1");
        detail::validate(solver.options);
        detail::validate(steps, *solver.options.iterations);
        detail::require_kullback_leibler("Unrolled", problem);
        if constexpr (takes_closed_forms) {
            if (steps.empty() && solver.options.closed_forms && detail::has_closed_form(problem)) {
                return {detail::forward_pass_of(solver.solve(problem, {.workspace = &workspace})), {}};
            }
        }
        detail::Trajectory<Solver, Scalar, R> trajectory(solver, problem, steps, pooled_only, workspace);
        ForwardPass<Scalar, R> pass{steps.empty() ? problem : detail::with_parameters(problem, steps.back()),
                                    std::move(trajectory.mean), trajectory.outcome, std::move(trajectory.solution)};
        return {std::move(pass), std::move(trajectory)};
    }

    template <class Readout, BagScalar Scalar, Regularizer R>
    ProblemGradient<Scalar> backward(const Readout& readout, const Tape<Scalar, R>& tape,
                                     const Vector<Scalar>& dL_dy) const {
        return detail::gradient_of(*this, readout, tape, dL_dy);
    }

    /// How many alphas and rhos the gradient has entries for.
    Index parameters() const { return std::max<Index>(1, static_cast<Index>(steps.size())); }

    /// The same, added to a bag's part of a batch's gradient.
    template <class Readout, BagScalar Scalar, Regularizer R>
    void add_gradient(const Readout& readout, const Tape<Scalar, R>& tape, const RealVector& dL_dy,
                      detail::BagGradient<Scalar>& gradient, Workspace& workspace) const {
        if constexpr (takes_closed_forms) {
            if (!tape.trajectory) {
                return detail::add_gradient_of_optimum<Readout, Scalar, R>(readout, tape, dL_dy, gradient);
            }
        }
        tape.trajectory->add_to(gradient, tape, readout, dL_dy, workspace);
        gradient.saturate();
    }

private:
    static constexpr bool takes_closed_forms = std::same_as<Steps, StepsOrClosedForm>;
};

}  // namespace otpool
