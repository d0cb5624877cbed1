// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
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

    RewardRange() = default;
    RewardRange(const MatrixView<Scalar>& reward, const std::vector<Index>& active, const Execution& execution) {
        set(reward, active, execution);
    }

    void set(const MatrixView<Scalar>& reward, const std::vector<Index>& active, const Execution& execution) {
        const InstanceParts parts(reward.rows(), static_cast<Index>(active.size()));
        parts_.resize(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index part, Index) {
            parts_[static_cast<std::size_t>(part)].look_at(reward, active.data() + parts.first(part),
                                                           active.data() + parts.end(part));
        });
        highest = parts_.front().highest;
        lowest = parts_.front().lowest;
        for (const Part& part : parts_) {
            for (Index d = 0; d < highest.size(); ++d) {
                highest[d] = std::max(highest[d], part.highest[d]);
                lowest[d] = std::min(lowest[d], part.lowest[d]);
            }
        }
    }

    /// The highest of all less the lowest.
    Real spread() const { return static_cast<Real>(highest.maxCoeff()) - static_cast<Real>(lowest.minCoeff()); }

private:
    struct Part {
        Vector<Scalar> highest, lowest, scratch;

        void look_at(const MatrixView<Scalar>& reward, const Index* first, const Index* last) {
            scratch.resize(reward.rows());
            highest = reward.contiguous_col(*first, scratch);
            lowest = highest;
            for (; first != last; ++first) {
                const auto x = reward.contiguous_col(*first, scratch);
                highest = highest.cwiseMax(x);
                lowest = lowest.cwiseMin(x);
            }
        }
    };
    std::vector<Part> parts_;
};

}  // namespace otpool::detail
