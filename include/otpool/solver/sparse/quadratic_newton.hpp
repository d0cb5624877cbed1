// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"
#include "otpool/solver/sparse/quadratic_light_lines.hpp"
#include "otpool/solver/sparse/quadratic_parts.hpp"
#include "otpool/solver/sparse/quadratic_semidual.hpp"

namespace otpool::detail {

/// Semismooth Newton on the semi-dual of a Quadratic problem (QuadraticSemidual has the formulas). Exact half steps of
/// the rows and the balancing shift ascend the same dual, so they mix freely with Newton's steps.
template <std::same_as<Real> Work = Real>
class QuadraticNewton {
public:
    /// Views the problem. Starts from these potentials of the rows, or from 0 if null.
    QuadraticNewton(const OrientedProblem<Work>& problem, const Work* start) : dual_(problem, 0, start) { half_step(); }

    /// A Newton step and a half step.
    void step() {
        if (!is_swept_) dual_.sweep();
        dual_.newton_step(residual_);
        half_step();
    }

    Work residual() const { return residual_; }
    /// Whether the residual has not fallen for some steps.
    bool has_stalled() const { return stalled_ > patience; }
    /// The residual that rounding can leave, once it has stalled; before that 0.
    Work attainable() const { return has_stalled() ? rounding_ : 0; }

    const std::vector<Work>& row_potential() const { return dual_.row.potential; }
    SolvedPlan solution() const { return dual_.solution(); }

private:
    static constexpr int patience = 30;  ///< Steps without a smaller residual.

    void half_step() {
        for (Index i = 0; i < dual_.rows(); ++i) dual_.set_row(i);
        dual_.balance();
        dual_.sweep();
        balance_parts(dual_);
        const LightLines<Work> light(dual_);
        is_swept_ = !light.any();
        rounding_ = light.rounding();
        residual_ = dual_.residual();
        stalled_ = residual_ < best_residual_ ? 0 : stalled_ + 1;
        best_residual_ = (std::min)(best_residual_, residual_);
    }

    QuadraticSemidual<Work> dual_;
    Work residual_ = 0;
    Work best_residual_ = std::numeric_limits<Work>::infinity();
    Work rounding_ = 0;
    int stalled_ = 0;
    bool is_swept_ = true;  ///< Whether the plan is that of a sweep.
};

}  // namespace otpool::detail
