// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/solver/admm/admm_steps.hpp"
#include "otpool/solver/admm/admm_sweep.hpp"

namespace otpool::detail {

/// mean <- the conditional mean of the values after `steps` steps, in the narrowest type that resolves them. Returns
/// whether one does.
template <BagScalar Scalar>
bool pool_by_sweeps(const Inspection& problem, Real rho, int steps, const Execution& execution, Workspace& workspace,
                    RealVector& mean) {
    auto& sweep = workspace.get<AdmmSweep<Scalar>>();
    sweep.start(problem, rho, execution);
    if (sweep.resolves(steps) && admm_pooling_steps(sweep, steps, mean, NoAdmmTape())) return true;
    if constexpr (std::same_as<Scalar, Real>) {
        return false;
    } else {
        return pool_by_sweeps<Real>(problem, rho, steps, execution, workspace, mean);
    }
}

}  // namespace otpool::detail
