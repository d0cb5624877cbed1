// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/closed_form/entropic.hpp"
#include "otpool/closed_form/quadratic.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/reward_spread.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/admm_state.hpp"
#include "otpool/solver/steps/admm_sweep.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool {

/// Bregman ADMM, for every regulariser and alpha0 in [0, inf]. Two copies T = S of the plan, dual Z, penalty rho,
/// divergence KL; reward and instance marginal go to T, regulariser and feature marginal to S, which is the plan
/// returned:
///
///     log T <- (X - Z)/rho + log S           log T += k2 (log q0 - LSE_d(log T)),  k2 = a2/(a2+rho)
///     log S <- (Z + rho log T)/(rho + a0)    log S += k1 (log p0 - LSE_n(log S)),  k1 = a1/(a1+rho+a0)
///     Z     <- Z + rho (T - S)/max(T, S)
///
/// both normalised to mass 1, which changes the plan by a factor that is known, and put back. Quadratic: the
/// right-hand sides are (X - Z - 2 a0 S)/rho + log S and Z/rho + log T, k1 = a1/(a1+rho), and the mass is free where
/// the problem's is. Wang & Banerjee, "Bregman Alternating Direction Method of Multipliers" (NeurIPS 2014); Cheng &
/// Xu, arXiv 2201.09191, with their dual step scaled by the plan's entries.
///
/// An iteration costs three exps an element, and five more where its residual is wanted; memory is three D x N matrices
/// of double. Where a fixed number of iterations is only to pool, with an entropic regulariser, an iteration is one
/// pass over one D x N matrix beside the reward, of floats for float bags within their range. At small alpha0 it needs
/// far fewer iterations than Sinkhorn.
struct BregmanAdmm {
    Options options = {};
    /// Weight of the divergence between the copies, in (0, inf), in the reward's unit. Left empty: 0.1 sd(X) +
    /// alpha0, and for Quadratic at least 2 alpha0 times the largest entry that the plan can have.
    std::optional<double> rho = {};
    DualStep dual_step = DualStep::scaled;

    /// Throws InvalidArgument for a problem that is not well formed. Thread-safe.
    template <BagScalar Scalar, Regularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const;

    /// The rho that is used where none is given.
    template <BagScalar Scalar, Regularizer R>
    static double default_rho(const UotProblem<Scalar, R>& problem) {
        Workspace workspace;
        return default_rho(problem, detail::FirstPass<Scalar>(problem), {}, workspace);
    }

private:
    template <BagScalar Scalar, Regularizer R>
    static double default_rho(const UotProblem<Scalar, R>& problem, const detail::FirstPass<Scalar>& pass,
                              const Execution& execution, Workspace& workspace) {
        const double alpha0 = problem.alpha0;
        auto& spread = workspace.get<detail::RewardSpread<Scalar>>();
        double rho = 0.1 * spread.standard_deviation(problem.reward, pass, execution);
        if constexpr (std::same_as<R, Quadratic>) {
            rho = std::max(rho, 2 * alpha0 * largest_entry(problem, pass));
        } else {
            rho += alpha0;
        }
        if (rho == 0) rho = 1;  // equal rewards and no regulariser: any will do
        return std::clamp(rho, 1e-300, 1e300);
    }

    /// An upper bound P of the entries of a Quadratic plan. A hard marginal bounds them by its prior's entries; else,
    /// as each entry is at most its marginals,  2 alpha0 P + alpha1 log(P / max p0) + alpha2 log(P / max q0) <= max X.
    template <class Scalar>
    static double largest_entry(const UotProblem<Scalar, Quadratic>& problem, const detail::FirstPass<Scalar>& pass) {
        const double log_p = pass.priors.log_p.maxCoeff();
        const double log_q = pass.priors.log_q.maxCoeff();
        const double alpha1 = problem.features.alpha;
        const double alpha2 = problem.instances.alpha;
        double log_bound = std::numeric_limits<double>::infinity();
        if (std::isinf(alpha1)) log_bound = std::min(log_bound, log_p);
        if (std::isinf(alpha2)) log_bound = std::min(log_bound, log_q);
        if (std::isfinite(log_bound)) return std::exp(log_bound);

        const double highest = pass.range.highest.maxCoeff();
        const auto holds = [&](double log_entry) {
            return 2 * problem.alpha0 * std::exp(log_entry) + alpha1 * (log_entry - log_p) +
                       alpha2 * (log_entry - log_q) <=
                   highest;
        };
        double low = -700;
        double high = 700;
        while (high - low > 0.01) {
            const double middle = (low + high) / 2;
            (holds(middle) ? low : high) = middle;
        }
        return std::exp(high);
    }
};

template <BagScalar Scalar, Regularizer R>
Solution<Scalar, R> BregmanAdmm::solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) const {
    const double given_rho = rho.value_or(1);
    detail::require(given_rho > 0 && std::isfinite(given_rho), "rho", given_rho, "finite and > 0");
    Workspace own;
    Workspace& workspace = run.workspace != nullptr ? *run.workspace : own;
    const detail::FirstPass<Scalar>& pass = detail::first_pass(options, problem, run, workspace);
    const double tolerance = detail::tolerance_or_default<Scalar>(options);
    if (options.closed_forms && detail::has_closed_form(problem))
        return detail::closed_form(problem, pass, tolerance, run, workspace);

    const double weight = rho ? *rho : default_rho(problem, pass, run.execution, workspace);
    if constexpr (EntropicRegularizer<R>) {
        const bool sweeps =
            detail::only_pools(options, run) && run.warm_start == nullptr && dual_step == DualStep::scaled;
        if (sweeps) {
            RealVector& mean = workspace.get<detail::PooledMean>().values;
            if (detail::pool_by_sweeps(problem, pass, weight, *options.iterations, run.execution, workspace, mean)) {
                return detail::pooled_solution<Scalar, R>(std::move(mean), *options.iterations);
            }
        }
    }
    detail::AdmmState<Scalar, R> state(problem, weight);
    if (run.warm_start != nullptr) state.start(*run.warm_start);
    detail::Iterations iterations(options, tolerance, 10000, run.observer);
    while (iterations.again()) {
        state.update_transport();
        state.update_smooth();
        state.update_dual(dual_step);
        if (iterations.wants_residual()) {
            const double residual = state.residual();
            iterations.record(residual, state.attainable());
        } else {
            iterations.skip();
        }
    }
    Solution<Scalar, R> solution = state.solution(problem);
    iterations.report(solution);
    detail::check_mass_range(solution);
    return solution;
}

}  // namespace otpool
