// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/solver/steps/scaling_steps.hpp"

namespace otpool::detail {

/// K steps of Sinkhorn, as their reverse needs to know them: their log sums, which say what the potentials were.
/// Memory: D + N numbers a step.
struct SinkhornRecord {
    Real of_all_steps = 1;                     ///< The alpha0 of all steps, unless each has parameters.
    std::vector<StepParameters> parameters;    ///< Empty, or one a step.
    AnyView values;                            ///< What is pooled.
    bool relative = false;                     ///< Whether the regulariser is RelativeEntropy.
    std::vector<ScaledProblem> problems = {};  ///< One, or one a step.
    LogSums log_sums = {};                     ///< s and u
    std::vector<Real> translation = {};        ///< T of every step
    RealVector mean = {};                      ///< What is pooled at last.

    /// But for the log sums.
    void resize(Index steps) {
        problems.resize(shares_parameters() ? 1 : parameters.size());
        translation.assign(static_cast<std::size_t>(steps), 0);
    }

    Index steps() const { return static_cast<Index>(translation.size()); }
    Index rows() const { return log_sums.of_rows.rows(); }
    Index cols() const { return log_sums.of_cols.rows(); }

    /// Whether all steps have the same.
    bool shares_parameters() const { return parameters.empty(); }
    Real alpha0(Index k) const {
        return shares_parameters() ? of_all_steps : parameters[static_cast<std::size_t>(k)].alpha0;
    }
    const ScaledProblem& scaled(Index k) const {
        return problems[shares_parameters() ? 0 : static_cast<std::size_t>(k)];
    }

    /// s and u of step k; s of steps() is what the last one ends with.
    const Real* log_row_sum(Index k) const { return log_sums.of_rows.data() + k * rows(); }
    const Real* log_col_sum(Index k) const { return log_sums.of_cols.data() + k * cols(); }

    /// The features' kernel potential after the translation of step k.
    void features(Index k, Buffer<Real>& potential) const {
        half_step(scaled(k).features, log_row_sum(k), potential);
        for (Real& f : potential) f += translation[static_cast<std::size_t>(k)];
    }
    /// The instances' kernel potential after step k.
    void instances(Index k, Buffer<Real>& potential) const {
        half_step(scaled(k).instances, log_col_sum(k), potential);
    }
    /// The one that step k starts from: of step k - 1, in units of its own alpha0.
    void start(Index k, Buffer<Real>& potential) const {
        const Side& side = scaled(k).instances;
        if (k == 0) {
            potential.resize(side.size());
            std::copy_n(side.anchor.data(), side.size(), potential.data());
            return;
        }
        instances(k - 1, potential);
        if (shares_parameters()) return;
        const Buffer<Real>& anchor_before = scaled(k - 1).instances.anchor;
        const Real ratio = alpha0(k - 1) / alpha0(k);
        for (Index i = 0; i < side.size(); ++i) {
            potential[i] = side.anchor[i] + (potential[i] - anchor_before[i]) * ratio;
        }
    }

private:
    /// As Side::half_steps().
    static void half_step(const Side& side, const Real* log_sum, Buffer<Real>& potential) {
        potential.resize(side.size());
        for (Index i = 0; i < side.size(); ++i) {
            potential[i] = side.damping * (side.log_prior[i] - log_sum[i]) + side.relaxation * side.anchor[i];
        }
    }
};

}  // namespace otpool::detail
