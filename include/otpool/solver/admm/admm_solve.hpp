// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>
#include <optional>
#include <utility>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/solver/admm/admm_state.hpp"
#include "otpool/solver/admm/admm_steps.hpp"
#include "otpool/solver/admm/admm_sweep.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/iterations.hpp"

namespace otpool::detail {

/// The settings of a BregmanAdmm solve, for any scalar and regulariser.
struct AdmmSettings {
    double rho = 1;
    DualStep dual_step = DualStep::scaled;
    /// From the solution to start from, if any; its plan must outlive the solve.
    const LogPlan* first_plan = nullptr;
    RealVector feature_potential = {}, instance_potential = {};
};

/// BregmanAdmm's iterations: by AdmmSweep to a tolerance, if the plan is exponential and in range; otherwise by
/// AdmmState.
template <std::same_as<Real> Work = Real>
class AdmmSolve {
public:
    AdmmSolve(const Inspection& problem, const AdmmSettings& settings, const AnyRun& run)
        : problem_(problem), settings_(settings), run_(run) {
        if (!takes_sweeps() || !iterate(run_.workspace.get<AdmmSweep<Work>>())) {
            iterate(start_state());
        }
    }

    SolvedPlan solution() const {
        SolvedPlan found = state_ ? state_->solution() : run_.workspace.get<AdmmSweep<Work>>().solution();
        found.outcome = iterations_->outcome();
        check_mass_range(found, problem_.reward.is_float());
        return found;
    }

    /// mean <- the conditional mean of the values.
    Outcome pool(RealVector& mean) const {
        if (state_ || !run_.workspace.get<AdmmSweep<Work>>().pool(mean)) {
            SolvedPlan found = solution();
            mean = conditional_mean(found.log_plan, problem_.pooled_values());
        }
        return iterations_->outcome();
    }

private:
    static constexpr int default_limit = 10000;

    /// Keeps nothing, and keeps the digits of sweeps.
    struct CenteringTape : NoAdmmTape {
        bool begin(auto& state) const {
            if constexpr (requires { state.center(); }) state.center();
            return true;
        }
    };

    /// Whether exponential plans suffice. Not for a fixed number of steps: their solution has to have the bits of their
    /// tape's, which keeps the whole state.
    bool takes_sweeps() {
        const bool warm = settings_.first_plan != nullptr;
        if (problem_.regularizer.separable != nullptr || settings_.dual_step != DualStep::scaled) return false;
        if (run_.options.iterations || !problem_.is_kullback_leibler() || problem_.has_own_alphas() ||
            std::isinf(problem_.alpha0) || (warm && problem_.alpha0 == 0))
            return false;
        auto& sweep = run_.workspace.get<AdmmSweep<Work>>();
        sweep.start(problem_, settings_.rho, run_.execution);
        if (warm) sweep.start_from(settings_.feature_potential, settings_.instance_potential);
        return sweep.resolves(run_.options.max_iterations.value_or(default_limit));
    }

    AdmmState<Work>& start_state() {
        state_.emplace(problem_, settings_.rho, settings_.dual_step);
        if (settings_.first_plan != nullptr) state_->start(*settings_.first_plan, settings_.feature_potential);
        return *state_;
    }

    /// Whether all steps were in the state's range.
    template <class State>
    bool iterate(State& state) {
        return admm_steps(state, iterations_.emplace(run_, default_limit), CenteringTape());
    }

    const Inspection& problem_;
    const AdmmSettings& settings_;
    const AnyRun& run_;
    std::optional<Iterations> iterations_;
    std::optional<AdmmState<Work>> state_;
};

}  // namespace otpool::detail
