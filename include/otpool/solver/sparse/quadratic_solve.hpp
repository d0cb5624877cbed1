// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <utility>
#include <vector>

#include "otpool/closed_form/wright_omega.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/solver/solver.hpp"
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

/// Solves a Quadratic problem by Newton's method. `f` and `g`: the potentials to start from, or empty. If alpha0 is far
/// below the reward's range, it is reached from larger values (continuation), whose plans have more entries.
template <std::same_as<Real> Work>
SolvedPlan solve_quadratic(const Inspection& problem, const AnyRun& run, const std::vector<Work>& f,
                           const std::vector<Work>& g) {
    constexpr Work easy_range = 50;
    constexpr Work good_start = 0.1;
    const Work offset = quadratic_offset<Work>(problem, 2 * problem.alpha0);
    Iterations iterations(run, 200);
    std::vector<Work> row = f.empty() ? f : starting_rows(problem, f, g);
    const Work last = 2 * problem.alpha0;
    Work unit = row.empty() ? (std::max)(last, range_of_rewards<Work>(problem) / easy_range) : last;
    while (true) {
        const OrientedProblem<Work> oriented(problem, unit, offset);
        for (Work& potential : row) potential = oriented.row_potential(potential);
        QuadraticNewton<Work> newton(oriented, row.empty() ? nullptr : row.data());
        while (iterations.again() && (unit == last || newton.residual() > good_start)) {
            newton.step();
            if (unit == last) {
                iterations.record(newton.residual(), newton.attainable());
            } else {
                iterations.record_on_the_way(newton.residual());
            }
        }
        if (unit == last) {
            iterations.settle(newton.residual(), newton.attainable());  // iterations may have run out on the way
            SolvedPlan found = newton.solution();
            found.outcome = iterations.outcome();
            check_mass_range(found, problem.reward.is_float());
            return found;
        }
        row = oriented.given_rows(newton.row_potential());
        unit = iterations.again() ? (std::max)(last, unit / 4) : last;
    }
}

}  // namespace otpool::detail
