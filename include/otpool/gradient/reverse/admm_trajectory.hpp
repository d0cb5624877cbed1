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
#include "otpool/gradient/reverse/admm_state_trajectory.hpp"
#include "otpool/gradient/reverse/admm_sweep_trajectory.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/bregman_admm.hpp"

namespace otpool::detail {

/// K steps of BregmanAdmm and their reverse: AdmmSweepTrajectory where the steps are only to pool and it resolves them,
/// in the narrowest type that does, as BregmanAdmm itself; else AdmmStateTrajectory.
template <BagScalar Scalar, Regularizer R>
class Trajectory<BregmanAdmm, Scalar, R> {
public:
    /// `steps`: empty, or one set of parameters for each of options.iterations.
    Trajectory(const BregmanAdmm& solver, const UotProblem<Scalar, R>& problem,
               const std::vector<StepParameters>& steps, bool pooled_only, Workspace& workspace) {
        auto& pass = workspace.get<FirstPass<Scalar>>();
        pass.set(problem, {});
        require(solver.rho.has_value() || !steps.empty(), "rho of the steps to unroll", "not set", "finite and > 0");
        std::vector<StepParameters> parameters = steps;
        if (steps.empty()) {
            parameters = {{problem.alpha0, problem.features.alpha, problem.instances.alpha, *solver.rho}};
        }
        if (std::isinf(parameters[0].alpha0)) {
            throw UnsupportedProblem("Unrolled BregmanAdmm", "alpha0 = inf and no closed form", "alpha0 finite");
        }
        if constexpr (EntropicRegularizer<R>) {
            if (pooled_only && !solver.options.history && solver.dual_step == DualStep::scaled) {
                if (sweep(narrow_, problem, pass, parameters, *solver.options.iterations, workspace)) return;
                if constexpr (!std::same_as<Scalar, Real>) {
                    if (sweep(wide_, problem, pass, parameters, *solver.options.iterations, workspace)) return;
                }
            }
        }
        states_.emplace(solver, problem, parameters);
        solution = std::move(states_->solution);
    }

    /// Of no more than the pooled vector, where swept().
    Solution<Scalar, R> solution;

    bool swept() const { return !states_; }

    /// `found`: the solution, which may have been moved. Throws UnsupportedProblem where swept() and the readout is of
    /// more than the conditional mean.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const Solution<Scalar, R>& found, const Readout& readout,
                const RealVector& dL_dy, Workspace& workspace) const {
        if (states_) return states_->add_to(gradient, found, readout, dL_dy);
        require_conditional_mean<Readout>();
        const PlanCotangent cotangent = pull_back_readout(readout, found, dL_dy, gradient);
        if (narrow_) narrow_->add_to(gradient, cotangent, workspace);
        if (wide_) wide_->add_to(gradient, cotangent, workspace);
    }

private:
    template <class Sweeps>
    bool sweep(std::optional<Sweeps>& kept, const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass,
               const std::vector<StepParameters>& parameters, int steps, Workspace& workspace) {
        kept = Sweeps::of(problem, pass, parameters, steps, workspace);
        if (!kept) return false;
        solution = pooled_solution<Scalar, R>(RealVector(kept->conditional_mean()), steps);
        solution.problem = with_parameters(problem, parameters.back());
        return true;
    }

    std::optional<AdmmSweepTrajectory<Scalar, Scalar>> narrow_;
    std::optional<AdmmSweepTrajectory<Scalar, Real>> wide_;  ///< Where floats do not resolve the steps.
    std::optional<AdmmStateTrajectory<Scalar, R>> states_;
};

}  // namespace otpool::detail
