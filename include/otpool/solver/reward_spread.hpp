// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
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
        const Real origin = static_cast<Real>(reward(0, active[0])) / 2;
        const InstanceParts parts(reward.rows(), static_cast<Index>(active.size()));
        parts_.resize(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index p, Index) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            part.sum = part.squares = 0;
            part.scratch.resize(reward.rows());
            for (Index k = parts.first(p); k < parts.end(p); ++k) {
                const auto x = reward.contiguous_col(active[static_cast<std::size_t>(k)], part.scratch.data());
                part.column = x.template cast<Real>();
                part.column = (part.column.array() / 2 - origin) * inverse_scale;  // halves, lest a difference overflow
                part.sum += part.column.sum();
                part.squares += part.column.squaredNorm();
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
        Real sum = 0;
        Real squares = 0;
        Vector<Scalar> scratch;
        RealVector column;
    };
    std::vector<Part> parts_;
};

}  // namespace otpool::detail
