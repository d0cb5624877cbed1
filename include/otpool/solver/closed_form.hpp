// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/closed_form/entropic.hpp"
#include "otpool/core/error.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

/// Solves problems that need no iteration: those with a free side or alpha0 = inf. Named poolings use it, so that they
/// compile nothing else. (Quadratic: include closed_form/quadratic.hpp, as bregman_admm.hpp does.)
struct ClosedForm {
    Options options = {};  ///< Only the tolerance counts.

    /// Throws InvalidArgument if the problem is not well formed, UnsupportedProblem if it has no closed form.
    /// Thread-safe.
    template <BagScalar Scalar, Regularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        inspect(own);
        return detail::solve_closed_form(own);
    }

    /// pooled <- the conditional mean of the values under the plan, D numbers. Throws as solve() does.
    template <BagScalar Scalar, Regularizer R>
    Outcome pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                 const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        inspect(own);
        RealVector& mean = own.mean();
        const Outcome outcome = detail::pool_closed_form(own, mean);
        detail::set_pooled<Scalar>(mean, pooled);
        return outcome;
    }

private:
    template <BagScalar Scalar, Regularizer R>
    static void inspect(detail::SolverRun<Scalar, R>& run) {
        run.inspect();
        if (detail::has_closed_form(run.problem())) return;
        if constexpr (LimitedRegularizer<R>) {
            throw UnsupportedProblem(
                "ClosedForm", "KSparse or TopK, and no closed form",
                "0 < alpha0 < inf and KullbackLeibler; KSparse with alpha1 = 0 (Newton takes other "
                "alphas), or TopK with alpha2 = 0");
        } else {
            throw UnsupportedProblem(
                "ClosedForm", "alpha0 finite and no free side",
                "alpha0 = inf, alpha1 = 0 or alpha2 = 0; Sinkhorn, Newton and BregmanAdmm iterate");
        }
    }
};

}  // namespace otpool
