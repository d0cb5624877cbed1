// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/reverse/admm_state_trajectory.hpp"
#include "otpool/gradient/reverse/admm_sweep_trajectory.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool::detail {

/// K steps of BregmanAdmm and their reverse: AdmmSweepTrajectory where the steps are only to pool and it resolves them,
/// in the narrowest type that does, as BregmanAdmm itself; else AdmmStateTrajectory.
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
        require(solver.rho.has_value() || !steps.empty(), "rho of the steps to unroll", "not set", "finite and > 0");
        std::vector<StepParameters> parameters = steps;
        if (steps.empty()) {
            parameters = {{problem.alpha0, problem.features.alpha, problem.instances.alpha, *solver.rho}};
        }
        if (std::isinf(parameters[0].alpha0)) {
            throw UnsupportedProblem("Unrolled BregmanAdmm", "alpha0 = inf and no closed form", "alpha0 finite");
        }
        auto& inspection = workspace.get<Inspection>();
        if constexpr (EntropicRegularizer<R>) {
            if (pooled_only && !solver.options.history && solver.dual_step == DualStep::scaled) {
                const int count = *solver.options.iterations;
                if (sweep(narrow_, inspection, parameters, count, workspace)) return;
                if constexpr (!std::same_as<Scalar, Real>) {
                    if (sweep(wide_, inspection, parameters, count, workspace)) return;
                }
            }
        }
        states_.emplace(inspection, std::same_as<R, Quadratic>, solver.dual_step, parameters, own.any());
        outcome = states_->found().outcome;
        mean = conditional_mean(states_->found().log_plan, inspection.pooled_values());
        solution = solution_of(with_parameters(problem, parameters.back()), std::move(states_->found()));
    }

    bool swept() const { return !states_; }

    /// Throws UnsupportedProblem where swept() and the readout needs more than the conditional mean.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const ForwardPass<Scalar, R>& pass, const Readout& readout,
                const RealVector& dL_dy, Workspace& workspace) const {
        if (states_) return states_->add_to(gradient, pass, readout, dL_dy);
        if constexpr (MultipleOfMean<Readout>) {
            RealVector of_mean = dL_dy;
            for (Real& derivative : of_mean) derivative *= readout.factor(active_instances(pass.problem));
            if (narrow_) narrow_->add_to(gradient, of_mean, workspace);
            if (wide_) wide_->add_to(gradient, of_mean, workspace);
        } else {
            require_multiple_of_mean<Readout>();
        }
    }

private:
    template <class Sweeps>
    bool sweep(std::optional<Sweeps>& kept, Inspection& problem, const std::vector<StepParameters>& parameters,
               int steps, Workspace& workspace) {
        kept = Sweeps::of(problem, parameters, steps, workspace);
        if (!kept) return false;
        mean = kept->conditional_mean();
        outcome = {.status = Status::iteration_limit, .iterations = steps};
        return true;
    }

    std::optional<AdmmSweepTrajectory<Scalar>> narrow_;
    std::optional<AdmmSweepTrajectory<Real>> wide_;  ///< Where floats do not resolve the steps.
    std::optional<AdmmStateTrajectory<>> states_;
};

}  // namespace otpool::detail
