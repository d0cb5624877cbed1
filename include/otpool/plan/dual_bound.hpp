// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <functional>
#include <limits>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// The value of the dual at a solution's potentials: no plan has a lower objective. With alpha0 > 0 and
/// KullbackLeibler,
///
///     sum_d d1(f_d) + sum_n d2(g_n) - sum_n sum_(d in T_n) max(0, X_dn + f_d + g_n)^2 / (4 alpha0)
///
/// d(f) = -alpha p (exp(-f / alpha) - 1), or p f if hard. T_n are all features; for KSparse, the m of the largest
/// X_dn + f_d. A KSparse plan that converged has this objective. Throws InvalidArgument for another alpha0,
/// UnsupportedProblem for another penalty. Cost: O(D N). Liu, Puigcerver & Blondel (ICLR 2023), eq. 9.
template <BagScalar Scalar, class R>
requires std::same_as<R, Quadratic> || std::same_as<R, KSparse>
double dual_bound(const Solution<Scalar, R>& solution) {
    const UotProblem<Scalar, R>& problem = solution.problem;
    const Real alpha0 = Real(problem.alpha0);
    detail::require_that(alpha0 > 0 && std::isfinite(alpha0), "alpha0", alpha0, "finite and > 0");
    detail::require_kullback_leibler("dual_bound()", problem);
    const Index rows = problem.reward.rows();
    const detail::Priors priors(problem);
    Real bound = 0;
    for (Index d = 0; d < rows; ++d) {
        const detail::MarginalLine line{priors.log_p[d], detail::alpha_of(problem.features, d)};
        bound += line.dual(Real(solution.feature_potential[d]));
    }
    std::vector<Real> slack(static_cast<std::size_t>(rows));
    const Index most = detail::AnyRegularizer::of(problem.regularizer).most;
    const Index kept = most > 0 ? (std::min)(most, rows) : rows;
    for (Index k = 0; k < priors.log_q.size(); ++k) {
        const Index n = priors.active[static_cast<std::size_t>(k)];
        const Real g = Real(solution.instance_potential[n]);
        const Real alpha = detail::alpha_of(problem.instances, n);
        if (!(g > Real(std::numeric_limits<Scalar>::lowest()))) {  // every feature is forbidden to draw on it
            bound += alpha * std::exp(priors.log_q[k]);
            continue;
        }
        bound += detail::MarginalLine{priors.log_q[k], alpha}.dual(g);
        for (Index d = 0; d < rows; ++d) {
            const Real x = Real(problem.reward(d, n)) + Real(solution.feature_potential[d]) + g;
            slack[static_cast<std::size_t>(d)] = (std::max)(x, Real(0));
        }
        std::nth_element(slack.begin(), slack.begin() + (kept - 1), slack.end(), std::greater<>());
        for (Index i = 0; i < kept; ++i) {
            const Real x = slack[static_cast<std::size_t>(i)];
            bound -= x * (x / (4 * alpha0));
        }
    }
    return bound;
}

}  // namespace otpool
