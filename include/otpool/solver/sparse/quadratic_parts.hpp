// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/problem/balancing_shift.hpp"
#include "otpool/solver/sparse/held_lines.hpp"
#include "otpool/solver/sparse/plan_parts.hpp"
#include "otpool/solver/sparse/quadratic_semidual.hpp"

namespace otpool::detail {

/// How far a part's rows can rise (or its columns), before they meet lines outside of the part.
template <std::same_as<Real> Work>
Work room_of_part(const QuadraticSemidual<Work>& dual, const PlanPart& part, bool rows_rise) {
    constexpr Work infinity = std::numeric_limits<Work>::infinity();
    const std::vector<Index>& rising = rows_rise ? part.rows : part.cols;
    std::vector<bool> is_inside(static_cast<std::size_t>(rows_rise ? dual.cols() : dual.rows()), false);
    for (const Index line : rows_rise ? part.cols : part.rows) is_inside[static_cast<std::size_t>(line)] = true;
    Work room = infinity;
    for (const Index line : rising) {
        for (Index other = 0; other < static_cast<Index>(is_inside.size()); ++other) {
            if (is_inside[static_cast<std::size_t>(other)]) continue;
            const Index i = rows_rise ? line : other;
            const Index k = rows_rise ? other : line;
            room = (std::min)(room, (std::max)(-dual.slack(i, k), Work(0)));
        }
    }
    return room;
}

/// Moves a part towards the shift f + t, g - t that balances it. Returns whether it moved.
template <std::same_as<Real> Work>
bool balance_part(QuadraticSemidual<Work>& dual, const PlanPart& part) {
    constexpr Work infinity = std::numeric_limits<Work>::infinity();
    const auto held = [](const QuadraticSide<Work>& side, const std::vector<Index>& lines) {
        return HeldLines{side.lines, side.potential.data(), lines.data(), static_cast<Index>(lines.size())};
    };
    const HeldLines rows = held(dual.row, part.rows);
    const HeldLines cols = held(dual.col, part.cols);
    if (rows.size == 0 || rows.any_free() || cols.any_free()) return false;
    const Work balanced = cols.size == 0 ? infinity : balancing_shift<Work>(HeldMass<Work>(rows), HeldMass<Work>(cols));
    const Work room = room_of_part(dual, part, balanced > 0);
    const Work shift = std::clamp(balanced, -room, room);
    if (shift == 0 || !std::isfinite(shift)) return false;
    for (const Index i : part.rows) dual.row.set(i, dual.row.at(i).plus(shift));
    for (const Index k : part.cols) dual.col.set(k, dual.col.at(k).plus(-shift));
    return true;
}

/// Balances each connected part of the plan by itself, until it meets another, and sweeps. The plan does not see this
/// shift either, and other steps make it in steps as small as the part's entries.
template <std::same_as<Real> Work>
void balance_parts(QuadraticSemidual<Work>& dual) {
    const std::vector<PlanPart> parts = connected_parts(dual.plan, dual.rows(), dual.cols());
    if (parts.size() < 2) return;
    bool has_moved = false;
    for (const PlanPart& part : parts) has_moved |= balance_part(dual, part);
    if (has_moved) dual.sweep();
}

}  // namespace otpool::detail
