// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"

namespace otpool::detail {

/// k = alpha / (alpha + weight), by which a step of Bregman ADMM meets a marginal; 1 where that is hard.
inline Real marginal_damping(Real alpha, Real weight) { return std::isinf(alpha) ? 1 : alpha / (alpha + weight); }

/// One marginal as Bregman ADMM sees it, in units of rho.
struct AdmmMarginal {
    Real alpha = 0;   ///< alpha / rho
    Real weight = 1;  ///< of the divergence (and regulariser) that the marginal is weighed against
    RealVector log_prior;
    RealVector potential;     ///< as the last update found it; up to a constant until the potentials are read
    RealVector log_marginal;  ///< of the copy of the plan that this marginal belongs to

    bool is_hard() const { return std::isinf(alpha); }
    bool is_soft() const { return alpha > 0 && !is_hard(); }

    /// log(plan) += k (log prior - log sum), k = alpha / (alpha + weight): replaces the log sums by what is to be
    /// added.
    void update(RealVector& log_sum) {
        const Real damping = marginal_damping(alpha, weight);
        log_marginal = log_sum;
        log_sum = damping * (log_prior - log_sum);
        log_marginal += log_sum;
        potential = weight * log_sum;
    }

    /// Gives the potential the constant that makes log(marginal / prior) + potential / alpha zero in the mean.
    void center(const RealVector& log_mass) {
        if (!is_soft()) return;
        const RealVector mass = (log_mass.array() - log_sum_exp(log_mass)).exp();
        potential.array() -= mass.dot(alpha * (log_mass - log_prior) + potential);
    }

    Real residual(const RealVector& log_mass) const {
        if (is_hard()) return (log_mass - log_prior).cwiseAbs().maxCoeff();
        return is_soft() ? (log_mass - log_prior + potential / alpha).cwiseAbs().maxCoeff() : 0;
    }
};

}  // namespace otpool::detail
