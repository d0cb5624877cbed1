// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/regularizers.hpp"

namespace otpool::detail {

/// A problem and its solution, of any scalar and regulariser, as the gradient of an optimum needs them. Views the
/// solution.
struct Optimum {
    AnyView reward, values;
    Real alpha0, alpha1, alpha2;
    AnyRegularizer regularizer;
    Priors priors;
    RealVector feature_potential, instance_potential;
    double log_mass;
    const LogPlan& log_plan;

    template <BagScalar Scalar, Regularizer R>
    explicit Optimum(const Solution<Scalar, R>& solution)
        : reward(solution.problem.reward),
          values(solution.problem.pooled_values()),
          alpha0(Real(solution.problem.alpha0)),
          alpha1(Real(solution.problem.features.alpha)),
          alpha2(Real(solution.problem.instances.alpha)),
          regularizer(AnyRegularizer::of<R>()),
          priors(solution.problem),
          feature_potential(as_reals(solution.feature_potential.data(), solution.feature_potential.size())),
          instance_potential(as_reals(solution.instance_potential.data(), solution.instance_potential.size())),
          log_mass(solution.log_mass),
          log_plan(solution.log_plan) {
        const std::vector<Index>& solved = log_plan.active();  // without those that are forbidden
        if (solved.size() == priors.active.size()) return;
        priors.keep([&](Index n) { return std::binary_search(solved.begin(), solved.end(), n); });
    }

    Index rows() const { return reward.rows(); }
    Index cols() const { return static_cast<Index>(priors.active.size()); }
};

}  // namespace otpool::detail
