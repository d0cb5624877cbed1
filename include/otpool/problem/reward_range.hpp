// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

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
        highest = parts_.front().highest;
        lowest = parts_.front().lowest;
        all_finite = true;
        of_all = true;
        for (const Part& part : parts_) {
            lowest = std::min(lowest, part.lowest);
            all_finite = all_finite && part.all_finite;
            for (Index d = 0; d < highest.size(); ++d) {
                highest[d] = std::max(highest[d], part.highest[d]);
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
        highest = parts_.front().highest;
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

    struct Part {
        Buffer<Scalar> highest, joined, scratch;
        Scalar lowest = 0;
        bool all_finite = true;

        /// Instances that are next to each other in memory are looked at together, as many as make whole registers, if
        /// these are not too many to put together again.
        void look_at(const MatrixView<Scalar>& reward, const Index* first, const Index* last) {
            using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
            using P = Packet<Scalar>;
            constexpr int abreast = 4;  // registers, as each waits for its last minimum and sum
            constexpr Index size = packet_size<Scalar>;
            constexpr Index registers = 16 * register_lanes;
            constexpr Index most = 1024;
            const Index rows = reward.rows();
            const bool adjacent = reward.is_contiguous() && are_consecutive(first, last);
            const Index together =
                adjacent ? std::clamp(registers / std::gcd(registers, rows), Index{1}, std::max<Index>(most / rows, 1))
                         : 1;
            scratch.resize(rows);
            const Scalar* const first_col = reward.contiguous_col(*first, scratch.data());
            highest.resize(rows);
            std::copy_n(first_col, rows, highest.data());
            joined.resize(together * rows);
            for (Index c = 0; c < together; ++c) std::copy_n(highest.data(), rows, joined.data() + c * rows);
            // NOLINTBEGIN(modernize-avoid-c-arrays): std::array drops the alignment of P, with a warning
            P low[abreast];
            FiniteCheck<Scalar> check[abreast];
            // NOLINTEND(modernize-avoid-c-arrays)
            for (P& lanes : low) lanes = pset1<P>(highest[0]);
            lowest = highest[0];
            while (first != last) {
                const Index cols = std::min<Index>(last - first, together);
                const Scalar* x = reward.contiguous_col(*first, scratch.data());
                const auto add = [&](Index i, auto c) {
                    const P lanes = ploadu<P>(x + i);
                    pstoreu(joined.data() + i, pmax(ploadu<P>(joined.data() + i), lanes));
                    low[c] = pmin(low[c], lanes);
                    check[c].add(lanes);
                };
                Index i = 0;
                for (; i + abreast * size <= cols * rows; i += abreast * size) {
                    for_each_constant<abreast>([&](auto c) {
                        fetch_ahead(x + i + c * size);
                        add(i + c * size, c);
                    });
                }
                for (; i + size <= cols * rows; i += size) add(i, std::integral_constant<std::size_t, 0>());
                for (; i < cols * rows; ++i) {
                    joined[i] = std::max(joined[i], x[i]);
                    lowest = std::min(lowest, x[i]);
                    check[0].add(x[i]);
                }
                first += cols;
            }
            for (Index left = together; left > 1;) {  // by halves
                const Index half = (left + 1) / 2;
                Scalar* to = joined.data();
                const Scalar* from = to + half * rows;
                for (Index i = 0; i < (left - half) * rows; ++i) to[i] = std::max(to[i], from[i]);
                left = half;
            }
            std::copy_n(joined.data(), rows, highest.data());
            all_finite = true;
            for (int c = 0; c < abreast; ++c) {
                lowest = std::min(lowest, predux_min(low[c]));
                all_finite = all_finite && check[c].all_finite();
            }
        }
    };
    std::vector<Part> parts_;
};

}  // namespace otpool::detail
