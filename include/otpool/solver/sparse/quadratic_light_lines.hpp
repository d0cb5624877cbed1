// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/solver/sparse/quadratic_semidual.hpp"

namespace otpool::detail {

/// Gives light lines of a Quadratic plan their mass in relative precision. A sweep solves the columns' equations, so an
/// entry has the rounding of its column's mass, and a light row feels it. Here each entry is computed from the lighter
/// one of its two lines: the other does not feel it.
template <std::same_as<Real> Work = Real>
class LightLines {
public:
    /// Call after a sweep, near the optimum.
    explicit LightLines(QuadraticSemidual<Work>& dual) : dual_(dual), line_((std::max)(dual.rows(), dual.cols())) {
        for (Index i = 0; i < dual.rows(); ++i) add({dual.row.asked(i), true, i});
        for (Index k = 0; k < dual.cols(); ++k) add({dual.col.asked(k), false, k});
        std::stable_sort(ordered_.begin(), ordered_.end(), [](const Line& a, const Line& b) { return a < b; });
        const Work of_entry = dual.rounding_of_entry();
        for (const Line& line : ordered_) {
            const QuadraticSide<Work>& side = line.is_row ? dual.row : dual.col;
            const Work of_line = of_entry * (1 + side.support[static_cast<std::size_t>(line.index)]);
            const Work felt = of_line * std::exp(-line.log_mass);
            const Work lightest = felt > least_felt ? refine(line, of_line) : infinity;
            const bool is_refined = std::isfinite(lightest);
            any_ = any_ || is_refined;
            if (line.is_row) rounding_ = (std::max)(rounding_, is_refined ? of_line * std::exp(-lightest) : felt);
        }
        if (any_) dual.sum_plan();
    }

    /// Whether entries have changed. The plan is then no longer that of a sweep.
    bool any() const { return any_; }
    /// The residual that rounding can leave.
    Work rounding() const { return rounding_; }

private:
    static constexpr Work infinity = std::numeric_limits<Work>::infinity();
    static constexpr Work least_felt = 1e-13;

    struct Line {
        Work log_mass;
        bool is_row;
        Index index;

        /// Lighter; of lines of the same mass, rows are.
        friend bool operator<(const Line& a, const Line& b) {
            return a.log_mass < b.log_mass || (a.log_mass == b.log_mass && a.is_row && !b.is_row);
        }
    };

    void add(const Line& line) {
        const QuadraticSide<Work>& side = line.is_row ? dual_.row : dual_.col;
        (line.is_row ? log_row_ : log_col_).push_back(line.log_mass);
        if (!side.line(line.index).is_free()) ordered_.push_back(line);
    }

    /// Sets a line's entries in the heavier lines that it meets, from its own equation; those in lighter ones stay.
    /// Returns the log mass of the lightest of the heavier lines, or infinity if it meets none or was not near its
    /// solution: then nothing is done. `rounding`: of the line's mass.
    Work refine(const Line& line, Work rounding) {
        QuadraticSide<Work>& side = line.is_row ? dual_.row : dual_.col;
        const std::vector<Work>& log_across = line.is_row ? log_col_ : log_row_;
        const auto size = static_cast<Index>(log_across.size());
        const auto is_heavier = [&](Index i) {
            return line < Line{log_across[static_cast<std::size_t>(i)], !line.is_row, i};
        };
        const auto entry = [&](Index i) -> Work& {
            return line.is_row ? dual_.entry(line.index, i) : dual_.entry(i, line.index);
        };
        const TwoDoubles<Work> before = side.at(line.index);
        Work elsewhere = 0;
        Work lightest = infinity;
        for (Index i = 0; i < size; ++i) {
            line_[i] = {-infinity};
            if (!is_heavier(i)) {
                elsewhere += entry(i);
                continue;
            }
            line_[i] = line.is_row ? dual_.x_of_row(line.index, i) : dual_.x_of_col(i, line.index);
            const bool meets = line_[i].plus(before.high).plus(before.low).high > -rounding;
            if (meets) lightest = (std::min)(lightest, log_across[static_cast<std::size_t>(i)]);
        }
        const Work rest = std::exp(line.log_mass) - elsewhere;
        if (std::isinf(lightest) || (elsewhere > 0 && !(rest > 0))) return infinity;
        const MarginalLine& own = side.line(line.index);
        line_.solve(size, elsewhere > 0 ? MarginalLine{std::log(rest), infinity} : own);
        if (!(std::abs(line_.potential().minus(before)) <= 10 * rounding)) return infinity;
        side.set(line.index, line_.potential());
        side.log_mass[static_cast<std::size_t>(line.index)] = elsewhere > 0 ? line.log_mass : line_.log_mass();
        for (Index i = 0; i < size; ++i) {
            if (is_heavier(i)) entry(i) = line_.entry(i);
        }
        return lightest;
    }

    QuadraticSemidual<Work>& dual_;
    PreciseLine<Work> line_;
    std::vector<Work> log_row_, log_col_;  ///< The masses that lines ask for.
    std::vector<Line> ordered_;            ///< The lines that ask for a mass, from the lightest.
    Work rounding_ = 0;
    bool any_ = false;
};

}  // namespace otpool::detail
