// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The derivative of L with respect to a plan P that is read out, as P dL/dP, which has a size where P is beyond all
/// numbers:
///
///     P_dn dL/dP_dn = (slope_d v_dn - offset_d) w_dn,   w_dn = P_dn / sum_m P_dm
struct PlanCotangent {
    RealVector slope, offset;
    RealVector log_row_sum = {};  ///< of the plan's scores, where it is read column by column

    /// Of y = sum_n w_dn v_dn, given dL/dy.
    static PlanCotangent of_conditional_mean(const RealVector& mean, const RealVector& dL_dy) {
        PlanCotangent cotangent{dL_dy, dL_dy};
        for (Index d = 0; d < mean.size(); ++d) cotangent.offset[d] *= mean[d];
        return cotangent;
    }

    Index features() const { return slope.size(); }

    /// log w of a column, given its scores.
    void log_weight(const Real* score, Real* out) const {
        for (Index d = 0; d < features(); ++d) out[d] = score[d] - log_row_sum[d];
    }

    /// P dL/dP times exp(log_factor - log w), a column; 0 where the factor is 0.
    template <class Number>
    void column(const Number* value, const Number* log_factor, Number* out) const {
        using L = Lanes<Number>;
        for_each_lanes(features(), [&](Index d, Index count) {
            const auto at = [&](const Number* numbers) { return load_some(numbers + d, count, Number(0)); };
            const L unweighted = at(slope.data()) * at(value) - at(offset.data());
            store_some(unweighted * exp_or_zero(at(log_factor)), out + d, count);
        });
    }
};

/// The backward pass of a readout y, given dL/dy: what goes through the plan. The values' gradient is slope w; what a
/// readout takes from elsewhere is added to `gradient`.
template <class Scalar, class R>
PlanCotangent pull_back_readout(const ConditionalReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>&) {
    return PlanCotangent::of_conditional_mean(conditional_mean(solution), dL_dy);
}

template <class Scalar, class R>
PlanCotangent pull_back_readout(const SumReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>&) {
    RealVector of_mean = dL_dy;
    for (Real& derivative : of_mean) derivative *= static_cast<Real>(solution.log_plan.active().size());
    return PlanCotangent::of_conditional_mean(conditional_mean(solution), of_mean);
}

template <class Scalar, class R>
PlanCotangent pull_back_readout(const JointReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>&) {
    const Vector<Scalar> marginal = solution.feature_marginal();
    PlanCotangent cotangent{dL_dy, dL_dy};
    for (Index d = 0; d < dL_dy.size(); ++d) {
        // A mass beyond that saturates y as well; its derivatives shall have room left to be numbers.
        cotangent.slope[d] *= static_cast<Real>(dL_dy.size()) * std::min(static_cast<Real>(marginal[d]), 1e150);
        cotangent.offset[d] = 0;
    }
    return cotangent;
}

/// The plan has no part in it where the instances are free. Throws UnsupportedProblem where they are not.
///
///     y = alpha0 log mean exp(x / alpha0):  dy/dx_n = w_n = softmax(x / alpha0)_n,  dy/dalpha0 = (y - <w, x>) / alpha0
template <class Scalar, class R>
PlanCotangent pull_back_readout(const LogMeanExpReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                                BagGradient<Scalar>& gradient) {
    const UotProblem<Scalar, R>& problem = solution.problem;
    if (problem.instances.alpha > 0) {
        throw UnsupportedProblem("the gradient of LogMeanExpReadout", "alpha2 > 0", "alpha2 = 0");
    }
    const auto& active = solution.log_plan.active();
    const Real alpha0 = problem.alpha0;
    const auto instances = static_cast<Real>(active.size());
    RealVector none = dL_dy;
    std::fill(none.begin(), none.end(), 0);
    for (Index d = 0; d < dL_dy.size(); ++d) {
        Scalar top = problem.reward(d, active.front());
        for (const Index n : active) top = std::max(top, problem.reward(d, n));
        const auto below = [&](Index n) { return static_cast<Real>(problem.reward(d, n)) - static_cast<Real>(top); };
        const auto weight = [&](Index n) { return alpha0 == 0 ? Real(below(n) == 0) : std::exp(below(n) / alpha0); };
        Real sum = 0;
        Real sum_below = 0;  // sum_n weight (x - top)
        for (const Index n : active) {
            sum += weight(n);
            sum_below += weight(n) * below(n);
        }
        for (const Index n : active) {
            gradient.reward.sum_of(n)[d] += static_cast<Scalar>(dL_dy[d] / sum * weight(n));
        }
        if (alpha0 == 0 || std::isinf(alpha0)) continue;
        gradient.alpha0[gradient.alpha0.size() - 1] +=
            dL_dy[d] * (std::log(sum / instances) - sum_below / sum / alpha0);
    }
    return {none, none};
}

/// The same for a plan that is read column by column; adds the values' gradient.
template <class Readout, class Scalar, class R>
PlanCotangent pull_back(const Readout& readout, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                        BagGradient<Scalar>& gradient) {
    PlanCotangent cotangent = pull_back_readout(readout, solution, dL_dy, gradient);
    cotangent.log_row_sum = log_row_sums(solution.log_plan);
    RealVector of_column(cotangent.features());
    solution.log_plan.for_each_column([&](Index, Index n, const RealVector& score) {
        Scalar* values = gradient.pooled_values().sum_of(n);
        cotangent.log_weight(score.data(), of_column.data());
        exp_or_zero(of_column.data(), of_column.size(), of_column.data());
        for (Index d = 0; d < of_column.size(); ++d)
            values[d] += static_cast<Scalar>(cotangent.slope[d] * of_column[d]);
    });
    return cotangent;
}

}  // namespace otpool::detail
