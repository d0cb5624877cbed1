// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/priors.hpp"

namespace otpool {

/// The derivatives of a number L with respect to everything that a UOT problem is made of.
///
/// Of a prior it is the derivative with respect to its logarithm, through the normalisation to sum 1: what the
/// backward pass of a softmax starts from. The alphas' and rho's have one entry, or one a step where every step has
/// parameters of its own. Where an alpha is infinite its derivative is 0, as nothing changes near it.
template <BagScalar Scalar>
struct ProblemGradient {
    Matrix<Scalar> reward;       ///< D x N; where the values are the reward, the sum of both derivatives.
    Matrix<Scalar> values = {};  ///< D x N; empty where the values are the reward.
    RealVector alpha0 = {};
    RealVector alpha1 = {};
    RealVector alpha2 = {};
    RealVector rho = {};         ///< Zero at an optimum, which does not depend on it, and for solvers without.
    Vector<Scalar> log_p0 = {};  ///< D
    Vector<Scalar> log_q0 = {};  ///< N; 0 for excluded instances.

    /// Zeros for `problem`.
    template <class R>
    static ProblemGradient zero(const UotProblem<Scalar, R>& problem, Index steps = 1) {
        const Index D = problem.reward.rows();
        const Index N = problem.reward.cols();
        ProblemGradient gradient{.reward = Matrix<Scalar>::Zero(D, N)};
        if (!problem.values.empty()) gradient.values = gradient.reward;
        gradient.alpha0 = gradient.alpha1 = gradient.alpha2 = gradient.rho = RealVector::Zero(steps);
        gradient.log_p0 = Vector<Scalar>::Zero(D);
        gradient.log_q0 = Vector<Scalar>::Zero(N);
        return gradient;
    }

    /// Makes finite numbers of all: the largest one of an infinity, which a plan's mass out of range brings, and 0 of what
    /// has no digits left, where the rewards are some 1e20 times alpha0.
    void saturate() {
        const auto finite = []<class Number>(Number value) {
            return std::isnan(value)
                       ? Number(0)
                       : std::clamp(value, std::numeric_limits<Number>::lowest(), std::numeric_limits<Number>::max());
        };
        const auto saturate = [&](auto& array) {
            const MatrixView<std::decay_t<decltype(array(0))>> view(array);
            if (!view.all_finite()) array = array.unaryExpr(finite);  // to look is faster than to write
        };
        const auto saturate_all = [&](auto&... arrays) { (saturate(arrays), ...); };
        saturate_all(reward, values, alpha0, alpha1, alpha2, rho, log_p0, log_q0);
    }

    /// The derivative with respect to what is pooled.
    Matrix<Scalar>& pooled_values() { return values.size() == 0 ? reward : values; }
};

namespace detail {

/// Adds the derivatives with respect to the normalised log-priors of the active instances.
template <class Scalar>
void add_prior_gradients(const Priors& priors, const RealVector& log_p, const RealVector& log_q,
                         ProblemGradient<Scalar>& gradient) {
    const auto through_normalization = [](const RealVector& log_prior, const RealVector& derivative) -> RealVector {
        return derivative.array() - derivative.sum() * log_prior.array().exp();
    };
    gradient.log_p0 += through_normalization(priors.log_p, log_p).template cast<Scalar>();
    const RealVector active = through_normalization(priors.log_q, log_q);
    for (std::size_t k = 0; k < priors.active.size(); ++k) {
        gradient.log_q0[priors.active[k]] += static_cast<Scalar>(active[static_cast<Index>(k)]);
    }
}

}  // namespace detail
}  // namespace otpool
