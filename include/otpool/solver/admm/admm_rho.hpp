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

/// An upper bound P of the plan's entries, with a separable regulariser. A hard marginal bounds them by its prior's
/// entries; otherwise, as no entry exceeds its marginals,
///     alpha0 phi'(P) + alpha1 log(P / max p0) + alpha2 log(P / max q0) <= max X,
/// with the least term of any line where lines have their own alphas.
inline Real largest_separable_entry(const Inspection& problem) {
    const auto highest_of = [](const auto& numbers) { return *std::max_element(numbers.begin(), numbers.end()); };
    const Real log_p = highest_of(problem.priors.log_p);
    const Real log_q = highest_of(problem.priors.log_q);
    Real log_bound = std::numeric_limits<Real>::infinity();
    if (problem.alpha1.all_hard()) log_bound = (std::min)(log_bound, log_p);
    if (problem.alpha2.all_hard()) log_bound = (std::min)(log_bound, log_q);
    if (std::isfinite(log_bound)) return std::exp(log_bound);

    const auto least_term = [](const Alphas& alphas, Real log_entry, const auto& log_prior, Real log_highest) {
        if (!alphas.differ()) return alphas.common() * (log_entry - log_highest);
        Real least = std::numeric_limits<Real>::infinity();
        for (Index i = 0; i < alphas.size(); ++i) {
            if (log_entry != log_prior[i]) least = (std::min)(least, alphas[i] * (log_entry - log_prior[i]));
        }
        return least;
    };
    const Real highest = problem.highest_of_all();
    Real low = -700;
    Real high = 700;
    while (high - low > 0.01) {
        const Real middle = (low + high) / 2;
        const Real bound = problem.alpha0 * problem.regularizer.derivative(std::exp(middle)) +
                           least_term(problem.alpha1, middle, problem.priors.log_p, log_p) +
                           least_term(problem.alpha2, middle, problem.priors.log_q, log_q);
        (bound <= highest ? low : high) = middle;
    }
    return std::exp(high);
}

/// BregmanAdmm's default rho: 0.1 sd(X) + alpha0; for a separable regulariser 0.1 sd(X), at least alpha0 P phi''(P)
/// with P the largest entry that the plan can have, and 1e-12 max |X|. Cost: one pass.
template <std::same_as<Real> Work = Real>
Real default_rho(const Inspection& problem, const Execution& execution, Workspace& workspace) {
    Real rho = 0.1 * workspace.get<RewardSpread<Work>>().standard_deviation(problem, execution);
    if (problem.regularizer.separable == nullptr) {
        rho += problem.alpha0;
    } else {
        const Real P = largest_separable_entry(problem);
        const Real largest =
            (std::max)(std::abs(problem.highest_of_all()), std::abs(lowest_that_matters<Work>(problem)));
        // X / rho is to keep its digits, too, where rewards are nearly equal.
        rho = (std::max)({rho, problem.alpha0 * P * problem.regularizer.curvature(P), 1e-12 * largest});
    }
    if (rho == 0) rho = 1;  // equal rewards and no regulariser: any will do
    return std::clamp(rho, 1e-300, 1e300);
}

}  // namespace otpool::detail
