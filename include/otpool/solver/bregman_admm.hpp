// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <optional>
#include <utility>

#include "otpool/closed_form/entropic.hpp"
#include "otpool/closed_form/quadratic.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/admm/admm_pooling.hpp"
#include "otpool/solver/admm/admm_rho.hpp"
#include "otpool/solver/admm/admm_solve.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

/// Bregman ADMM, for every regulariser and alpha0 in [0, inf]. It has two copies T = S of the plan, a dual Z, a weight
/// rho and the divergence KL. T has the reward and the instance marginal; S, the plan returned, has the regulariser and
/// the feature marginal:
///
///     log T <- (X - Z)/rho + log S           log T += k2 (log q0 - LSE_d(log T)),  k2 = a2/(a2+rho)
///     log S <- (Z + rho log T)/(rho + a0)    log S += k1 (log p0 - LSE_n(log S)),  k1 = a1/(a1+rho+a0)
///     Z     <- Z + rho (T - S)/max(T, S)
///
/// Both are normalised to mass 1; the known factor is put back at the end. With a penalty other than KullbackLeibler, or an
/// alpha for each line, the factor is not known, and the mass is free. With a separable regulariser, the right-hand
/// sides are (X - Z - a0 phi'(S))/rho + log S and Z/rho + log T, k1 = a1/(a1+rho), and the mass is free if the
/// problem's is. Wang & Banerjee, "Bregman Alternating Direction Method of Multipliers" (NeurIPS 2014); Cheng & Xu,
/// arXiv 2201.09191, with their dual step scaled by the plan's entries.
///
/// With an entropic regulariser, KullbackLeibler, one alpha for each side and the scaled dual step (AdmmSweep), an
/// iteration costs three exps per element and a residual two; memory is one D x N matrix beside the reward. It computes
/// in double, except when a fixed number of iterations only pools a float bag and float suffices. Otherwise, and for a
/// solution after a fixed number of iterations (AdmmState), a residual costs four exps, and memory is three D x N
/// matrices. At small alpha0 it needs far fewer iterations than Sinkhorn.
struct BregmanAdmm {
    Options options = {};  ///< When to stop, and what to record.
    /// Weight of the divergence between the copies, in (0, inf), in the reward's unit. Empty: 0.1 sd(X) + alpha0; for
    /// separable regularisers 0.1 sd(X), at least alpha0 P phi''(P) with P the largest entry that the plan can have.
    std::optional<double> rho = {};
    DualStep dual_step = DualStep::scaled;  ///< How the dual moves after a step.

    /// Throws InvalidArgument if the problem is not well formed, UnsupportedProblem for alpha0 = inf with a penalty
    /// other than KullbackLeibler, for a fixed mass, and for alpha0 = 0 where only some features and some instances are
    /// free. Thread-safe.
    template <BagScalar Scalar, ConvexRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        inspect(own);
        if (detail::takes_closed_form(own)) return detail::solve_closed_form(own);
        const detail::AdmmSettings settings = this->settings(own, weight(own));
        return detail::solution_of(problem, detail::AdmmSolve<>(own.inspection(), settings, own.any()).solution());
    }

    /// pooled <- the conditional mean of the values under the plan, D numbers. Throws as solve() does.
    template <BagScalar Scalar, ConvexRegularizer R>
    Outcome pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                 const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        inspect(own);
        const Outcome outcome = pool(own);
        detail::set_pooled<Scalar>(own.mean(), pooled);
        return outcome;
    }

    /// The rho used if none is given.
    template <BagScalar Scalar, Regularizer R>
    static double default_rho(const UotProblem<Scalar, R>& problem) {
        Workspace workspace;
        return detail::default_rho(detail::Inspection(problem), {}, workspace);
    }

private:
    void inspect(auto& run) const {
        const double given_rho = rho.value_or(1);
        detail::require_that(given_rho > 0 && std::isfinite(given_rho), "rho", given_rho, "finite and > 0");
        if (!detail::takes_closed_form(run)) {
            detail::require_bounded_mass("BregmanAdmm", run.problem());
            detail::require_free_mass("BregmanAdmm", run.problem());
        }
        run.inspect();
    }

    template <BagScalar Scalar, Regularizer R>
    double weight(const detail::SolverRun<Scalar, R>& run) const {
        if (rho) return *rho;
        const auto& [options_, tolerance, observer, execution, workspace] = run.any();
        return detail::default_rho(run.inspection(), execution, workspace);
    }

    template <BagScalar Scalar, ConvexRegularizer R>
    Outcome pool(detail::SolverRun<Scalar, R>& run) const {
        if (detail::takes_closed_form(run)) return detail::pool_closed_form(run, run.mean());
        const double penalty = weight(run);
        if constexpr (EntropicRegularizer<R>) {
            if (run.takes_unseen_steps() && dual_step == DualStep::scaled && run.inspection().is_kullback_leibler() &&
                !run.inspection().has_own_alphas() &&
                detail::pool_by_sweeps<Scalar>(run.inspection(), penalty, *options.iterations, run.any().execution,
                                               run.workspace(), run.mean()))
                return {.status = Status::iteration_limit, .iterations = *options.iterations};
        }
        const detail::AdmmSettings settings = this->settings(run, penalty);
        return detail::AdmmSolve<>(run.inspection(), settings, run.any()).pool(run.mean());
    }

    template <BagScalar Scalar, Regularizer R>
    detail::AdmmSettings settings(const detail::SolverRun<Scalar, R>& run, double penalty) const {
        detail::AdmmSettings settings{penalty, dual_step};
        if (const Solution<Scalar, R>* from = run.warm_start()) {
            settings.first_plan = &from->log_plan;
            const auto copy = [](const Vector<Scalar>& from_scalar, RealVector& to) {
                to.resize(from_scalar.size());
                std::copy(from_scalar.begin(), from_scalar.end(), to.begin());
            };
            copy(from->feature_potential, settings.feature_potential);
            copy(from->instance_potential, settings.instance_potential);
        }
        return settings;
    }
};

}  // namespace otpool
