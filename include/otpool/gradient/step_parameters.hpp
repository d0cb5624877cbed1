// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// The parameters of one step of an unrolled solver. For all steps they are in UotProblem and BregmanAdmm.
struct StepParameters {
    double alpha0 = 1;     ///< Strength of the regulariser, in [0, inf).
    double alpha1 = hard;  ///< Of the feature marginal, in [0, inf].
    double alpha2 = 0;     ///< Of the instance marginal, in [0, inf].
    double rho = 1;        ///< In (0, inf); for BregmanAdmm alone.
};

namespace detail {

/// The problem with one step's parameters.
template <class Scalar, class R>
UotProblem<Scalar, R> with_parameters(UotProblem<Scalar, R> problem, const StepParameters& step) {
    problem.alpha0 = static_cast<Scalar>(step.alpha0);
    problem.features.alpha = static_cast<Scalar>(step.alpha1);
    problem.instances.alpha = static_cast<Scalar>(step.alpha2);
    return problem;
}

inline void validate(const std::vector<StepParameters>& steps, int iterations) {
    if (steps.empty()) return;
    require_that(static_cast<int>(steps.size()) == iterations, "number of step parameters", steps.size(),
                 "as many as iterations, " + printed(iterations));
    for (std::size_t k = 0; k < steps.size(); ++k) {
        const auto validate = [&](bool holds, const char* name, double found, const char* allowed) {
            require_that(holds, text(name, " of step ", k), found, allowed);
        };
        const auto& [alpha0, alpha1, alpha2, rho] = steps[k];
        validate(alpha0 >= 0 && std::isfinite(alpha0), "alpha0", alpha0, "finite and >= 0");
        validate(alpha1 >= 0, "alpha1", alpha1, "0 to inf");
        validate(alpha2 >= 0, "alpha2", alpha2, "0 to inf");
        validate(rho > 0 && std::isfinite(rho), "rho", rho, "finite and > 0");
    }
}

}  // namespace detail
}  // namespace otpool
