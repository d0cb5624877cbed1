#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iomanip>
#include <ios>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "../support/aligned.hpp"
#include "experiment.hpp"

namespace learn_pooling {

/// Lines of cells, the first the header.
using Table = std::vector<std::vector<std::string>>;

struct Statistics {
    double mean = 0;
    double deviation = 0;  ///< of the sample; 0 of a single number
};

inline Statistics statistics(const std::vector<double>& values) {
    const auto count = static_cast<double>(values.size());
    Statistics result;
    for (const double value : values) result.mean += value / count;
    if (values.size() < 2) return result;
    double squares = 0;
    for (const double value : values) squares += (value - result.mean) * (value - result.mean);
    result.deviation = std::sqrt(squares / (count - 1));
    return result;
}

/// The fixed pooling that is best on the task, on average over the seeds.
inline std::size_t best_fixed(const Outcome& outcome) {
    std::size_t best = 0;
    for (std::size_t p = 1; p < fixed_poolings; ++p) {
        if (statistics(outcome.accuracies[p]).mean > statistics(outcome.accuracies[best]).mean) best = p;
    }
    return best;
}

namespace detail {

inline std::string fixed(double value, int digits, bool sign = false) {
    std::ostringstream text;
    const bool zero = std::abs(value) < 0.5 * std::pow(10, -digits);  // a rounded zero has no sign
    text << (sign && !zero ? std::showpos : std::noshowpos) << std::fixed << std::setprecision(digits)
         << (zero ? 0 : value);
    return text.str();
}

/// Percent: "97.5", or of several seeds "97.5 ± 0.4".
inline std::string percent(const std::vector<double>& values, bool sign = false) {
    const Statistics of = statistics(values);
    return fixed(100 * of.mean, 1, sign) + (values.size() > 1 ? " ± " + fixed(100 * of.deviation, 1) : "");
}

/// 0.16, 1.3, 42, 3400
inline std::string two_digits(double value) {
    if (value < 99.5) return (std::ostringstream() << std::setprecision(2) << value).str();
    const double unit = std::pow(10, std::floor(std::log10(value)) - 1);
    return fixed(std::round(value / unit) * unit, 0);
}

/// "0.16 to 0.2" over the seeds, each rounded to two digits, or "0.16".
template <class Number>
std::string range(const std::vector<Learned>& learned, const Number& number) {
    const auto [low, high] = std::minmax_element(
        learned.begin(), learned.end(), [&](const Learned& a, const Learned& b) { return number(a) < number(b); });
    const std::string from = two_digits(number(*low)), to = two_digits(number(*high));
    return from == to ? from : from + " to " + to;
}

inline std::string in_words(const Character& character) {
    if (character.drawn_on > 20)
        return character.shared > 0.8 ? "a mean" : "a mean that leans to each feature's largest";
    if (character.shared > 0.5) return "a few instances, the same for all features";
    return character.drawn_on < 3 ? "close to a max" : "each feature's own largest few";
}

}  // namespace detail

/// Test accuracies in percent: a row for each task, a column for each pooling, and the learned layer less the best
/// fixed pooling.
inline Table accuracies(const std::vector<Outcome>& outcomes) {
    Table table = {{"label depends on"}};
    table[0].insert(table[0].end(), pooling_names.begin(), pooling_names.end());
    table[0].push_back("less best fixed");
    std::vector<std::string> worst = {"worst"};
    for (const Outcome& outcome : outcomes) {
        table.push_back({to_string(outcome.task)});
        for (const auto& of_pooling : outcome.accuracies) table.back().push_back(detail::percent(of_pooling));
        std::vector<double> differences = outcome.accuracies.back();
        const auto& best = outcome.accuracies[best_fixed(outcome)];
        for (std::size_t s = 0; s < differences.size(); ++s) differences[s] -= best[s];
        table.back().push_back(detail::percent(differences, true));
    }
    for (std::size_t p = 0; p < pooling_names.size(); ++p) {
        double least = 1;
        for (const Outcome& outcome : outcomes) least = std::min(least, statistics(outcome.accuracies[p]).mean);
        worst.push_back(detail::fixed(100 * least, 1));
    }
    worst.push_back("");
    if (outcomes.size() > 1) table.push_back(worst);
    return table;
}

/// What the UOT layer learned, beside the rule of the label.
inline Table learned(const std::vector<Outcome>& outcomes) {
    using detail::range;
    using detail::two_digits;
    Table table = {{"label depends on", "alpha0", "alpha1", "alpha2", "draws on (rule)", "shared (rule)", "in words"}};
    for (const Outcome& outcome : outcomes) {
        const auto& all = outcome.learned;
        Character mean, rule;
        for (const Learned& one : all) {
            mean += one.character;
            rule += one.of_rule;
        }
        mean = mean / static_cast<double>(all.size());
        rule = rule / static_cast<double>(all.size());
        table.push_back({to_string(outcome.task), range(all, [](const Learned& one) { return one.alpha0; }),
                         range(all, [](const Learned& one) { return one.alpha1; }),
                         range(all, [](const Learned& one) { return one.alpha2; }),
                         two_digits(mean.drawn_on) + " (" + two_digits(rule.drawn_on) + ")",
                         detail::fixed(100 * mean.shared, 0) + " % (" + detail::fixed(100 * rule.shared, 0) + " %)",
                         detail::in_words(mean)});
    }
    return table;
}

/// The data and the training: what one needs to know to judge the tables.
inline std::string explanation(const Experiment& experiment) {
    std::ostringstream text;
    text << R"(Bags of 30 to 50 instances with 9 features, independent and standard normal but for feature 0, the
marker: it is small noise, and 3 more in one instance of every bag. The same bags serve all tasks; the
label is whether y_1 - y_2 + y_3 - ... - y_8 > 0, where y is the bag's mean, its max, its marked instance,
or of every feature the mean of its largest tenth. Chance is 50 %.

The UOT layer is one configuration for all tasks: Sinkhorn, K = 4, relative entropy, q0 from attention.
Softmax is at alpha0 = 0.5, attention is that of Ilse et al., mixed is w mean + (1 - w) max. Every pooling
has a linear classifier on top and is trained with it in the same way: )"
         << experiment.training.epochs << " epochs of Adam on\n"
         << experiment.bags * 3 / 4 << " bags; the epoch is chosen on " << experiment.bags - experiment.bags * 3 / 4
         << " others, and " << experiment.bags << " more are the test, looked at once. ";
    if (experiment.seeds > 1) {
        text << "Mean ±\nstandard deviation over " << experiment.seeds
             << " seeds, each with bags and weights of its own.\n";
    } else {
        text << "One seed.\n";
    }
    return text.str();
}

inline std::string explanation_of_learned() {
    return R"(What the UOT layer learned, from alpha0 = 3, alpha1 = 10, alpha2 = 0.1 and a uniform q0. A feature draws on
exp(entropy of its weights) instances; shared is the weight that two features put on the same instances;
both on average over the test bags, and in brackets those of the label's rule.
)";
}

inline void print(std::ostream& stream, const Experiment& experiment, const std::vector<Outcome>& outcomes) {
    stream << explanation(experiment) << "\nTest accuracy in percent:\n\n";
    support::print_aligned(stream, accuracies(outcomes));
    stream << '\n' << explanation_of_learned() << '\n';
    support::print_aligned(stream, learned(outcomes));
}

/// The same as Markdown.
inline void print_markdown(std::ostream& stream, const Experiment& experiment, const std::vector<Outcome>& outcomes) {
    const auto print_table = [&](const Table& table) {
        for (std::size_t r = 0; r < table.size(); ++r) {
            for (const auto& cell : table[r]) stream << "| " << cell << ' ';
            stream << "|\n";
            if (r > 0) continue;
            for (std::size_t c = 0; c < table[r].size(); ++c) stream << "|---";
            stream << "|\n";
        }
    };
    stream << explanation(experiment) << "\nTest accuracy in percent:\n\n";
    print_table(accuracies(outcomes));
    stream << '\n' << explanation_of_learned() << '\n';
    print_table(learned(outcomes));
}

}  // namespace learn_pooling
