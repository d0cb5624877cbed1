// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/closed_form/closed_form_of.hpp"
#include "otpool/closed_form/entropic.hpp"
#include "otpool/closed_form/quadratic.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/sparse/active_set_search.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool {

namespace detail {

/// Solves a problem at alpha0 = 0. `f` and `g`: the potentials to start from, or empty.
template <std::same_as<Real> Work>
SolvedPlan solve_by_active_set(const Inspection& problem, const AnyRun& run, const std::vector<Work>& f,
                               const std::vector<Work>& g) {
    const Work range = range_of_rewards<Work>(problem);
    const Work alpha = sum_of_alphas(problem.alpha1, problem.alpha2);
    const Work wanted = range > 0 ? range : alpha > 0 && std::isfinite(alpha) ? alpha : 1;
    const Work unit = (std::max)(wanted, 2 * (std::numeric_limits<Work>::min)());  // half of it is a divisor
    const OrientedProblem<Work> oriented(problem, unit, problem.highest_of_all());
    std::vector<Work> row = f.empty() ? f : starting_rows(problem, f, g);
    for (Work& potential : row) potential = oriented.row_potential(potential);
    ActiveSetSearch<Work> search(oriented, row.empty() ? nullptr : row.data());
    Iterations iterations(run, 10000);
    const bool is_watched = run.options.history || run.observer;
    while (iterations.again() && !search.is_done()) {
        search.pivot();
        if (is_watched) {
            ActiveSetSearch<Work> seen = search;
            seen.set_plan();
            iterations.record_on_the_way(seen.residual());
        } else {
            iterations.skip();
        }
    }
    search.set_plan();
    const Work residual = search.residual();
    iterations.settle(residual, search.is_done() ? std::numeric_limits<Work>::infinity() : 0);
    SolvedPlan found = search.solution();
    found.outcome = iterations.outcome();
    check_mass_range(found, problem.reward.is_float());
    return found;
}

}  // namespace detail

/// The exact solution at alpha0 = 0, for KullbackLeibler marginals of any strength: the linear programme of optimal
/// transport if both are hard. It is a dual active-set method: potentials stay feasible, X + f + g <= 0, and the entries
/// where this is tight form a forest, whose trees move as a whole.
///
/// An iteration is a pivot: one entry joins the forest or leaves it. It costs one pass over the reward, O(D N). There are
/// some D + N of them if that many suffice, often a few times as many. Memory is three D x N matrices. The plan is a
/// vertex, with fewer than D + N entries. Where rewards tie, there may be other plans of the same value; this one depends
/// on the places of the ties, and ties do not share equally, as they do in closed forms. The residual has one term more,
/// the largest X + f + g over the reward's range.
struct ActiveSet {
    Options options = {};  ///< When to stop, and what to record. Takes no fixed number of iterations.

    /// Throws InvalidArgument if the problem is not well formed, UnsupportedProblem for alpha0 > 0, for a penalty other
    /// than KullbackLeibler and for a fixed number of iterations. Thread-safe.
    template <BagScalar Scalar, ConvexRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        inspect(own);
        if (takes_closed_form(own)) return detail::solve_closed_form(own);
        return detail::solution_of(problem, find(own));
    }

    /// pooled <- the conditional mean of the values under the plan, D numbers. Throws as solve() does.
    template <BagScalar Scalar, ConvexRegularizer R>
    Outcome pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                 const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        inspect(own);
        return detail::pool_plan<Scalar>(
            own, takes_closed_form(own), [&] { return find(own); }, pooled);
    }

private:
    template <BagScalar Scalar, Regularizer R>
    void inspect(detail::SolverRun<Scalar, R>& run) const {
        detail::require_kullback_leibler("ActiveSet", run.problem());
        if (options.iterations) {
            throw UnsupportedProblem("ActiveSet", "a fixed number of iterations", "max_iterations instead");
        }
        detail::require_bounded_mass("ActiveSet", run.problem());
        run.inspect();
        if (run.problem().alpha0 != 0) {
            throw UnsupportedProblem("ActiveSet", "alpha0 > 0", "alpha0 = 0 (the other solvers take alpha0 > 0)");
        }
    }

    /// If both sides are free, the plan's mass has no bound: only the closed form says which plan is meant.
    template <BagScalar Scalar, Regularizer R>
    static bool takes_closed_form(const detail::SolverRun<Scalar, R>& run) {
        const detail::Inspection& problem = run.inspection();
        return detail::takes_closed_form(run) || (problem.alpha1.all_free() && problem.alpha2.all_free());
    }

    template <BagScalar Scalar, Regularizer R>
    detail::SolvedPlan find(const detail::SolverRun<Scalar, R>& run) const {
        const auto [f, g] = run.warm_potentials();
        return detail::solve_by_active_set<Real>(run.inspection(), run.any(), f, g);
    }
};

}  // namespace otpool
