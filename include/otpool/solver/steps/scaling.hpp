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
#include "otpool/problem/balancing_shift.hpp"
#include "otpool/problem/line_masses.hpp"
#include "otpool/problem/mass_half_step.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/translation.hpp"

namespace otpool::detail {

/// Kernel potentials, given instance potentials in the reward's unit, over all instances.
template <class Potential>
Buffer<Real> kernel_potential_of(const ScaledProblem& scaled, const Potential& instance_potential) {
    using Number = typename Potential::Scalar;
    Buffer<Real> potential = scaled.instances.anchor;
    const Side& side = scaled.instances;
    for (Index k = 0; k < potential.size(); ++k) {
        const Stiffness& line = side.line(k);
        const Real taken =
            line.is_hard() ? scaled.offset_of_instances() : line.alpha * scaled.mass_shift;  // see unscaled()
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
            const Stiffness& line = side.line(k);
            pass_.col_penalty[k] = line.is_soft() ? line.ratio * (instance_potential[k] - side.anchor[k]) : 0;
        }
        log_row_sum_.resize(problem.kernel.rows());
        has_col_sums_ = false;
        in_range_ = kernel_.log_row_sums(pass_.col_potential.data(), log_row_sum_.data());
        if (!in_range_) log_domain_.log_row_sums(pass_.col_potential.data(), log_row_sum_.data());
        for (Buffer<Real>* of_rows : {&feature_potential_, &feature_penalty_})
            of_rows->assign(problem.kernel.rows(), 0);
        if (problem.log_mass) mass_half_step_.set(problem.features, *problem.log_mass);
    }

    /// Starts from f = 0 instead, with the instances' half step; a fixed mass's lambda is first chosen with g = 0, too.
    void start_on_instances() {
        feature_potential_ = problem_->features.anchor;
        if (problem_->log_mass) {
            add_row_potential();
            const Buffer<Real>& log_mass = pass_.log_row_mass;
            const Real present = log_sum_exp(log_mass.data(), log_mass.size());
            for (Real& f : feature_potential_) f += *problem_->log_mass - present;
        }
        update_instances();
    }

    /// f <- k1 a0 (log p0 - LSE_n((X + g)/a0)), with lambda if the mass is fixed
    void update_features() {
        const Index rows = feature_potential_.size();
        const Real* const log_sum = log_row_sum_.data();
        Real* const potential = feature_potential_.data();
        if (problem_->log_mass) {
            mass_half_step_(log_sum, potential, feature_penalty_.data());
        } else {
            problem_->features.half_steps(0, rows, log_sum, potential, feature_penalty_.data());
        }
        add_row_potential();
    }

    /// f <- f + t, g <- g - t with the t that maximises the dual, where both sides ask for the same mass
    /// (TranslatedMass). With one alpha for each side,
    ///     t = (LSE(log p0 - f/a1) - LSE(log q0 - g/a2)) / (1/a1 + 1/a2);
    /// a hard side has 1/a = 0. Free features do not move. (g itself need not move, as the next update of the instances
    /// only reads f.) Returns t / alpha0.
    ///
    /// With a fixed mass, it is lambda that moves by t, for all features alike: g - t asks for that mass. Of free instances,
    /// this takes the masses after their last update, in proportion to the total mass.
    Real translate() {
        if (problem_->log_mass) return translate_multiplier();
        const Side& features = problem_->features;
        const Side& instances = problem_->instances;
        if (!has_translation(features, instances)) return 0;
        asked_of_features_.set(features, feature_penalty_, pass_.log_row_mass.data());
        asked_of_instances_.set(instances, pass_.col_penalty, nullptr);
        const Real t = balancing_shift<Real>(asked_of_features_, asked_of_instances_);
        for (Index d = 0; d < features.size(); ++d) {
            const Stiffness& line = features.line(d);
            if (line.is_free()) continue;
            feature_potential_[d] += t;
            feature_penalty_[d] += line.ratio * t;
        }
        return t;
    }

    /// f <- f + step alpha0. Free features have only lambda to move.
    void move_features(const Real* step) {
        const Side& side = problem_->features;
        Index free = 0;
        while (problem_->log_mass && free < side.size() && !side.line(free).is_free()) ++free;
        const Real of_multiplier = problem_->log_mass && free < side.size() ? step[free] : 0;
        mass_half_step_.move_multiplier(of_multiplier);
        for (Index d = 0; d < side.size(); ++d) {
            feature_potential_[d] += step[d];
            const Stiffness& line = side.line(d);
            if (line.is_soft()) feature_penalty_[d] += line.ratio * (step[d] - of_multiplier);
        }
    }

    /// g <- k2 a0 (log q0 - LSE_d((X + f)/a0))
    void update_instances() {
        in_range_ = kernel_.sweep(feature_potential_.data(), problem_->instances, pass_);
        if (!in_range_) log_domain_.sweep(feature_potential_.data(), problem_->instances, pass_);
        has_col_sums_ = true;
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

    /// The features' half step as the last one. Returns the residual, which is then the instances' violation. Cost: a pass.
    Real end_on_features() {
        update_features();
        Buffer<Real> log_row_mass = pass_.log_row_mass;
        Buffer<Real> potential = pass_.col_potential;
        Buffer<Real> penalty = pass_.col_penalty;
        update_instances();  // for the sums over features alone: its potentials are not taken
        pass_.log_row_mass.swap(log_row_mass);
        pass_.col_potential.swap(potential);
        pass_.col_penalty.swap(penalty);
        Buffer<Real> log_col_mass = pass_.log_col_sum;
        for (Index k = 0; k < log_col_mass.size(); ++k) log_col_mass[k] += pass_.col_potential[k];
        return problem_->instances.violation(log_col_mass.data(), pass_.col_penalty.data());
    }

    ScaledPotential features() const {
        return {feature_potential_, feature_penalty_, problem_->log_mass ? mass_half_step_.multiplier() : 0};
    }
    ScaledPotential instances() const { return {pass_.col_potential, pass_.col_penalty}; }

    const Buffer<Real>& log_row_sum() const { return log_row_sum_; }
    const Buffer<Real>& log_col_sum() const { return pass_.log_col_sum; }

    /// The residual of the present plan. The instances, updated last, meet their condition exactly; this is the
    /// features' violation, and the mass's.
    Real feature_residual() const {
        return (std::max)(problem_->features.violation(pass_.log_row_mass.data(), feature_penalty_.data()),
                          mass_violation(problem_->log_mass, pass_.log_row_mass));
    }
    /// The least residual that rounding of the potentials allows.
    Real attainable() const { return rounding(feature_potential_, pass_); }

    SolvedPlan solution(Real alpha0) const {
        // If alpha0 = inf keeps features from meeting their prior, the marginal gives their potential.
        const Side& side = problem_->features;
        Buffer<Real> penalty = feature_penalty_;
        for (Index d = 0; d < side.size(); ++d) {
            if (side.line(d).is_free()) penalty[d] = side.log_prior[d] - pass_.log_row_mass[d];
        }
        return exponential_solution(*problem_, alpha0, {feature_potential_, penalty, features().multiplier},
                                    instances(), log_sum_exp(pass_.log_row_mass.data(), pass_.log_row_mass.size()));
    }

private:
    /// pass_.log_row_mass <- log sum_k P_dk, with the present potentials.
    void add_row_potential() {
        for (Index d = 0; d < log_row_sum_.size(); ++d) pass_.log_row_mass[d] = feature_potential_[d] + log_row_sum_[d];
    }

    Real translate_multiplier() {
        const Side& instances = problem_->instances;
        if (!instances.is_kullback_leibler()) return 0;
        log_col_mass_.resize(instances.size());
        if (instances.has_free_lines()) {
            if (!has_col_sums_) return 0;
            for (Index k = 0; k < instances.size(); ++k)
                log_col_mass_[k] = pass_.log_col_sum[k] + pass_.col_potential[k];
            const Real present = log_sum_exp(log_col_mass_.data(), instances.size());
            for (Real& mass : log_col_mass_) mass += *problem_->log_mass - present;
        }
        asked_of_instances_.set(instances, pass_.col_penalty, log_col_mass_.data());
        const Real t = balancing_shift<Real>(ConstantMass{*problem_->log_mass}, asked_of_instances_);
        for (Real& f : feature_potential_) f += t;
        mass_half_step_.move_multiplier(t);
        return t;
    }

    const ScaledProblem* problem_ = nullptr;
    K kernel_;
    LogDomainKernel<ScaledReward> log_domain_;
    bool in_range_ = false;
    bool has_col_sums_ = false;  ///< Whether pass_ has any.
    PassResult pass_;
    Buffer<Real> log_row_sum_;  ///< LSE_k(z_dk + instance potential_k)
    Buffer<Real> feature_potential_;
    Buffer<Real> feature_penalty_;
    Buffer<Real> log_col_mass_;
    TranslatedMass<> asked_of_features_, asked_of_instances_;
    MassHalfStep<> mass_half_step_;
};

}  // namespace otpool::detail
