// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// Standard deviation of all rewards of the active instances. Reuses its memory.
template <std::same_as<Real> Work = Real>
class RewardSpread {
public:
    /// Takes entries relative to the first one, so that little cancels, and scales them so that squares stay in range.
    /// Cost: one pass.
    Real standard_deviation(const Inspection& problem, const Execution& execution) {
        const AnyView& reward = problem.reward;
        const std::vector<Index>& active = problem.priors.active;
        const Index rows = reward.rows();
        const Real largest = (std::max)({1e-300, std::abs(problem.highest_of_all()), std::abs(problem.lowest)});
        const Real inverse_scale = reward.is_float() ? 1 : 1 / largest;
        const Real half_origin = reward(0, active[0]) / 2;
        const InstanceParts parts(rows, problem.active_instances());
        parts_.resize(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index p, Index) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            const Index* const first = active.data() + parts.first(p);
            const Index* const last = active.data() + parts.end(p);
            part.sums = {half_origin, inverse_scale};
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
                const L scaled = (entries * L(0.5) - L(half_origin)) * L(inverse_scale);
                of_lanes += scaled;
                squares_of_lanes = multiply_add(scaled, scaled, squares_of_lanes);
            }
            for (; i < size; ++i) {
                const Real entry = (static_cast<Real>(x[i]) / 2 - half_origin) * inverse_scale;
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
};

}  // namespace otpool::detail
