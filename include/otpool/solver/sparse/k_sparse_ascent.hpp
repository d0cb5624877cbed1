// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"
#include "otpool/solver/sparse/quadratic_semidual.hpp"

namespace otpool::detail {

/// Maximises the semi-dual of a KSparse problem (Liu, Puigcerver & Blondel, "Sparsity-Constrained Optimal Transport",
/// ICLR 2023). It is concave, with kinks where entries m and m + 1 of a column tie. Away from kinks, a point without a
/// residual is the optimum of the problem itself, which is not convex; there is no gap. If the maximum is at a kink,
/// the dual is only a bound.
///
/// Far from the maximum, steps are BFGS's with a weak Wolfe line search, which gets past kinks (Lewis & Overton,
/// "Nonsmooth optimization via quasi-Newton methods", Math. Prog. 2013). Near it they are Newton's.
template <std::same_as<Real> Work = Real>
class KSparseAscent {
public:
    /// Views the problem. Starts from these potentials of the rows, or from 0 if null.
    KSparseAscent(const OrientedProblem<Work>& problem, Index most, const Work* start)
        : dual_(problem, most, start), most_(most), best_(dual_.row), unit_(problem.largest_reward) {
        balance();
    }

    void step() {
        if (++steps_ % 100 == 0 && residual_ >= near_) {
            const Work value = dual_.value();
            const bool rises = value - earlier_value_ > 1e-10 * std::abs(value);
            earlier_value_ = value;
            if (!rises) return leave_kink();
        }
        if (residual() < near_) {
            newton_step();
        } else {
            quasi_newton_step();
        }
    }

    Work residual() const { return residual_; }
    /// Whether the dual rises no more.
    bool is_done() const { return is_done_; }
    /// Whether no plan within the limit meets the conditions: the dual's maximum is at a kink, or there are more rows
    /// that need mass than there may be entries.
    bool has_only_bound() {
        Index entries = 0;
        for (Index i = 0; i < dual_.rows(); ++i) entries += dual_.row.line(i).is_free() ? 0 : 1;
        if (entries > most_ * dual_.cols()) return true;
        return is_done_ && dual_.has_ties(1e-4 * ((std::max)(unit_, largest_entry())));
    }
    /// The residual that rounding can leave, once the dual rises no more; before that 0.
    Work attainable() const {
        if (!is_done_) return 0;
        Work largest = 0;
        for (Index i = 0; i < dual_.rows(); ++i) {
            if (dual_.row.line(i).is_free()) continue;
            const Work support = dual_.row.support[static_cast<std::size_t>(i)];
            largest = (std::max)(largest, dual_.rounding_of_entry() * (1 + support) / dual_.row.target(i));
        }
        return largest;
    }
    SolvedPlan solution() const { return dual_.solution(); }

private:
    using DenseVector = Vector<Work>;

    static constexpr int most_departures = 4;

    Work largest_entry() const { return *std::max_element(dual_.plan.begin(), dual_.plan.end()); }

    void balance() {
        dual_.balance();
        dual_.sweep();
        residual_ = dual_.residual();
    }

    /// If the residual does not fall, a kink is near: the next steps are BFGS's again.
    void newton_step() {
        const Work before = residual_;
        dual_.newton_step(residual_);
        balance();
        if (residual_ <= before / 2) return;
        if (++failures_ < 10) return;
        failures_ = 0;
        near_ /= 100;
    }

    void quasi_newton_step() {
        const std::vector<Work> from = dual_.row.potential;
        const DenseVector gradient = dual_.gradient;
        const bool is_fresh = inverse_.size() == 0;
        const DenseVector direction = is_fresh ? DenseVector(gradient) : DenseVector(inverse_ * gradient);
        if (!rise(direction)) {
            inverse_.resize(0, 0);
            if (is_fresh) leave_kink();
            return;
        }
        balance();
        DenseVector step(gradient.size());
        for (std::size_t i = 0; i < from.size(); ++i) step[static_cast<Index>(i)] = dual_.row.potential[i] - from[i];
        update(step, gradient - dual_.gradient);
    }

    /// At a kink, the gradient is that of one side, and need not ascend. From beside it, BFGS's steps may; if they do
    /// not even from places further off, the kink is the maximum.
    void leave_kink() {
        inverse_.resize(0, 0);
        const Work value = dual_.value();
        if (value > highest_ + 1e-10 * std::abs(value)) departures_ = 0;
        if (value > highest_) {
            highest_ = value;
            best_ = dual_.row;
        }
        DenseVector aside(dual_.rows());
        for (Index i = 0; i < aside.size(); ++i) {
            const auto number = static_cast<Work>(i + 1 + departures_);
            const bool is_free = dual_.row.line(i).is_free();
            aside[i] = is_free ? 0 : std::sin(number * number);  // as good as random
        }
        is_done_ = ++departures_ > most_departures;
        dual_.move(best_, is_done_ ? 0 : 1e-9 * std::pow(10, departures_) * unit_, aside);
        balance();
    }

    /// Moves along the direction until the dual has risen and its slope has fallen. Returns whether it did; if not, the
    /// place is as before.
    bool rise(const DenseVector& direction) {
        const QuadraticSide<Work> from = dual_.row;
        const Work value = dual_.value();
        const Work slope = direction.dot(dual_.gradient);
        Work shortest = 0;
        Work longest = std::numeric_limits<Work>::infinity();
        Work length = 1;
        for (int trial = 0; trial < 60 && slope > 0; ++trial) {
            dual_.move(from, length, direction);
            const Work now = direction.dot(dual_.gradient);
            // The dual is concave: where it still rises, it has risen, also if rounding hides it.
            if (!(now >= 0 || dual_.value() > value + 1e-4 * length * slope)) {
                longest = length;
            } else if (now > 0.9 * slope) {
                shortest = length;
            } else {
                return true;
            }
            length = longest < std::numeric_limits<Work>::infinity() ? (shortest + longest) / 2 : 2 * length;
        }
        dual_.move(from, 0, direction);
        return false;
    }

    /// BFGS's update of the inverse of minus the Hessian.
    void update(const DenseVector& step, const DenseVector& change) {
        const Work product = step.dot(change);
        if (!(product > 1e-14 * step.norm() * change.norm())) return;
        if (inverse_.size() == 0) {
            inverse_ = Matrix<Work>::Identity(step.size(), step.size()) * (product / change.squaredNorm());
        }
        const DenseVector image = inverse_ * change;
        const DenseVector scaled = step / product;
        inverse_ += (1 + change.dot(image) / product) * scaled * step.transpose();
        inverse_ -= image * scaled.transpose() + scaled * image.transpose();
    }

    QuadraticSemidual<Work> dual_;
    Index most_;
    Matrix<Work> inverse_;                                   ///< Empty at first.
    QuadraticSide<Work> best_;                               ///< The rows where the dual was highest.
    Work highest_ = -std::numeric_limits<Work>::infinity();  ///< The dual at best_.
    Work earlier_value_ = -std::numeric_limits<Work>::infinity();
    Work unit_;
    Work residual_ = 0;
    Work near_ = 1e-2;  ///< The residual from which steps are Newton's.
    int steps_ = 0;
    int failures_ = 0;
    int departures_ = 0;
    bool is_done_ = false;
};

}  // namespace otpool::detail
