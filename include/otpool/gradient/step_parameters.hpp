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

/// The parameters of one step of an unrolled solver, as UotProblem and BregmanAdmm have them for all steps.
struct StepParameters {
    double alpha0 = 1;
    double alpha1 = hard;
    double alpha2 = 0;
    double rho = 1;  ///< For BregmanAdmm alone.
};

namespace detail {

/// The problem with the parameters of a step.
template <class Scalar, class R>
UotProblem<Scalar, R> with_parameters(UotProblem<Scalar, R> problem, const StepParameters& step) {
    problem.alpha0 = static_cast<Scalar>(step.alpha0);
    problem.features.alpha = static_cast<Scalar>(step.alpha1);
    problem.instances.alpha = static_cast<Scalar>(step.alpha2);
    return problem;
}

inline void validate(const std::vector<StepParameters>& steps, int iterations) {
    if (steps.empty()) return;
    require(static_cast<int>(steps.size()) == iterations, "number of step parameters", steps.size(),
            "as many as iterations, " + printed(iterations));
    const auto valid = [](const StepParameters& step) {
        return step.alpha0 >= 0 && std::isfinite(step.alpha0) && step.alpha1 >= 0 && step.alpha2 >= 0 && step.rho > 0 &&
               std::isfinite(step.rho);
    };
    for (std::size_t k = 0; k < steps.size(); ++k) {
        if (valid(steps[k])) continue;  // text costs, and is rare
        const std::string step = " of step " + printed(k);
        require(steps[k].alpha0 >= 0 && std::isfinite(steps[k].alpha0), "alpha0" + step, steps[k].alpha0,
                "finite and >= 0");
        require_alpha(steps[k].alpha1, "alpha1" + step);
        require_alpha(steps[k].alpha2, "alpha2" + step);
        require(steps[k].rho > 0 && std::isfinite(steps[k].rho), "rho" + step, steps[k].rho, "finite and > 0");
    }
}

}  // namespace detail
}  // namespace otpool
