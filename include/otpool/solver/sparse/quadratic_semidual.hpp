// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
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

/// The semi-dual of a Quadratic problem, in units of 2 alpha0: P = max(0, X + f + g). It is a concave function of the
/// rows' potential f; the columns' potential g is eliminated exactly (QuadraticLine). With A the support of the plan
/// and theta = 1/alpha (0 if hard),
///
///     gradient   p exp(-f theta1) - r
///     Hessian   -[diag(A 1 + theta1 p exp(-f theta1)) - A diag(1 / (A^T 1 + theta2 c)) A^T]
///
/// With a limit, a column's support is among its m largest X + f.
///
/// An entry X + f + g may be far smaller than its terms, where alpha0 or masses are small: potentials have 32 digits.
template <std::same_as<Real> Work = Real>
class QuadraticSemidual {
public:
    /// Views the problem. `most`: the most entries of a column, 0 without a limit. Starts from these potentials of the
    /// rows, or from 0 if null.
    QuadraticSemidual(const OrientedProblem<Work>& problem, Index most, const Work* start)
        : f(count(problem.rows), 0),
          g(count(problem.cols), 0),
          plan(problem.reward.size()),
          log_r(count(problem.rows)),
          log_c(count(problem.cols)),
          row_support(count(problem.rows)),
          gradient(problem.rows),
          problem_(problem),
          most_(most),
          f_low_(count(rows()), 0),
          g_low_(count(cols()), 0),
          col_support_(count(cols())),
          x_(count(cols() > rows() ? cols() : rows())),
          gap_(x_.size()) {
        if (start != nullptr) f.assign(start, start + rows());
        for (std::size_t i = 0; i < f.size(); ++i) f[i] = row_line(i).is_free() ? 0 : f[i];
        sweep();
    }

    std::vector<Work> f, g;
    std::vector<Work> plan;          ///< A column after the other.
    std::vector<Work> log_r, log_c;  ///< Its logarithmic marginals.
    std::vector<Work> row_support;   ///< Number of entries of a row.
    Vector<Work> gradient;

    Index rows() const { return problem_.rows; }
    Index cols() const { return problem_.cols; }
    const MarginalLine& row_line(std::size_t i) const { return problem_.row_lines[i]; }
    const MarginalLine& col_line(std::size_t k) const { return problem_.col_lines[k]; }
    Work& entry(Index i, Index k) { return plan[count(k * rows() + i)]; }

    /// Eliminates the columns: sets g and the plan from f.
    void sweep() {
        std::vector<Work> r(f.size(), 0);
        std::fill(row_support.begin(), row_support.end(), 0);
        for (Index k = 0; k < cols(); ++k) {
            const Work* reward = problem_.column(k);
            for (Index i = 0; i < rows(); ++i) x_[count(i)] = Two::sum(reward[i], f[count(i)]).plus(f_low_[count(i)]);
            if (most_ > 0) keep_largest();
            const QuadraticLine<Work> line = solve_line(rows(), col_line(count(k)));
            set_potential(line, col_line(count(k)), g[count(k)], g_low_[count(k)]);
            log_c[count(k)] = line.log_mass;
            col_support_[count(k)] = line.support;
            for (Index i = 0; i < rows(); ++i) {
                const Work mass = line.entry(gap_of(i));
                entry(i, k) = mass;
                r[count(i)] += mass;
                row_support[count(i)] += mass > 0 ? 1 : 0;
            }
        }
        for (std::size_t i = 0; i < r.size(); ++i) {
            log_r[i] = std::log(r[i]);
            gradient[static_cast<Index>(i)] = row_line(i).is_free() ? 0 : target(i) - r[i];
        }
    }

    /// The mass that row i's potential asks for.
    Work target(std::size_t i) const { return std::exp((std::min)(row_line(i).log_mass(f[i]), Work(600))); }

    /// Solves a row, given the columns' potentials, and sets its potential; then row_entry(k) are its entries. Ascends
    /// the dual if there is no limit.
    QuadraticLine<Work> set_row(Index i) {
        for (Index k = 0; k < cols(); ++k) {
            x_[count(k)] = Two::sum(problem_.column(k)[i], g[count(k)]).plus(g_low_[count(k)]);
        }
        const QuadraticLine<Work> line = solve_line(cols(), row_line(count(i)));
        set_potential(line, row_line(count(i)), f[count(i)], f_low_[count(i)]);
        return line;
    }
    Work row_entry(const QuadraticLine<Work>& line, Index k) const { return line.entry(gap_of(k)); }

    /// Moves f by the shift that balances the masses that both sides ask for. The plan does not see it. Without it,
    /// other steps contract slowly along it where marginals are weak, and cancel where they are strong.
    void balance() {
        const HeldLines of_rows{problem_.row_lines.data(), f.data(), nullptr, rows()};
        const HeldLines of_cols{problem_.col_lines.data(), g.data(), nullptr, cols()};
        if (of_rows.any_free() || of_cols.any_free() || (of_rows.all_hard() && of_cols.all_hard())) return;
        const Work shift = balancing_shift<Work>(HeldMass<Work>(of_rows), HeldMass<Work>(of_cols));
        for (std::size_t i = 0; i < f.size(); ++i) add_to_row(i, f[i], f_low_[i], shift);
    }

    /// The largest violation of the marginals' conditions.
    Work residual() const {
        Work largest = 0;
        const auto add = [&](Work violation) { largest = larger_violation(largest, violation); };
        for (std::size_t i = 0; i < f.size(); ++i) add(row_line(i).violation(log_r[i], f[i]));
        for (std::size_t k = 0; k < g.size(); ++k) add(col_line(k).violation(log_c[k], g[k]));
        return largest;
    }

    /// The dual's value.
    Work value() const {
        Work sum = 0;
        for (std::size_t i = 0; i < f.size(); ++i) sum += row_line(i).dual(f[i]);
        for (std::size_t k = 0; k < g.size(); ++k) sum += col_line(k).dual(g[k]);
        for (const Work entry : plan) sum -= entry * entry / 2;
        return sum;
    }

    /// Whether entries m and m + 1 of some column tie, up to this difference.
    bool has_ties(Work difference) {
        if (most_ == 0 || most_ >= rows()) return false;
        std::vector<Work> x(f.size());
        for (Index k = 0; k < cols(); ++k) {
            for (Index i = 0; i < rows(); ++i) x[count(i)] = problem_.column(k)[i] + f[count(i)];
            std::nth_element(x.begin(), x.begin() + most_, x.end(), std::greater<>());
            const Work last = *std::min_element(x.begin(), x.begin() + most_);
            if (last + g[count(k)] > 0 && last - x[count(most_)] <= difference) return true;
        }
        return false;
    }

    /// What rounding can change in an entry: of potentials, and of differences within a line.
    Work rounding_of_entry() const {
        Work largest = problem_.largest_reward;
        for (const Work x : f) largest = (std::max)(largest, finite_magnitude(x));
        return 8 * epsilon * epsilon * largest + epsilon * *std::max_element(plan.begin(), plan.end());
    }

    /// Where to move from.
    struct Place {
        std::vector<Work> f, f_low;
    };
    Place place() const { return {f, f_low_}; }
    /// f <- from + length direction, and sweeps.
    void move(const Place& from, Work length, const Vector<Work>& direction) {
        // Rounded before it is added: fused into the sums below, bits depend on where in memory the numbers are.
        const Vector<Work> step = length * direction;
        for (std::size_t i = 0; i < f.size(); ++i) {
            add_to_row(i, from.f[i], from.f_low[i], step[static_cast<Index>(i)]);
        }
        sweep();
    }

    /// Moves along Newton's direction to where the dual has lost half its slope; near the optimum, by all of it. Goes
    /// little beyond the dual's highest point, as steps that do may take turns. The larger the residual, the more
    /// damping.
    void newton_step(Work residual) {
        constexpr Work overshoot = 0.1;
        const Vector<Work> direction = newton_direction(residual);
        const Place from = place();
        const Work from_slope = direction.dot(gradient);
        if (!(from_slope > 0)) return;
        const auto slope_at = [&](Work length) {
            move(from, length, direction);
            const Work slope = direction.dot(gradient);
            return std::abs(slope) <= rounding_of_slope(direction) ? 0 : slope;
        };
        if (slope_at(1) >= -overshoot * from_slope) {
            damping_ = (std::max)(damping_ / 4, 1e-9);
            return;
        }
        damping_ = (std::min)(damping_ * 4, Work(1));
        Work shorter = 0;
        Work longer = 1;
        for (int halving = 0; halving < 60; ++halving) {
            const Work length = (shorter + longer) / 2;
            const Work now = slope_at(length);
            if (now <= 0.5 * from_slope && now >= -overshoot * from_slope) return;
            (now > 0 ? shorter : longer) = length;
        }
    }

    SolvedPlan solution() const {
        std::vector<Work> log_plan(plan.size());
        for (std::size_t i = 0; i < plan.size(); ++i) log_plan[i] = std::log(plan[i]);
        return problem_.solution(f.data(), g.data(), std::move(log_plan));
    }

private:
    using Two = TwoDoubles<Work>;

    static constexpr Work nothing = -std::numeric_limits<Work>::infinity();
    static constexpr Work epsilon = std::numeric_limits<Work>::epsilon();

    static std::size_t count(Index size) { return static_cast<std::size_t>(size); }
    static Work finite_magnitude(Work x) { return std::isfinite(x) ? std::abs(x) : 0; }

    /// Leaves only the largest numbers of a column in x_.
    void keep_largest() {
        if (most_ >= rows()) return;
        order_.resize(count(rows()));
        for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = i;
        std::nth_element(order_.begin(), order_.begin() + most_, order_.end(), [&](std::size_t a, std::size_t b) {
            return x_[a].high != x_[b].high ? x_[a].high > x_[b].high : x_[a].low > x_[b].low;
        });
        for (auto i = order_.begin() + most_; i != order_.end(); ++i) x_[*i] = Two{nothing};
    }

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

    /// f_i <- high + low + step
    void add_to_row(std::size_t i, Work high, Work low, Work step) {
        const Two moved = Two{high, low}.plus(step);
        f[i] = moved.high;
        f_low_[i] = moved.low;
    }

    Vector<Work> newton_direction(Work residual) {
        std::vector<Work> targets(f.size());
        for (std::size_t i = 0; i < f.size(); ++i) targets[i] = row_line(i).is_free() ? 0 : target(i);
        const Work damping = std::clamp(damping_ * (std::min)(residual, Work(1)), Work(1e-15), Work(1e-4));
        return direction_(problem_, {plan, log_c, row_support, col_support_}, targets, gradient, damping);
    }

    /// What rounding of the plan can change in the dual's slope along a direction.
    Work rounding_of_slope(const Vector<Work>& direction) const {
        const Work of_entry = rounding_of_entry();
        Work rounded = 0;
        for (std::size_t i = 0; i < f.size(); ++i) {
            const Work mass = row_line(i).is_free() ? 0 : target(i);
            rounded += std::abs(direction[static_cast<Index>(i)]) * (epsilon * mass + of_entry * row_support[i]);
        }
        return rounded;
    }

    const OrientedProblem<Work>& problem_;
    Index most_;
    std::vector<Work> f_low_, g_low_;  ///< The potentials are sums of two doubles.
    std::vector<Work> col_support_;
    std::vector<Two> x_;  ///< Of a line.
    std::vector<Work> gap_;
    std::vector<std::size_t> order_;
    Two highest_;  ///< Of x_
    QuadraticDirection<Work> direction_;
    Work damping_ = 1e-4;
};

}  // namespace otpool::detail
