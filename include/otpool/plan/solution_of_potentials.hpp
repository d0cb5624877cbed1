// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// The solution of an entropic problem with the potentials f (D entries) and g (N entries), in the reward's unit,
///
///     P = exp((X + f 1^T + 1 g^T) / alpha0)      times (p0 q0^T)^w, w the regulariser's prior_weight
///
/// for a solver of your own to return. If the problem fixes the mass, it is the multiple of that plan that has this
/// mass. Its residual is computed from the plan, and its status is `converged` if that is within the tolerance, else
/// `iteration_limit`. Throws InvalidArgument if the problem is not well formed, alpha0 is not finite and > 0, or
/// potentials have another size. Cost: four passes, three exps an element.
template <BagScalar Scalar, EntropicRegularizer R>
Solution<Scalar, R> solution_of_potentials(const UotProblem<Scalar, R>& problem, const Vector<double>& f,
                                           const Vector<double>& g, int iterations, double tolerance) {
    const detail::Inspection inspection(problem);
    detail::require_that(problem.alpha0 > 0 && std::isfinite(problem.alpha0), "alpha0", problem.alpha0,
                         "finite and > 0");
    detail::require_that(f.size() == problem.reward.rows(), "length of f", f.size(), problem.reward.rows());
    detail::require_that(g.size() == problem.reward.cols(), "length of g", g.size(), problem.reward.cols());
    const detail::ScaledProblem scaled(inspection);
    const bool is_float = inspection.reward.is_float();
    const auto scaled_potential = [&](const detail::Side& side, Index i, double potential) {
        return side.anchor[i] + potential / inspection.alpha0;
    };
    detail::SolvedPlan found;
    found.feature_potential.resize(f.size());
    RealVector log_scale(f.size());
    for (Index d = 0; d < f.size(); ++d) {
        found.feature_potential[d] = detail::saturated(f[d], is_float);
        log_scale[d] = scaled_potential(scaled.features, d, f[d] + scaled.offset);
    }
    detail::Buffer<Real> of_instances;
    of_instances.resize(scaled.kernel.cols());
    found.instance_potential = detail::on_all_instances(g.size(), scaled.kernel.active, [&](Index k) {
        const double potential = g[scaled.kernel.instance(k)];
        of_instances[k] = scaled_potential(scaled.instances, k, potential);
        return detail::saturated(potential, is_float);
    });
    found.log_plan = detail::exponential_plan(scaled.kernel, of_instances, log_scale);
    RealVector log_row_mass = detail::log_row_sums(found.log_plan);
    for (Index d = 0; d < f.size(); ++d) log_row_mass[d] += found.log_plan.log_scale()[d];
    found.log_mass = detail::log_sum_exp(log_row_mass.data(), log_row_mass.size());
    if (scaled.log_mass) {
        const Real shift = *scaled.log_mass - found.log_mass;
        found.mass_potential = detail::saturated(inspection.alpha0 * shift, is_float);
        found.log_mass = *scaled.log_mass;
        for (Real& scale : log_scale) scale += shift;
        found.log_plan = detail::exponential_plan(scaled.kernel, of_instances, std::move(log_scale));
    }
    const Real residual = detail::residual_of_plan(found, scaled);
    found.outcome.iterations = iterations;
    found.outcome.residual = (std::min)(residual, (std::numeric_limits<Real>::max)());
    if (residual <= tolerance) found.outcome.status = Status::converged;
    detail::check_mass_range(found, is_float);
    return detail::solution_of(problem, std::move(found));
}

}  // namespace otpool
