// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <utility>

#include "otpool/closed_form/entropic.hpp"
#include "otpool/closed_form/quadratic.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/dense_kernel.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/reward_spread.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/sparse/quadratic_solve.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/solver/steps/scaling.hpp"
#include "otpool/solver/steps/semidual_newton.hpp"

namespace otpool {

/// The regularisers that Newton takes.
template <class R>
concept NewtonRegularizer = EntropicRegularizer<R> || std::same_as<R, Quadratic> || std::same_as<R, KSparse>;

/// Newton's method on the semi-dual, for entropic problems, Quadratic and KSparse, with alpha0 > 0 and KullbackLeibler:
/// the larger side's potential is eliminated exactly, and the smaller side's equations are solved by Newton steps with
/// a line search. It needs tens of steps where other solvers need thousands. Semi-dual: Cuturi & Peyre, "Semidual
/// Regularized Optimal Transport", SIAM Review 60 (2018).
///
/// Entropic: if alpha0 is far below the reward's spread, it is reached from larger values (continuation), with a few
/// steps at each. An iteration is a Newton step, at whatever value of alpha0. With m = min(D, N), M = max(D, N) it costs
/// m^3/3 flops, three exps per element, and M m^2 flops, or far fewer if alpha0 is so small that most of the plan is
/// zero. Memory is two m x M and two m x m matrices. Sparsity: Tang et al., "Accelerating Sinkhorn Algorithm with Sparse
/// Newton Iterations" (2024).
///
/// Quadratic: the equations are piecewise smooth (semismooth Newton), and the larger side is eliminated by sorting. An
/// iteration is a Newton step, a half step, and the shift that balances each connected part of the plan. It costs m^3/3
/// flops, at most M m^2 flops, fewer if the plan is sparse, and a pass with a partial sort over each row, over each
/// column, and over each column again for every trial of the line search. Memory is two m x M and three m x m matrices.
/// Potentials have 32 digits, so alpha0 may be small. An entry that feels the rounding of the plan's largest one is
/// computed from the lighter of its two lines, so priors may be as small as 1e-30.
///
/// KSparse: the same steps on the features' equations, after steps of BFGS that start from the optimum of Quadratic. An
/// iteration costs a partial sort over each column for every trial of the line search, and D^2 or D^3/3 flops.
struct Newton {
    Options options = {};  ///< When to stop, and what to record.

    /// Throws InvalidArgument if the problem is not well formed, UnsupportedProblem for alpha0 = 0 without a closed
    /// form and for a penalty other than KullbackLeibler. Thread-safe.
    template <BagScalar Scalar, NewtonRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        detail::require_kullback_leibler("Newton", problem);
        own.inspect();
        if (detail::takes_closed_form(own)) return detail::solve_closed_form(own);
        return detail::solution_of(problem, find(own));
    }

    /// pooled <- the conditional mean of the values under the plan, D numbers. Throws as solve() does.
    template <BagScalar Scalar, NewtonRegularizer R>
    Outcome pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                 const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        detail::require_kullback_leibler("Newton", problem);
        own.inspect();
        return detail::pool_plan<Scalar>(
            own, detail::takes_closed_form(own), [&] { return find(own); }, pooled);
    }

private:
    /// Exponents within this range need no continuation.
    static constexpr Real easy_range = 10;
    /// The residual at which the continuation goes on to a smaller alpha0.
    static constexpr Real good_start = 0.1;

    template <BagScalar Scalar, NewtonRegularizer R>
    detail::SolvedPlan find(const detail::SolverRun<Scalar, R>& run) const {
        detail::require_positive_alpha0("Newton", run.inspection());
        if constexpr (EntropicRegularizer<R>) {
            const detail::ScaledProblem scaled(run.inspection());
            if (run.warm_start() == nullptr)
                return find<detail::Buffer<Real>>(scaled, run.inspection(), run.any(), nullptr, 0);
            const detail::Buffer<Real> start =
                detail::kernel_potential_of(scaled, run.warm_start()->instance_potential);
            const Real multiplier =
                (Real(run.warm_start()->mass_potential) + scaled.offset) * scaled.kernel.inverse_alpha0;
            return find(scaled, run.inspection(), run.any(), &start, multiplier);
        } else {
            const auto [f, g] = run.warm_potentials();
            return detail::solve_quadratic<Real>(run.inspection(), run.any(), f, g);
        }
    }

    /// `warm_start`: instances' kernel potentials, or null, and the multiplier that a fixed mass has there. (A template, so
    /// that it is only compiled if called.)
    template <class Potential>
    detail::SolvedPlan find(const detail::ScaledProblem& scaled, const detail::Inspection& problem,
                            const detail::AnyRun& run, const Potential* warm_start, Real multiplier) const {
        const bool features_are_rows = scaled.kernel.rows() <= scaled.kernel.cols();
        const detail::Side& rows = features_are_rows ? scaled.features : scaled.instances;
        const detail::Side& columns = features_are_rows ? scaled.instances : scaled.features;
        detail::SemidualNewton<> newton(detail::DenseKernel<>(scaled.kernel, features_are_rows), rows, columns,
                                        scaled.log_mass);
        detail::Iterations iterations(run, 200);
        // Exponents that matter are not below this, and far lower ones would take the continuation far too high.
        const Real lowest = (detail::lowest_that_matters(problem) - problem.highest_of_all()) / problem.alpha0;
        Real factor = (std::max)(1.0, -(std::max)(newton.lowest_exponent(), lowest) / easy_range);
        if (warm_start != nullptr) {
            factor = 1;
            set_start(newton, scaled, *warm_start, scaled.log_mass ? multiplier : 0, features_are_rows);
        }
        while (true) {
            newton.start_at(factor);
            newton.sinkhorn_steps();
            while (iterations.again() && (factor == 1 || newton.residual() > good_start)) {
                newton.newton_step();
                newton.sinkhorn_step();
                if (factor == 1) {
                    iterations.record(newton.residual(), newton.attainable());
                } else {
                    iterations.record_on_the_way(newton.residual());
                }
            }
            if (factor == 1) break;
            factor = (std::max)(1.0, factor / 4);
        }
        iterations.settle(newton.residual(), newton.attainable());  // iterations may have run out on the way
        const detail::ScaledPotential of_rows{newton.potential, newton.penalty, newton.multiplier()};
        const detail::ScaledPotential of_columns{newton.pass.col_potential, newton.pass.col_penalty};
        const detail::Buffer<Real>& log_mass = newton.pass.log_row_mass;
        detail::SolvedPlan found = detail::exponential_solution(
            scaled, problem.alpha0, features_are_rows ? of_rows : of_columns, features_are_rows ? of_columns : of_rows,
            detail::log_sum_exp(log_mass.data(), log_mass.size()));
        found.outcome = iterations.outcome();
        detail::check_promise(found, scaled, newton.attainable(), run.tolerance);
        return found;
    }

    /// Sets the rows' potential to the one that goes with instance potentials.
    template <class Newton, class Potential>
    static void set_start(Newton& newton, const detail::ScaledProblem& scaled, const Potential& instance_potential,
                          Real multiplier, bool features_are_rows) {
        const detail::Side& features = scaled.features;
        const detail::Side& instances = scaled.instances;
        if (features_are_rows) {
            detail::Buffer<Real> log_row_sum;
            log_row_sum.resize(features.size());
            detail::LogDomainKernel<detail::ScaledReward>(scaled.kernel)
                .log_row_sums(instance_potential.data(), log_row_sum.data());
            return newton.half_step(log_row_sum.data());
        }
        for (Index k = 0; k < instances.size(); ++k) {
            newton.potential[k] = instance_potential[k] + multiplier;
            const Real f = instance_potential[k] - instances.anchor[k];
            newton.penalty[k] = instances.line(k).is_soft() ? instances.line(k).ratio * f : 0;
        }
    }
};

}  // namespace otpool
