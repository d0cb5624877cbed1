// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/reward_range.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// What every solver starts with, all from one pass over the reward: whether the problem is well formed, its priors,
/// and the range of its reward.
template <BagScalar Scalar>
struct FirstPass {
    Priors priors;
    RewardRange<Scalar> range;

    FirstPass() = default;
    template <Regularizer R>
    explicit FirstPass(const UotProblem<Scalar, R>& problem) {
        set(problem, {});
    }

    /// Throws InvalidArgument as validate() does.
    template <Regularizer R>
    void set(const UotProblem<Scalar, R>& problem, const Execution& execution) {
        validate_fields(problem);
        priors.set(problem);
        look(problem, execution);
        require_finite(problem.values, "values", execution);
    }

    /// The same, but without the pass where all instances are active: then the range is that of a few of them, and it
    /// is for the solver to see whether the reward is finite.
    template <Regularizer R>
    void glance(const UotProblem<Scalar, R>& problem, const Execution& execution) {
        validate_fields(problem);
        priors.set(problem);
        if (all_active(problem)) {
            range.glance(problem.reward, priors.active);
        } else {
            look(problem, execution);
        }
        require_finite(problem.values, "values", execution);
    }

private:
    bool all_active(const auto& problem) const {
        return static_cast<Index>(priors.active.size()) == problem.reward.cols();
    }

    /// At the whole reward.
    void look(const auto& problem, const Execution& execution) {
        range.set(problem.reward, priors.active, execution);
        if (!range.all_finite || !all_active(problem)) require_finite(problem.reward, "reward", execution);
    }
};

}  // namespace otpool::detail
