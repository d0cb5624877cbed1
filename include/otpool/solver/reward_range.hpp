// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <vector>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// The highest and the lowest reward of every feature, over the active instances. Cost: one pass.
template <BagScalar Scalar>
struct RewardRange {
    Vector<Scalar> highest;
    Vector<Scalar> lowest;

    RewardRange(const MatrixView<Scalar>& reward, const std::vector<Index>& active, const Execution& execution)
        : highest(reward.rows()), lowest(reward.rows()) {
        const InstanceParts parts(reward.rows(), static_cast<Index>(active.size()));
        if (parts.count() == 1) {
            look_at(reward, active.data(), active.data() + active.size());
            return;
        }
        std::vector<RewardRange> of(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index part, Index) {
            of[static_cast<std::size_t>(part)].look_at(reward, active.data() + parts.first(part),
                                                       active.data() + parts.end(part));
        });
        *this = of.front();
        for (const RewardRange& part : of) {
            highest = highest.cwiseMax(part.highest);
            lowest = lowest.cwiseMin(part.lowest);
        }
    }

    RewardRange() = default;

private:
    void look_at(const MatrixView<Scalar>& reward, const Index* first, const Index* last) {
        Vector<Scalar> scratch(reward.rows());
        highest = reward.contiguous_col(*first, scratch);
        lowest = highest;
        for (; first != last; ++first) {
            const auto x = reward.contiguous_col(*first, scratch);
            highest = highest.cwiseMax(x);
            lowest = lowest.cwiseMin(x);
        }
    }
};

}  // namespace otpool::detail
