// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <limits>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/readout.hpp"

namespace otpool::detail {

/// The derivative of L with respect to a plan P that is read out, as P dL/dP, which has a size where P is beyond all
/// numbers:
///
///     P_dn dL/dP_dn = (slope_d v_dn - offset_d) w_dn,   w_dn = P_dn / sum_m P_dm
struct PlanCotangent {
    RealVector slope, offset;
    RealVector log_row_sum = {};  ///< of the plan's scores, where it is read column by column

    /// log w of a column, given its scores.
    RealVector log_weight(const RealVector& score) const { return score - log_row_sum; }

    /// P dL/dP times exp(log_factor - log w), a column; 0 where the factor is 0. (A vectorised exponential of -inf is
    /// not.)
    template <class Values, class LogFactor>
    RealVector column(const Values& values, const LogFactor& log_factor) const {
        return (log_factor.array() > -std::numeric_limits<Real>::infinity())
            .select((slope.cwiseProduct(values) - offset).array() * log_factor.array().exp(), 0.0);
    }
};

/// The backward pass of a readout y, given dL/dy: what goes through the plan. The values' gradient is slope w; what a
/// readout takes from elsewhere is added to `gradient`.
template <class Scalar, class R>
PlanCotangent pull_back_readout(const ConditionalReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>&) {
    return {dL_dy, dL_dy.cwiseProduct(conditional_mean(solution))};
}

template <class Scalar, class R>
PlanCotangent pull_back_readout(const SumReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>& gradient) {
    const RealVector of_mean = static_cast<Real>(solution.log_plan.active().size()) * dL_dy;
    return pull_back_readout(ConditionalReadout{}, solution, of_mean, gradient);
}

template <class Scalar, class R>
PlanCotangent pull_back_readout(const JointReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>&) {
    // A mass beyond that saturates y as well; its derivatives shall have room left to be numbers.
    const RealVector marginal = solution.feature_marginal().template cast<Real>().cwiseMin(1e150);
    const Real features = static_cast<Real>(dL_dy.size());
    return {features * dL_dy.cwiseProduct(marginal), RealVector::Zero(dL_dy.size())};
}

/// The plan has no part in it where the instances are free. Throws UnsupportedProblem where they are not.
template <class Scalar, class R>
PlanCotangent pull_back_readout(const LogMeanExpReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>& gradient) {
    const UotProblem<Scalar, R>& problem = solution.problem;
    if (problem.instances.alpha > 0) {
        throw UnsupportedProblem("the gradient of LogMeanExpReadout", "alpha2 > 0", "alpha2 = 0");
    }
    // y = alpha0 log mean exp(x / alpha0):  dy/dx_n = w_n = softmax(x / alpha0)_n,  dy/dalpha0 = (y - <w, x>) / alpha0
    const auto& active = solution.log_plan.active();
    const Real alpha0 = problem.alpha0;
    const RealVector none = RealVector::Zero(dL_dy.size());
    RealVector top = RealVector::Constant(dL_dy.size(), -std::numeric_limits<Real>::infinity());
    for (const Index n : active) top = top.cwiseMax(problem.reward.col(n));
    const auto weight = [&](Index n) -> RealVector {
        const RealVector below = problem.reward.col(n) - top;
        if (alpha0 == 0) return (below.array() == 0).template cast<Real>();
        return (below / alpha0).array().exp();
    };
    RealVector sum = none;
    RealVector below = none;  // sum_n weight (x - top)
    for (const Index n : active) {
        const RealVector w = weight(n);
        sum += w;
        below += w.cwiseProduct(problem.reward.col(n) - top);
    }
    const RealVector scale = dL_dy.cwiseQuotient(sum);
    for (const Index n : active) {
        gradient.reward.sum().col(n) += scale.cwiseProduct(weight(n)).template cast<Scalar>();
    }
    if (alpha0 > 0 && std::isfinite(alpha0)) {
        const Real instances = static_cast<Real>(active.size());
        const auto d_alpha0 = (sum / instances).array().log() - below.array() / sum.array() / alpha0;
        gradient.alpha0[gradient.alpha0.size() - 1] += dL_dy.dot(d_alpha0.matrix());
    }
    return {none, none};
}

/// The same for a plan that is read column by column; adds the values' gradient.
template <class Readout, class Scalar, class R>
PlanCotangent pull_back(const Readout& readout, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                        BagGradient<Scalar>& gradient) {
    PlanCotangent cotangent = pull_back_readout(readout, solution, dL_dy, gradient);
    cotangent.log_row_sum = solution.log_plan.log_row_sums();
    const RealVector none = RealVector::Zero(cotangent.slope.size());
    const PlanCotangent of_values{none, -cotangent.slope};
    auto& values = gradient.pooled_values().sum();
    solution.log_plan.for_each_column([&](Index, Index n, const RealVector& score) {
        values.col(n) += of_values.column(none, cotangent.log_weight(score)).template cast<Scalar>();
    });
    return cotangent;
}

}  // namespace otpool::detail
