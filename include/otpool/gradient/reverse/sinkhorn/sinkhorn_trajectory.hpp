// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/gradient/reverse/sinkhorn/sinkhorn_reverse.hpp"
#include "otpool/gradient/reverse/sinkhorn/sinkhorn_tape.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/solver/steps/scaling.hpp"
#include "otpool/solver/steps/scaling_steps.hpp"

namespace otpool::detail {

/// K steps of Sinkhorn and their reverse. With y = X/a0, F = f/a0, G = g/a0, th = a0/a and k = 1/(1 + th) of each side,
/// a step is
///
///     s = LSE_n(y + G),   F = k1 (log p0 - s)
///     F' = F + T,         T = (LSE(log p0 - th1 F) - LSE(log q0 - th2 G)) / (th1 + th2)
///     u = LSE_d(y + F'),  G = k2 (log q0 - u)
///
/// Only s, u and T of every step are kept: F' and G follow from them. The reverse needs the plans exp(y + G - s) and
/// exp(y + F' - u), which are exp(y) scaled by vectors, and so is what they add to dL/dy. So steps with the same
/// parameters share one exp per element, and their 2K rank-one updates are one product (ScaledKernelSum). Memory: the
/// D x N gradient of the reward, and SinkhornTape.
///
/// T is left out where only the conditional mean is wanted, as in Sinkhorn: the mean and its gradient do not depend on it.
template <BagScalar Scalar, EntropicRegularizer R>
class Trajectory<Sinkhorn, Scalar, R> {
public:
    RealVector mean;
    Outcome outcome;
    std::optional<Solution<Scalar, R>> solution;  ///< None where it is only to pool.

    /// `steps`: empty, or one set of parameters for each of options.iterations.
    Trajectory(const Sinkhorn& solver, const UotProblem<Scalar, R>& problem, const std::vector<StepParameters>& steps,
               bool pooled_only, Workspace& workspace) {
        const Run<Scalar, R> run{.workspace = &workspace};
        SolverRun<Scalar, R> own(solver.options, problem, run);
        if (solver.first != HalfStep::features)
            throw UnsupportedProblem("Unrolled Sinkhorn", "the instances' half step first", "the features' first");
        start_tape(problem, steps, *solver.options.iterations);
        pooled_only = pooled_only && !solver.options.history;
        const bool by_scalings = pooled_only && steps.empty();
        if (by_scalings && pool_by_scalings(own, tape_.problems.front(), mean, &tape_.log_sums)) {
            outcome = {.status = Status::iteration_limit, .iterations = *solver.options.iterations};
            return;
        }
        if (!by_scalings) own.inspect();
        auto& scaling = workspace.get<Scaling<>>();
        Iterations iterations(own.any(), 0);
        Recorder recorder{tape_, workspace.get<Inspection>()};
        const bool translation = solver.translation && !pooled_only;
        sinkhorn_steps(scaling, iterations, translation, false, 0, workspace, recorder);
        recorder.end(scaling);
        outcome = iterations.outcome();
        const UotProblem<Scalar, R> last = steps.empty() ? problem : with_parameters(problem, steps.back());
        if (!pooled_only) {
            SolvedPlan found = scaling.solution(Real(last.alpha0));
            found.outcome = outcome;
            check_promise(found, tape_.problems.back(), scaling.attainable(), own.any().tolerance);
            outcome = found.outcome;
            solution = solution_of(last, std::move(found));
        }
        scaling.pool(own.inspection().values, mean);
    }

    /// Throws UnsupportedProblem if the steps were only to pool and the readout needs more than the conditional mean.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const ForwardPass<Scalar, R>& pass, const Readout& readout,
                const RealVector& dL_dy, Workspace& workspace) const {
        if (!pass.solution) require_multiple_of_mean<Readout>();
        add_to(gradient, pass, pull_back_readout(readout, pass, dL_dy, gradient), workspace);
    }
    /// Given what is read out of the plan.
    void add_to(BagGradient<Scalar>& gradient, const ForwardPass<Scalar, R>&, const PlanGradient& of_plan,
                Workspace& workspace) const {
        workspace.get<SinkhornReverse<Scalar>>().run(tape_, of_plan, of_plan.values, of_plan.mean, gradient);
    }

    /// As SinkhornTape::require_digits().
    void require_digits(Index bag) const { tape_.require_digits(bag); }

private:
    /// Puts what Sinkhorn's loop tells of its steps onto the tape.
    struct Recorder {
        SinkhornTape& tape;
        Inspection& problem;  ///< Its alphas become those of the present step.
        Index step = 0;
        Buffer<Real> potential = {};

        /// Before a step: starts anew where parameters change, from the potential that the step before left.
        void begin(Scaling<>& scaling) {
            if (step == 0 || !tape.parameters.shared()) {
                const StepParameters& parameters = tape.parameters[step];
                problem.set_alphas(parameters.alpha0, parameters.alpha1, parameters.alpha2);
                ScaledProblem& scaled = tape.scaled(step);
                scaled.set(problem);
                if (step == 0) tape.log_sums.resize(scaled.kernel.rows(), scaled.kernel.cols(), tape.steps());
                tape.start(step, potential);
                scaling.start(scaled, potential, {});
            }
            copy(scaling.log_row_sum(), tape.log_sums.rows_of(step));
        }
        /// After it.
        void keep(const Scaling<>& scaling, Real translation) {
            tape.translation[static_cast<std::size_t>(step)] = translation;
            copy(scaling.log_col_sum(), tape.log_sums.cols_of(step));
            ++step;
        }
        void end(const Scaling<>& scaling) { copy(scaling.log_row_sum(), tape.log_sums.rows_of(step)); }

        static void copy(const Buffer<Real>& from, Real* to) { std::copy(from.begin(), from.end(), to); }
    };

    void start_tape(const UotProblem<Scalar, R>& problem, const std::vector<StepParameters>& steps, int count) {
        tape_.prior_weight = R::prior_weight;
        tape_.parameters = parameter_sets(steps, problem);
        for (const StepParameters& step : tape_.parameters.sets) {
            if (step.alpha0 > 0 && std::isfinite(step.alpha0)) continue;
            throw UnsupportedProblem("Unrolled Sinkhorn", "alpha0 = " + printed(step.alpha0), "alpha0 > 0 and finite");
        }
        tape_.problems.resize(tape_.parameters.sets.size());
        tape_.translation.assign(static_cast<std::size_t>(count), 0);
    }

    SinkhornTape tape_;
};

}  // namespace otpool::detail
