// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

/// The highest reward of every feature and the lowest of all of some instances, and whether all are finite; else the
/// others are unspecified.
template <BagScalar Scalar>
struct PartialRange {
    Buffer<Scalar> top;
    Scalar bottom = 0;
    bool all_finite = true;

    /// Instances that are next to each other in memory are looked at together, as many as make whole registers, if
    /// these are not too many to put together again.
    void look_at(const MatrixView<Scalar>& reward, const Index* first, const Index* last) {
        const Index rows = reward.rows();
        const bool adjacent = reward.is_contiguous() && are_consecutive(first, last);
        const Index together = adjacent ? instances_together(rows) : 1;
        scratch_.resize(rows);
        joined_.resize(together * rows);
        const Scalar* const first_col = reward.contiguous_col(*first, scratch_.data());
        for (Index c = 0; c < together; ++c) std::copy_n(first_col, rows, joined_.data() + c * rows);
        L lows[abreast];   // NOLINT(modernize-avoid-c-arrays): std::array drops the alignment, with a warning
        L zeros[abreast];  // NOLINT(modernize-avoid-c-arrays): 0, or NaN where a number is not finite
        std::fill_n(lows, abreast, L(first_col[0]));
        std::fill_n(zeros, abreast, L(Scalar(0)));
        while (first != last) {
            const Index cols = std::min<Index>(last - first, together);
            add(reward.contiguous_col(*first, scratch_.data()), cols * rows, lows, zeros);
            first += cols;
        }
        join(together, rows);
        for (int c = 1; c < abreast; ++c) {
            lows[0] = lower(lows[0], lows[c]);
            zeros[0] += zeros[c];
        }
        bottom = lowest(lows[0]);
        all_finite = sum(zeros[0]) == 0;
    }

private:
    using L = Lanes<Scalar>;
    static constexpr int abreast = std::max(1, 4 / L::registers);  ///< As each waits for its last minimum and sum.

    static Index instances_together(Index rows) {
        constexpr Index registers = 16 * register_lanes;
        constexpr Index most = 1024;
        return std::clamp(registers / std::gcd(registers, rows), Index{1}, std::max<Index>(most / rows, 1));
    }

    void add(const Scalar* x, Index size, L* lows, L* zeros) {
        Scalar* const to = joined_.data();
        const auto add_some = [&](Index i, Index count, auto c) {
            const L lanes = load_some(x + i, count, x[i]);
            store_some(higher(load_some(to + i, count, x[i]), lanes), to + i, count);
            lows[c] = lower(lows[c], lanes);
            zeros[c] = multiply_add(lanes, L(Scalar(0)), zeros[c]);
        };
        Index i = 0;
        for (; i + abreast * register_lanes <= size; i += abreast * register_lanes) {
            for_each_constant<abreast>([&](auto c) {
                fetch_ahead(x + i + c * register_lanes);
                add_some(i + c * register_lanes, register_lanes, c);
            });
        }
        for_each_lanes(size - i,
                       [&](Index j, Index count) { add_some(i + j, count, std::integral_constant<int, 0>()); });
    }

    /// top <- that of the instances that have been looked at together, by halves.
    void join(Index together, Index rows) {
        for (Index left = together; left > 1;) {
            const Index half = (left + 1) / 2;
            Scalar* to = joined_.data();
            const Scalar* from = to + half * rows;
            for (Index i = 0; i < (left - half) * rows; ++i) to[i] = std::max(to[i], from[i]);
            left = half;
        }
        top.resize(rows);
        std::copy_n(joined_.data(), rows, top.data());
    }

    Buffer<Scalar> joined_, scratch_;
};

/// The highest reward of every feature and the lowest of all, over the active instances, and whether all are finite.
/// Cost: one pass.
template <BagScalar Scalar>
struct RewardRange {
    Buffer<Scalar> highest;
    Scalar lowest = 0;
    bool all_finite = true;  ///< Else the contents of the others are unspecified.
    bool of_all = false;     ///< Else `highest` is that of a few instances, and the others are unspecified.

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
        highest = parts_.front().top;
        lowest = parts_.front().bottom;
        all_finite = true;
        of_all = true;
        for (const PartialRange<Scalar>& part : parts_) {
            lowest = std::min(lowest, part.bottom);
            all_finite = all_finite && part.all_finite;
            for (Index d = 0; d < highest.size(); ++d) {
                highest[d] = std::max(highest[d], part.top[d]);
            }
        }
    }

    /// The highest rewards of the first few active instances alone.
    void glance(const MatrixView<Scalar>& reward, const std::vector<Index>& active) {
        parts_.resize(1);
        const auto size = static_cast<Index>(active.size());
        const Index few =
            std::min(size, std::max({fewest_glanced_at, numbers_glanced_at / reward.rows(), size / all_to_glanced_at}));
        parts_.front().look_at(reward, active.data(), active.data() + few);
        highest = parts_.front().top;
        of_all = false;
    }

    /// The highest of all less the lowest.
    Real spread() const {
        return static_cast<Real>(*std::max_element(highest.begin(), highest.end())) - static_cast<Real>(lowest);
    }

private:
    static constexpr Index fewest_glanced_at = 8;
    static constexpr Index numbers_glanced_at = 1024;
    /// The highest of fewer is further below the highest of all than float's range allows at alpha0 = 0.1 spreads.
    static constexpr Index all_to_glanced_at = 16;

    std::vector<PartialRange<Scalar>> parts_;
};

}  // namespace otpool::detail
