// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/reverse/admm/admm_state_reverse.hpp"
#include "otpool/gradient/reverse/admm/admm_state_tape.hpp"
#include "otpool/gradient/reverse/admm/admm_sweep_reverse.hpp"
#include "otpool/gradient/reverse/admm/admm_sweep_tape.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_steps.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool::detail {

/// K steps of BregmanAdmm and their reverse. By AdmmSweep where the steps are only to pool and it resolves them, in the
/// narrowest type that does, as BregmanAdmm itself; else by AdmmState.
template <BagScalar Scalar, Regularizer R>
class Trajectory<BregmanAdmm, Scalar, R> {
public:
    RealVector mean;  ///< What is pooled.
    Outcome outcome;
    std::optional<Solution<Scalar, R>> solution;  ///< Unless swept().

    /// `steps`: empty, or one set of parameters for each of options.iterations.
    Trajectory(const BregmanAdmm& solver, const UotProblem<Scalar, R>& problem,
               const std::vector<StepParameters>& steps, bool pooled_only, Workspace& workspace) {
        const Run<Scalar, R> run{.workspace = &workspace};
        SolverRun<Scalar, R> own(solver.options, problem, run);
        own.inspect();
        require_that(solver.rho.has_value() || !steps.empty(), "rho of the steps to unroll", "not set",
                     "finite and > 0");
        const ParameterSets parameters = parameter_sets(steps, problem, solver.rho.value_or(1));
        if (std::isinf(parameters[0].alpha0)) {
            throw UnsupportedProblem("Unrolled BregmanAdmm", "alpha0 = inf and no closed form", "alpha0 finite");
        }
        auto& inspection = workspace.get<Inspection>();
        if constexpr (EntropicRegularizer<R>) {
            if (pooled_only && !solver.options.history && solver.dual_step == DualStep::scaled) {
                const int count = *solver.options.iterations;
                if (pool_by_sweeps(narrow_, inspection, parameters, count, workspace)) return;
                if constexpr (!std::same_as<Scalar, Real>) {
                    if (pool_by_sweeps(wide_, inspection, parameters, count, workspace)) return;
                }
            }
        }
        AdmmStateTape<>& tape = states_.emplace(AdmmStateTape<>{inspection, solver.dual_step, parameters});
        AdmmState<> state = tape.start();
        Iterations iterations(own.any(), 0);
        admm_steps(state, iterations, tape);
        SolvedPlan found = state.solution();
        found.outcome = iterations.outcome();
        check_mass_range(found, inspection.reward.is_float());
        outcome = found.outcome;
        mean = conditional_mean(found.log_plan, inspection.pooled_values());
        solution = solution_of(with_parameters(problem, parameters.sets.back()), std::move(found));
    }

    bool swept() const { return !states_; }

    /// Throws UnsupportedProblem where swept() and the readout needs more than the conditional mean.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const ForwardPass<Scalar, R>& pass, const Readout& readout,
                const RealVector& dL_dy, Workspace& workspace) const {
        if (states_) return add_to(gradient, pass, pull_back_readout(readout, pass, dL_dy, gradient), workspace);
        if constexpr (MultipleOfMean<Readout>) {
            RealVector of_mean = dL_dy;
            for (Real& derivative : of_mean) derivative *= readout.factor(active_instances(pass.problem));
            if (narrow_) pull_back_sweeps(gradient, *narrow_, of_mean, workspace);
            if (wide_) pull_back_sweeps(gradient, *wide_, of_mean, workspace);
        } else {
            require_multiple_of_mean<Readout>();
        }
    }
    /// Given what is read out of the plan, which the steps must have been taken for.
    void add_to(BagGradient<Scalar>& gradient, const ForwardPass<Scalar, R>& pass, PlanGradient of_plan,
                Workspace&) const {
        pull_back_values(pass.solution.value().log_plan, of_plan, gradient);
        pull_back_states(gradient, pass, of_plan);
    }

private:
    /// Puts what AdmmSweep's loop tells of its steps onto the tape.
    template <class Work>
    struct SweepRecorder {
        AdmmSweepTape<Work>& tape;
        Inspection& problem;  ///< Its alphas become those of the present step.
        int steps;

        /// Whether Work resolves the step, or all where they share their parameters.
        bool begin(AdmmSweep<Work>& sweep) {
            const bool shared = tape.parameters.shared();
            const Index k = tape.steps();
            if (k > 0 && shared) return true;
            const StepParameters& step = tape.parameters[k];
            problem.set_alphas(step.alpha0, step.alpha1, step.alpha2);
            if (k == 0) {
                sweep.start(problem, step.rho);
                sweep.keep_duals(steps);
            } else {
                sweep.set_parameters(step.rho);
            }
            // Products of smaller exponents, which are not all 0, have no digits left in Work.
            constexpr Real smallest = std::same_as<Work, float> ? 1e-10 : 1e-100;
            const Real exponents = sweep.spread() / step.rho;
            if (exponents > 0 && exponents < smallest) return false;
            return sweep.resolves(shared ? steps : 1);
        }
        void keep(const AdmmSweep<Work>& sweep) { tape.keep(sweep); }
    };

    /// Whether Work resolves all steps; the tape is none otherwise.
    template <class Work>
    bool pool_by_sweeps(std::optional<AdmmSweepTape<Work>>& tape, Inspection& problem, const ParameterSets& parameters,
                        int steps, Workspace& workspace) {
        tape.emplace(problem, parameters, steps);
        auto& sweep = workspace.get<AdmmSweep<Work>>();
        if (!admm_pooling_steps(sweep, steps, tape->mean, SweepRecorder<Work>{*tape, problem, steps})) {
            tape.reset();
            return false;
        }
        tape->duals = sweep.take_duals();
        mean = tape->mean;
        outcome = {.status = Status::iteration_limit, .iterations = steps};
        return true;
    }

    template <class Work>
    static void pull_back_sweeps(BagGradient<Scalar>& gradient, const AdmmSweepTape<Work>& tape,
                                 const RealVector& dL_dy, Workspace& workspace) {
        if (largest_magnitude(dL_dy.data(), dL_dy.size()) == 0) return;
        workspace.get<AdmmSweepReverse<Scalar, Work>>().run(tape, dL_dy, gradient);
    }

    void pull_back_states(BagGradient<Scalar>& gradient, const ForwardPass<Scalar, R>& pass,
                          const PlanGradient& of_plan) const {
        AdmmStateReverse<> reverse(*states_, {gradient.alpha0, gradient.alpha1, gradient.alpha2, gradient.rho});
        of_plan.for_each_column(pass.solution->log_plan,
                                [&](Index k, Index, const RealVector&, const RealVector& of_column) {
                                    reverse.of_plan.col(k) = of_column;
                                });
        reverse.run();
        const Priors& priors = states_->problem.priors;
        for (Index k = 0; k < reverse.of_reward.cols(); ++k) {
            gradient.reward.sum().col(priors.active[static_cast<std::size_t>(k)]) +=
                reverse.of_reward.col(k).template cast<Scalar>();
        }
        add_prior_gradients(priors, reverse.of_log_p, reverse.of_log_q, gradient);
    }

    std::optional<AdmmSweepTape<Scalar>> narrow_;
    std::optional<AdmmSweepTape<Real>> wide_;  ///< Where floats do not resolve the steps.
    std::optional<AdmmStateTape<>> states_;
};

}  // namespace otpool::detail
