// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/solver/plan.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/solution.hpp"

namespace otpool::detail {

/// alpha0 (kernel potential - anchor) - alpha mass_shift: a kernel potential in the reward's unit.
inline Real unscaled(Real kernel_potential, Real anchor, Real alpha0, Real alpha, Real mass_shift) {
    const Real scaled = kernel_potential - anchor;
    const Real potential = scaled == 0 ? 0 : alpha0 * scaled;
    return potential - (mass_shift == 0 ? 0 : alpha * mass_shift);
}

/// The solution whose plan is exp(z + feature_potential + instance_potential + mass_shift), all kernel potentials.
/// log_mass is that of the plan before the shift. Status and residual are left to the caller.
template <class Scalar, class R>
Solution<Scalar, R> exponential_solution(const UotProblem<Scalar, R>& problem, const ScaledProblem<Scalar>& scaled,
                                         const RealVector& feature_potential, const RealVector& instance_potential,
                                         Real log_mass) {
    Solution<Scalar, R> solution{.problem = problem};
    const Real alpha0 = problem.alpha0;
    const Real shift = scaled.mass_shift;
    solution.feature_potential.resize(feature_potential.size());
    for (Index d = 0; d < feature_potential.size(); ++d) {
        solution.feature_potential[d] = saturated<Scalar>(
            unscaled(feature_potential[d], scaled.features.anchor[d], alpha0, scaled.features.alpha, shift) -
            (scaled.features.is_hard() ? scaled.offset : 0));
    }
    solution.instance_potential =
        Vector<Scalar>::Constant(scaled.all_instances, std::numeric_limits<Scalar>::lowest());
    for (Index k = 0; k < instance_potential.size(); ++k) {
        solution.instance_potential[scaled.kernel.instance(k)] = saturated<Scalar>(
            unscaled(instance_potential[k], scaled.instances.anchor[k], alpha0, scaled.instances.alpha, shift) -
            (scaled.instances.is_hard() && !scaled.features.is_hard() ? scaled.offset : 0));
    }
    solution.log_mass = log_mass + shift;
    solution.log_plan = LogPlan<Scalar>(ExponentialPlan<Scalar>{scaled.kernel, instance_potential},
                                        feature_potential.array() + shift, scaled.kernel.active);
    return solution;
}

}  // namespace otpool::detail
