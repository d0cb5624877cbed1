// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "measure/problems.hpp"

namespace measure {

/// One problem solved by one solver.
struct Outcome {
    std::string failure = {};  ///< Empty where all is well, else the status or what is wrong with the numbers.
    double error = 0;          ///< NaN where there is no reference.
    double residual = 0;       ///< As reported.
    int iterations = 0;
    std::size_t marginals = 0;
};

/// "3e-11"
inline std::string short_number(double value) {
    if (value == 0) return "0";
    char text[32];
    std::snprintf(text, sizeof text, "%.0e", value);
    std::string number = text;
    const std::size_t exponent = number.find('e') + 2;  // e-05 -> e-5
    while (number.size() > exponent + 1 && number[exponent] == '0') number.erase(exponent, 1);
    return number;
}

/// What a row of the table says: the outcomes of one solver over the problems of one regime.
class Tally {
public:
    void add(const Outcome& outcome) {
        iterations_.push_back(outcome.iterations);
        if (!outcome.failure.empty()) {
            Failure& failure = failures_[outcome.failure];
            ++failure.count;
            ++failure.by_marginals[outcome.marginals];
            failure.largest_error = std::fmax(failure.largest_error, outcome.error);
            failure.largest_residual = std::max(failure.largest_residual, outcome.residual);
            return;
        }
        ++converged_;
        largest_residual_ = std::max(largest_residual_, outcome.residual);
        if (std::isnan(outcome.error)) return;
        ++compared_;
        largest_error_ = std::max(largest_error_, outcome.error);
        sum_of_errors_ += outcome.error;
    }

    /// The columns after regime and solver.
    std::string cells() const {
        std::vector<int> sorted = iterations_;
        std::sort(sorted.begin(), sorted.end());
        const auto of_compared = [&](double value) { return compared_ == 0 ? "-" : short_number(value); };
        return std::to_string(converged_) + " of " + std::to_string(sorted.size()) + " | " +
               of_compared(largest_error_) + " | " + of_compared(sum_of_errors_ / compared_) + " | " +
               (converged_ == 0 ? "-" : short_number(largest_residual_)) + " | " +
               std::to_string(sorted[sorted.size() / 2]) + " | " + std::to_string(sorted.back()) + " | " + failures();
    }

private:
    struct Failure {
        int count = 0;
        std::array<int, 4> by_marginals = {};
        double largest_error = std::numeric_limits<double>::quiet_NaN();
        double largest_residual = 0;
    };

    /// "3 iteration_limit (2 hard, 1 mixed; error 1e-4, residual 2e-6)"
    std::string failures() const {
        std::string text;
        for (const auto& [name, failure] : failures_) {
            text += (text.empty() ? "" : "; ") + std::to_string(failure.count) + " " + name + " (";
            std::string separator;
            for (std::size_t i = 0; i < failure.by_marginals.size(); ++i) {
                if (failure.by_marginals[i] == 0) continue;
                text += separator + std::to_string(failure.by_marginals[i]) + " " + marginal_names()[i];
                separator = ", ";
            }
            text += "; error ";
            text += std::isnan(failure.largest_error) ? "unknown" : short_number(failure.largest_error);
            text += ", residual " + short_number(failure.largest_residual) + ")";
        }
        return text;
    }

    std::vector<int> iterations_;
    std::map<std::string, Failure> failures_;
    int converged_ = 0;
    int compared_ = 0;
    double largest_error_ = 0;
    double sum_of_errors_ = 0;
    double largest_residual_ = 0;
};

/// What a row of the table of wide problems says.
class WideTally {
public:
    /// `failure` as in Outcome; `index` is the problem's.
    void add(const std::string& failure, double residual, std::size_t index) {
        ++count_;
        if (failure.empty()) {
            ++solved_;
            largest_residual_ = std::max(largest_residual_, residual);
            return;
        }
        Failure& of = failures_.try_emplace(failure, Failure{.first = index}).first->second;
        ++of.count;
        of.largest_residual = std::max(of.largest_residual, residual);
    }

    /// The columns after scalar and regulariser.
    std::string cells() const {
        std::string text =
            std::to_string(solved_) + " of " + std::to_string(count_) + " | " + short_number(largest_residual_) + " | ";
        std::string separator;
        for (const auto& [name, failure] : failures_) {
            text += separator + std::to_string(failure.count) + " " + name + " (residual " +
                    short_number(failure.largest_residual) + "; no. " + std::to_string(failure.first) + ")";
            separator = "; ";
        }
        return text;
    }

private:
    struct Failure {
        std::size_t first = 0;
        int count = 0;
        double largest_residual = 0;
    };

    std::map<std::string, Failure> failures_;
    int count_ = 0;
    int solved_ = 0;
    double largest_residual_ = 0;
};

}  // namespace measure
