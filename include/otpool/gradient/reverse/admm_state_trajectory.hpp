// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/reverse/admm_state_reverse.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/admm_state.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool::detail {

/// K steps of AdmmState and their reverse, of any regulariser, dual step and readout.
///
/// Memory: 3 D N numbers a step (log T, log S and Z after it), and four D x N cotangents in the reverse, whose cost is
/// five exps an element and step.
template <std::same_as<Real> Work = Real>
class AdmmStateTrajectory {
public:
    /// `parameters`: of all steps, or one set for each of the run's iterations.
    AdmmStateTrajectory(const Inspection& problem, bool quadratic, DualStep dual_step,
                        const std::vector<StepParameters>& parameters, const AnyRun& run)
        : record_{problem, quadratic, dual_step, parameters} {
        Inspection& present = record_.problem;
        set_alphas(present, parameters.front());
        AdmmState<Work> state(present, parameters.front().rho, quadratic, dual_step);
        keep(state);
        Iterations iterations(run, 0);
        for (std::size_t k = 0; iterations.again(); ++k) {
            if (k > 0 && k < parameters.size()) {
                set_alphas(present, parameters[k]);
                state.set_parameters(parameters[k].rho);
            }
            state.step();
            keep(state);
            const double residual = state.residual();
            iterations.record(residual, state.attainable());
        }
        found_ = state.solution();
        found_.outcome = iterations.outcome();
        check_mass_range(found_, problem.reward.is_float());
    }

    /// What the steps found. May be moved from.
    SolvedPlan& found() { return found_; }

    template <class Readout, BagScalar Scalar, Regularizer R>
    void add_to(BagGradient<Scalar>& gradient, const ForwardPass<Scalar, R>& pass, const Readout& readout,
                const RealVector& dL_dy) const {
        const PlanGradient of_plan = pull_back(readout, pass, dL_dy, gradient);
        AdmmStateReverse<Work> reverse(record_, {gradient.alpha0, gradient.alpha1, gradient.alpha2, gradient.rho});
        const AnyView values(pass.problem.pooled_values());
        RealVector value(values.rows());
        RealVector of_column(values.rows());
        pass.solution->log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            values.copy_column(n, value.data());
            of_plan.log_weights(score.data(), of_column.data());
            of_plan.column(value.data(), of_column.data(), of_column.data());
            reverse.set_plan_cotangent(k, of_column.data());
        });
        reverse.run();
        Scalar* of_reward = gradient.reward.sum().data();
        const Index rows = values.rows();
        for (Index k = 0; k < record_.problem.active_instances(); ++k) {
            const Work* column = reverse.of_reward()[k];
            Scalar* out = of_reward + record_.problem.priors.active[static_cast<std::size_t>(k)] * rows;
            for (Index d = 0; d < rows; ++d) out[d] += static_cast<Scalar>(column[d]);
        }
        RealVector log_p = reverse.of_log_p();
        RealVector log_q = reverse.of_log_q();
        add_prior_gradients(record_.problem.priors, log_p, log_q, gradient);
    }

private:
    static void set_alphas(Inspection& problem, const StepParameters& step) {
        problem.set_alphas(step.alpha0, step.alpha1, step.alpha2);
    }
    void keep(const AdmmState<Work>& state) {
        record_.steps.push_back({state.log_transport(), state.log_smooth(), state.dual(), state.unit_mass()});
    }

    AdmmStateRecord<Work> record_;
    SolvedPlan found_;
};

}  // namespace otpool::detail
