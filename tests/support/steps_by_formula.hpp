#pragma once

#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/problem/uot_problem.hpp"
#include "support/optimality.hpp"

// Steps of Sinkhorn by their update formulas, in extended precision.

namespace tests {

using WideArray = Eigen::Array<Wide, Eigen::Dynamic, 1>;

inline Wide log_sum(const WideArray& exponents) {
    const Wide top = exponents.maxCoeff();
    return std::isinf(top) ? top : top + std::log((exponents - top).exp().sum());
}

/// f or g after a half step: k a0 (log prior - log sum), k = a/(a + a0).
inline WideArray half_step(const WideArray& log_prior, const WideArray& log_sums, Wide alpha, Wide alpha0) {
    if (alpha == 0) return WideArray::Zero(log_prior.size());
    const Wide damping = std::isinf(alpha) ? 1 : alpha / (alpha + alpha0);
    return (log_prior == -std::numeric_limits<Wide>::infinity()).select(0, damping * alpha0 * (log_prior - log_sums));
}

/// What K steps of Sinkhorn pool: the conditional mean of the values under exp((X + f + g)/a0).
template <class Scalar, class R>
WideArray pooled_by_formula(const otpool::UotProblem<Scalar, R>& problem, int steps) {
    const WideMatrix X = problem.reward.matrix().template cast<Wide>();
    const Wide a0 = problem.alpha0;
    const Wide a1 = problem.features.alpha;
    const Wide a2 = problem.instances.alpha;
    const WideArray log_p = wide_prior(problem.features, X.rows()).array().log();
    const WideArray log_q = wide_prior(problem.instances, X.cols()).array().log();
    Eigen::Array<Wide, Eigen::Dynamic, Eigen::Dynamic> log_K = X.array() / a0;
    if constexpr (std::same_as<R, otpool::RelativeEntropy>)
        log_K = (log_K.colwise() + log_p).rowwise() + log_q.transpose();
    for (otpool::Index n = 0; n < X.cols(); ++n) {
        if (std::isinf(log_q[n])) log_K.col(n).setConstant(log_q[n]);  // excluded
    }
    WideArray f = WideArray::Zero(X.rows());
    WideArray g = WideArray::Zero(X.cols());
    WideArray sums_d(X.rows());
    WideArray sums_n(X.cols());
    for (int k = 0; k < steps; ++k) {
        for (otpool::Index d = 0; d < X.rows(); ++d) sums_d[d] = log_sum(log_K.row(d).transpose() + g / a0);
        f = half_step(log_p, sums_d, a1, a0);
        const bool translates = a1 > 0 && a2 > 0 && !(std::isinf(a1) && std::isinf(a2));
        if (translates) {
            f += (log_sum(log_p - f / a1) - log_sum(log_q - g / a2)) / (1 / a1 + 1 / a2);
        }
        for (otpool::Index n = 0; n < X.cols(); ++n) sums_n[n] = log_sum(log_K.col(n) + f / a0);
        g = half_step(log_q, sums_n, a2, a0);
    }
    const WideMatrix values = problem.pooled_values().matrix().template cast<Wide>();
    WideArray pooled(X.rows());
    for (otpool::Index d = 0; d < X.rows(); ++d) {
        const WideArray exponents = log_K.row(d).transpose() + g / a0;
        pooled[d] = ((exponents - log_sum(exponents)).exp() * values.row(d).transpose().array()).sum();
    }
    return pooled;
}

}  // namespace tests
