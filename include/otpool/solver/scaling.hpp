// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <optional>
#include <tuple>

#include "otpool/core/matrix.hpp"
#include "otpool/solver/absorbed_kernel.hpp"
#include "otpool/solver/exponential_solution.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/solution.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/sweep.hpp"

namespace otpool::detail {

/// |log(marginal / prior) + potential / alpha|_inf; a free side adds nothing.
inline Real marginal_residual(const ScaledMarginal& side, const RealVector& log_marginal, const RealVector& penalty) {
    if (side.is_free()) return 0;
    return (log_marginal - side.log_prior + penalty).cwiseAbs().maxCoeff();
}

/// The residual that rounding alone can leave: exponents are sums of potentials, each rounded to double.
inline Real rounding(const RealVector& f, const RealVector& g) {
    const Real largest = std::max(f.cwiseAbs().maxCoeff(), g.cwiseAbs().maxCoeff());
    return 4 * std::numeric_limits<Real>::epsilon() * largest;
}

/// The instance potentials of a run's warm start, or zeros, as kernel potentials.
template <class Scalar, class R>
RealVector starting_instance_potential(const ScaledProblem<Scalar>& scaled, const Run<Scalar, R>& run) {
    RealVector potential = scaled.instances.anchor;
    if (run.warm_start == nullptr) return potential;
    const ScaledMarginal& side = scaled.instances;
    const Real taken =
        side.is_hard() ? scaled.offset_of_instances() : side.alpha * scaled.mass_shift;  // see unscaled()
    for (Index k = 0; k < potential.size(); ++k) {
        const Scalar g = run.warm_start->instance_potential[scaled.kernel.instance(k)];
        if (g == std::numeric_limits<Scalar>::lowest()) continue;  // it was excluded there
        potential[k] += std::clamp((g + taken) * scaled.kernel.inverse_alpha0, lowest_exponent, -lowest_exponent);
    }
    return potential;
}

/// The state of scaling iterations: the kernel potentials of both sides and what the last pass over the kernel found. Passes
/// are AbsorbedKernel's where its range suffices, Sweep's where it does not.
template <BagScalar Scalar>
class Scaling {
public:
    /// Starts from instance potentials. Cost: one exp an element, one pass (two in the log domain).
    Scaling(const ScaledProblem<Scalar>& problem, const RealVector& instance_potential)
        : problem_(problem), absorbed_(problem.kernel) {
        if (!absorbed_.log_row_sums(instance_potential, log_row_sum_)) {
            log_row_sum_ = sweep_.log_row_sums(problem.kernel, instance_potential);
        }
        sweep_.resize(problem.kernel.rows(), problem.kernel.cols());
        const ScaledMarginal& side = problem.instances;
        sweep_.col_potential = instance_potential;
        sweep_.col_penalty.setZero();
        if (side.is_soft()) sweep_.col_penalty = side.ratio * (instance_potential - side.anchor);
        feature_potential_ = RealVector::Zero(problem.kernel.rows());
        feature_penalty_ = feature_potential_;
    }

    /// f <- k1 a0 (log p0 - LSE_n((X + g)/a0))
    void update_features() {
        for (Index d = 0; d < feature_potential_.size(); ++d) {
            feature_potential_[d] = problem_.features.half_step(d, log_row_sum_[d]);
            feature_penalty_[d] = problem_.features.penalty(d, log_row_sum_[d]);
        }
        sweep_.log_row_mass = feature_potential_ + log_row_sum_;
    }

    /// f <- f + t, g <- g - t with the t that maximises the dual,
    ///     t = (LSE(log p0 - f/a1) - LSE(log q0 - g/a2)) / (1/a1 + 1/a2),
    /// where both sides agree on the total mass. One of them may be hard: its 1/a is 0, the formula the same. (g
    /// itself need not be moved, as the update of the instances that follows reads f alone.) Returns t / alpha0.
    Real translate() {
        const auto& [features, instances] = std::tie(problem_.features, problem_.instances);
        const bool has_translation = !features.is_free() && !instances.is_free();
        if (!has_translation || (features.is_hard() && instances.is_hard())) return 0;
        const Real t = (log_sum_exp(features.log_prior - feature_penalty_) -
                        log_sum_exp(instances.log_prior - sweep_.col_penalty)) /
                       (features.ratio + instances.ratio);
        feature_potential_.array() += t;
        feature_penalty_.array() += features.ratio * t;
        return t;
    }

    /// f <- f + step alpha0
    template <class Step>
    void move_features(const Step& step) {
        feature_potential_ += step;
        if (problem_.features.is_soft()) feature_penalty_ += problem_.features.ratio * step;
    }

    /// g <- k2 a0 (log q0 - LSE_d((X + f)/a0)). Pools `values`, if given, on the way: conditional_mean().
    void update_instances(const MatrixView<Scalar>* values = nullptr) {
        in_range_ = !in_double_ && absorbed_.sweep(feature_potential_, problem_.instances, sweep_, values);
        if (!in_range_) sweep_(problem_.kernel, feature_potential_, problem_.instances);
        pooled_ = in_range_ && values != nullptr;
        log_row_sum_ = sweep_.log_row_mass - feature_potential_;
    }

    /// Of the values that update_instances was given; none where the range did not let it.
    std::optional<RealVector> conditional_mean() const {
        std::optional<RealVector> mean;
        if (pooled_) mean = absorbed_.conditional_mean();
        if (mean && !mean->allFinite()) mean.reset();
        return mean;
    }

    /// Goes on in double, whatever the bag's scalar.
    void refine() { in_double_ = true; }

    ScaledPotential features() const { return {feature_potential_, feature_penalty_}; }
    ScaledPotential instances() const { return {sweep_.col_potential, sweep_.col_penalty}; }

    const RealVector& log_row_sum() const { return log_row_sum_; }
    const RealVector& log_col_sum() const { return sweep_.log_col_sum; }

    /// Of the present plan. The side updated last meets its condition exactly; this is the other's violation.
    Real feature_residual() const {
        return marginal_residual(problem_.features, sweep_.log_row_mass, feature_penalty_);
    }
    /// What rounding of the potentials leaves of it at best.
    Real attainable() const { return rounding(feature_potential_, sweep_.col_potential); }
    /// What the bag's scalar may hide of it.
    Real resolution() const { return in_range_ ? AbsorbedKernel<Scalar>::resolution() : 0; }

    template <class R>
    Solution<Scalar, R> solution(const UotProblem<Scalar, R>& problem) const {
        // Of features that alpha0 = inf keeps from meeting their prior, the marginal says what the potential is.
        const ScaledMarginal& side = problem_.features;
        const RealVector penalty = side.is_free() ? RealVector(side.log_prior - sweep_.log_row_mass) : feature_penalty_;
        return exponential_solution(problem, problem_, {feature_potential_, penalty}, instances(),
                                    log_sum_exp(sweep_.log_row_mass));
    }

private:
    const ScaledProblem<Scalar>& problem_;
    AbsorbedKernel<Scalar> absorbed_;
    bool in_double_ = false;  ///< Whether to leave AbsorbedKernel.
    bool in_range_ = false;
    bool pooled_ = false;
    Sweep sweep_;
    RealVector log_row_sum_;  ///< LSE_k(z_dk + instance potential_k)
    RealVector feature_potential_;
    RealVector feature_penalty_;
};

}  // namespace otpool::detail
