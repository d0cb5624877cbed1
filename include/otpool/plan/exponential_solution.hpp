// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/simd/exponential.hpp"

namespace otpool::detail {

/// What a solver found for one side of a scaled problem.
struct ScaledPotential {
    const Buffer<Real>& kernel;   ///< kernel potential: potential / alpha0 + anchor
    const Buffer<Real>& penalty;  ///< potential / alpha where the side is soft
};

/// A potential in the reward's unit, of a free plan with `mass_shift`; a hard side takes `offset`.
template <BagScalar Scalar>
Scalar unscaled(const ScaledMarginal& side, const ScaledPotential& potential, Index i, Real alpha0, Real mass_shift,
                Real offset) {
    if (side.alpha == 0) return 0;
    if (!side.is_hard()) return saturated<Scalar>(side.alpha * (potential.penalty[i] - mass_shift));
    const Real scaled = potential.kernel[i] - side.anchor[i];
    return saturated<Scalar>((scaled == 0 ? 0 : alpha0 * scaled) - offset);
}

/// The solution whose plan is exp(z + features + instances + mass_shift), in kernel potentials. log_mass is that of
/// the plan before the shift. Status and residual are left to the caller.
template <class Scalar, class R>
Solution<Scalar, R> exponential_solution(const UotProblem<Scalar, R>& problem, const ScaledProblem<Scalar>& scaled,
                                         const ScaledPotential& features, const ScaledPotential& instances,
                                         Real log_mass) {
    Solution<Scalar, R> solution{.problem = problem};
    const Real alpha0 = problem.alpha0;
    const Real shift = scaled.mass_shift;
    solution.feature_potential.resize(features.kernel.size());
    for (Index d = 0; d < features.kernel.size(); ++d) {
        solution.feature_potential[d] =
            unscaled<Scalar>(scaled.features, features, d, alpha0, shift, scaled.offset_of_features());
    }
    solution.instance_potential = on_all_instances<Scalar>(scaled.all_instances, scaled.kernel.active, [&](Index k) {
        return unscaled<Scalar>(scaled.instances, instances, k, alpha0, shift, scaled.offset_of_instances());
    });
    solution.log_mass = log_mass + shift;
    solution.log_plan = LogPlan<Scalar>(ExponentialPlan<Scalar>{scaled.kernel, instances.kernel},
                                        features.kernel.array() + shift, scaled.kernel.active);
    return solution;
}

/// Residual of the plan as it stands in `solution`, from its marginals alone. Cost: two exps an element, two passes.
template <class Scalar, class R>
Real residual_of_plan(const Solution<Scalar, R>& solution, const ScaledProblem<Scalar>& scaled) {
    const RealVector top = solution.log_plan.top();
    RealVector row_mass = RealVector::Zero(top.size());
    Real residual = 0;
    const auto violation = [](const ScaledMarginal& side, Index i, Real log_mass, Real potential) {
        return side.is_free() ? 0
                              : std::abs(log_mass - side.log_prior[i] + (side.is_hard() ? 0 : potential / side.alpha));
    };
    RealVector log_column;
    solution.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
        row_mass.array() += bounded_exp((score - top).array());
        log_column = score + solution.log_plan.log_scale();
        residual = std::max(residual, violation(scaled.instances, k, log_sum_exp(log_column),
                                                static_cast<Real>(solution.instance_potential[n])));
    });
    for (Index d = 0; d < top.size(); ++d) {
        const Real log_mass = std::log(row_mass[d]) + top[d] + solution.log_plan.log_scale()[d];
        residual = std::max(residual,
                            violation(scaled.features, d, log_mass, static_cast<Real>(solution.feature_potential[d])));
    }
    return residual;
}

/// Holds `converged` to what it promises, where rounding may have broken it between the iteration and the plan.
template <class Scalar, class R>
void check_promise(Solution<Scalar, R>& solution, const ScaledProblem<Scalar>& scaled, Real attainable,
                   double tolerance) {
    if (solution.converged() && attainable > 0.1 * tolerance) {
        solution.residual = std::min(residual_of_plan(solution, scaled), std::numeric_limits<Real>::max());
        if (!(solution.residual <= tolerance)) solution.status = Status::precision_limit;
    }
    check_mass_range(solution);
}

}  // namespace otpool::detail
