// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/any_view.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"

namespace otpool::detail {

template <BagScalar Scalar>
RealVector in_double(const Vector<Scalar>& numbers) {
    RealVector doubles(numbers.size());
    for (Index i = 0; i < numbers.size(); ++i) doubles[i] = static_cast<Real>(numbers[i]);
    return doubles;
}

/// A solution taken for the optimum of its problem, of any scalar and regulariser. Views the solution.
struct Optimum {
    AnyView reward, values;
    Real alpha0 = 0, alpha1 = 0, alpha2 = 0;
    bool relative = false, quadratic = false;  ///< Which regulariser it is, if not Entropy.
    Priors priors;
    RealVector feature_potential, instance_potential;
    Real log_mass = 0;
    const LogPlan& log_plan;

    template <BagScalar Scalar, Regularizer R>
    explicit Optimum(const Solution<Scalar, R>& solution)
        : reward(solution.problem.reward),
          values(solution.problem.pooled_values()),
          alpha0(solution.problem.alpha0),
          alpha1(solution.problem.features.alpha),
          alpha2(solution.problem.instances.alpha),
          relative(std::same_as<R, RelativeEntropy>),
          quadratic(std::same_as<R, Quadratic>),
          priors(solution.problem),
          feature_potential(in_double(solution.feature_potential)),
          instance_potential(in_double(solution.instance_potential)),
          log_mass(solution.log_mass),
          log_plan(solution.log_plan) {}
};

}  // namespace otpool::detail
