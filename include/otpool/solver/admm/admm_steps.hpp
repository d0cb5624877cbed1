// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"
#include "otpool/solver/admm/admm_sweep.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool::detail {

/// A tape of Bregman ADMM's steps that keeps nothing.
struct NoAdmmTape {
    bool begin(auto& /*state*/) const { return true; }
    void keep(const auto& /*state*/) const {}
};

/// Bregman ADMM's iterations, by AdmmSweep or AdmmState. Each calls tape.begin(state) before its step, which may set
/// parameters or refuse the step, and tape.keep(state) after it. False if a step was refused or out of range.
template <class State, class Tape>
bool admm_steps(State& state, Iterations& iterations, Tape&& tape) {
    while (iterations.again()) {
        if (!tape.begin(state) || !state.step()) return false;
        tape.keep(state);
        if (iterations.wants_residual()) {
            if (!state.in_range()) return false;
            const Real residual = state.residual();
            iterations.record(residual, state.attainable());
        } else {
            iterations.skip();
        }
    }
    return true;
}

/// The same for a fixed number of steps that only pool: mean <- the conditional mean of the values after the last one.
template <BagScalar Work, class Tape>
bool admm_pooling_steps(AdmmSweep<Work>& sweep, int steps, RealVector& mean, Tape&& tape) {
    for (int k = 0; k < steps; ++k) {
        if (!tape.begin(sweep)) return false;
        if (!(k + 1 < steps ? sweep.step() : sweep.pooling_step(mean))) return false;
        tape.keep(sweep);
    }
    return true;
}

}  // namespace otpool::detail
