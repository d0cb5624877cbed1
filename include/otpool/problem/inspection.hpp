// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <optional>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/problem/alphas.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/reward_range.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// A well-formed problem of any scalar and regulariser. Every solver starts with it. Cost: one pass over the reward.
struct Inspection {
    AnyView reward;
    AnyView values;  ///< Empty if they are the reward.
    Real alpha0 = 0;
    Alphas alpha1, alpha2;  ///< Of the features and of the active instances.
    AnyPenalty feature_penalty, instance_penalty;
    AnyRegularizer regularizer;
    std::optional<Real> log_mass;  ///< Logarithm of the mass, if that is a constraint of its own: fixed_mass().
    Priors priors;
    RealVector highest;          ///< Highest reward per feature, over the active instances.
    Real lowest = 0;             ///< Lowest reward, maybe -inf; unspecified unless looked_at_all.
    bool looked_at_all = false;  ///< If not, `highest` covers a few instances, and the reward may not be finite.

    const AnyView& pooled_values() const { return values.empty() ? reward : values; }
    Index features() const { return reward.rows(); }
    /// Whether both sides act as KullbackLeibler.
    bool is_kullback_leibler() const {
        return detail::is_kullback_leibler(feature_penalty, alpha1) &&
               detail::is_kullback_leibler(instance_penalty, alpha2);
    }
    /// Whether features or instances have an alpha each.
    bool has_own_alphas() const { return alpha1.differ() || alpha2.differ(); }
    Index active_instances() const { return static_cast<Index>(priors.active.size()); }
    bool all_active() const { return active_instances() == reward.cols(); }
    Real highest_of_all() const { return *std::max_element(highest.begin(), highest.end()); }
    /// Highest reward minus lowest.
    Real range() const { return highest_of_all() - lowest; }

    Inspection() = default;
    template <BagScalar Scalar, Regularizer R>
    explicit Inspection(const UotProblem<Scalar, R>& problem) {
        Workspace workspace;
        set(problem, {}, workspace);
    }

    /// Throws InvalidArgument, as validate() does.
    template <BagScalar Scalar, Regularizer R>
    void set(const UotProblem<Scalar, R>& problem, const Execution& execution, Workspace& workspace) {
        start(problem);
        look(problem, execution, workspace);
        require_finite(problem.values, "values", execution);
    }

    /// The same without the pass, if all instances are active. Then `highest` covers a few instances, and the solver
    /// must check that the reward is finite.
    template <BagScalar Scalar, Regularizer R>
    void glance(const UotProblem<Scalar, R>& problem, const Execution& execution, Workspace& workspace) {
        start(problem);
        if (all_active()) {
            auto& range = workspace.get<RewardRange<Scalar>>();
            range.glance(problem.reward, priors.active);
            take(range);
        } else {
            look(problem, execution, workspace);
        }
        require_finite(problem.values, "values", execution);
    }

    /// Replaces only the alphas, by one for all lines.
    void set_alphas(Real alpha0_, Real alpha1_, Real alpha2_) {
        alpha0 = alpha0_;
        alpha1.set(alpha1_);
        alpha2.set(alpha2_);
    }

private:
    template <class Scalar, class R>
    void start(const UotProblem<Scalar, R>& problem) {
        validate_fields(problem);
        reward = problem.reward;
        values = problem.values;
        alpha0 = Real(problem.alpha0);
        alpha1 = alphas_of(problem.features);
        alpha2 = alphas_of(problem.instances);
        feature_penalty = problem.features.penalty;
        instance_penalty = problem.instances.penalty;
        regularizer = AnyRegularizer::of(problem.regularizer);
        log_mass = fixed_mass(problem);
        if (log_mass) log_mass = std::log(*log_mass);
        priors.set(problem);
    }

    template <class Scalar, class R>
    void look(const UotProblem<Scalar, R>& problem, const Execution& execution, Workspace& workspace) {
        auto& range = workspace.get<RewardRange<Scalar>>();
        range.set(problem.reward, priors.active, execution);
        const bool forbids_pairs = (!range.all_finite || !all_active()) && require_reward(problem, execution);
        take(range);
        if (!forbids_pairs) return;
        leave_out_forbidden();
        if (!alpha2.differ()) return;
        alpha2.set(active_instances(),
                   [&](Index k) { return alpha_of(problem.instances, priors.active[static_cast<std::size_t>(k)]); });
    }

    /// Leaves out instances that every feature is forbidden to draw on. Other priors stay as they are.
    void leave_out_forbidden() {
        std::vector<Real> column(static_cast<std::size_t>(reward.rows()));
        priors.keep([&](Index n) {
            reward.copy_column(n, column.data());
            return std::isfinite(*std::max_element(column.begin(), column.end()));
        });
    }

    template <class Scalar>
    void take(const RewardRange<Scalar>& range) {
        highest.resize(range.highest.size());
        for (Index d = 0; d < highest.size(); ++d) highest[d] = static_cast<Real>(range.highest[d]);
        lowest = static_cast<Real>(range.lowest);
        looked_at_all = range.of_all;
    }
};

}  // namespace otpool::detail
