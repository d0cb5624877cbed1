// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <optional>
#include <vector>

#include "otpool/closed_form/closed_form_of.hpp"
#include "otpool/core/any_view.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/alphas.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// A problem and its solution, of any scalar and regulariser, as the gradient of an optimum needs them. Views the
/// solution.
struct Optimum {
    AnyView reward;
    Real alpha0;
    Alphas alpha1, alpha2;     ///< Of the features and of the active instances.
    bool has_free_side;        ///< As closed forms ask for it.
    std::optional<Real> mass;  ///< If it is a constraint of its own.
    AnyRegularizer regularizer;
    Priors priors;
    RealVector feature_potential, instance_potential;
    double log_mass;
    const LogPlan& log_plan;

    template <BagScalar Scalar, Regularizer R>
    explicit Optimum(const Solution<Scalar, R>& solution)
        : reward(solution.problem.reward),
          alpha0(Real(solution.problem.alpha0)),
          alpha1(alphas_of(solution.problem.features)),
          alpha2(alphas_of(solution.problem.instances)),
          has_free_side(detail::has_free_side(solution.problem)),
          mass(fixed_mass(solution.problem)),
          regularizer(AnyRegularizer::of<R>()),
          priors(solution.problem),
          feature_potential(as_reals(solution.feature_potential.data(), solution.feature_potential.size())),
          instance_potential(as_reals(solution.instance_potential.data(), solution.instance_potential.size())),
          log_mass(solution.log_mass),
          log_plan(solution.log_plan) {
        const std::vector<Index>& solved = log_plan.active();  // without those that are forbidden
        if (solved.size() == priors.active.size()) return;
        priors.keep([&](Index n) { return std::binary_search(solved.begin(), solved.end(), n); });
        if (!alpha2.differ()) return;
        alpha2.set(cols(), [&](Index k) { return alpha_of(solution.problem.instances, instance(k)); });
    }

    Index rows() const { return reward.rows(); }
    Index cols() const { return static_cast<Index>(priors.active.size()); }
    /// The instance of the plan's k-th column.
    Index instance(Index k) const { return priors.active[static_cast<std::size_t>(k)]; }
};

}  // namespace otpool::detail
