// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/solver/steps/scaling_steps.hpp"

namespace otpool::detail {

/// K steps of Sinkhorn, as their reverse needs to know them: their log sums, which say what the potentials were.
/// Memory: D + N numbers a step.
template <BagScalar Scalar>
struct SinkhornRecord {
    Real of_all_steps;                                 ///< The alpha0 of all steps, unless each has parameters.
    std::vector<StepParameters> parameters;            ///< Empty, or one a step.
    std::vector<ScaledProblem<Scalar>> problems = {};  ///< One, or one a step.
    LogSums log_sums = {};                             ///< s and u
    RealVector translation = {};                       ///< T of every step

    /// But for the log sums.
    void resize(Index steps) {
        problems.resize(shares_parameters() ? 1 : parameters.size());
        translation = RealVector::Zero(steps);
    }

    Index steps() const { return translation.size(); }

    /// Whether all steps have the same.
    bool shares_parameters() const { return parameters.empty(); }
    Real alpha0(Index k) const {
        return shares_parameters() ? of_all_steps : parameters[static_cast<std::size_t>(k)].alpha0;
    }
    const ScaledProblem<Scalar>& scaled(Index k) const {
        return problems[shares_parameters() ? 0 : static_cast<std::size_t>(k)];
    }

    /// The features' kernel potential after the translation of step k.
    void features(Index k, Buffer<Real>& potential) const {
        potential = half_step(scaled(k).features, log_sums.of_rows.col(k));
        potential.array() += translation[k];
    }
    /// The instances' kernel potential after step k.
    void instances(Index k, Buffer<Real>& potential) const {
        potential = half_step(scaled(k).instances, log_sums.of_cols.col(k));
    }
    /// The one that step k starts from: of step k - 1, in units of its own alpha0.
    void start(Index k, Buffer<Real>& potential) const {
        const Buffer<Real>& anchor = scaled(k).instances.anchor;
        if (k == 0) {
            potential = anchor;
            return;
        }
        instances(k - 1, potential);
        if (shares_parameters()) return;
        potential = anchor + (potential - scaled(k - 1).instances.anchor) * (alpha0(k - 1) / alpha0(k));
    }

private:
    /// As ScaledMarginal::half_steps().
    static auto half_step(const ScaledMarginal& side, const auto& log_sum) {
        return side.damping * (side.log_prior - log_sum) + side.relaxation * side.anchor;
    }
};

}  // namespace otpool::detail
