// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// What the shift of a side's log sums in a step of BregmanAdmm passes back:
///
///     shift_i = k (log prior_i - LSE_i) - mass,  k = alpha / (alpha + scale),  mass: so that the plan's mass is 1
struct MarginalCotangents {
    Buffer<Real> of_prior, of_log_sum;
    Real of_damping = 0;

    /// dL/d(log prior), dL/dLSE and dL/dk, given dL/d(shift) and k. `log_marginal` is the plan's after the shift, up to
    /// a constant.
    void set(const Buffer<Real>& of_shift, Real damping, const Real* log_prior, const Real* log_sum,
             const Real* log_marginal, bool unit_mass) {
        const Index size = of_shift.size();
        for (Buffer<Real>* each : {&of_prior, &of_log_sum}) each->resize(size);
        Real total = 0;
        for (const Real shift : of_shift) total += shift;
        const Real log_mass = unit_mass ? log_sum_exp(log_marginal, size) : 0;
        of_damping = 0;
        for (Index i = 0; i < size; ++i) {
            const Real of_mass = unit_mass ? -total * std::exp(log_marginal[i] - log_mass) : 0;
            const Real both = of_shift[i] + of_mass;
            of_damping += both * (log_prior[i] - log_sum[i]);
            of_prior[i] = damping * both;
            of_log_sum[i] = of_mass - of_prior[i];
        }
    }
};

}  // namespace otpool::detail
