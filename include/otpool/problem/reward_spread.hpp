// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// A reward that no reward which matters is below, for defaults and stopping rules: those below it count as it. People
/// forbid pairs by -inf or by large negative numbers, and no scale may depend on how large. It is the reward above the
/// first gap that is a thousand times the range above it, if every feature has a reward above the gap, and every
/// instance of a hard marginal too. If only a part of the reward is looked at, it is ten times that part's range below,
/// but not below the lowest reward.
///
/// Cost: that of sorting at most 256 rewards, or one instance, in the memory given.
template <std::same_as<Real> Work = Real>
Work lowest_that_matters(const Inspection& problem, std::vector<Work>& rewards) {
    constexpr Index most_seen = 256;
    constexpr Work gap_to_range = 1e3;
    constexpr Work range_to_unseen = 10;
    const Index rows = problem.reward.rows();
    const Index cols = problem.active_instances();
    const Index seen = std::clamp(most_seen / rows, Index{1}, cols);
    rewards.resize(static_cast<std::size_t>(seen * rows));
    Work needed = *std::min_element(problem.highest.begin(), problem.highest.end());
    for (Index i = 0; i < seen; ++i) {
        Work* const column = rewards.data() + i * rows;
        const Index k = i * cols / seen;
        problem.reward.copy_column(problem.priors.active[static_cast<std::size_t>(k)], column);
        if (std::isinf(problem.alpha2[k])) needed = (std::min)(needed, *std::max_element(column, column + rows));
    }
    std::sort(rewards.begin(), rewards.end(), std::greater<>());
    const Work top = rewards.front();
    const auto matters = [&](Work reward, Work above) {
        if (reward >= needed || (top == above && std::isfinite(reward))) return true;
        return above - reward <= gap_to_range * (top - above);
    };
    std::size_t count = 1;
    while (count < rewards.size() && matters(rewards[count], rewards[count - 1])) ++count;
    const Work lowest = rewards[count - 1];
    const Work unseen = seen < cols ? range_to_unseen * (top - lowest) : 0;
    return (std::max)({lowest - unseen, problem.lowest, std::numeric_limits<Work>::lowest()});
}

/// The same in memory of its own.
template <std::same_as<Real> Work = Real>
Work lowest_that_matters(const Inspection& problem) {
    std::vector<Work> rewards;
    return lowest_that_matters(problem, rewards);
}

/// Standard deviation of all rewards of the active instances, where those below lowest_that_matters() count as it.
/// Reuses its memory.
template <std::same_as<Real> Work = Real>
class RewardSpread {
public:
    /// Takes entries relative to the first one, so that little cancels, and scales them so that squares stay in range.
    /// Cost: one pass.
    Real standard_deviation(const Inspection& problem, const Execution& execution) {
        const AnyView& reward = problem.reward;
        const std::vector<Index>& active = problem.priors.active;
        const Index rows = reward.rows();
        const Real floor = lowest_that_matters(problem, seen_);
        const Real largest = (std::max)({1e-300, std::abs(problem.highest_of_all()), std::abs(floor)});
        const Real inverse_scale = reward.is_float() ? 1 : 1 / largest;
        const Real half_origin = (std::max)(reward(0, active[0]), floor) / 2;
        const InstanceParts parts(rows, problem.active_instances());
        parts_.resize(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index p, Index) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            const Index* const first = active.data() + parts.first(p);
            const Index* const last = active.data() + parts.end(p);
            part.sums = {floor / 2, half_origin, inverse_scale};
            if (!reward.is_contiguous() || !are_consecutive(first, last)) return part.add_copies(reward, first, last);
            const Index size = (last - first) * rows;
            if (const float* x = reward.in_place<float>(*first)) return part.sums.add(x, size);
            part.sums.add(reward.in_place<double>(*first), size);
        });
        Real total = 0;
        Real squares = 0;
        for (const Part& part : parts_) {
            total += sum(part.sums.of_lanes) + part.sums.rest;
            squares += sum(part.sums.squares_of_lanes) + part.sums.squares_of_rest;
        }
        const Real size = static_cast<Real>(rows) * static_cast<Real>(active.size());
        return 2 * std::sqrt((std::max)(0.0, squares / size - (total / size) * (total / size))) / inverse_scale;
    }

private:
    using L = Lanes<Real>;

    /// Sums of entries and their squares. Entries are halved, so that no difference overflows.
    struct Sums {
        Real half_floor = 0;
        Real half_origin = 0;
        Real inverse_scale = 1;
        L of_lanes = L(0);
        L squares_of_lanes = L(0);
        Real rest = 0;
        Real squares_of_rest = 0;

        /// Only the last call may end within a register.
        template <BagScalar Scalar>
        void add(const Scalar* x, Index size) {
            Index i = 0;
            for (; i + register_lanes <= size; i += register_lanes) {
                const L entries = converted<Real>(Lanes<Scalar>::load(x + i));
                const L scaled = (higher(entries * L(0.5), L(half_floor)) - L(half_origin)) * L(inverse_scale);
                of_lanes += scaled;
                squares_of_lanes = multiply_add(scaled, scaled, squares_of_lanes);
            }
            for (; i < size; ++i) {
                const Real half = (std::max)(static_cast<Real>(x[i]) / 2, half_floor);
                const Real entry = (half - half_origin) * inverse_scale;
                rest += entry;
                squares_of_rest += entry * entry;
            }
        }
    };

    struct Part {
        Sums sums;
        Buffer<Real> columns;

        /// Copies register_lanes columns at a time, so that sums are the same as for adjacent columns.
        void add_copies(const AnyView& reward, const Index* first, const Index* last) {
            columns.resize(register_lanes * reward.rows());
            for (const Index* n = first; n < last; n += register_lanes) {
                const Index count = std::min<Index>(register_lanes, last - n);
                for (Index k = 0; k < count; ++k) reward.copy_column(n[k], columns.data() + k * reward.rows());
                sums.add(columns.data(), count * reward.rows());
            }
        }
    };
    std::vector<Part> parts_;
    std::vector<Real> seen_;
};

}  // namespace otpool::detail
