// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/any_view.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/solution.hpp"

namespace otpool {

namespace detail {

/// sum_n P_dn v_dn / sum_n P_dn, for any mass. Cost: two passes over the plan, one over the values.
template <class Scalar, class R>
RealVector conditional_mean(const Solution<Scalar, R>& solution) {
    return conditional_mean(solution.log_plan, AnyView(solution.problem.pooled_values()));
}

/// factor(d) y_d, within the range of Scalar.
template <BagScalar Scalar, class Factor>
Vector<Scalar> scaled_vector(const RealVector& y, const Factor& factor) {
    Vector<Scalar> scaled(y.size());
    for (Index d = 0; d < y.size(); ++d) scaled[d] = saturated<Scalar>(factor(d) * y[d]);
    return scaled;
}

}  // namespace detail

// A readout computes the pooled vector from a solution. If it is a multiple of the conditional mean, a function
// factor(active instances) may say so: a pooling then asks the solver for the mean alone, without a solution.

/// y_d = sum_n P_dn v_dn / sum_n P_dn: the conditional mean of the values under the plan. A feature without mass pools
/// where its vanishing mass would be.
struct ConditionalReadout {
    Real factor(Index) const { return 1; }  ///< y is 1 times the conditional mean.

    /// y, D entries.
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        return detail::scaled_vector<Scalar>(detail::conditional_mean(solution), [](Index) { return 1.0; });
    }
};

/// y_d = D sum_n P_dn v_dn: the readout of the authors' released code. It equals ConditionalReadout if the feature
/// marginal is hard and uniform.
struct JointReadout {
    /// y, D entries.
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        const Vector<Scalar> marginal = solution.feature_marginal();
        const Real features = static_cast<Real>(marginal.size());
        const auto factor = [&](Index d) { return detail::saturated<Real>(features * static_cast<Real>(marginal[d])); };
        return detail::scaled_vector<Scalar>(detail::conditional_mean(solution), factor);
    }
};

/// y_d = N sum_n P_dn v_dn / sum_n P_dn, N the number of instances that are not excluded.
struct SumReadout {
    /// y is N times the conditional mean.
    Real factor(Index active_instances) const { return static_cast<Real>(active_instances); }

    /// y, D entries.
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        const auto instances = static_cast<Real>(solution.log_plan.active().size());
        return detail::scaled_vector<Scalar>(detail::conditional_mean(solution), [&](Index) { return instances; });
    }
};

/// y_d = alpha0 log (1/N) sum_n exp((x_dn + g_n) / alpha0): the soft maximum that the plan attains. With g = 0 it is
/// the log-mean-exp of the reward: the max at alpha0 = 0, the mean at alpha0 = inf.
struct LogMeanExpReadout {
    /// y, D entries.
    template <class Scalar, class R>
    Vector<Scalar> operator()(const Solution<Scalar, R>& solution) const {
        const detail::AnyView reward(solution.problem.reward);
        const Real alpha0 = Real(solution.problem.alpha0);
        const auto& active = solution.log_plan.active();
        const Index rows = reward.rows();
        RealVector gain(rows);
        const auto set_gain = [&](Index n) {
            reward.copy_column(n, gain.data());
            for (Real& x : gain) x += static_cast<Real>(solution.instance_potential[n]);
        };
        RealVector y(rows);
        std::fill(y.begin(), y.end(), -std::numeric_limits<Real>::infinity());
        for (const Index n : active) {
            set_gain(n);
            for (Index d = 0; d < rows; ++d) y[d] = (std::max)(y[d], gain[d]);
        }
        // Half of it where differences from the largest numbers would leave the range.
        RealVector unit(rows);
        for (Index d = 0; d < rows; ++d) unit[d] = y[d] > 0.25 * (std::numeric_limits<Real>::max)() ? 0.5 : 1;
        RealVector mean(rows);
        std::fill(mean.begin(), mean.end(), 0);
        const auto instances = static_cast<Real>(active.size());
        for (const Index n : active) {
            if (alpha0 == 0) break;
            set_gain(n);
            for (Index d = 0; d < rows; ++d) {
                // expm1 and log1p: if alpha0 is large, every exponential is close to 1
                const Real below = unit[d] * gain[d] - unit[d] * y[d];
                mean[d] += (std::isinf(alpha0) ? below : std::expm1(below / (unit[d] * alpha0))) / instances;
            }
        }
        for (Index d = 0; d < rows; ++d) {
            if (alpha0 == 0) break;
            const Real below = std::isinf(alpha0) ? mean[d] : unit[d] * alpha0 * std::log1p(mean[d]);
            y[d] = (unit[d] * y[d] + below) / unit[d];
        }
        return detail::scaled_vector<Scalar>(y, [](Index) { return 1.0; });
    }
};

}  // namespace otpool
