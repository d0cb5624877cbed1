// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/reverse/admm_sweep_record.hpp"
#include "otpool/gradient/reverse/admm_sweep_reverse.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/steps/admm_sweep.hpp"

namespace otpool::detail {

/// K steps of AdmmSweep and their reverse, for what is pooled by the conditional mean. Memory: see AdmmSweepRecord; two
/// D x N matrices in the reverse.
template <BagScalar Scalar, BagScalar Work>
class AdmmSweepTrajectory {
public:
    /// `parameters`: of all steps, or one set for each. Nothing where Work does not resolve the steps.
    template <EntropicRegularizer R>
    static std::optional<AdmmSweepTrajectory> of(const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass,
                                                 const std::vector<StepParameters>& parameters, int steps,
                                                 Workspace& workspace) {
        const bool shared = parameters.size() == 1;
        auto& sweep = workspace.get<AdmmSweep<Scalar, Work>>();
        sweep.start(with_parameters(problem, parameters[0]), pass, parameters[0].rho);
        sweep.keep_duals(steps);
        AdmmSweepRecord<Scalar, Work> record{problem.reward, problem.values, pass.priors, parameters,
                                             std::same_as<R, RelativeEntropy>};
        for (int k = 0; k < steps; ++k) {
            if (k == 0 || !shared) {
                const StepParameters& step = record.parameters(k);
                if (k > 0) sweep.set_parameters(with_parameters(problem, step), step.rho);
                const Real exponents = sweep.spread() / step.rho;
                if (exponents > 0 && exponents < smallest_exponents) return {};
                if (!sweep.resolves(shared ? steps : 1)) return {};
            }
            if (k + 1 < steps) {
                if (!sweep.step()) return {};
            } else {
                if (!sweep.pooling_step(record.mean)) return {};
            }
            record.keep(k, steps, sweep.last_step());
        }
        record.top = sweep.top();
        record.range = sweep.spread();
        record.duals = sweep.take_duals();
        return AdmmSweepTrajectory(std::move(record));
    }

    const RealVector& conditional_mean() const { return record_.mean; }

    void add_to(BagGradient<Scalar>& gradient, const PlanCotangent& cotangent, Workspace& workspace) const {
        if (cotangent.slope.isZero(0)) return;
        auto& reverse = workspace.get<AdmmSweepReverse<Scalar, Work>>();
        reverse.start(record_, gradient, cotangent);
        for (Index k = record_.steps(); k-- > 0;) reverse.step(k);
        reverse.finish();
    }

private:
    /// Products of exponents that are smaller, and not all 0, would have no digits left in Work.
    static constexpr Real smallest_exponents = std::same_as<Work, float> ? 1e-10 : 1e-100;

    explicit AdmmSweepTrajectory(AdmmSweepRecord<Scalar, Work> record) : record_(std::move(record)) {}

    AdmmSweepRecord<Scalar, Work> record_;
};

}  // namespace otpool::detail
