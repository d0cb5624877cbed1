// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/solver/sparse/held_lines.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"
#include "otpool/solver/sparse/quadratic_direction.hpp"
#include "otpool/solver/sparse/quadratic_side.hpp"
#include "otpool/solver/sparse/two_doubles.hpp"

namespace otpool::detail {

/// The semi-dual of a Quadratic problem, in units of 2 alpha0: P = max(0, X + f + g). It is a concave function of the
/// rows' potential f; the columns' potential g is eliminated exactly (PreciseLine). With A the support of the plan
/// and theta = 1/alpha (0 if hard),
///
///     gradient   p exp(-f theta1) - r
///     Hessian   -[diag(A 1 + theta1 p exp(-f theta1)) - A diag(1 / (A^T 1 + theta2 c)) A^T]
///
/// With a limit, a column's support is among its m largest X + f.
template <std::same_as<Real> Work = Real>
class QuadraticSemidual {
public:
    /// Views the problem. `most`: the most entries of a column, 0 without a limit. Starts from these potentials of the
    /// rows, or from 0 if null.
    QuadraticSemidual(const OrientedProblem<Work>& problem, Index most, const Work* start)
        : row(problem.row_lines),
          col(problem.col_lines),
          plan(problem.reward.size()),
          gradient(problem.rows),
          problem_(problem),
          most_(most),
          line_((std::max)(problem.rows, problem.cols)) {
        for (Index i = 0; i < rows() && start != nullptr; ++i) row.set(i, {row.line(i).is_free() ? 0 : start[i]});
        sweep();
    }

    QuadraticSide<Work> row, col;
    std::vector<Work> plan;  ///< A column after the other.
    Vector<Work> gradient;

    const OrientedProblem<Work>& problem() const { return problem_; }
    Index rows() const { return problem_.rows; }
    Index cols() const { return problem_.cols; }
    Work& entry(Index i, Index k) { return plan[count(k * rows() + i)]; }
    /// X + g, for the entries of a row.
    TwoDoubles<Work> x_of_row(Index i, Index k) const { return x(i, k, col.at(k)); }
    /// X + f, for the entries of a column.
    TwoDoubles<Work> x_of_col(Index i, Index k) const { return x(i, k, row.at(i)); }

    /// X + f + g: where positive, 2 alpha0 times the entry.
    Work slack(Index i, Index k) const { return x_of_col(i, k).plus(col.at(k)).high; }

    /// Eliminates the columns: sets g and the plan from f.
    void sweep() {
        std::vector<Work> r(count(rows()), 0);
        std::fill(row.support.begin(), row.support.end(), 0);
        for (Index k = 0; k < cols(); ++k) {
            for (Index i = 0; i < rows(); ++i) line_[i] = x_of_col(i, k);
            if (most_ > 0) keep_largest();
            line_.solve(rows(), col.line(k));
            col.set(k, line_.potential());
            col.log_mass[count(k)] = line_.log_mass();
            col.support[count(k)] = line_.support();
            for (Index i = 0; i < rows(); ++i) {
                const Work mass = line_.entry(i);
                entry(i, k) = mass;
                r[count(i)] += mass;
                row.support[count(i)] += mass > 0 ? 1 : 0;
            }
        }
        for (Index i = 0; i < rows(); ++i) {
            const Work mass = r[count(i)];
            row.log_mass[count(i)] = mass >= least_normal ? std::log(mass) : log_mass_of_row(i);
            gradient[i] = row.line(i).is_free() ? 0 : row.target(i) - mass;
        }
    }

    /// Solves a row, given the columns' potentials, and sets its potential. Ascends the dual if there is no limit.
    void set_row(Index i) {
        for (Index k = 0; k < cols(); ++k) line_[k] = x_of_row(i, k);
        line_.solve(cols(), row.line(i));
        row.set(i, line_.potential());
    }

    /// Moves f by the shift that balances the masses that both sides ask for. The plan does not see it. Without it,
    /// other steps contract slowly along it where marginals are weak, and cancel where they are strong.
    void balance() {
        const HeldLines of_rows{row.lines, row.potential.data(), nullptr, rows()};
        const HeldLines of_cols{col.lines, col.potential.data(), nullptr, cols()};
        if (of_rows.any_free() || of_cols.any_free() || (of_rows.all_hard() && of_cols.all_hard())) return;
        const Work shift = balancing_shift<Work>(HeldMass<Work>(of_rows), HeldMass<Work>(of_cols));
        for (Index i = 0; i < rows(); ++i) row.set(i, row.at(i).plus(shift));
    }

    /// The largest violation of the marginals' conditions.
    Work residual() const {
        Work largest = 0;
        for (const auto* side : {&row, &col}) {
            for (Index i = 0; i < side->size(); ++i) {
                const Work violation = side->line(i).violation(side->log_mass[count(i)], side->potential[count(i)]);
                largest = larger_violation(largest, violation);
            }
        }
        return largest;
    }

    /// Computes the marginals of the plan as it is, but for lines whose mass underflows.
    void sum_plan() {
        const Work least_log = std::log(least_normal);
        const auto set = [&](Work& log_mass, Work mass) {
            if (mass >= least_normal || log_mass > least_log) log_mass = std::log(mass);
        };
        std::vector<Work> r(count(rows()), 0);
        for (Index k = 0; k < cols(); ++k) {
            Work c = 0;
            for (Index i = 0; i < rows(); ++i) {
                c += entry(i, k);
                r[count(i)] += entry(i, k);
            }
            set(col.log_mass[count(k)], c);
        }
        for (std::size_t i = 0; i < r.size(); ++i) set(row.log_mass[i], r[i]);
    }

    /// The dual's value.
    Work value() const {
        Work sum = 0;
        for (const auto* side : {&row, &col}) {
            for (Index i = 0; i < side->size(); ++i) sum += side->line(i).dual(side->potential[count(i)]);
        }
        for (const Work entry : plan) sum -= entry * entry / 2;
        return sum;
    }

    /// Whether entries m and m + 1 of some column tie, up to this difference.
    bool has_ties(Work difference) {
        if (most_ == 0 || most_ >= rows()) return false;
        std::vector<Work> x(count(rows()));
        for (Index k = 0; k < cols(); ++k) {
            for (Index i = 0; i < rows(); ++i) x[count(i)] = problem_.column(k)[i] + row.potential[count(i)];
            std::nth_element(x.begin(), x.begin() + most_, x.end(), std::greater<>());
            const Work last = *std::min_element(x.begin(), x.begin() + most_);
            if (last + col.potential[count(k)] > 0 && last - x[count(most_)] <= difference) return true;
        }
        return false;
    }

    /// What rounding can change in an entry: of potentials, and of differences within a line.
    Work rounding_of_entry() const {
        Work largest = problem_.largest_reward;
        for (const Work f : row.potential) largest = (std::max)(largest, std::isfinite(f) ? std::abs(f) : 0);
        return 8 * epsilon * epsilon * largest + epsilon * *std::max_element(plan.begin(), plan.end());
    }

    /// f <- from + length direction, and sweeps. `from`: rows as they were.
    void move(const QuadraticSide<Work>& from, Work length, const Vector<Work>& direction) {
        // Rounded before it is added: fused into the sums below, bits depend on where in memory the numbers are.
        const Vector<Work> step = length * direction;
        for (Index i = 0; i < rows(); ++i) row.set(i, from.at(i).plus(step[i]));
        sweep();
    }

    /// Moves along Newton's direction to where the dual has lost half its slope; near the optimum, by all of it. Goes
    /// little beyond the dual's highest point, as steps that do may take turns. The larger the residual, the more
    /// damping. The length is found by false position: the slope falls piecewise linearly.
    void newton_step(Work residual) {
        const Vector<Work> direction = newton_direction(residual);
        const QuadraticSide<Work> from = row;
        const auto slope_at = [&](Work length) {
            move(from, length, direction);
            const Work slope = direction.dot(gradient);
            return std::abs(slope) <= rounding_of_slope(direction) ? 0 : slope;
        };
        struct Trial {
            Work length, slope;
        };
        Trial shorter{0, direction.dot(gradient)};
        if (!(shorter.slope > 0)) return;
        const Work most = 0.5 * shorter.slope;
        const Work least = -0.1 * shorter.slope;
        Trial longer{1, slope_at(1)};
        if (longer.slope >= least) {
            damping_ = (std::max)(damping_ / 4, 1e-9);
            return;
        }
        damping_ = (std::min)(damping_ * 4, Work(1));
        for (int trial = 0; trial < 60; ++trial) {
            const Work share = (shorter.slope - (most + least) / 2) / (shorter.slope - longer.slope);
            const Work length =
                shorter.length + (longer.length - shorter.length) * std::clamp(share, Work(0.1), Work(0.9));
            const Trial now{length, slope_at(length)};
            if (now.slope <= most && now.slope >= least) return;
            (now.slope > 0 ? shorter : longer) = now;
        }
    }

    SolvedPlan solution() const {
        std::vector<Work> log_plan(plan.size());
        for (Index k = 0; k < cols(); ++k) {
            for (Index i = 0; i < rows(); ++i) log_plan[count(k * rows() + i)] = log_entry(i, k);
        }
        return problem_.solution(row.potential.data(), col.potential.data(), std::move(log_plan));
    }

private:
    using Two = TwoDoubles<Work>;

    static constexpr Work nothing = -std::numeric_limits<Work>::infinity();
    static constexpr Work least_normal = (std::numeric_limits<Work>::min)();
    static constexpr Work epsilon = std::numeric_limits<Work>::epsilon();

    static std::size_t count(Index size) { return static_cast<std::size_t>(size); }

    Two x(Index i, Index k, const Two& potential) const {
        return Two::sum(problem_.column(k)[i], potential.high).plus(potential.low);
    }

    /// Leaves only the largest x of a column.
    void keep_largest() {
        if (most_ >= rows()) return;
        order_.resize(count(rows()));
        std::iota(order_.begin(), order_.end(), Index{0});
        std::nth_element(order_.begin(), order_.begin() + most_, order_.end(),
                         [&](Index a, Index b) { return line_[b] < line_[a]; });
        for (auto i = order_.begin() + most_; i != order_.end(); ++i) line_[*i] = Two{nothing};
    }

    /// The logarithm of an entry; if it underflowed, from the mass of its lines.
    Work log_entry(Index i, Index k) const {
        const Work size = plan[count(k * rows() + i)];
        if (size != PreciseLine<Work>::least_entry) return std::log(size);
        const Work support = (std::max)(col.support[count(k)], Work(1));  // a row may have set the entry
        return (std::min)(col.log_mass[count(k)] - std::log(support), row.log_mass[count(i)]);
    }
    /// Of a row whose entries underflow.
    Work log_mass_of_row(Index i) {
        row.log_mass[count(i)] = -nothing;
        Work top = nothing;
        for (Index k = 0; k < cols(); ++k) top = (std::max)(top, log_entry(i, k));
        if (std::isinf(top)) return top;
        Work sum = 0;
        for (Index k = 0; k < cols(); ++k) sum += std::exp(log_entry(i, k) - top);
        return top + std::log(sum);
    }

    Vector<Work> newton_direction(Work residual) {
        const Work damping = std::clamp(damping_ * (std::min)(residual, Work(1)), Work(1e-15), Work(1e-4));
        Vector<Work> direction = direction_(row, col, plan, gradient, damping);
        // Along a singular direction, the step is far too long.
        const Work largest = *std::max_element(plan.begin(), plan.end());
        const Work longest = 20 * (std::max)(problem_.largest_reward, largest);
        const Work length = direction.cwiseAbs().maxCoeff();
        if (length > longest) direction *= longest / length;
        return direction;
    }

    /// What rounding of the plan can change in the dual's slope along a direction.
    Work rounding_of_slope(const Vector<Work>& direction) const {
        const Work of_entry = rounding_of_entry();
        Work rounded = 0;
        for (Index i = 0; i < rows(); ++i) {
            rounded += std::abs(direction[i]) * (epsilon * row.target(i) + of_entry * row.support[count(i)]);
        }
        return rounded;
    }

    const OrientedProblem<Work>& problem_;
    Index most_;
    PreciseLine<Work> line_;
    std::vector<Index> order_;
    QuadraticDirection<Work> direction_;
    Work damping_ = 1e-4;
};

}  // namespace otpool::detail
