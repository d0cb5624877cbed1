// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// K steps of Sinkhorn, as their reverse needs to know them. Memory: 2 D + 3 N numbers a step.
template <BagScalar Scalar>
struct SinkhornRecord {
    Real of_all_steps;                       ///< The alpha0 of all steps, unless each has parameters.
    std::vector<StepParameters> parameters;  ///< Empty, or one a step.
    std::vector<std::shared_ptr<const ScaledProblem<Scalar>>> problems = {};  ///< One, or one a step.
    // A column a step:
    RealMatrix from = {};         ///< kernel potential of the instances that it starts from
    RealMatrix log_row_sum = {};  ///< LSE of that; and of what the last one ends with
    RealMatrix features = {};     ///< kernel potential of the features after the translation
    RealMatrix log_col_sum = {};  ///< LSE of that
    RealMatrix instances = {};    ///< kernel potential of the instances
    RealVector translation = {};  ///< T

    void resize(Index feature_count, Index instance_count, Index steps) {
        for (RealMatrix* of_instances : {&from, &log_col_sum, &instances}) of_instances->resize(instance_count, steps);
        features.resize(feature_count, steps);
        log_row_sum.resize(feature_count, steps + 1);
        translation = RealVector::Zero(steps);
    }

    Index steps() const { return translation.size(); }

    /// Whether all steps have the same.
    bool shares_parameters() const { return parameters.empty(); }
    Real alpha0(Index k) const {
        return shares_parameters() ? of_all_steps : parameters[static_cast<std::size_t>(k)].alpha0;
    }
    const ScaledProblem<Scalar>& scaled(Index k) const {
        return *problems[shares_parameters() ? 0 : static_cast<std::size_t>(k)];
    }
};

}  // namespace otpool::detail
