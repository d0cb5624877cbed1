// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/packet.hpp"
#include "otpool/solver/first_pass.hpp"

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
            part = {std::move(part.scratch), half_origin, inverse_scale};
            part.scratch.resize(reward.rows());
            const Index* const first = active.data() + parts.first(p);
            const Index* const last = active.data() + parts.end(p);
            if (reward.is_contiguous() && *(last - 1) - *first == last - first - 1) {
                part.add(reward.contiguous_col(*first, nullptr).data(), (last - first) * reward.rows());
            } else {
                std::for_each(first, last, [&](Index n) {
                    part.add(reward.contiguous_col(n, part.scratch.data()).data(), reward.rows());
                });
            }
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
    struct Part {
        Vector<Scalar> scratch;
        Real half_origin = 0;
        Real inverse_scale = 1;
        Real sum = 0;
        Real squares = 0;

        /// Of halves, lest a difference overflow.
        void add(const Scalar* x, Index size) {
            using Lanes = Eigen::Array<Real, register_lanes, 1>;
            const auto scaled = [&](const auto& entry) { return (entry / 2 - half_origin) * inverse_scale; };
            Lanes sums = Lanes::Zero();
            Lanes square_sums = Lanes::Zero();
            Index i = 0;
            for (; i + register_lanes <= size; i += register_lanes) {
                const Lanes entries =
                    scaled(Eigen::Map<const Eigen::Array<Scalar, register_lanes, 1>>(x + i).template cast<Real>());
                sums += entries;
                square_sums += entries * entries;
            }
            sum += sums.sum();
            squares += square_sums.sum();
            for (; i < size; ++i) {
                const Real entry = scaled(static_cast<Real>(x[i]));
                sum += entry;
                squares += entry * entry;
            }
        }
    };
    std::vector<Part> parts_;
};

}  // namespace otpool::detail
