// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <utility>
#include <vector>

#include "otpool/closed_form/rescaled.hpp"
#include "otpool/closed_form/wright_omega.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/sparse/k_sparse_ascent.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"
#include "otpool/solver/sparse/quadratic_newton.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool::detail {

/// The offset that leaves potentials near 0: the largest reward, less what f + g are near the optimum. If no side is
/// hard, that is the F of a plan that has n equal entries F = 2 alpha0 P, with  log(n P) = (highest - F) / alpha.
template <std::same_as<Real> Work = Real>
Work quadratic_offset(const Inspection& problem, Work unit) {
    const Work alpha = sum_of_alphas(problem.alpha1, problem.alpha2);
    const Work highest = problem.highest_of_all();
    if (!(alpha > 0) || std::isinf(alpha) || std::isinf(unit)) return highest;
    const Work size = static_cast<Work>((std::max)(problem.features(), problem.active_instances()));
    const Work x = highest / alpha - std::log(size * alpha / unit);
    return std::isfinite(x) ? highest - (std::min)(alpha * wright_omega(x), (std::max)(highest, Work(0))) : 0;
}

/// The unit of an oriented problem: 2 alpha0, or the least one that leaves its rewards in range. The plan is the same but
/// where its entries are more than the inverse of that range.
template <std::same_as<Real> Work = Real>
Work quadratic_unit(const Inspection& problem, Work offset) {
    const auto distance = [&](Work reward) { return std::abs(reward / 2 - offset / 2); };
    const Work farthest = (std::max)(distance(problem.highest_of_all()), distance(lowest_that_matters<Work>(problem)));
    return (std::max)(2 * problem.alpha0, farthest * (4 / OrientedProblem<Work>::largest));
}

/// What a solution says if it was found in that larger unit.
template <std::same_as<Real> Work>
void check_unit(SolvedPlan& found, Work wanted, Work unit) {
    constexpr Work log_large = 500;  // of entries that are nothing beside rewards in either unit: 1e217 / 1e280
    if (unit == wanted || found.log_mass < log_large) return;
    found.outcome.residual = (std::max)(found.outcome.residual, std::log(unit) - std::log(wanted));
    if (found.outcome.converged()) found.outcome.status = Status::precision_limit;
}

/// Ends the solve of a KSparse problem. `row`: the potentials of the same problem without the limit, to start from.
template <std::same_as<Real> Work>
SolvedPlan solve_k_sparse(const Inspection& problem, const OrientedProblem<Work>& oriented,
                          const std::vector<Work>& row, Iterations& iterations) {
    KSparseAscent<Work> ascent(oriented, problem.regularizer.most, row.data());
    while (iterations.again() && !ascent.is_done()) {
        ascent.step();
        iterations.record(ascent.residual(), ascent.attainable());
    }
    iterations.settle(ascent.residual(), ascent.attainable());
    SolvedPlan found = ascent.solution();
    found.outcome = iterations.outcome();
    if (found.outcome.status == Status::iteration_limit && ascent.has_only_bound()) {
        found.outcome.status = Status::not_exact;
    }
    return found;
}

/// Solves a Quadratic or KSparse problem by Newton's method. `f` and `g`: the potentials to start from, or empty. If
/// alpha0 is far below the reward's range, it is reached from larger values (continuation), whose plans have more
/// entries.
template <std::same_as<Real> Work>
SolvedPlan solve_quadratic(const Inspection& problem, const AnyRun& run, const std::vector<Work>& f,
                           const std::vector<Work>& g) {
    if (Rescaled<Work>::has_large_alpha0(problem)) {
        const Rescaled<Work> rescaled(problem);
        return rescaled.restored(
            solve_quadratic(rescaled.problem(), run, rescaled.potentials(f), rescaled.potentials(g)));
    }
    constexpr Work easy_range = 50;
    constexpr Work good_start = 0.1;
    const Work offset = quadratic_offset<Work>(problem, 2 * problem.alpha0);
    const Index most = problem.regularizer.most;
    const bool is_limited = most > 0 && most < problem.features();
    Iterations iterations(run, is_limited ? 2000 : 200);
    std::vector<Work> row = f.empty() ? f : starting_rows(problem, f, g);
    const Work last = quadratic_unit<Work>(problem, offset);
    Work unit = row.empty() ? (std::max)(last, range_of_rewards<Work>(problem) / easy_range) : last;
    const auto finished = [&](SolvedPlan found) {
        check_unit(found, 2 * problem.alpha0, last);
        check_mass_range(found, problem.reward.is_float());
        return found;
    };
    while (true) {
        const OrientedProblem<Work> oriented(problem, unit, offset);
        for (Work& potential : row) potential = oriented.row_potential(potential);
        const bool is_last = unit == last && !is_limited;
        QuadraticNewton<Work> newton(oriented, row.empty() ? nullptr : row.data());
        while (iterations.again() && (is_last || (newton.residual() > good_start && !newton.has_stalled()))) {
            newton.step();
            if (is_last) {
                iterations.record(newton.residual(), newton.attainable());
            } else {
                iterations.record_on_the_way(newton.residual());
            }
        }
        if (unit == last && is_limited) {
            SolvedPlan found = solve_k_sparse(problem, oriented, newton.row_potential(), iterations);
            return finished(std::move(found));
        }
        if (unit == last) {
            iterations.settle(newton.residual(), newton.attainable());  // iterations may have run out on the way
            SolvedPlan found = newton.solution();
            found.outcome = iterations.outcome();
            return finished(std::move(found));
        }
        row = oriented.given_rows(newton.row_potential());
        unit = iterations.again() ? (std::max)(last, unit / 4) : last;
    }
}

}  // namespace otpool::detail
