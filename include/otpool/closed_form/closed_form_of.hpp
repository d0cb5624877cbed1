// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/closed_form/rescaled.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// The closed forms of a regulariser's problems: none by default. entropic.hpp and quadratic.hpp specialise it.
template <class R>
struct ClosedFormOf {
    /// Whether the solution is known without iterating.
    template <BagScalar Scalar>
    static bool exists(const UotProblem<Scalar, R>& /*problem*/) {
        return false;
    }
    /// Of a problem whose differences of rewards and 1 / alpha0 are numbers (see closed_form_of()).
    static SolvedPlan solve(const Inspection&, double /*tolerance*/) { return {}; }
    /// mean <- the conditional mean of the values. `Scalar` is the bag's.
    template <BagScalar Scalar>
    static Outcome pool(const Inspection&, double /*tolerance*/, const Execution&, Workspace&, RealVector&) {
        return {};
    }
};

/// Whether a side is free; at alpha0 = 0, where the other side must then hold the mass, with all of its lines held or
/// none.
template <BagScalar Scalar, Regularizer R>
bool has_free_side(const UotProblem<Scalar, R>& problem) {
    const Alphas alpha1 = alphas_of(problem.features);
    const Alphas alpha2 = alphas_of(problem.instances);
    const auto is_held = [&](const Alphas& other) {
        return problem.alpha0 > 0 || other.all_free() || !other.any_free();
    };
    return (alpha2.all_free() && is_held(alpha1)) || (alpha1.all_free() && is_held(alpha2));
}

/// The solution of a problem that has a closed form, also near the ends of double's range.
template <class R>
SolvedPlan closed_form_of(const Inspection& problem, double tolerance) {
    if (!Rescaled<>::is_needed(problem)) return ClosedFormOf<R>::solve(problem, tolerance);
    const Rescaled<> rescaled(problem);
    return rescaled.restored(ClosedFormOf<R>::solve(rescaled.problem(), tolerance));
}

template <BagScalar Scalar, Regularizer R>
bool has_closed_form(const UotProblem<Scalar, R>& problem) {
    // At alpha0 = 0 or inf there is none with a penalty of one's own.
    const bool inside = problem.alpha0 > 0 && std::isfinite(problem.alpha0);
    return (inside || is_kullback_leibler(problem)) && ClosedFormOf<R>::exists(problem);
}

}  // namespace otpool::detail
