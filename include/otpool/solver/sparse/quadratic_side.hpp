// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

#include "otpool/closed_form/quadratic_line.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/solver/sparse/two_doubles.hpp"

namespace otpool::detail {

/// The lines of one side of a Quadratic plan. An entry X + f + g may be far smaller than its terms, where alpha0 or
/// masses are small: potentials have 32 digits.
template <std::same_as<Real> Work = Real>
struct QuadraticSide {
    const MarginalLine* lines;
    std::vector<Work> potential, low;  ///< A potential is the sum of the two.
    std::vector<Work> log_mass;        ///< Of the plan's lines.
    std::vector<Work> support;         ///< Their numbers of entries.

    explicit QuadraticSide(const std::vector<MarginalLine>& of)
        : lines(of.data()), potential(of.size(), 0), low(of.size(), 0), log_mass(of.size()), support(of.size()) {}

    Index size() const { return static_cast<Index>(potential.size()); }
    const MarginalLine& line(Index i) const { return lines[i]; }
    TwoDoubles<Work> at(Index i) const { return {potential[place(i)], low[place(i)]}; }
    void set(Index i, const TwoDoubles<Work>& to) {
        potential[place(i)] = to.high;
        low[place(i)] = to.low;
    }
    /// The log mass that a line's potential asks for; that of the plan if the line is free.
    Work asked(Index i) const { return line(i).is_free() ? log_mass[place(i)] : line(i).log_mass(potential[place(i)]); }

    /// The mass that a line's potential asks for, within the range of numbers; 0 if the line is free.
    Work target(Index i) const { return line(i).is_free() ? 0 : std::exp((std::min)(asked(i), largest_log)); }
    /// The mass of a line of the plan, within the same range.
    Work mass(Index i) const { return std::exp((std::min)(log_mass[place(i)], largest_log)); }

    static constexpr Work largest_log = 600;
    static std::size_t place(Index i) { return static_cast<std::size_t>(i); }
};

/// Solves lines of a Quadratic plan from x with 32 digits.
template <std::same_as<Real> Work = Real>
class PreciseLine {
public:
    /// An entry of the support that underflows.
    static constexpr Work least_entry = std::numeric_limits<Work>::denorm_min();

    /// For lines of at most so many entries.
    explicit PreciseLine(Index most) : x_(static_cast<std::size_t>(most)), gap_(x_.size()) {}

    /// x_i, to set before solve(); -inf has no mass.
    TwoDoubles<Work>& operator[](Index i) { return x_[static_cast<std::size_t>(i)]; }

    /// Solves a line with the first `size` of the x.
    void solve(Index size, const MarginalLine& line) {
        line_ = line;
        highest_ = *std::max_element(x_.begin(), x_.begin() + size);
        for (Index i = 0; i < size; ++i) gap_[static_cast<std::size_t>(i)] = gap_of(i);
        solved_.emplace(gap_.data(), size, highest_.high, line);
    }
    Work log_mass() const { return solved_->log_mass; }
    Work support() const { return solved_->support; }
    /// An entry. The highest is never 0: if it underflows, it is still in the support.
    Work entry(Index i) const {
        const Work gap = gap_of(i);
        const bool underflows = gap == 0 && solved_->support > 0 && solved_->log_mass < 0;
        return (std::max)(solved_->entry(gap), underflows ? least_entry : 0);
    }
    /// Of two formulas, excess - highest and -alpha log(mass / prior), the one that loses fewer digits counts.
    TwoDoubles<Work> potential() const {
        const Work digits_of_mass =
            line_.alpha * (std::max)({Work(1), std::abs(solved_->log_mass), std::abs(line_.log_prior)});
        const bool is_exact = !line_.is_free() && solved_->support > 0 && solved_->excess < digits_of_mass;
        using Two = TwoDoubles<Work>;
        return is_exact ? Two{-highest_.high, -highest_.low}.plus(solved_->excess) : Two{solved_->potential};
    }

private:
    /// Infinite where there is no reward, also if no entry of the line has one.
    Work gap_of(Index i) const {
        const TwoDoubles<Work>& x = x_[static_cast<std::size_t>(i)];
        constexpr Work infinity = std::numeric_limits<Work>::infinity();
        return x.high > -infinity ? highest_.minus(x) : infinity;
    }

    std::vector<TwoDoubles<Work>> x_;
    std::vector<Work> gap_;
    TwoDoubles<Work> highest_;  ///< Of the x.
    MarginalLine line_;
    std::optional<QuadraticLine<Work>> solved_;
};

}  // namespace otpool::detail
