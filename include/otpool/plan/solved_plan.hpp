// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/plan/log_plan.hpp"

namespace otpool {

/// How a solve ended.
enum class Status {
    converged,          ///< The residual is within the tolerance.
    iteration_limit,    ///< The iterations ran out first.
    stopped,            ///< The observer asked to stop.
    precision_limit,    ///< Rounding keeps the residual above the tolerance: alpha0 is too small against the reward's
                        ///< spread for double to resolve the plan's exponents; or, for Quadratic, some masses are below
                        ///< 1e-16 of the plan's largest entry, and Newton did not find them.
    mass_out_of_range,  ///< Converged, but the plan's mass is outside the range of the scalar: plan() saturates or is
                        ///< all zero. The pooled vector and log_mass are right.
    not_exact,          ///< KSparse: the dual's maximum is at a tie, where it is only a bound (dual_bound()). The plan
                        ///< keeps the limit, but its marginals are off by the residual.
};

/// The name of the status: "converged" for Status::converged.
inline const char* name(Status status) {
    switch (status) {
        case Status::converged: return "converged";
        case Status::iteration_limit: return "iteration_limit";
        case Status::stopped: return "stopped";
        case Status::precision_limit: return "precision_limit";
        case Status::mass_out_of_range: return "mass_out_of_range";
        case Status::not_exact: return "not_exact";
    }
    return "unknown";
}

/// How a solve went.
struct Outcome {
    Status status = Status::iteration_limit;  ///< How it ended.
    int iterations = 0;                       ///< Number of iterations done; 0 for a closed form.
    double residual = 0;                      ///< Solution::residual
    std::vector<double> history = {};         ///< The residual after each iteration, if Options::history.

    /// Whether the status is `converged`.
    bool converged() const { return status == Status::converged; }
};

namespace detail {

/// exp(log_value), within the range of Scalar.
template <BagScalar Scalar>
Scalar saturated_exp(Real log_value) {
    static const Real log_max = std::log(static_cast<Real>((std::numeric_limits<Scalar>::max)()));
    const Real cap = log_max - 1e-6 * log_max;  // above the largest mass that check_mass_range() allows
    return static_cast<Scalar>(std::exp((std::min)(log_value, cap)));
}

/// The nearest finite Scalar. The value must not be NaN.
template <BagScalar Scalar>
Scalar saturated(Real value) {
    const Real max = static_cast<Real>((std::numeric_limits<Scalar>::max)());
    return static_cast<Scalar>(std::clamp(value, -max, max));
}

/// The nearest finite number of the bag's scalar, float or double.
inline Real saturated(Real value, bool is_float) {
    return is_float ? static_cast<Real>(saturated<float>(value)) : saturated<Real>(value);
}

/// A plan that a solver found, in double whatever the bag's scalar; solution_of() makes a Solution of it.
struct SolvedPlan {
    Outcome outcome = {};
    RealVector feature_potential = {};   ///< f, within the range of the bag's scalar.
    RealVector instance_potential = {};  ///< g, likewise; the lowest finite number where q0 is zero.
    double mass_potential = 0;           ///< lambda, within the range of the bag's scalar.
    double log_mass = 0;
    LogPlan log_plan = {};
};

/// The potentials of all `size` instances: potential_of(k) for active ones, the lowest finite number where q0 is zero.
template <class PotentialOf>
RealVector on_all_instances(Index size, const std::vector<Index>& active, const PotentialOf& potential_of) {
    RealVector potential(size);
    std::fill(potential.begin(), potential.end(), std::numeric_limits<Real>::lowest());
    for (std::size_t k = 0; k < active.size(); ++k) potential[active[k]] = potential_of(static_cast<Index>(k));
    return potential;
}

/// Replaces `converged` by `mass_out_of_range` if the bag's scalar cannot hold the plan's mass.
inline void check_mass_range(SolvedPlan& found, bool is_float) {
    const Real log_max = is_float ? 88.72 : 709.78;  // of the largest and the smallest normal number
    const Real log_min = is_float ? -87.33 : -708.39;
    if (found.outcome.converged() && !(found.log_mass < log_max && found.log_mass > log_min)) {
        found.outcome.status = Status::mass_out_of_range;
    }
}

/// The scores of a plan as the exponents of a kernel.
struct PlanExponents {
    const LogPlan& plan;

    Index rows() const { return plan.features(); }
    Index cols() const { return static_cast<Index>(plan.active().size()); }
    void column(Index k, Real* out) const { plan.column(k, out); }
};

/// LSE_k(score_dk)
template <class Plan>
RealVector log_row_sums(const Plan& plan) {
    const PlanExponents exponents{plan};
    RealVector sums(exponents.rows());
    Buffer<Real> none;
    none.assign(exponents.cols(), 0);
    LogDomainKernel<PlanExponents>(exponents).log_row_sums(none.data(), sums.data());
    return sums;
}

}  // namespace detail
}  // namespace otpool
