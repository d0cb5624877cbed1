// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/core/matrix.hpp"
#include "otpool/solver/admm_marginal.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// What the shift of a side's log sums in a step of BregmanAdmm passes back:
///
///     shift_i = k (log prior_i - LSE_i) - mass,  k = alpha / (alpha + scale),  mass: so that the plan's mass is 1
struct MarginalCotangents {
    RealVector of_prior, of_log_sum;
    Real of_damping;
};

/// dL/d(log prior), dL/dLSE and dL/dk, given dL/d(shift). `log_marginal` is the plan's after the shift, up to a constant.
inline MarginalCotangents pull_back_marginal(RealVector shift, Real alpha, Real scale, const RealVector& log_prior,
                                             const RealVector& log_sum, const RealVector& log_marginal,
                                             bool unit_mass) {
    RealVector of_mass = RealVector::Zero(shift.size());
    if (unit_mass) of_mass = -shift.sum() * (log_marginal.array() - log_sum_exp(log_marginal)).exp();
    shift += of_mass;
    const Real damping = marginal_damping(alpha, scale);
    return {damping * shift, of_mass - damping * shift, shift.dot(log_prior - log_sum)};
}

}  // namespace otpool::detail
