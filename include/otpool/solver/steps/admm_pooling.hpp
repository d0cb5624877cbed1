// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/solver/steps/admm_sweep.hpp"

namespace otpool::detail {

/// Takes so many steps, of which the last one pools; each is begun by begin(k), k from 0, which may refuse it, and ended
/// by end(). mean <- the conditional mean of the values; whether Work could hold all.
template <BagScalar Work, class Begin, class End>
bool take_pooling_steps(AdmmSweep<Work>& sweep, int steps, RealVector& mean, const Begin& begin, const End& end) {
    for (int k = 0; k < steps; ++k) {
        if (!begin(k)) return false;
        if (!(k + 1 < steps ? sweep.step() : sweep.pooling_step(mean))) return false;
        end();
    }
    return true;
}

/// mean <- the conditional mean of the values after so many steps, in the narrowest type that resolves them; whether
/// one does.
template <BagScalar Scalar>
bool pool_by_sweeps(const Inspection& problem, Real rho, int steps, const Execution& execution, Workspace& workspace,
                    RealVector& mean) {
    auto& sweep = workspace.get<AdmmSweep<Scalar>>();
    sweep.start(problem, rho, execution);
    const auto resolves = [&](int k) { return k > 0 || sweep.resolves(steps); };
    if (take_pooling_steps(sweep, steps, mean, resolves, [] {})) return true;
    if constexpr (std::same_as<Scalar, Real>) {
        return false;
    } else {
        return pool_by_sweeps<Real>(problem, rho, steps, execution, workspace, mean);
    }
}

}  // namespace otpool::detail
