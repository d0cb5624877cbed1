// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <limits>

#include "otpool/closed_form/entropic.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/acceleration.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/solver/steps/scaling.hpp"
#include "otpool/solver/steps/scaling_steps.hpp"

namespace otpool {

/// Sinkhorn scaling in the log domain, for entropic problems with alpha0 > 0:
///
///     f <- k1 a0 (log p0 - LSE_n((X + g)/a0)),  k1 = a1/(a1+a0)
///     f <- f + t,  g <- g - t                   unless a side is free or both are hard
///     g <- k2 a0 (log q0 - LSE_d((X + f)/a0)),  k2 = a2/(a2+a0)
///
/// The translation t maximises the dual along its one slow direction: Sejourne, Vialard & Peyre, "Faster Unbalanced
/// Optimal Transport" (arXiv 2201.00730). An iteration costs one pass over exponentials that are kept where D N is at
/// most 2^20 floats or 2^22 doubles (AbsorbedKernel), else one over the reward and an exp an element; beside them
/// memory is O(D + N). Iterations of a fixed number that is only to pool are in scalings (ScalingSteps), without the
/// translation, which the mean does not see, where the scalar's range is enough. The number of iterations grows as
/// alpha0 falls; prefer Newton where it is far below the reward's spread.
///
/// Solves to a tolerance are in double, and accelerated (Anderson), in f after its translation: then an iteration is a
/// pass, whether or not its extrapolation was kept. From alpha0 = 10 to 0.01 times the spread, that is 1 to 10 times
/// fewer iterations.
struct Sinkhorn {
    Options options = {};
    /// Whether to take the translation step; without it, strong soft marginals need orders of magnitude more
    /// iterations.
    bool translation = true;
    /// Of a solve to a tolerance; Options::iterations are as many plain ones.
    Anderson acceleration = {};

    /// Throws InvalidArgument for a problem that is not well formed, UnsupportedProblem for alpha0 = 0 where no
    /// closed form applies. Thread-safe.
    template <BagScalar Scalar, EntropicRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const;

private:
    /// What there is one of an element is computed in Work.
    template <BagScalar Work, BagScalar Scalar, EntropicRegularizer R>
    Solution<Scalar, R> iterate(const UotProblem<Scalar, R>& problem, const detail::ScaledProblem<Scalar>& scaled,
                                double tolerance, const Run<Scalar, R>& run, Workspace& workspace) const {
        auto& scaling = workspace.get<detail::Scaling<Scalar, Work>>();
        auto& anderson = workspace.get<detail::AndersonSteps<>>();
        detail::start(scaling, scaled, run);
        detail::Iterations iterations(options, tolerance, 10000, run.observer);
        anderson.set(options.iterations ? 0 : acceleration.memory, scaled.kernel.rows());
        // A translation multiplies the plans of all later steps by a number each, which their conditional means do not
        // see.
        const bool translates = translation && !detail::only_pools(options, run);
        Real residual = std::numeric_limits<Real>::max();
        while (iterations.again()) {
            const bool pool = run.pooled_only && iterations.is_last();
            scaling.update_features();
            if (translates) scaling.translate();
            if (anderson.active()) scaling.move_features(anderson.step(scaling.features().kernel, residual));
            scaling.update_instances(pool ? &problem.values : nullptr);
            if (!iterations.wants_residual()) {
                iterations.skip();
                continue;
            }
            residual = scaling.feature_residual();
            iterations.record(residual, scaling.attainable());
        }
        if (run.pooled_only && !scaling.pooled()) scaling.pool(problem.values);
        if (scaling.pooled()) {
            RealVector& mean = workspace.get<detail::PooledMean>().values;
            scaling.conditional_mean(mean);
            auto solution = detail::pooled_solution<Scalar, R>(std::move(mean));
            iterations.report(solution);
            return solution;
        }
        Solution<Scalar, R> solution = scaling.solution(problem);
        iterations.report(solution);
        detail::check_promise(solution, scaled, std::max(scaling.attainable(), scaling.resolution()), tolerance);
        return solution;
    }
};

template <BagScalar Scalar, EntropicRegularizer R>
Solution<Scalar, R> Sinkhorn::solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) const {
    detail::validate(acceleration);
    detail::validate(options);
    Workspace own;
    Workspace& workspace = run.workspace != nullptr ? *run.workspace : own;
    auto& scaled = workspace.get<detail::ScaledProblem<Scalar>>();
    const bool closed = options.closed_forms && detail::has_closed_form(problem);
    if (!closed && problem.alpha0 > 0 && detail::only_pools(options, run) && run.warm_start == nullptr) {
        RealVector& mean = workspace.get<detail::PooledMean>().values;
        if (detail::pool_by_scalings(problem, *options.iterations, run.execution, workspace, scaled, mean))
            return detail::pooled_solution<Scalar, R>(std::move(mean), *options.iterations);
    }
    const detail::FirstPass<Scalar>& pass = detail::first_pass(options, problem, run, workspace);
    const double tolerance = detail::tolerance_or_default<Scalar>(options);
    if (closed) return detail::closed_form(problem, pass, tolerance, run, workspace);
    detail::require_positive_alpha0("Sinkhorn", problem);

    scaled.set(problem, pass);
    if (options.iterations) return iterate<Scalar>(problem, scaled, tolerance, run, workspace);
    return iterate<Real>(problem, scaled, tolerance, run, workspace);
}

}  // namespace otpool
