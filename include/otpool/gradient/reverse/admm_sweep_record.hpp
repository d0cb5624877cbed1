// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/reward_range.hpp"
#include "otpool/solver/steps/admm_duals.hpp"
#include "otpool/solver/steps/swept_step.hpp"

namespace otpool::detail {

/// K steps of AdmmSweep, as their reverse needs to know them.
///
/// Memory: 3 (D + N) doubles a step, and D N numbers of Work every eight steps. What else there is one of an element is
/// computed again, which takes less time than memory does.
template <BagScalar Scalar, BagScalar Work>
struct AdmmSweepRecord {
    MatrixView<Scalar> reward, values;  ///< The values are empty where they are the reward.
    Priors priors;
    std::vector<StepParameters> parameter_sets;  ///< One, or one a step.
    bool relative;                               ///< Whether the regulariser is RelativeEntropy.
    Vector<Scalar> top = {};                     ///< The highest reward of every feature.
    Real range = 0;                              ///< The highest reward less the lowest.
    AdmmDuals<Scalar, Work> duals = {};
    RealVector mean = {};  ///< What is pooled.
    std::vector<SweptStep::Numbers> numbers = {};
    RealMatrix of_rows = {}, of_cols = {};  ///< Three columns a step, as SweptStep has them.

    Index cols() const { return priors.log_q.size(); }
    Index steps() const { return static_cast<Index>(numbers.size()); }
    const StepParameters& parameters(Index k) const {
        return parameter_sets[std::min(static_cast<std::size_t>(k) + 1, parameter_sets.size()) - 1];
    }

    /// Keeps step k of so many.
    void keep(Index k, Index steps, const SweptStep& step) {
        if (k == 0) {
            numbers.reserve(static_cast<std::size_t>(steps));
            of_rows.resize(step.transport_row.size(), 3 * steps);
            of_cols.resize(step.transport_col.size(), 3 * steps);
        }
        numbers.push_back(step.numbers);
        const auto keep_all = [&](RealMatrix& all, const auto&... vectors) {
            Index column = 3 * k;
            ((all.col(column++) = vectors), ...);
        };
        keep_all(of_rows, step.transport_row, step.smooth_row, step.log_row_sum);
        keep_all(of_cols, step.transport_col, step.smooth_col, step.log_col_sum);
    }

    SweptStep step(Index k) const {
        const auto view = [k](const RealMatrix& all, Index column) {
            return SweptStep::View(all.col(3 * k + column).data(), all.rows());
        };
        return {numbers[static_cast<std::size_t>(k)],
                view(of_rows, 0),
                view(of_rows, 1),
                view(of_rows, 2),
                view(of_cols, 0),
                view(of_cols, 1),
                view(of_cols, 2)};
    }

    /// Of all steps but the last, which moves no dual.
    void set_gaps(std::vector<typename AdmmDuals<Scalar, Work>::Gap>& gaps) const {
        gaps.resize(numbers.size() - 1);
        for (Index k = 0; k + 1 < steps(); ++k) {
            const SweptStep step = this->step(k);
            gaps[static_cast<std::size_t>(k)].set(step.numbers.transport_slope - step.numbers.smooth_slope,
                                                  step.transport_row - step.smooth_row,
                                                  step.transport_col - step.smooth_col, step.numbers.rho);
        }
    }

    /// The largest slope that x has in an exponent.
    Real steepest() const {
        Real largest = 0;
        for (const SweptStep::Numbers& of_step : numbers) largest = std::max(largest, of_step.transport_slope);
        return largest;
    }

    /// The highest of the values less the lowest.
    Real values_range() const {
        if (values.empty()) return range;
        return RewardRange<Scalar>(values, priors.active, {}).spread();
    }
};

}  // namespace otpool::detail
