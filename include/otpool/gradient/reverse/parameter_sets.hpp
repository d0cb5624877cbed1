// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// The parameters of K steps, which are counted from 0.
struct ParameterSets {
    std::vector<StepParameters> sets;  ///< One of all steps, or one a step.

    bool shared() const { return sets.size() == 1; }
    std::size_t place(Index k) const { return shared() ? 0 : static_cast<std::size_t>(k); }
    const StepParameters& operator[](Index k) const { return sets[place(k)]; }
};

/// `steps`, or if they are empty the problem's parameters and rho.
template <BagScalar Scalar, Regularizer R>
ParameterSets parameter_sets(const std::vector<StepParameters>& steps, const UotProblem<Scalar, R>& problem,
                             double rho = 1) {
    if (!steps.empty()) return {steps};
    return {{{Real(problem.alpha0), Real(problem.features.alpha), Real(problem.instances.alpha), rho}}};
}

/// The entry of step k of a parameter's derivatives: of all steps, or one a step.
Real& of_step(auto& derivatives, Index k) { return derivatives[derivatives.size() == 1 ? 0 : k]; }

}  // namespace otpool::detail
