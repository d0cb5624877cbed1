#pragma once

#include <algorithm>
#include <cstddef>
#include <iomanip>
#include <ios>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/aligned.hpp"
#include "../support/heatmap.hpp"
#include "comparison.hpp"

namespace reproduce {

/// To one digit, as errors are given: 3e-12, or 0.
inline std::string one_digit(double value) {
    if (value == 0) return "0";
    return (std::ostringstream() << std::scientific << std::setprecision(0) << value).str();
}

namespace detail {

/// "converged", or of several bags "converged 90, iteration_limit 2".
inline std::string endings(const Outcome& outcome) {
    std::string text;
    for (const auto& [status, count] : outcome.bags) {
        if (!text.empty()) text += ", ";
        text += otpool::name(status);
        if (outcome.bags.size() > 1) text.append(" ").append(std::to_string(count));
    }
    return text;
}

inline std::string cell(const Outcome& outcome) {
    if (!outcome.refusal.empty()) return "refused";
    std::ostringstream text;
    text << one_digit(outcome.error) << std::setw(7) << outcome.iterations << "  " << endings(outcome);
    return text.str();
}

/// The first instances of the plan, as many as can be told apart in the picture.
inline Matrix shown(const Matrix& plan) { return plan.leftCols(std::min<otpool::Index>(plan.cols(), 40)); }

inline support::Panel panel(const Outcome& outcome) {
    if (!outcome.refusal.empty()) return {{}, "refused: needs \u03b1\u2080 > 0"};
    return {shown(outcome.plan),
            "iterations: " + std::to_string(outcome.iterations) + ", error: " + one_digit(outcome.error)};
}

}  // namespace detail

/// A row for every pooling, a column for every solver.
inline void print_table(std::ostream& stream, const std::vector<Comparison>& comparisons) {
    std::vector<std::vector<std::string>> lines = {{"pooling"}};
    lines[0].insert(lines[0].end(), solver_names.begin(), solver_names.end());
    std::set<std::string> refusals;
    int ambiguous = 0;
    for (const Comparison& comparison : comparisons) {
        lines.push_back({to_string(comparison.name) + (comparison.ambiguous > 0 ? " *" : "")});
        for (const Outcome& outcome : comparison.outcomes) {
            lines.back().push_back(detail::cell(outcome));
            if (!outcome.refusal.empty()) refusals.insert(outcome.refusal);
        }
        ambiguous += comparison.ambiguous;
    }
    support::print_aligned(stream, lines);
    if (!refusals.empty()) stream << "\nrefused:\n";
    for (const std::string& refusal : refusals) stream << "  " << refusal << '\n';
    if (ambiguous > 0) {
        stream << "\n* Several plans are best for " << ambiguous
               << " of the bags; there the pooled vector's mean is compared, the value of the transport.\n";
    }
}

/// The first bag's plans, laid out as the table is.
inline support::HeatmapGrid picture(const std::vector<Comparison>& comparisons) {
    support::HeatmapGrid grid;
    grid.title = "Poolings as transport plans: by formula, and as solvers reach them";
    grid.column_titles = {"computed directly"};
    grid.column_titles.insert(grid.column_titles.end(), solver_names.begin(), solver_names.end());
    for (const Comparison& comparison : comparisons) {
        grid.row_titles.push_back(to_string(comparison.name));
        grid.rows.push_back({{detail::shown(comparison.plan), ""}});
        for (const Outcome& outcome : comparison.outcomes) grid.rows.back().push_back(detail::panel(outcome));
    }
    return grid;
}

}  // namespace reproduce
