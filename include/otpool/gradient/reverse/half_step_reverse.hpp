// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The reverse of the half step of one line (a feature or an instance), or of one line in each lane:
///
///     shift = k (log prior - s) - mass,   k = alpha / (alpha + weight)
///
/// given dL/dshift, and of_mass, which is dL/ds through the mass.
template <class Number>
struct HalfStepDerivatives {
    Number of_prior;    ///< dL/dlog prior
    Number of_log_sum;  ///< dL/ds
    Number of_damping;  ///< The line's part of dL/dk.

    HalfStepDerivatives(Number of_shift, Number of_mass, Number damping, Number log_prior, Number log_sum) {
        const Number both = of_shift + of_mass;
        of_prior = damping * both;
        of_log_sum = of_mass - of_prior;
        of_damping = both * (log_prior - log_sum);
    }
};

/// The reverse of a half step of BregmanAdmm, of all lines of a side. Where `unit_mass`, the half step gives the plan mass
/// 1; else there is no mass in it.
struct HalfStepReverse {
    Buffer<Real> of_log_sum;    ///< dL/ds
    Buffer<Real> log_marginal;  ///< s + shift: that of the plan after the half step.

    /// Adds dL/dlog prior to of_log_prior and dL/dalpha to of_alpha; returns dL/dweight.
    Real run(const auto& of_shift, Real alpha, Real weight, bool unit_mass, const auto& log_prior, const auto& log_sum,
             auto& of_log_prior, Real& of_alpha) {
        const Index size = of_shift.size();
        for (Buffer<Real>* each : {&of_log_sum, &log_marginal}) each->resize(size);
        const Real k = damping(alpha, weight);
        Real total = 0;
        for (Index i = 0; i < size; ++i) {
            total += of_shift[i];
            log_marginal[i] = log_sum[i] + k * (log_prior[i] - log_sum[i]);
        }
        const Real log_mass = unit_mass ? log_sum_exp(log_marginal.data(), size) : 0;
        Real of_damping = 0;
        for (Index i = 0; i < size; ++i) {
            log_marginal[i] -= log_mass;
            const Real of_mass = unit_mass ? -total * std::exp(log_marginal[i]) : 0;
            const HalfStepDerivatives<Real> of(of_shift[i], of_mass, k, log_prior[i], log_sum[i]);
            of_log_prior[i] += of.of_prior;
            of_log_sum[i] = of.of_log_sum;
            of_damping += of.of_damping;
        }
        return pull_back_damping(of_damping, alpha, weight, of_alpha);
    }
};

}  // namespace otpool::detail
