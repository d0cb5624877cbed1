// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/solver/sparse/quadratic_semidual.hpp"

namespace otpool::detail {

/// Gives light lines of a Quadratic plan their mass in relative precision. A sweep solves the columns' equations, so an
/// entry has the rounding of its column's mass, and a light row feels it. Here lines are taken in the order in which
/// they are reached from the heaviest line, through lines that meet, the heaviest first. A line sets its entries in
/// lines before it, and these do not feel them. (On a forest, masses alone give all entries, from the leaves.)
template <std::same_as<Real> Work = Real>
class LightLines {
public:
    /// Call after a sweep, near the optimum.
    explicit LightLines(QuadraticSemidual<Work>& dual)
        : dual_(dual), rounding_of_entry_(dual.rounding_of_entry()), line_((std::max)(dual.rows(), dual.cols())) {
        for (const bool is_row : {true, false}) {
            for (Index i = 0; i < side(is_row).size(); ++i) lines_.push_back({side(is_row).asked(i), is_row, i});
        }
        if (std::any_of(lines_.begin(), lines_.end(), [this](const Line& line) { return is_light(line); })) {
            set_order();
        } else {
            ordered_ = lines_;
        }
        for (auto line = ordered_.rbegin(); line != ordered_.rend(); ++line) {
            if (is_free(*line)) continue;
            const Work lightest = is_light(*line) ? refine(*line) : infinity;
            const bool is_refined = std::isfinite(lightest);
            any_ = any_ || is_refined;
            const Work left = is_refined ? rounding_of(*line) * std::exp(-lightest) : felt(*line);
            if (line->is_row) rounding_ = (std::max)(rounding_, left);
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

        friend bool operator<(const Line& a, const Line& b) { return a.log_mass < b.log_mass; }
    };

    QuadraticSide<Work>& side(bool is_row) const { return is_row ? dual_.row : dual_.col; }
    bool is_free(const Line& line) const { return side(line.is_row).line(line.index).is_free(); }
    Work& entry(const Line& line, Index across) const {
        return line.is_row ? dual_.entry(line.index, across) : dual_.entry(across, line.index);
    }
    TwoDoubles<Work> x(const Line& line, Index across) const {
        return line.is_row ? dual_.x_of_row(line.index, across) : dual_.x_of_col(across, line.index);
    }
    /// Of a line's mass.
    Work rounding_of(const Line& line) const {
        return rounding_of_entry_ * (1 + side(line.is_row).support[static_cast<std::size_t>(line.index)]);
    }
    Work felt(const Line& line) const { return rounding_of(line) * std::exp(-line.log_mass); }
    bool is_light(const Line& line) const { return !is_free(line) && felt(line) > least_felt; }
    /// Whether two lines have an entry, or may have one but for rounding.
    bool meets(const Line& line, Index across) const {
        const Work slack = line.is_row ? dual_.slack(line.index, across) : dual_.slack(across, line.index);
        return slack > -rounding_of(line);
    }
    std::size_t place(bool is_row, Index index) const {
        return static_cast<std::size_t>(is_row ? index : dual_.rows() + index);
    }

    /// Prim's algorithm, with the masses of lines as weights.
    void set_order() {
        rank_.assign(lines_.size(), 0);  // 0: not reached
        std::vector<Line> roots = lines_;
        std::stable_sort(roots.begin(), roots.end(), [](const Line& a, const Line& b) { return b < a; });
        std::vector<Line> reached;  // a heap
        for (const Line& root : roots) {
            reached.push_back(root);
            while (!reached.empty()) {
                std::pop_heap(reached.begin(), reached.end());
                const Line line = reached.back();
                reached.pop_back();
                Index& rank = rank_[place(line.is_row, line.index)];
                if (rank > 0) continue;
                ordered_.push_back(line);
                rank = static_cast<Index>(ordered_.size());
                for (Index i = 0; i < side(!line.is_row).size(); ++i) {
                    const std::size_t across = place(!line.is_row, i);
                    if (rank_[across] > 0 || !meets(line, i)) continue;
                    reached.push_back(lines_[across]);
                    std::push_heap(reached.begin(), reached.end());
                }
            }
        }
    }

    /// Sets a line's entries in the lines before it that it meets, from its own equation; those in later ones stay.
    /// Returns the log mass of the lightest of the lines before it, or infinity if it meets none or was not near its
    /// solution: then nothing is done.
    Work refine(const Line& line) {
        QuadraticSide<Work>& own = side(line.is_row);
        const Index size = side(!line.is_row).size();
        const Index rank = rank_[place(line.is_row, line.index)];
        const auto is_before = [&](Index i) { return rank_[place(!line.is_row, i)] < rank; };
        Work elsewhere = 0;
        Work lightest = infinity;
        for (Index i = 0; i < size; ++i) {
            line_[i] = is_before(i) ? x(line, i) : TwoDoubles<Work>{-infinity};
            if (!is_before(i)) elsewhere += entry(line, i);
            const Work log_mass = lines_[place(!line.is_row, i)].log_mass;
            if (is_before(i) && meets(line, i)) lightest = (std::min)(lightest, log_mass);
        }
        const Work rest = std::exp(line.log_mass) - elsewhere;
        if (std::isinf(lightest) || (elsewhere > 0 && !(rest > 0))) return infinity;
        line_.solve(size, elsewhere > 0 ? MarginalLine{std::log(rest), infinity} : own.line(line.index));
        if (!(std::abs(line_.potential().minus(own.at(line.index))) <= 10 * rounding_of(line))) return infinity;
        own.set(line.index, line_.potential());
        own.log_mass[static_cast<std::size_t>(line.index)] = elsewhere > 0 ? line.log_mass : line_.log_mass();
        for (Index i = 0; i < size; ++i) {
            if (is_before(i)) entry(line, i) = line_.entry(i);
        }
        return lightest;
    }

    QuadraticSemidual<Work>& dual_;
    Work rounding_of_entry_;
    PreciseLine<Work> line_;
    std::vector<Line> lines_;    ///< Rows, then columns, with the masses that they ask for.
    std::vector<Line> ordered_;  ///< As they are reached.
    std::vector<Index> rank_;    ///< Their places in that order, from 1.
    Work rounding_ = 0;
    bool any_ = false;
};

}  // namespace otpool::detail
