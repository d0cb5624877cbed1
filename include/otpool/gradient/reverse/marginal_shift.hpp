// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"

namespace otpool::detail {

/// What the shift of a side's log sums in a step of BregmanAdmm passes back:
///
///     shift_i = k (log prior_i - LSE_i) - mass,  k = alpha / (alpha + scale),  mass: so that the plan's mass is 1
struct MarginalCotangents {
    RealVector of_prior, of_log_sum;
    Real of_damping = 0;

    /// dL/d(log prior), dL/dLSE and dL/dk, given dL/d(shift) and k. `log_marginal` is the plan's after the shift, up to
    /// a constant.
    void set(const RealVector& shift, Real damping, const RealVector& log_prior, const RealVector& log_sum,
             const RealVector& log_marginal, bool unit_mass) {
        of_log_sum.setZero(shift.size());
        if (unit_mass) of_log_sum = -shift.sum() * (log_marginal.array() - log_sum_exp(log_marginal)).exp();
        of_prior = shift + of_log_sum;
        of_damping = of_prior.dot(log_prior - log_sum);
        of_prior *= damping;
        of_log_sum -= of_prior;
    }
};

}  // namespace otpool::detail
