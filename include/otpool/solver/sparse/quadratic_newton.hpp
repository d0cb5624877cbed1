// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/closed_form/quadratic_line.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"
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
        if (is_polished_) dual_.sweep();
        dual_.newton_step(residual_);
        half_step();
    }

    Work residual() const { return residual_; }
    /// The residual that rounding can leave, once the residual has stopped to fall; before that 0.
    Work attainable() const { return stalled_ > patience ? rounding_ : 0; }

    const std::vector<Work>& row_potential() const { return dual_.f; }
    SolvedPlan solution() const { return dual_.solution(); }

private:
    static constexpr int patience = 12;  ///< Steps without a smaller residual.

    static std::size_t count(Index size) { return static_cast<std::size_t>(size); }

    void half_step() {
        for (Index i = 0; i < dual_.rows(); ++i) dual_.set_row(i);
        dual_.balance();
        dual_.sweep();
        residual_ = dual_.residual();
        polish();
        stalled_ = residual_ < best_residual_ ? 0 : stalled_ + 1;
        best_residual_ = (std::min)(best_residual_, residual_);
    }

    /// Rows so light that rounding of the entries is felt in their mass get it from their own equation, in relative
    /// precision, if the columns that they draw on are heavier and so feel it less. Sets rounding_.
    void polish() {
        const Work of_entry = dual_.rounding_of_entry();
        is_polished_ = false;
        rounding_ = 0;
        for (Index i = 0; i < dual_.rows(); ++i) {
            const std::size_t at = count(i);
            const MarginalLine& line = dual_.row_line(at);
            if (line.is_free()) continue;
            Work lightest = std::numeric_limits<Work>::infinity();
            for (Index k = 0; k < dual_.cols(); ++k) {
                if (dual_.entry(i, k) > 0) lightest = (std::min)(lightest, dual_.log_c[count(k)]);
            }
            const Work error = of_entry * (1 + dual_.row_support[at]) / dual_.target(at);
            const Work violation = line.violation(dual_.log_r[at], dual_.f[at]);
            const bool is_near = error > 1 || violation < 1e-3 + error;
            if (error > 1e-13 && is_near && dual_.log_r[at] < lightest + std::log1p(dual_.row_support[at])) {
                polish_row(i);
                rounding_ = (std::max)(rounding_, of_entry * (1 + dual_.row_support[at]) * std::exp(-lightest));
            } else {
                rounding_ = (std::max)(rounding_, error);
            }
        }
        if (!is_polished_) return;
        for (Index k = 0; k < dual_.cols(); ++k) {
            Work c = 0;
            for (Index i = 0; i < dual_.rows(); ++i) c += dual_.entry(i, k);
            dual_.log_c[count(k)] = std::log(c);
        }
        residual_ = dual_.residual();
    }
    void polish_row(Index i) {
        is_polished_ = true;
        const QuadraticLine<Work> line = dual_.set_row(i);
        dual_.log_r[count(i)] = line.log_mass;
        for (Index k = 0; k < dual_.cols(); ++k) dual_.entry(i, k) = dual_.row_entry(line, k);
    }

    QuadraticSemidual<Work> dual_;
    Work residual_ = 0;
    Work best_residual_ = std::numeric_limits<Work>::infinity();
    Work rounding_ = 0;
    int stalled_ = 0;
    bool is_polished_ = false;
};

}  // namespace otpool::detail
