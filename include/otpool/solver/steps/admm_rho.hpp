// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/reward_spread.hpp"

namespace otpool::detail {

/// An upper bound P of the entries of a Quadratic plan. A hard marginal bounds them by its prior's entries; else, as
/// each entry is at most its marginals,  2 alpha0 P + alpha1 log(P / max p0) + alpha2 log(P / max q0) <= max X.
inline Real largest_quadratic_entry(const Inspection& problem) {
    const auto highest_of = [](const auto& numbers) { return *std::max_element(numbers.begin(), numbers.end()); };
    const Real log_p = highest_of(problem.priors.log_p);
    const Real log_q = highest_of(problem.priors.log_q);
    Real log_bound = std::numeric_limits<Real>::infinity();
    if (std::isinf(problem.alpha1)) log_bound = std::min(log_bound, log_p);
    if (std::isinf(problem.alpha2)) log_bound = std::min(log_bound, log_q);
    if (std::isfinite(log_bound)) return std::exp(log_bound);

    const Real highest = problem.highest_of_all();
    Real low = -700;
    Real high = 700;
    while (high - low > 0.01) {
        const Real middle = (low + high) / 2;
        const Real bound = 2 * problem.alpha0 * std::exp(middle) + problem.alpha1 * (middle - log_p) +
                           problem.alpha2 * (middle - log_q);
        (bound <= highest ? low : high) = middle;
    }
    return std::exp(high);
}

/// The rho of BregmanAdmm where none is given: 0.1 sd(X) + alpha0, and for Quadratic at least 2 alpha0 times the largest
/// entry that the plan can have. Cost: one pass.
template <std::same_as<Real> Work = Real>
Real default_rho(const Inspection& problem, bool quadratic, const Execution& execution, Workspace& workspace) {
    const Real spread = workspace.get<RewardSpread<Work>>().standard_deviation(problem, execution);
    Real rho = 0.1 * spread + (quadratic ? 0 : problem.alpha0);
    if (quadratic) rho = std::max(rho, 2 * problem.alpha0 * largest_quadratic_entry(problem));
    if (rho == 0) rho = 1;  // equal rewards and no regulariser: any will do
    return std::clamp(rho, 1e-300, 1e300);
}

}  // namespace otpool::detail
