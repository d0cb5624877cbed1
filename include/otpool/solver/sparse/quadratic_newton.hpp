// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/closed_form/quadratic_line.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/solver/sparse/held_lines.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"
#include "otpool/solver/sparse/quadratic_direction.hpp"
#include "otpool/solver/sparse/two_doubles.hpp"

namespace otpool::detail {

/// Semismooth Newton on the semi-dual of a Quadratic problem, in units of 2 alpha0: P = max(0, X + f + g). The columns'
/// potential g is eliminated exactly (QuadraticLine), and the concave dual is maximised over the rows' potential f. With
/// A the support of the plan and theta = 1/alpha (0 if hard),
///
///     gradient   p exp(-f theta1) - r
///     Hessian   -[diag(A 1 + theta1 p exp(-f theta1)) - A diag(1 / (A^T 1 + theta2 c)) A^T]
///
/// Exact half steps of the rows and the balancing shift ascend the same dual, so they mix freely with Newton's steps.
///
/// An entry X + f + g may be far smaller than its terms, where alpha0 or masses are small: potentials have 32 digits.
template <std::same_as<Real> Work = Real>
class QuadraticNewton {
public:
    /// Views the problem. Starts from these potentials of the rows, or from 0 if null.
    QuadraticNewton(const OrientedProblem<Work>& problem, const Work* start)
        : problem_(problem),
          f_(count(rows()), 0),
          f_low_(count(rows()), 0),
          g_(count(cols()), 0),
          g_low_(count(cols()), 0),
          plan_(problem.reward.size()),
          log_r_(count(rows())),
          log_c_(count(cols())),
          row_support_(count(rows())),
          col_support_(count(cols())),
          x_(count(cols())),
          gap_(count(cols())),
          gradient_(rows()) {
        if (start != nullptr) f_.assign(start, start + rows());
        for (std::size_t i = 0; i < f_.size(); ++i) f_[i] = row_line(i).is_free() ? 0 : f_[i];
        sweep();
        half_step();
    }

    /// A Newton step and a half step.
    void step() {
        if (is_polished_) sweep();
        newton_step();
        half_step();
    }

    Work residual() const { return residual_; }
    /// The residual that rounding can leave, once the residual has stopped to fall; before that 0.
    Work attainable() const { return stalled_ > patience ? rounding_ : 0; }

    const std::vector<Work>& row_potential() const { return f_; }

    SolvedPlan solution() const {
        std::vector<Work> log_plan(plan_.size());
        for (std::size_t i = 0; i < plan_.size(); ++i) log_plan[i] = std::log(plan_[i]);
        return problem_.solution(f_.data(), g_.data(), std::move(log_plan));
    }

private:
    using DenseVector = Vector<Work>;
    using Two = TwoDoubles<Work>;

    static constexpr int patience = 12;  ///< Steps without a smaller residual.
    static constexpr Work nothing = -std::numeric_limits<Work>::infinity();
    static constexpr Work epsilon = std::numeric_limits<Work>::epsilon();

    Index rows() const { return problem_.rows; }
    Index cols() const { return problem_.cols; }
    static std::size_t count(Index size) { return static_cast<std::size_t>(size); }
    const MarginalLine& row_line(std::size_t i) const { return problem_.row_lines[i]; }
    const MarginalLine& col_line(std::size_t k) const { return problem_.col_lines[k]; }
    Work& entry(Index i, Index k) { return plan_[count(k * rows() + i)]; }
    static Work finite_magnitude(Work x) { return std::isfinite(x) ? std::abs(x) : 0; }

    /// Solves a line whose x are the first `size` numbers of x_; then gap_of(i) are its gaps.
    QuadraticLine<Work> solve_line(Index size, const MarginalLine& line) {
        highest_ = *std::max_element(x_.begin(), x_.begin() + size);
        for (Index i = 0; i < size; ++i) gap_[count(i)] = gap_of(i);
        return QuadraticLine<Work>(gap_.data(), size, highest_.high, line);
    }
    /// The potential of a line that was solved, in two doubles. Of two formulas, excess - highest and -alpha log(mass /
    /// prior), the one that loses fewer digits counts.
    void set_potential(const QuadraticLine<Work>& solved, const MarginalLine& line, Work& high, Work& low) const {
        const Work digits_of_mass =
            line.alpha * (std::max)({Work(1), std::abs(solved.log_mass), std::abs(line.log_prior)});
        const bool is_exact = !line.is_free() && solved.support > 0 && solved.excess < digits_of_mass;
        const Two found = is_exact ? Two{-highest_.high, -highest_.low}.plus(solved.excess) : Two{solved.potential};
        high = found.high;
        low = found.low;
    }
    /// Infinite where there is no reward, also if no entry of the line has one.
    Work gap_of(Index i) const {
        const Two& x = x_[count(i)];
        return x.high > nothing ? highest_.minus(x) : -nothing;
    }

    /// Eliminates the columns: sets g and the plan from f.
    void sweep() {
        is_polished_ = false;
        std::vector<Work> r(f_.size(), 0);
        std::fill(row_support_.begin(), row_support_.end(), 0);
        for (Index k = 0; k < cols(); ++k) {
            const Work* reward = problem_.column(k);
            for (Index i = 0; i < rows(); ++i) x_[count(i)] = Two::sum(reward[i], f_[count(i)]).plus(f_low_[count(i)]);
            const QuadraticLine<Work> line = solve_line(rows(), col_line(count(k)));
            set_potential(line, col_line(count(k)), g_[count(k)], g_low_[count(k)]);
            log_c_[count(k)] = line.log_mass;
            col_support_[count(k)] = line.support;
            for (Index i = 0; i < rows(); ++i) {
                const Work mass = line.entry(gap_of(i));
                entry(i, k) = mass;
                r[count(i)] += mass;
                row_support_[count(i)] += mass > 0 ? 1 : 0;
            }
        }
        for (std::size_t i = 0; i < r.size(); ++i) {
            log_r_[i] = std::log(r[i]);
            gradient_[static_cast<Index>(i)] = row_line(i).is_free() ? 0 : target(i) - r[i];
        }
    }

    /// The mass that row i's potential asks for.
    Work target(std::size_t i) const { return std::exp((std::min)(row_line(i).log_mass(f_[i]), Work(600))); }

    /// Solves a row, given the columns' potentials.
    QuadraticLine<Work> solve_row(Index i) {
        for (Index k = 0; k < cols(); ++k) {
            x_[count(k)] = Two::sum(problem_.column(k)[i], g_[count(k)]).plus(g_low_[count(k)]);
        }
        return solve_line(cols(), row_line(count(i)));
    }

    void set_row(Index i, const QuadraticLine<Work>& line) {
        set_potential(line, row_line(count(i)), f_[count(i)], f_low_[count(i)]);
    }
    /// f_i <- high + low + step
    void add_to_row(std::size_t i, Work high, Work low, Work step) {
        const Two moved = Two{high, low}.plus(step);
        f_[i] = moved.high;
        f_low_[i] = moved.low;
    }

    void half_step() {
        for (Index i = 0; i < rows(); ++i) set_row(i, solve_row(i));
        const HeldLines of_rows{problem_.row_lines.data(), f_.data(), nullptr, rows()};
        const HeldLines of_cols{problem_.col_lines.data(), g_.data(), nullptr, cols()};
        // Without this shift, the rest contracts slowly along it where marginals are weak, and cancels where they are
        // strong.
        if (!of_rows.any_free() && !of_cols.any_free() && !(of_rows.all_hard() && of_cols.all_hard())) {
            const Work shift = balancing_shift<Work>(HeldMass<Work>(of_rows), HeldMass<Work>(of_cols));
            for (std::size_t i = 0; i < f_.size(); ++i) add_to_row(i, f_[i], f_low_[i], shift);
        }
        sweep();
        set_residual();
        polish();
        stalled_ = residual_ < best_residual_ ? 0 : stalled_ + 1;
        best_residual_ = (std::min)(best_residual_, residual_);
    }

    void set_residual() {
        residual_ = 0;
        const auto add = [&](Work violation) { residual_ = violation <= residual_ ? residual_ : violation; };
        for (std::size_t i = 0; i < f_.size(); ++i) add(row_line(i).violation(log_r_[i], f_[i]));
        for (std::size_t k = 0; k < g_.size(); ++k) add(col_line(k).violation(log_c_[k], g_[k]));
    }

    /// Rows so light that rounding of the entries is felt in their mass get it from their own equation, in relative
    /// precision, if the columns that they draw on are heavier and so feel it less. Sets rounding_.
    void polish() {
        const Work of_entry = rounding_of_entry();
        rounding_ = 0;
        for (Index i = 0; i < rows(); ++i) {
            if (row_line(count(i)).is_free()) continue;
            Work lightest = std::numeric_limits<Work>::infinity();
            for (Index k = 0; k < cols(); ++k) {
                if (entry(i, k) > 0) lightest = (std::min)(lightest, log_c_[count(k)]);
            }
            const Work error = of_entry * (1 + row_support_[count(i)]) / target(count(i));
            const Work violation = row_line(count(i)).violation(log_r_[count(i)], f_[count(i)]);
            const bool is_near = error > 1 || violation < 1e-3 + error;
            if (error > 1e-13 && is_near && log_r_[count(i)] < lightest + std::log1p(row_support_[count(i)])) {
                polish_row(i);
                rounding_ = (std::max)(rounding_, of_entry * (1 + row_support_[count(i)]) * std::exp(-lightest));
            } else {
                rounding_ = (std::max)(rounding_, error);
            }
        }
        if (!is_polished_) return;
        for (Index k = 0; k < cols(); ++k) {
            Work c = 0;
            for (Index i = 0; i < rows(); ++i) c += entry(i, k);
            log_c_[count(k)] = std::log(c);
        }
        set_residual();
    }
    void polish_row(Index i) {
        is_polished_ = true;
        const QuadraticLine<Work> line = solve_row(i);
        set_row(i, line);
        log_r_[count(i)] = line.log_mass;
        for (Index k = 0; k < cols(); ++k) entry(i, k) = line.entry(gap_of(k));
    }
    /// What rounding can change in an entry: of potentials, and of differences within a line.
    Work rounding_of_entry() const {
        Work largest = problem_.largest_reward;
        for (const Work f : f_) largest = (std::max)(largest, finite_magnitude(f));
        return 8 * epsilon * epsilon * largest + epsilon * *std::max_element(plan_.begin(), plan_.end());
    }

    /// Moves along Newton's direction to where the dual has lost half its slope; near the optimum, by all of it. Goes
    /// little beyond the dual's highest point, as steps that do may take turns.
    void newton_step() {
        constexpr Work overshoot = 0.1;
        const DenseVector direction = newton_direction();
        const std::vector<Work> from = f_;
        const std::vector<Work> from_low = f_low_;
        const Work from_slope = direction.dot(gradient_);
        if (!(from_slope > 0)) return;
        const auto move = [&](Work length) {
            for (std::size_t i = 0; i < f_.size(); ++i) {
                add_to_row(i, from[i], from_low[i], length * direction[static_cast<Index>(i)]);
            }
            sweep();
            const Work slope = direction.dot(gradient_);
            return std::abs(slope) <= rounding_of_slope(direction) ? 0 : slope;
        };
        if (move(1) >= -overshoot * from_slope) {
            damping_ = (std::max)(damping_ / 4, 1e-9);
            return;
        }
        damping_ = (std::min)(damping_ * 4, Work(1));
        Work shorter = 0;
        Work longer = 1;
        for (int halving = 0; halving < 60; ++halving) {
            const Work length = (shorter + longer) / 2;
            const Work now = move(length);
            if (now <= 0.5 * from_slope && now >= -overshoot * from_slope) return;
            (now > 0 ? shorter : longer) = length;
        }
    }

    /// What rounding of the plan can change in the dual's slope along a direction.
    Work rounding_of_slope(const DenseVector& direction) const {
        const Work of_entry = rounding_of_entry();
        Work rounded = 0;
        for (std::size_t i = 0; i < f_.size(); ++i) {
            const Work mass = row_line(i).is_free() ? 0 : target(i);
            rounded += std::abs(direction[static_cast<Index>(i)]) * (epsilon * mass + of_entry * row_support_[i]);
        }
        return rounded;
    }

    DenseVector newton_direction() {
        std::vector<Work> targets(f_.size());
        for (std::size_t i = 0; i < f_.size(); ++i) targets[i] = row_line(i).is_free() ? 0 : target(i);
        const Work damping = std::clamp(damping_ * (std::min)(residual_, Work(1)), Work(1e-15), Work(1e-4));
        return direction_(problem_, {plan_, log_c_, row_support_, col_support_}, targets, gradient_, damping);
    }

    const OrientedProblem<Work>& problem_;
    std::vector<Work> f_, f_low_, g_, g_low_;  ///< The potentials are sums of two doubles.
    std::vector<Work> plan_;                   ///< A column after the other.
    std::vector<Work> log_r_, log_c_, row_support_, col_support_;
    std::vector<Two> x_;  ///< Of a line.
    std::vector<Work> gap_;
    Two highest_;  ///< Of x_
    DenseVector gradient_;
    QuadraticDirection<Work> direction_;
    Work damping_ = 1e-4;
    Work residual_ = 0;
    Work best_residual_ = std::numeric_limits<Work>::infinity();
    Work rounding_ = 0;
    int stalled_ = 0;
    bool is_polished_ = false;
};

}  // namespace otpool::detail
