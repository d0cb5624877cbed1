// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/kernel/absorbed_kernel.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool::detail {

/// |log(marginal / prior) + potential / alpha|_inf; a free side adds nothing.
inline Real marginal_residual(const ScaledMarginal& side, const auto& log_marginal, const auto& penalty) {
    if (side.is_free()) return 0;
    return (log_marginal - side.log_prior + penalty).cwiseAbs().maxCoeff();
}

/// The residual that rounding alone can leave: exponents are sums of potentials, each rounded to double.
inline Real rounding(const auto& f, const auto& g) {
    const Real largest = std::max(f.cwiseAbs().maxCoeff(), g.cwiseAbs().maxCoeff());
    return 4 * std::numeric_limits<Real>::epsilon() * largest;
}

/// The instance potentials of a run's warm start as kernel potentials.
template <class Scalar, class R>
Buffer<Real> starting_instance_potential(const ScaledProblem<Scalar>& scaled, const Run<Scalar, R>& run) {
    Buffer<Real> potential = scaled.instances.anchor;
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

/// The state of scaling iterations: the kernel potentials of both sides and what the last pass over the kernel found.
/// Passes are AbsorbedKernel's, in Work, where its range suffices, Sweep's where it does not.
template <BagScalar Scalar, BagScalar Work>
class Scaling {
public:
    Scaling() = default;
    Scaling(const ScaledProblem<Scalar>& problem, const Buffer<Real>& instance_potential) {
        start(problem, instance_potential);
    }

    /// Starts from instance potentials; pools `values`, if given (the reward if they are empty, here and below), with
    /// the plan that these make when the features are updated. Views the problem. Cost: one exp an element, one pass
    /// (two in the log domain).
    void start(const ScaledProblem<Scalar>& problem, const Buffer<Real>& instance_potential,
               const Execution& execution = {}, const MatrixView<Scalar>* values = nullptr) {
        problem_ = &problem;
        absorbed_.set(problem.kernel, execution);
        sweep_.resize(problem.kernel.rows(), problem.kernel.cols());
        sweep_.col_potential = instance_potential;
        in_range_ = absorbed_.log_row_sums(sweep_.col_potential, log_row_sum_, values);
        pooled_ = in_range_ && values != nullptr && absorbed_.pooled_finite();
        if (!in_range_) log_row_sum_ = sweep_.log_row_sums(problem.kernel, sweep_.col_potential);
        const ScaledMarginal& side = problem.instances;
        sweep_.col_penalty.setZero();
        if (side.is_soft()) sweep_.col_penalty = side.ratio * (sweep_.col_potential - side.anchor);
        feature_potential_.resize(problem.kernel.rows());
        feature_potential_.setZero();
        feature_penalty_ = feature_potential_;
    }

    /// f <- k1 a0 (log p0 - LSE_n((X + g)/a0))
    void update_features() {
        problem_->features.half_steps(0, feature_potential_.size(), log_row_sum_.data(), feature_potential_.data(),
                                      feature_penalty_.data());
        sweep_.log_row_mass = feature_potential_ + log_row_sum_;
    }

    /// f <- f + t, g <- g - t with the t that maximises the dual,
    ///     t = (LSE(log p0 - f/a1) - LSE(log q0 - g/a2)) / (1/a1 + 1/a2),
    /// where both sides agree on the total mass. One of them may be hard: its 1/a is 0, the formula the same. (g
    /// itself need not be moved, as the update of the instances that follows reads f alone.) Returns t / alpha0.
    Real translate() {
        const auto& [features, instances] = std::tie(problem_->features, problem_->instances);
        const bool has_translation = !features.is_free() && !instances.is_free();
        if (!has_translation || (features.is_hard() && instances.is_hard())) return 0;
        const auto log_mass = [&](const ScaledMarginal& side, const Buffer<Real>& penalty) {
            log_marginal_ = side.log_prior - penalty;
            return log_sum_exp(log_marginal_);
        };
        const Real t = (log_mass(features, feature_penalty_) - log_mass(instances, sweep_.col_penalty)) /
                       (features.ratio + instances.ratio);
        feature_potential_.array() += t;
        feature_penalty_.array() += features.ratio * t;
        return t;
    }

    /// f <- f + step alpha0
    template <class Step>
    void move_features(const Step& step) {
        const ScaledMarginal& side = problem_->features;
        feature_potential_ += step;
        if (side.is_soft()) feature_penalty_ += side.ratio * step;
    }

    /// g <- k2 a0 (log q0 - LSE_d((X + f)/a0)). Pools `values`, if given, on the way: conditional_mean().
    void update_instances(const MatrixView<Scalar>* values = nullptr) {
        in_range_ = absorbed_.sweep(feature_potential_, problem_->instances, sweep_, values);
        if (!in_range_) sweep_(problem_->kernel, feature_potential_, problem_->instances);
        pooled_ = in_range_ && values != nullptr && absorbed_.pooled_finite();
        log_row_sum_ = sweep_.log_row_mass - feature_potential_;
    }

    /// Whether the values that start() or update_instances() was given have been pooled: whether the range let it.
    bool pooled() const { return pooled_; }
    void conditional_mean(RealVector& mean) const { absorbed_.conditional_mean(mean); }

    /// Pools values with the present plan, if the range lets it, and ends the scaling. Cost: as start().
    void pool(const MatrixView<Scalar>& values) {
        pooled_ = absorbed_.log_row_sums(sweep_.col_potential, log_row_sum_, &values) && absorbed_.pooled_finite();
    }

    ScaledPotential features() const { return {feature_potential_, feature_penalty_}; }
    ScaledPotential instances() const { return {sweep_.col_potential, sweep_.col_penalty}; }

    const Buffer<Real>& log_row_sum() const { return log_row_sum_; }
    const Buffer<Real>& log_col_sum() const { return sweep_.log_col_sum; }

    /// Of the present plan. The side updated last meets its condition exactly; this is the other's violation.
    Real feature_residual() const {
        return marginal_residual(problem_->features, sweep_.log_row_mass, feature_penalty_);
    }
    /// What rounding of the potentials leaves of it at best.
    Real attainable() const { return rounding(feature_potential_, sweep_.col_potential); }
    /// What rounding to Work may hide of it.
    Real resolution() const { return in_range_ ? AbsorbedKernel<Scalar, Work>::resolution() : 0; }

    template <class R>
    Solution<Scalar, R> solution(const UotProblem<Scalar, R>& problem) const {
        // Of features that alpha0 = inf keeps from meeting their prior, the marginal says what the potential is.
        const ScaledMarginal& side = problem_->features;
        Buffer<Real> penalty = feature_penalty_;
        if (side.is_free()) penalty = side.log_prior - sweep_.log_row_mass;
        return exponential_solution(problem, *problem_, {feature_potential_, penalty}, instances(),
                                    log_sum_exp(sweep_.log_row_mass));
    }

private:
    const ScaledProblem<Scalar>* problem_ = nullptr;
    AbsorbedKernel<Scalar, Work> absorbed_;
    bool in_range_ = false;
    bool pooled_ = false;
    Sweep sweep_;
    Buffer<Real> log_row_sum_;  ///< LSE_k(z_dk + instance potential_k)
    Buffer<Real> feature_potential_;
    Buffer<Real> feature_penalty_;
    Buffer<Real> log_marginal_;
};

/// Starts from the instance potentials of the run's warm start, or zeros.
template <class Scalar, class Work, class R>
void start(Scaling<Scalar, Work>& scaling, const ScaledProblem<Scalar>& scaled, const Run<Scalar, R>& run) {
    if (run.warm_start != nullptr) {
        scaling.start(scaled, starting_instance_potential(scaled, run), run.execution);
    } else {
        scaling.start(scaled, scaled.instances.anchor, run.execution);
    }
}

}  // namespace otpool::detail
