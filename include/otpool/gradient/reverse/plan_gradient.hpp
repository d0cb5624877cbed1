// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The derivative of L with respect to a plan P that is read out, as P dL/dP: that is a number even where P is not.
///
///     P_dn dL/dP_dn = (slope_d v_dn - offset_d) w_dn,   w_dn = P_dn / sum_m P_dm
struct PlanGradient {
    RealVector slope, offset;     ///< D numbers each.
    AnyView values;               ///< v, D x N: what is pooled.
    RealVector mean;              ///< sum_n w_dn v_dn
    RealVector log_row_sum = {};  ///< Of the plan's scores; set by pull_back_values().

    Index size() const { return slope.size(); }

    /// to_d = log w_d of a column, given its scores.
    void log_weights(const Real* score, Real* to) const {
        for (Index d = 0; d < size(); ++d) to[d] = score[d] - log_row_sum[d];
    }
    /// to_d = (slope_d value_d - offset_d) exp(log_factor_d); given log w, it is P dL/dP of a column.
    void column(const Real* value, const Real* log_factor, Real* to) const {
        exp_or_zero(log_factor, size(), to);
        for (Index d = 0; d < size(); ++d) to[d] = to[d] == 0 ? 0 : (slope[d] * value[d] - offset[d]) * to[d];
    }
    /// visit(k, n, scores, P dL/dP) of the column of every active instance n; both are scratch vectors.
    template <class Visit>
    void for_each_column(const LogPlan& plan, const Visit& visit) const {
        RealVector value(size());
        RealVector of_column(size());
        plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            values.copy_column(n, value.data());
            log_weights(score.data(), of_column.data());
            column(value.data(), of_column.data(), of_column.data());
            visit(k, n, score, static_cast<const RealVector&>(of_column));
        });
    }
};

/// The reverse of a readout y, given dL/dy: returns the derivative with respect to the plan. That of the values is
/// slope w. Derivatives with respect to anything else are added to `gradient`.
template <MultipleOfMean Readout, BagScalar Scalar, Regularizer R>
PlanGradient pull_back_readout(const Readout& readout, const ForwardPass<Scalar, R>& pass, const RealVector& dL_dy,
                               BagGradient<Scalar>&) {
    const Real factor = readout.factor(active_instances(pass.problem));
    PlanGradient gradient{dL_dy, dL_dy, pass.problem.pooled_values(), pass.mean};
    for (Index d = 0; d < dL_dy.size(); ++d) {
        gradient.slope[d] *= factor;
        gradient.offset[d] = gradient.slope[d] * pass.mean[d];
    }
    return gradient;
}

template <BagScalar Scalar, Regularizer R>
PlanGradient pull_back_readout(const JointReadout&, const ForwardPass<Scalar, R>& pass, const RealVector& dL_dy,
                               BagGradient<Scalar>&) {
    const Vector<Scalar> marginal = pass.solution.value().feature_marginal();
    PlanGradient gradient{dL_dy, dL_dy, pass.problem.pooled_values(), pass.mean};
    for (Index d = 0; d < dL_dy.size(); ++d) {
        // A larger mass saturates y as well; the limit leaves room for the derivatives to be numbers.
        gradient.slope[d] *= static_cast<Real>(dL_dy.size()) * (std::min)(static_cast<Real>(marginal[d]), 1e150);
        gradient.offset[d] = 0;
    }
    return gradient;
}

/// y = alpha0 log mean exp(x / alpha0):  dy/dx_n = w_n = softmax(x / alpha0)_n,  dy/dalpha0 = (y - <w, x>) / alpha0.
/// It does not depend on the plan where the instances are free. Throws UnsupportedProblem where they are not.
template <BagScalar Scalar, Regularizer R>
PlanGradient pull_back_readout(const LogMeanExpReadout&, const ForwardPass<Scalar, R>& pass, const RealVector& dL_dy,
                               BagGradient<Scalar>& gradient) {
    const UotProblem<Scalar, R>& problem = pass.problem;
    if (!alphas_of(problem.instances).all_free()) {
        throw UnsupportedProblem("the gradient of LogMeanExpReadout", "alpha2 > 0", "alpha2 = 0");
    }
    const Real alpha0 = problem.alpha0;
    const RealVector none = RealVector::Zero(dL_dy.size());
    const std::vector<Index>& active = pass.solution.value().log_plan.active();
    const auto set_reward = [reward = AnyView(problem.reward), &active](Index k, Real* x) {
        reward.copy_column(active[static_cast<std::size_t>(k)], x);
    };
    const RealVector top = LogPlan(set_reward, none, active).top();
    // w as a plan of these scores; at alpha0 = 0 the highest rewards share all weight.
    const auto set_score = [&](Index k, Real* score) {
        set_reward(k, score);
        for (Index d = 0; d < top.size(); ++d) {
            const Real below = score[d] - top[d];
            score[d] = alpha0 > 0 ? below / alpha0 : below == 0 ? 0 : -std::numeric_limits<Real>::infinity();
        }
    };
    const LogPlan weights(set_score, none, active);
    const RealVector log_sum = log_row_sums(weights);
    RealVector mean_score = none;
    weights.for_each_column([&](Index, Index n, const RealVector& score) {
        Scalar* const of_reward = gradient.reward.sum(n);
        for (Index d = 0; d < score.size(); ++d) {
            const Real weight = std::exp(score[d] - log_sum[d]);
            of_reward[d] += static_cast<Scalar>(dL_dy[d] * weight);
            if (weight > 0) mean_score[d] += weight * score[d];
        }
    });
    if (alpha0 > 0 && std::isfinite(alpha0)) {
        const Real log_count = std::log(static_cast<Real>(active.size()));
        for (Index d = 0; d < top.size(); ++d) {
            gradient.alpha0[gradient.alpha0.size() - 1] += dL_dy[d] * (log_sum[d] - log_count - mean_score[d]);
        }
    }
    return {none, none, problem.pooled_values(), pass.mean};
}

/// Adds the values' gradient, slope w, and makes of_plan ready to be read column by column.
template <BagScalar Scalar>
void pull_back_values(const LogPlan& plan, PlanGradient& of_plan, BagGradient<Scalar>& gradient) {
    of_plan.log_row_sum = log_row_sums(plan);
    RealVector weight(of_plan.size());
    plan.for_each_column([&](Index, Index n, const RealVector& score) {
        of_plan.log_weights(score.data(), weight.data());
        exp_or_zero(weight.data(), weight.size(), weight.data());
        Scalar* const values = gradient.pooled_values().sum(n);
        for (Index d = 0; d < weight.size(); ++d) values[d] += static_cast<Scalar>(of_plan.slope[d] * weight[d]);
    });
}

}  // namespace otpool::detail
