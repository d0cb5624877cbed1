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
#include "otpool/gradient/reverse/admm/admm_trajectory.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/sinkhorn/sinkhorn_trajectory.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// Unrolled takes the closed form if the problem has one, otherwise steps.
struct StepsOrClosedForm {};
/// Unrolled always takes steps. (A type, so that layers compile no gradients of closed forms.)
struct StepsAlone {};

/// Gradient mode: differentiates the K = solver.options.iterations steps that the solver takes, by reverse mode,
/// whether they converge or not. For Sinkhorn with alpha0 in (0, inf) and BregmanAdmm with alpha0 in [0, inf).
///
/// All steps take the problem's parameters, or each step takes its own (`steps`); then the gradient has one entry per
/// step. Where features or instances have an alpha each (Marginal::alphas; Sinkhorn alone), the steps share them. If the problem has a closed form and all steps share their parameters, the
/// closed form is computed instead, and its gradient is exact; Options::closed_forms = false and StepsAlone prevent
/// this.
///
/// Memory of a tape: D + N numbers per step for Sinkhorn. For BregmanAdmm, if the regulariser is entropic and the tape
/// only pools, 3 (D + N) numbers per step and D N numbers of the bag's scalar every eighth step; otherwise 3 D N
/// doubles per step, which takes ten times as long. The backward pass costs about two forward passes; for Sinkhorn with
/// potentials above 1000 alpha0, as at alpha0 below a thousandth of the reward's spread, 3 exp per element and step,
/// and 3 D N doubles of memory.
template <class Solver, class Steps = StepsOrClosedForm>
struct Unrolled {
    Solver solver = {};                      ///< Takes the steps; its number of iterations must be set.
    std::vector<StepParameters> steps = {};  ///< K entries, or none: then every step takes the problem's parameters.

    /// What backward() needs from solve().
    template <BagScalar Scalar, Regularizer R>
    struct Tape : ForwardPass<Scalar, R> {
        std::optional<detail::Trajectory<Solver, Scalar, R>> trajectory = {};  ///< Unset for a closed form.
    };

    /// Takes the steps. A tape that is `pooled_only` has no solution and serves only readouts that are multiples of the
    /// conditional mean. Throws InvalidArgument if the problem or `steps` is not well formed, if the number of
    /// iterations is not set, or if neither `steps` nor BregmanAdmm sets rho (its default depends on the bag).
    /// UnsupportedProblem if `steps` go with alphas for each line, or with HalfStep::instances.
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool pooled_only = false) const {
        Workspace workspace;
        return solve(problem, pooled_only, workspace);
    }
    /// The same in the memory of `workspace`, which the next solve can reuse.
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool pooled_only, Workspace& workspace) const {
        detail::require_that(solver.options.iterations.has_value(), "number of iterations to unroll", "not set",
                             "at least 1");
        detail::validate(solver.options);
        detail::validate(steps, *solver.options.iterations);
        detail::require_kullback_leibler("Unrolled", problem);
        if (!steps.empty()) detail::require_common_alphas("Unrolled with parameters for each step", problem);
        detail::require_free_mass("Unrolled", problem);
        for (const StepParameters& step : steps) {
            detail::require_kullback_leibler("Unrolled", detail::with_parameters(problem, step));
        }
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

    /// dL/d(problem), given its tape and dL/dy of the readout. Throws UnsupportedProblem if the tape only pools and the
    /// readout is not a multiple of the conditional mean.
    template <class Readout, BagScalar Scalar, Regularizer R>
    ProblemGradient<Scalar> backward(const Readout& readout, const Tape<Scalar, R>& tape,
                                     const Vector<Scalar>& dL_dy) const {
        return detail::gradient_of(*this, readout, tape, dL_dy);
    }

    /// The number of entries in the gradient of each alpha and of rho: one per step with its own parameters, else 1.
    Index parameters() const { return std::max<Index>(1, static_cast<Index>(steps.size())); }

    /// Like backward(), but adds to a bag's part of a batch's gradient.
    template <class Readout, BagScalar Scalar, Regularizer R>
    void add_gradient(const Readout& readout, const Tape<Scalar, R>& tape, const RealVector& dL_dy,
                      detail::BagGradient<Scalar>& gradient, Workspace& workspace) const {
        if constexpr (takes_closed_forms) {
            if (!tape.trajectory) {
                return detail::add_gradient_of_optimum(
                    *tape.solution, detail::pull_back_readout(readout, tape, dL_dy, gradient), gradient);
            }
        }
        tape.trajectory->add_to(gradient, tape, readout, dL_dy, workspace);
        gradient.saturate();
    }

    /// The same, given what is read out of the plan; its values may be others than the problem's. Theirs is the
    /// derivative that becomes that of the values. For a tape with a solution.
    template <BagScalar Scalar, Regularizer R>
    void add_gradient_of_plan(const Tape<Scalar, R>& tape, const detail::PlanGradient& of_plan,
                              detail::BagGradient<Scalar>& gradient, Workspace& workspace) const {
        if constexpr (takes_closed_forms) {
            if (!tape.trajectory) return detail::add_gradient_of_optimum(*tape.solution, of_plan, gradient);
        }
        tape.trajectory->add_to(gradient, tape, of_plan, workspace);
        gradient.saturate();
    }

private:
    static constexpr bool takes_closed_forms = std::same_as<Steps, StepsOrClosedForm>;
};

}  // namespace otpool
