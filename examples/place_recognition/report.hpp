#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <iomanip>
#include <ios>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "../support/aligned.hpp"
#include "../support/canvas.hpp"
#include "experiment.hpp"

namespace place_recognition {

/// Lines of cells, the first the header.
using Table = std::vector<std::vector<std::string>>;

struct Statistics {
    double mean = 0;
    double deviation = 0;  ///< of the sample; 0 of a single number
};

/// Over the seeds, in percent.
inline Statistics recall_of(const Row& row, std::size_t rank) {
    const auto count = static_cast<double>(row.recalls.size());
    Statistics result;
    for (const Recalls& recalls : row.recalls) result.mean += 100 * recalls[rank] / count;
    for (const Recalls& recalls : row.recalls) {
        result.deviation += count > 1 ? std::pow(100 * recalls[rank] - result.mean, 2) / (count - 1) : 0;
    }
    result.deviation = std::sqrt(result.deviation);
    return result;
}

namespace detail {

inline std::string printed(double value, int digits) {
    return (std::ostringstream() << std::fixed << std::setprecision(digits) << value).str();
}

/// "0.05" or "0.02 to 0.1"
inline std::string range(const std::vector<double>& values) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    std::ostringstream text;
    text << *low;
    if (*high > *low) text << " to " << *high;
    return text.str();
}

}  // namespace detail

/// The rows of one level of clutter.
inline Table table(const std::vector<Row>& rows, double clutter) {
    Table lines = {{"pooling", "prototypes of", "numbers"}};
    for (const Index rank : ranks) lines[0].push_back("recall@" + std::to_string(rank));
    lines[0].emplace_back("chosen");
    for (const Row& row : rows) {
        if (row.clutter != clutter) continue;
        lines.push_back({name(row.method.aggregator), name(row.method.prototypes), std::to_string(row.numbers)});
        for (std::size_t r = 0; r < ranks.size(); ++r) {
            const Statistics recall = recall_of(row, r);
            lines.back().push_back(detail::printed(recall.mean, 1) +
                                   (row.recalls.size() > 1 ? " ± " + detail::printed(recall.deviation, 1) : ""));
        }
        lines.back().push_back(row.method.aggregator == Aggregator::mean ? "-" : detail::range(row.parameters));
    }
    return lines;
}

/// The data and the rules: what one needs to know to judge the tables.
inline std::string explanation(const Experiment& experiment) {
    const WorldOptions& world = experiment.world;
    std::ostringstream text;
    text << "Made-up patch features (" << world.features << " numbers, none negative) of " << experiment.places
         << " places, each seen twice: once in the\ndatabase, once as the query. A place has " << world.landmarks
         << " landmarks of " << world.kinds << " kinds; a view shows about " << detail::printed(100 * world.visible, 0)
         << " % of them,\neach with 1 to 8 patches, and clutter. "
         << "Slots: " << experiment.slots << ". Prototypes (k-means) and the one parameter of every pooling\n"
         << "are chosen on " << experiment.training
         << " other places; the test is looked at once. All vectors are taken less their training\nmean and compared "
         << "by cosine. Recall in percent; chance at 1 is "
         << detail::printed(100 / static_cast<double>(experiment.places), 1) << ". ";
    if (experiment.seeds > 1) {
        text << "Mean ± standard deviation over " << experiment.seeds << "\nseeds, each with a world of its own.\n";
    } else {
        text << "One seed.\n";
    }
    return text.str();
}

inline std::string heading(double clutter) {
    return "Clutter " + detail::printed(100 * clutter, 0) + " % of the patches";
}

inline void print(std::ostream& stream, const Experiment& experiment, const std::vector<Row>& rows) {
    stream << explanation(experiment);
    for (const double clutter : experiment.clutter) {
        stream << '\n' << heading(clutter) << ":\n\n";
        support::print_aligned(stream, table(rows, clutter));
    }
}

/// The same as Markdown.
inline void print_markdown(std::ostream& stream, const Experiment& experiment, const std::vector<Row>& rows) {
    stream << explanation(experiment);
    for (const double clutter : experiment.clutter) {
        stream << '\n' << heading(clutter) << ":\n\n";
        const Table lines = table(rows, clutter);
        for (std::size_t l = 0; l < lines.size(); ++l) {
            for (const auto& cell : lines[l]) stream << "| " << cell << ' ';
            stream << "|\n";
            if (l > 0) continue;
            for (std::size_t c = 0; c < lines[l].size(); ++c) stream << (c < 2 ? "|---" : "|--:");
            stream << "|\n";
        }
    }
}

/// Recall at 1 against the clutter: a panel for each kind of prototypes, a line for each pooling.
class Chart {
public:
    Chart(const Experiment& experiment, const std::vector<Row>& rows) : experiment_(experiment), rows_(rows) {}

    support::Canvas paint() const {
        support::Canvas canvas(1000, 440);
        canvas.text(40, 30, "Recall at 1 of made-up places, in percent", {.size = 20, .bold = true});
        paint_panel(canvas, 70, Prototypes::of_all);
        paint_panel(canvas, 420, Prototypes::of_landmarks);
        double y = top + 20;
        for (const Aggregator aggregator : aggregators) {
            canvas.line(790, y, 820, y, ink(aggregator), 3);
            canvas.disc(805, y, 5, ink(aggregator));
            canvas.text(830, y, name(aggregator), {.size = 14});
            y += 28;
        }
        return canvas;
    }

private:
    static constexpr double top = 90, height = 270, width = 300;
    static constexpr std::array aggregators = {Aggregator::netvlad, Aggregator::salad_residuals, Aggregator::salad,
                                               Aggregator::gem, Aggregator::mean};
    static constexpr support::Color grey = support::color(0x777777), pale = support::color(0xdddddd);

    static support::Color ink(Aggregator aggregator) {
        constexpr std::array inks = {support::color(0x888888), support::color(0xe69f00), support::color(0x0072b2),
                                     support::color(0x66c2a5), support::color(0x00795c)};
        return inks[static_cast<std::size_t>(aggregator)];
    }

    double x_of(double left, double clutter) const {
        const auto [low, high] = std::minmax_element(experiment_.clutter.begin(), experiment_.clutter.end());
        const double part = *high > *low ? (clutter - *low) / (*high - *low) : 0.5;
        return left + 20 + part * (width - 40);
    }
    static double y_of(double recall) { return top + height * (1 - recall / 100); }

    void paint_panel(support::Canvas& canvas, double left, Prototypes prototypes) const {
        using Align = support::Canvas::Align;
        canvas.text(left + width / 2, top - 20, "prototypes of " + name(prototypes), {.align = Align::center});
        for (int recall = 0; recall <= 100; recall += 25) {
            canvas.line(left, y_of(recall), left + width, y_of(recall), pale, 1);
            canvas.text(left - 8, y_of(recall), std::to_string(recall),
                        {.size = 12, .ink = grey, .align = Align::right});
        }
        for (const double clutter : experiment_.clutter) {
            canvas.text(x_of(left, clutter), top + height + 16, detail::printed(100 * clutter, 0) + " %",
                        {.size = 12, .ink = grey, .align = Align::center});
        }
        canvas.text(left + width / 2, top + height + 40, "patches that are clutter",
                    {.size = 13, .ink = grey, .align = Align::center});
        for (auto aggregator = aggregators.rbegin(); aggregator != aggregators.rend(); ++aggregator) {
            paint_line(canvas, left, *aggregator, prototypes);
        }
    }

    void paint_line(support::Canvas& canvas, double left, Aggregator aggregator, Prototypes prototypes) const {
        double last_x = 0, last_y = 0;
        bool first = true;
        for (const Row& row : rows_) {
            const Prototypes of_row = row.method.prototypes;
            if (row.method.aggregator != aggregator || (of_row != Prototypes::none && of_row != prototypes)) continue;
            const Statistics recall = recall_of(row, 0);
            const double x = x_of(left, row.clutter), y = y_of(recall.mean);
            if (!first) canvas.line(last_x, last_y, x, y, ink(aggregator), 3);
            canvas.line(x, y_of(recall.mean - recall.deviation), x, y_of(recall.mean + recall.deviation),
                        ink(aggregator), 1.5);
            canvas.disc(x, y, 5, ink(aggregator));
            last_x = x;
            last_y = y;
            first = false;
        }
    }

    const Experiment& experiment_;
    const std::vector<Row>& rows_;
};

}  // namespace place_recognition
