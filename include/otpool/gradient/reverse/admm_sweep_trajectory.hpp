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
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/admm_pooling.hpp"
#include "otpool/solver/steps/admm_sweep.hpp"

namespace otpool::detail {

/// K steps of AdmmSweep and their reverse, for what is pooled by the conditional mean. Memory: see AdmmSweepRecord; two
/// D x N matrices in the reverse.
template <BagScalar Work>
class AdmmSweepTrajectory {
public:
    /// `parameters`: of all steps, or one set for each; the problem's alphas become those of the last step. Nothing
    /// where Work does not resolve the steps.
    static std::optional<AdmmSweepTrajectory> of(Inspection& problem, const std::vector<StepParameters>& parameters,
                                                 int steps, Workspace& workspace) {
        const bool shared = parameters.size() == 1;
        auto& sweep = workspace.get<AdmmSweep<Work>>();
        AdmmSweepRecord<Work> record(problem, parameters);
        const auto begin = [&](int k) {
            if (k > 0 && shared) return true;
            const StepParameters& step = record.parameters(k);
            problem.set_alphas(step.alpha0, step.alpha1, step.alpha2);
            if (k == 0) {
                sweep.start(problem, step.rho);
                sweep.keep_duals(steps);
            } else {
                sweep.set_parameters(step.rho);
            }
            const Real exponents = sweep.spread() / step.rho;
            return !(exponents > 0 && exponents < smallest_exponents) && sweep.resolves(shared ? steps : 1);
        };
        const auto end = [&] { record.keep(sweep, steps); };
        if (!take_pooling_steps(sweep, steps, record.mean, begin, end)) return {};
        record.duals = sweep.take_duals();
        return AdmmSweepTrajectory(std::move(record));
    }

    const RealVector& conditional_mean() const { return record_.mean; }

    template <BagScalar Scalar>
    void add_to(BagGradient<Scalar>& gradient, const RealVector& dL_dy, Workspace& workspace) const {
        if (largest_magnitude(dL_dy.data(), dL_dy.size()) == 0) return;
        auto& reverse = workspace.get<AdmmSweepReverse<Scalar, Work>>();
        reverse.start(record_, dL_dy, gradient);
        for (Index k = record_.steps(); k-- > 0;) reverse.step(k);
        reverse.finish();
    }

private:
    /// Products of exponents that are smaller, and not all 0, would have no digits left in Work.
    static constexpr Real smallest_exponents = std::same_as<Work, float> ? 1e-10 : 1e-100;

    explicit AdmmSweepTrajectory(AdmmSweepRecord<Work> record) : record_(std::move(record)) {}

    AdmmSweepRecord<Work> record_;
};

}  // namespace otpool::detail
