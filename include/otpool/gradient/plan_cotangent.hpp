// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <limits>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/solver/solution.hpp"

namespace otpool::detail {

/// The derivative of L with respect to a plan P that is read out:
///
///     dL/dP_dn = (slope_d v_dn - offset_d) / exp(log_unit_d)
///
/// exp(log_unit) is the row's mass where the readout divides by it: no mass is too small or too large then.
struct PlanCotangent {
    RealVector slope, offset, log_unit;

    /// exp(log_factor_dn) dL/dP_dn of a column; 0 where the factor is 0.
    template <class Values>
    RealVector column(const Values& values, const RealVector& log_factor) const {
        return (log_factor.array() > -std::numeric_limits<Real>::infinity())
            .select((slope.cwiseProduct(values) - offset).array() * (log_factor - log_unit).array().exp(), 0.0);
    }
};

/// Adds dL/dv_dn = slope_d exp(score_dn - log_score_unit_d).
template <class Scalar, class R>
void pull_back_values(const Solution<Scalar, R>& solution, const RealVector& slope, const RealVector& log_score_unit,
                      ProblemGradient<Scalar>& gradient) {
    Matrix<Scalar>& values = gradient.pooled_values();
    solution.log_plan.for_each_column([&](Index, Index n, const RealVector& score) {
        values.col(n) += (score.array() > -std::numeric_limits<Real>::infinity())
                             .select(slope.array() * (score - log_score_unit).array().exp(), 0.0)
                             .matrix()
                             .template cast<Scalar>();
    });
}

/// Of y_d = factor sum_n P_dn v_dn / sum_n P_dn.
template <class Scalar, class R>
PlanCotangent pull_back_mean(const Solution<Scalar, R>& solution, const RealVector& slope,
                             ProblemGradient<Scalar>& gradient) {
    const LogPlan<Scalar>& plan = solution.log_plan;
    const RealVector log_row_sum = plan.log_row_sums();
    pull_back_values(solution, slope, log_row_sum, gradient);
    return {slope, slope.cwiseProduct(conditional_mean(solution)), log_row_sum + plan.log_scale()};
}

/// The backward pass of a readout y, given dL/dy: adds to `gradient` what does not go through the plan and returns what does.
template <class Scalar, class R>
PlanCotangent pull_back(const ConditionalReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                        ProblemGradient<Scalar>& gradient) {
    return pull_back_mean(solution, dL_dy, gradient);
}

template <class Scalar, class R>
PlanCotangent pull_back(const SumReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                        ProblemGradient<Scalar>& gradient) {
    return pull_back_mean(solution, static_cast<Real>(solution.log_plan.active().size()) * dL_dy, gradient);
}

template <class Scalar, class R>
PlanCotangent pull_back(const JointReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                        ProblemGradient<Scalar>& gradient) {
    const RealVector slope = static_cast<Real>(dL_dy.size()) * dL_dy;
    pull_back_values(solution, slope, -solution.log_plan.log_scale(), gradient);
    const RealVector none = RealVector::Zero(dL_dy.size());
    return {slope, none, none};
}

/// The plan has no part in it where the instances are free. Throws UnsupportedProblem where they are not.
template <class Scalar, class R>
PlanCotangent pull_back(const LogMeanExpReadout&, const Solution<Scalar, R>& solution, const RealVector& dL_dy,
                        ProblemGradient<Scalar>& gradient) {
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
        gradient.reward.col(n) += scale.cwiseProduct(weight(n)).template cast<Scalar>();
    }
    if (alpha0 > 0 && std::isfinite(alpha0)) {
        const Real instances = static_cast<Real>(active.size());
        const auto d_alpha0 = (sum / instances).array().log() - below.array() / sum.array() / alpha0;
        gradient.alpha0[gradient.alpha0.size() - 1] += dL_dy.dot(d_alpha0.matrix());
    }
    return {none, none, none};
}

}  // namespace otpool::detail
