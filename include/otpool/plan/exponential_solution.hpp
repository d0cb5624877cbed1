// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/pass_result.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/mass_half_step.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// The potentials that a solver found for one side of a scaled problem.
struct ScaledPotential {
    const Buffer<Real>& kernel;   ///< kernel potential: potential / alpha0 + anchor
    const Buffer<Real>& penalty;  ///< potential / alpha, if the side is soft
    Real multiplier = 0;          ///< lambda / alpha0, if that is a part of the kernel potentials
};

/// Potential i in the reward's unit: alpha (penalty - mass_shift) on a soft line, alpha0 (kernel - anchor - multiplier) -
/// offset on a hard line, 0 on a free line.
inline Real unscaled(const Side& side, const ScaledPotential& potential, Index i, Real alpha0, Real mass_shift,
                     Real offset) {
    const Stiffness& line = side.line(i);
    if (line.alpha == 0) return 0;
    if (!line.is_hard()) return line.alpha * (potential.penalty[i] - mass_shift);
    const Real scaled = potential.kernel[i] - side.anchor[i] - potential.multiplier;
    return (scaled == 0 ? 0 : alpha0 * scaled) - offset;
}

/// P_dk = exp(z_dk + potential_k + log_scale_d), the form of every entropic plan.
inline LogPlan exponential_plan(ScaledReward kernel, const Buffer<Real>& instance_potential, RealVector log_scale) {
    std::vector<Index> active = kernel.active;
    std::vector<Real> potential(instance_potential.begin(), instance_potential.end());
    return {[kernel = std::move(kernel), potential = std::move(potential)](Index k, Real* score) {
                kernel.column(k, score);
                for (Index d = 0; d < kernel.rows(); ++d) score[d] += potential[static_cast<std::size_t>(k)];
            },
            std::move(log_scale), std::move(active)};
}

/// The plan exp(z + f + g + mass_shift), with the kernel potentials f of the features and g of the instances.
/// `log_mass` is the plan's before the shift. The caller sets the outcome.
inline SolvedPlan exponential_solution(const ScaledProblem& scaled, Real alpha0, const ScaledPotential& features,
                                       const ScaledPotential& instances, Real log_mass) {
    SolvedPlan found;
    const Real shift = scaled.mass_shift;
    const ScaledReward& kernel = scaled.kernel;
    const bool is_float = kernel.reward.is_float();
    found.feature_potential.resize(kernel.rows());
    RealVector log_scale(kernel.rows());
    for (Index d = 0; d < kernel.rows(); ++d) {
        const Real f = unscaled(scaled.features, features, d, alpha0, shift, scaled.offset_of_features());
        found.feature_potential[d] = saturated(f, is_float);
        log_scale[d] = features.kernel[d] + shift;
    }
    found.instance_potential = on_all_instances(kernel.reward.cols(), kernel.active, [&](Index k) {
        const Real g = unscaled(scaled.instances, instances, k, alpha0, shift, scaled.offset_of_instances());
        return saturated(g, is_float);
    });
    found.log_mass = log_mass + shift;
    if (scaled.log_mass) {
        const Real multiplier = features.multiplier + instances.multiplier;
        found.mass_potential = saturated((multiplier == 0 ? 0 : alpha0 * multiplier) - scaled.offset, is_float);
    }
    found.log_plan = exponential_plan(kernel, instances.kernel, std::move(log_scale));
    return found;
}

/// The largest |potential_i| of lines with mass; log_mass(i, count) gives register lanes of their logarithms.
template <class LogMass>
Real largest_with_mass(const Buffer<Real>& potential, const LogMass& log_mass) {
    using L = Lanes<Real>;
    L top(std::numeric_limits<Real>::lowest());
    for_each_lanes(potential.size(), [&](Index i, Index count) { top = higher(top, log_mass(i, count)); });
    const L least(highest(top) + log_no_mass);
    L negative(0);
    for_each_lanes(potential.size(), [&](Index i, Index count) {
        const L has_mass = lower(higher(log_mass(i, count) - least, L(0)), L(1));
        const L f = load_some(potential.data() + i, count, Real(0));
        negative = lower(negative, negative_magnitude(f * has_mass));
    });
    return 0 - lowest(negative);
}

/// The residual that rounding alone can leave: exponents are sums of potentials, each rounded to double.
inline Real rounding(const Buffer<Real>& row_potential, const PassResult& pass) {
    const auto load = [](const Buffer<Real>& from, Index i, Index count) {
        return load_some(from.data() + i, count, std::numeric_limits<Real>::lowest());
    };
    const Real of_rows =
        largest_with_mass(row_potential, [&](Index i, Index count) { return load(pass.log_row_mass, i, count); });
    const Real of_cols = largest_with_mass(pass.col_potential, [&](Index i, Index count) {
        return load(pass.log_col_sum, i, count) + load_some(pass.col_potential.data() + i, count, Real(0));
    });
    return 4 * std::numeric_limits<Real>::epsilon() * (std::max)(of_rows, of_cols);
}

/// The residual of a plan, computed from its marginals and potentials. Cost: two exps per element, three passes.
template <class Plan>
Real residual_of_plan(const Plan& found, const ScaledProblem& scaled) {
    const ScaledReward& kernel = scaled.kernel;
    Buffer<Real> log_r, log_c, penalty;
    log_r.resize(kernel.rows());
    log_c.resize(kernel.cols());
    const auto violation = [&](const Side& side, const Buffer<Real>& log_marginal, const auto& potential_of) {
        penalty.resize(side.size());
        for (Index i = 0; i < side.size(); ++i)
            penalty[i] = side.line(i).is_hard() ? 0 : potential_of(i) / side.line(i).alpha;
        return side.violation(log_marginal.data(), penalty.data());
    };
    found.log_plan.for_each_log_column([&](Index k, Index, const RealVector& log_column) {
        log_c[k] = log_sum_exp(log_column.data(), log_column.size());
    });
    const RealVector log_row_sum = log_row_sums(found.log_plan);
    for (Index d = 0; d < kernel.rows(); ++d) log_r[d] = log_row_sum[d] + found.log_plan.log_scale()[d];
    return (std::max)(
        {violation(scaled.features, log_r, [&](Index d) { return found.feature_potential[d]; }),
         violation(scaled.instances, log_c, [&](Index k) { return found.instance_potential[kernel.instance(k)]; }),
         mass_violation(scaled.log_mass, log_r)});
}

/// Checks `converged` on the final plan if rounding may have broken it (`attainable`: the residual that rounding can
/// leave), and checks the range of the mass. Of rewards that tie, though they differ, marginals do not tell.
template <class Plan>
void check_promise(Plan& found, const ScaledProblem& scaled, Real attainable, double tolerance) {
    constexpr Real most = (std::numeric_limits<Real>::max)();
    const bool is_in_doubt = scaled.has_ties || scaled.may_lose_potentials || attainable > 0.1 * tolerance;
    if (found.outcome.converged() && is_in_doubt) {
        found.outcome.residual = scaled.has_ties ? most : (std::min)(residual_of_plan(found, scaled), most);
        if (!(found.outcome.residual <= tolerance)) found.outcome.status = Status::precision_limit;
    }
    check_mass_range(found, scaled.kernel.reward.is_float());
}

}  // namespace otpool::detail
