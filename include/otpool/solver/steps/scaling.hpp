// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/absorbed_kernel.hpp"
#include "otpool/kernel/kernel.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Kernel potentials, given instance potentials in the reward's unit, over all instances.
template <class Potential>
Buffer<Real> kernel_potential_of(const ScaledProblem& scaled, const Potential& instance_potential) {
    using Number = typename Potential::Scalar;
    Buffer<Real> potential = scaled.instances.anchor;
    const Side& side = scaled.instances;
    const Real taken =
        side.is_hard() ? scaled.offset_of_instances() : side.alpha * scaled.mass_shift;  // see unscaled()
    for (Index k = 0; k < potential.size(); ++k) {
        const Number g = instance_potential[scaled.kernel.instance(k)];
        if (g == std::numeric_limits<Number>::lowest()) continue;  // it was excluded there
        const Real moved = (static_cast<Real>(g) + taken) * scaled.kernel.inverse_alpha0;
        potential[k] += std::clamp(moved, lowest_exponent, -lowest_exponent);
    }
    return potential;
}

/// The state of scaling iterations: both sides' kernel potentials and the results of the last pass. Passes are over the
/// kernel if its range suffices, in the log domain if not.
template <Kernel K = AbsorbedKernel<>>
class Scaling {
public:
    /// Starts from instance potentials. Views the problem. Cost: one exp per element, one pass (in the log domain two).
    void start(const ScaledProblem& problem, const Buffer<Real>& instance_potential, const Execution& execution) {
        problem_ = &problem;
        kernel_.set(problem.kernel, execution);
        log_domain_.set(problem.kernel);
        pass_.resize(problem.kernel.rows(), problem.kernel.cols());
        pass_.col_potential = instance_potential;
        const Side& side = problem.instances;
        for (Index k = 0; k < side.size(); ++k) {
            pass_.col_penalty[k] = side.is_soft() ? side.ratio * (instance_potential[k] - side.anchor[k]) : 0;
        }
        log_row_sum_.resize(problem.kernel.rows());
        in_range_ = kernel_.log_row_sums(pass_.col_potential.data(), log_row_sum_.data());
        if (!in_range_) log_domain_.log_row_sums(pass_.col_potential.data(), log_row_sum_.data());
        for (Buffer<Real>* of_rows : {&feature_potential_, &feature_penalty_})
            of_rows->assign(problem.kernel.rows(), 0);
    }

    /// f <- k1 a0 (log p0 - LSE_n((X + g)/a0))
    void update_features() {
        const Index rows = feature_potential_.size();
        problem_->features.half_steps(0, rows, log_row_sum_.data(), feature_potential_.data(), feature_penalty_.data());
        for (Index d = 0; d < rows; ++d) pass_.log_row_mass[d] = feature_potential_[d] + log_row_sum_[d];
    }

    /// f <- f + t, g <- g - t with the t that maximises the dual,
    ///     t = (LSE(log p0 - f/a1) - LSE(log q0 - g/a2)) / (1/a1 + 1/a2),
    /// where both sides agree on the total mass; a hard side has 1/a = 0. (g itself need not move, as the next update
    /// of the instances only reads f.) Returns t / alpha0.
    Real translate() {
        const Side& features = problem_->features;
        const Side& instances = problem_->instances;
        const bool has_translation = !features.is_free() && !instances.is_free() && features.is_kullback_leibler() &&
                                     instances.is_kullback_leibler();
        if (!has_translation || (features.is_hard() && instances.is_hard())) return 0;
        const auto log_mass = [&](const Side& side, const Buffer<Real>& penalty) {
            log_marginal_.resize(side.size());
            for (Index i = 0; i < side.size(); ++i) log_marginal_[i] = side.log_prior[i] - penalty[i];
            return log_sum_exp(log_marginal_.data(), log_marginal_.size());
        };
        const Real t = (log_mass(features, feature_penalty_) - log_mass(instances, pass_.col_penalty)) /
                       (features.ratio + instances.ratio);
        for (Real& f : feature_potential_) f += t;
        for (Real& penalty : feature_penalty_) penalty += features.ratio * t;
        return t;
    }

    /// f <- f + step alpha0
    void move_features(const Real* step) {
        const Side& side = problem_->features;
        for (Index d = 0; d < side.size(); ++d) {
            feature_potential_[d] += step[d];
            if (side.is_soft()) feature_penalty_[d] += side.ratio * step[d];
        }
    }

    /// g <- k2 a0 (log q0 - LSE_d((X + f)/a0))
    void update_instances() {
        in_range_ = kernel_.sweep(feature_potential_.data(), problem_->instances, pass_);
        if (!in_range_) log_domain_.sweep(feature_potential_.data(), problem_->instances, pass_);
        for (Index d = 0; d < log_row_sum_.size(); ++d) log_row_sum_[d] = pass_.log_row_mass[d] - feature_potential_[d];
    }

    /// mean <- the conditional mean of the values under the present plan; ends the scaling. Cost: as start().
    void pool(const AnyView& values, RealVector& mean) {
        mean.resize(log_row_sum_.size());
        if constexpr (requires { kernel_.pooled_finite(); }) {
            const bool pooled = kernel_.log_row_sums(pass_.col_potential.data(), log_row_sum_.data(), &values);
            if (pooled && kernel_.pooled_finite()) return kernel_.conditional_mean(mean.data());
        }
        mean = conditional_mean(solution(1).log_plan, values.empty() ? problem_->kernel.reward : values);
    }

    ScaledPotential features() const { return {feature_potential_, feature_penalty_}; }
    ScaledPotential instances() const { return {pass_.col_potential, pass_.col_penalty}; }

    const Buffer<Real>& log_row_sum() const { return log_row_sum_; }
    const Buffer<Real>& log_col_sum() const { return pass_.log_col_sum; }

    /// The residual of the present plan. The instances, updated last, meet their condition exactly; this is the
    /// features' violation.
    Real feature_residual() const {
        return problem_->features.violation(pass_.log_row_mass.data(), feature_penalty_.data());
    }
    /// The least residual that rounding of the potentials allows.
    Real attainable() const { return rounding(feature_potential_, pass_); }

    SolvedPlan solution(Real alpha0) const {
        // If alpha0 = inf keeps features from meeting their prior, the marginal gives their potential.
        const Side& side = problem_->features;
        Buffer<Real> penalty = feature_penalty_;
        if (side.is_free()) {
            for (Index d = 0; d < side.size(); ++d) penalty[d] = side.log_prior[d] - pass_.log_row_mass[d];
        }
        return exponential_solution(*problem_, alpha0, {feature_potential_, penalty}, instances(),
                                    log_sum_exp(pass_.log_row_mass.data(), pass_.log_row_mass.size()));
    }

private:
    const ScaledProblem* problem_ = nullptr;
    K kernel_;
    LogDomainKernel<ScaledReward> log_domain_;
    bool in_range_ = false;
    PassResult pass_;
    Buffer<Real> log_row_sum_;  ///< LSE_k(z_dk + instance potential_k)
    Buffer<Real> feature_potential_;
    Buffer<Real> feature_penalty_;
    Buffer<Real> log_marginal_;
};

}  // namespace otpool::detail
