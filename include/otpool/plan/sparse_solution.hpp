// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The solution with this plan, log P_dk (D x active instances, a column after the other, -inf for no mass), and the
/// potentials f_d and g_k in the reward's unit. A feature without mass pools where its vanishing mass would be, at
/// argmax_n (x_dn + g_n). The caller sets the outcome and checks the range of the mass.
template <std::same_as<Real> Work>
SolvedPlan sparse_solution(const Inspection& problem, std::vector<Work>&& log_plan, const Work* f, const Work* g) {
    const Work nothing = -std::numeric_limits<Work>::infinity();
    const Index rows = problem.features();
    const std::vector<Index>& active = problem.priors.active;
    const Index cols = problem.active_instances();
    const bool is_float = problem.reward.is_float();
    SolvedPlan found;
    const Work log_mass = log_sum_exp(log_plan.data(), static_cast<Index>(log_plan.size()));
    found.log_mass = (std::max)(log_mass, lowest_exponent);
    found.feature_potential.resize(rows);
    for (Index d = 0; d < rows; ++d) found.feature_potential[d] = saturated(f[d], is_float);
    found.instance_potential =
        on_all_instances(problem.reward.cols(), active, [&](Index k) { return saturated(g[k], is_float); });

    RealVector log_scale(rows);
    std::fill(log_scale.begin(), log_scale.end(), nothing);
    for (Index k = 0; k < cols; ++k) {
        for (Index d = 0; d < rows; ++d) {
            if (log_plan[static_cast<std::size_t>(k * rows + d)] > nothing) log_scale[d] = 0;
        }
    }
    if (std::any_of(log_scale.begin(), log_scale.end(), [](Real scale) { return scale < 0; })) {
        // Twice over the reward: first for the largest x + g, then for where it is.
        std::vector<Work> best(static_cast<std::size_t>(rows), nothing);
        std::vector<Work> x(static_cast<std::size_t>(rows));
        for (const bool is_known : {false, true}) {
            for (Index k = 0; k < cols; ++k) {
                problem.reward.copy_column(active[static_cast<std::size_t>(k)], x.data());
                for (std::size_t d = 0; d < x.size(); ++d) {
                    const Work gain = x[d] + g[k];
                    if (!is_known) best[d] = (std::max)(best[d], gain);
                    if (!is_known || gain < best[d] || log_scale[static_cast<Index>(d)] == 0) continue;
                    log_plan[static_cast<std::size_t>(k * rows) + d] = 0;
                }
            }
        }
    }
    found.log_plan = LogPlan(
        [plan = std::move(log_plan), rows](Index k, Real* score) { std::copy_n(plan.data() + k * rows, rows, score); },
        std::move(log_scale), active);
    return found;
}

}  // namespace otpool::detail
