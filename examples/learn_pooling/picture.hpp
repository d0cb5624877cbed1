#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "../support/heatmap.hpp"
#include "experiment.hpp"
#include "report.hpp"

namespace learn_pooling {

/// For every task the layer's plan of one test bag, as training goes on, and the weights of the label's rule.
inline support::HeatmapGrid picture(const std::vector<Outcome>& outcomes) {
    support::HeatmapGrid grid;
    grid.title = "A UOT layer learns to pool: its plan of a test bag, \u03b1\u2080, and accuracy";
    grid.column_titles = {"start", "epoch 1", "epoch 2", "epoch 5", "learned", "the label's rule"};
    for (const Outcome& outcome : outcomes) {
        const Learned& learned = outcome.learned.front();
        grid.row_titles.push_back(to_string(outcome.task));
        auto& row = grid.rows.emplace_back();
        const auto last = static_cast<int>(learned.history.size()) - 1;
        for (const int epoch : std::array{0, 1, 2, 5, learned.epoch}) {
            const Snapshot& shown = learned.history[static_cast<std::size_t>(std::min(epoch, last))];
            row.push_back({shown.weights, "\u03b1\u2080 " + detail::two_digits(shown.alpha0) + ", " +
                                              detail::fixed(100 * shown.validation, 0) + " %"});
        }
        row.push_back({learned.rule_weights, ""});
    }
    return grid;
}

}  // namespace learn_pooling
