// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <optional>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// The result of a gradient mode's forward pass. Views the problem's matrices, which must outlive it.
template <BagScalar Scalar, Regularizer R>
struct ForwardPass {
    UotProblem<Scalar, R> problem;  ///< With the last step's alphas, if steps have their own.
    RealVector mean;                ///< The conditional mean of the values under the plan, D numbers.
    Outcome outcome = {};           ///< How the solve ended.
    /// Unset if the pass only pools. Readouts that are not a multiple of the mean need it.
    std::optional<Solution<Scalar, R>> solution = {};
};

namespace detail {

/// A readout that is factor(active instances) times the conditional mean.
template <class Readout>
concept MultipleOfMean = requires(const Readout& readout) {
    readout.factor(Index{});
};

/// The pooled vector y, D numbers.
template <class Readout, BagScalar Scalar, Regularizer R>
Vector<Scalar> read(const Readout& readout, const ForwardPass<Scalar, R>& pass) {
    if constexpr (MultipleOfMean<Readout>) {
        const Real factor = readout.factor(active_instances(pass.problem));
        return scaled_vector<Scalar>(pass.mean, [&](Index) { return factor; });
    } else {
        return readout(pass.solution.value());
    }
}

/// Throws InvalidArgument unless dL/dpooled is finite and has the shape of what was pooled.
template <BagScalar Scalar>
void require_gradient_of(const Matrix<Scalar>& pooled, const MatrixView<Scalar>& dL_dpooled) {
    require_that(dL_dpooled.rows() == pooled.rows() && dL_dpooled.cols() == pooled.cols(), "shape of dL/dpooled",
                 shape_text(dL_dpooled.rows(), dL_dpooled.cols()),
                 text(shape_text(pooled.rows(), pooled.cols()), ", the shape of what was pooled"));
    require_finite(dL_dpooled, "dL/dpooled");
}

}  // namespace detail
}  // namespace otpool
