// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/number_range.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// Highest reward per feature and lowest reward, over some instances. Both are unspecified if not all are finite.
template <BagScalar Scalar>
struct PartialRange {
    Buffer<Scalar> highest;
    Scalar lowest = 0;
    bool all_finite = true;

    /// Reads adjacent instances together, as many as fill whole registers, but not so many that joining costs much.
    void look_at(const MatrixView<Scalar>& reward, const Index* first, const Index* last) {
        const Index rows = reward.rows();
        const bool adjacent = reward.is_contiguous() && are_consecutive(first, last);
        const Index together = adjacent ? std::min<Index>(instances_together(rows), last - first) : 1;
        scratch_.resize(rows);
        joined_.resize(together * rows);
        const Scalar* const first_col = reward.contiguous_col(*first, scratch_.data());
        for (Index c = 0; c < together; ++c) std::copy_n(first_col, rows, joined_.data() + c * rows);
        NumberRange<Scalar> range(first_col[0]);
        while (first != last) {
            const Index cols = std::min<Index>(last - first, together);
            range.add(reward.contiguous_col(*first, scratch_.data()), cols * rows, joined_.data());
            first += cols;
        }
        join(together, rows);
        lowest = range.lowest();
        all_finite = range.all_finite();
    }

private:
    static Index instances_together(Index rows) {
        constexpr Index registers = 16 * register_lanes;
        constexpr Index most = 1024;
        return std::clamp(registers / std::gcd(registers, rows), Index{1}, std::max<Index>(most / rows, 1));
    }

    /// highest <- maximum over the instances that were read together, halving their number each time.
    void join(Index together, Index rows) {
        for (Index left = together; left > 1;) {
            const Index half = (left + 1) / 2;
            Scalar* to = joined_.data();
            const Scalar* from = to + half * rows;
            for (Index i = 0; i < (left - half) * rows; ++i) to[i] = (std::max)(to[i], from[i]);
            left = half;
        }
        highest.resize(rows);
        std::copy_n(joined_.data(), rows, highest.data());
    }

    Buffer<Scalar> joined_, scratch_;
};

/// Highest reward per feature and lowest reward, over the active instances. Cost: one pass.
template <BagScalar Scalar>
struct RewardRange {
    Buffer<Scalar> highest;
    Scalar lowest = 0;
    bool all_finite = true;  ///< If not, the others are unspecified.
    bool of_all = false;     ///< If not, `highest` covers a few instances, and the others are unspecified.

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
        all_finite = true;
        of_all = true;
        for (const PartialRange<Scalar>& part : parts_) {
            lowest = (std::min)(lowest, part.lowest);
            all_finite = all_finite && part.all_finite;
            for (Index d = 0; d < highest.size(); ++d) {
                highest[d] = (std::max)(highest[d], part.highest[d]);
            }
        }
    }

    /// Sets only `highest`, from the first few active instances.
    void glance(const MatrixView<Scalar>& reward, const std::vector<Index>& active) {
        parts_.resize(1);
        const auto size = static_cast<Index>(active.size());
        const Index few = (std::min)(
            size, (std::max)({fewest_glanced_at, numbers_glanced_at / reward.rows(), size / all_to_glanced_at}));
        parts_.front().look_at(reward, active.data(), active.data() + few);
        highest = parts_.front().highest;
        of_all = false;
    }

private:
    static constexpr Index fewest_glanced_at = 8;
    static constexpr Index numbers_glanced_at = 1024;
    /// With fewer, the highest found is too far below the highest of all for float's range at alpha0 = 0.1 spreads.
    static constexpr Index all_to_glanced_at = 16;

    std::vector<PartialRange<Scalar>> parts_;
};

}  // namespace otpool::detail
