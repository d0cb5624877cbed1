// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/solver/admm/admm_state.hpp"

namespace otpool::detail {

/// The tape of K steps of AdmmState: the whole state after each. Memory: 3 D N doubles a step.
template <std::same_as<Real> Work = Real>
struct AdmmStateTape {
    struct Step {
        Matrix<Work> t, s, z;                   ///< log T, log S and Z / rho
        Buffer<Real> log_row_sum, log_col_sum;  ///< LSE_n(log S) and LSE_d(log T), before their half steps.
        bool unit_mass;
    };

    Inspection problem;  ///< With the alphas of the present step, or of the last.
    DualStep dual_step;
    ParameterSets parameter_sets;
    std::vector<Step> steps = {};  ///< steps[k] is after k steps.

    /// Of the step to steps[k].
    const StepParameters& parameters(std::size_t k) const { return parameter_sets[static_cast<Index>(k) - 1]; }
    /// rho of step k - 1 over that of step k: z is in units of it.
    Real rho_ratio(std::size_t k) const { return k == 1 ? 1 : parameters(k - 1).rho / parameters(k).rho; }

    /// The state before the first step.
    AdmmState<Work> start() {
        set_alphas(1);
        AdmmState<Work> state(problem, parameters(1).rho, dual_step);
        keep(state);
        return state;
    }
    /// Before each step.
    bool begin(AdmmState<Work>& state) {
        const std::size_t k = steps.size();
        if (k > 1 && !parameter_sets.shared()) {
            set_alphas(k);
            state.set_parameters(parameters(k).rho);
        }
        return true;
    }
    /// After it.
    void keep(const AdmmState<Work>& state) {
        const auto matrix = [](const InstanceColumns& columns) {
            return Eigen::Map<const Matrix<Work>>(columns[0], columns.rows(), columns.cols());
        };
        steps.push_back({matrix(state.log_transport()), matrix(state.log_smooth()), matrix(state.dual()),
                         state.log_row_sum(), state.log_col_sum(), state.unit_mass()});
    }

private:
    void set_alphas(std::size_t k) {
        const StepParameters& step = parameters(k);
        problem.set_alphas(step.alpha0, step.alpha1, step.alpha2);
    }
};

}  // namespace otpool::detail
