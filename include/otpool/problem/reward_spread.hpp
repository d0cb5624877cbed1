// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// The standard deviation of the rewards of all features of the active instances, in memory that is used again.
template <BagScalar Scalar>
class RewardSpread {
public:
    /// Of entries relative to the first one, so that little cancels, and to a scale at which squares stay within range.
    /// Cost: one pass.
    Real standard_deviation(const MatrixView<Scalar>& reward, const FirstPass<Scalar>& pass,
                            const Execution& execution) {
        const std::vector<Index>& active = pass.priors.active;
        Real inverse_scale = 1;
        if constexpr (std::same_as<Scalar, Real>) {
            inverse_scale =
                1 / std::max({1e-300, std::abs(pass.range.highest.maxCoeff()), std::abs(pass.range.lowest)});
        }
        const Real half_origin = static_cast<Real>(reward(0, active[0])) / 2;
        const InstanceParts parts(reward.rows(), static_cast<Index>(active.size()));
        parts_.resize(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index p, Index) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            const Index* const first = active.data() + parts.first(p);
            const Index* const last = active.data() + parts.end(p);
            Sums sums{half_origin, inverse_scale};
            if (reward.is_contiguous() && are_consecutive(first, last)) {
                sums.add(reward.contiguous_col(*first, nullptr).data(), (last - first) * reward.rows());
            } else {  // as many columns at a time as are whole registers: the same sums
                part.columns.resize(lanes * reward.rows());
                for (const Index* n = first; n < last; n += lanes) {
                    const Index count = std::min<Index>(lanes, last - n);
                    for (Index k = 0; k < count; ++k) {
                        Scalar* column = part.columns.data() + k * reward.rows();
                        const auto x = reward.contiguous_col(n[k], column);
                        if (x.data() != column) std::copy_n(x.data(), x.size(), column);
                    }
                    sums.add(part.columns.data(), count * reward.rows());
                }
            }
            part.sum = sums.of_lanes.sum() + sums.rest;
            part.squares = sums.squares_of_lanes.sum() + sums.squares_of_rest;
        });
        Real sum = 0;
        Real squares = 0;
        for (const Part& part : parts_) {
            sum += part.sum;
            squares += part.squares;
        }
        const Real size = static_cast<Real>(reward.rows()) * static_cast<Real>(active.size());
        return 2 * std::sqrt(std::max(0.0, squares / size - (sum / size) * (sum / size))) / inverse_scale;
    }

private:
    static constexpr Index lanes = 2 * register_lanes;
    using Lanes = Eigen::Array<Real, lanes, 1>;

    /// Of entries and their squares; of halves, lest a difference overflow.
    struct Sums {
        Real half_origin;
        Real inverse_scale;
        Lanes of_lanes = Lanes::Zero();
        Lanes squares_of_lanes = Lanes::Zero();
        Real rest = 0;
        Real squares_of_rest = 0;

        /// What is no whole register may be in the last call alone.
        void add(const Scalar* x, Index size) {
            const auto scaled = [&](const auto& entry) { return (entry / 2 - half_origin) * inverse_scale; };
            Index i = 0;
            for (; i + lanes <= size; i += lanes) {
                Lanes entries;  // cast by a loop, which every compiler makes vectors of, not by Eigen, which does not
                std::copy_n(x + i, lanes, entries.data());
                entries = scaled(entries);
                of_lanes += entries;
                squares_of_lanes += entries * entries;
            }
            for (; i < size; ++i) {
                const Real entry = scaled(static_cast<Real>(x[i]));
                rest += entry;
                squares_of_rest += entry * entry;
            }
        }
    };

    struct Part {
        Real sum = 0;
        Real squares = 0;
        Vector<Scalar> columns;
    };
    std::vector<Part> parts_;
};

}  // namespace otpool::detail
