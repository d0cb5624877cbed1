// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/simd/exponential.hpp"

namespace otpool {

namespace detail {

/// sum_n P_dn v_dn / sum_n P_dn, whatever the mass; two passes over plan and values, unless the solver has it.
template <class Scalar, class R>
RealVector conditional_mean(const Solution<Scalar, R>& solution) {
    if (solution.conditional_mean) return *solution.conditional_mean;
    const MatrixView<Scalar>& values = solution.problem.pooled_values();
    const RealVector top = solution.log_plan.top();
    RealVector weight = RealVector::Zero(top.size());
    RealVector sum = RealVector::Zero(top.size());
    RealVector column_weight(top.size());
    solution.log_plan.for_each_column([&](Index, Index n, const RealVector& score) {
        column_weight = exp2_or_zero((score - top).array() * log2_e);  // no weight where there is next to none
        weight += column_weight;
        sum += column_weight.cwiseProduct(values.col(n));
    });
    return sum.cwiseQuotient(weight);
}

template <BagScalar Scalar>
Vector<Scalar> saturated(const RealVector& values) {
    return values.unaryExpr([](Real value) { return saturated<Scalar>(value); });
}

}  // namespace detail

/// y_d = sum_n P_dn v_dn / sum_n P_dn: the conditional mean of the values under the plan. A feature without mass
/// pools where its vanishing mass would be.
struct ConditionalReadout {
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        return detail::saturated<Scalar>(detail::conditional_mean(solution));
    }
};

/// y_d = D sum_n P_dn v_dn: the readout of the authors' released code, the conditional one where the feature marginal
/// is hard and uniform.
struct JointReadout {
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        const RealVector marginal = solution.feature_marginal().template cast<Real>();
        const Real features = static_cast<Real>(marginal.size());
        return detail::saturated<Scalar>(features * marginal.cwiseProduct(detail::conditional_mean(solution)));
    }
};

/// y_d = N sum_n P_dn v_dn / sum_n P_dn, N the number of instances that are not excluded.
struct SumReadout {
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        const Real instances = static_cast<Real>(solution.log_plan.active().size());
        return detail::saturated<Scalar>(instances * detail::conditional_mean(solution));
    }
};

/// y_d = alpha0 log (1/N) sum_n exp((x_dn + g_n) / alpha0): the soft maximum that the plan attains, with g = 0 the
/// log-mean-exp of the reward; its maximum at alpha0 = 0 and its mean at alpha0 = inf.
struct LogMeanExpReadout {
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        const auto& reward = solution.problem.reward;
        const Real alpha0 = solution.problem.alpha0;
        const auto& active = solution.log_plan.active();
        const auto gain = [&](Index n) {
            return reward.col(n).array() + static_cast<Real>(solution.instance_potential[n]);
        };
        Eigen::ArrayXd top = Eigen::ArrayXd::Constant(reward.rows(), -std::numeric_limits<Real>::infinity());
        for (const Index n : active) top = top.max(gain(n));
        if (alpha0 == 0) return detail::saturated<Scalar>(top.matrix());
        const Real instances = static_cast<Real>(active.size());
        Eigen::ArrayXd mean = Eigen::ArrayXd::Zero(reward.rows());
        if (std::isinf(alpha0)) {
            for (const Index n : active) mean += (gain(n) - top) / instances;
            return detail::saturated<Scalar>((top + mean).matrix());
        }
        // expm1 and log1p: where alpha0 is large every exponential is close to 1
        for (const Index n : active) mean += ((gain(n) - top) / alpha0).expm1() / instances;
        return detail::saturated<Scalar>((top + alpha0 * mean.log1p()).matrix());
    }
};

}  // namespace otpool
