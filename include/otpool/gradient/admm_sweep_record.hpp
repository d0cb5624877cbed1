// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/solver/admm_duals.hpp"
#include "otpool/solver/admm_sweep.hpp"
#include "otpool/solver/priors.hpp"
#include "otpool/solver/reward_range.hpp"

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
    std::vector<SweptStep> steps = {};
    AdmmDuals<Scalar, Work> duals = {};
    RealVector mean = {};  ///< What is pooled.

    Index cols() const { return priors.log_q.size(); }
    const StepParameters& parameters(std::size_t k) const {
        return parameter_sets[std::min(k + 1, parameter_sets.size()) - 1];
    }

    /// Of all steps but the last, which moves no dual.
    std::vector<typename AdmmDuals<Scalar, Work>::Gap> gaps() const {
        std::vector<typename AdmmDuals<Scalar, Work>::Gap> gaps(steps.size() - 1);
        for (std::size_t k = 0; k < gaps.size(); ++k) {
            const SweptStep& step = steps[k];
            gaps[k].set(step.transport_slope - step.smooth_slope, step.transport_row - step.smooth_row,
                        step.transport_col - step.smooth_col, step.rho);
        }
        return gaps;
    }

    /// The largest slope that x has in an exponent.
    Real steepest() const {
        Real slope = 0;
        for (const SweptStep& step : steps) slope = std::max(slope, step.transport_slope);
        return slope;
    }

    /// The highest of the values less the lowest.
    Real values_range() const {
        if (values.empty()) return range;
        return RewardRange<Scalar>(values, priors.active, {}).spread();
    }
};

}  // namespace otpool::detail
