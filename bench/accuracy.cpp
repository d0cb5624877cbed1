// Copyright (c) 2026 the otpool authors. MIT licence.

// How accurate the solvers are: error of the pooled vector, residual, iterations and failures on random problems, as the
// Markdown tables of bench/README.md. Every run gives the same tables.

#include <algorithm>
#include <charconv>
#include <exception>
#include <future>
#include <iostream>
#include <limits>
#include <optional>
#include <otpool/otpool.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "measure/checks.hpp"
#include "measure/problems.hpp"
#include "measure/sparse_and_structural.hpp"
#include "measure/tally.hpp"
#include "measure/wide_problems.hpp"
#include "support/output_files.hpp"
#include "support/progress.hpp"

namespace {

using namespace measure;

constexpr const char* usage =
    R"(usage: accuracy [--output FILE] [--problems N] [--wide N] [--rows TEXT]

Solves random problems with every solver, in float and double. Prints Markdown tables of how far the pooled vectors are
from a reference, and of which problems were not solved.

  --output FILE   write the tables to FILE instead of standard output
  --problems N    problems in each row, 1 to 1000 (default 32)
  --wide N        problems of the whole range, solved by Automatic, 1 to 100000 (default 1000)
  --rows TEXT     only the rows whose name has TEXT in it, without the problems of the whole range
  --help          print this text
)";

constexpr const char* explanation =
    R"({problems} random problems in each row (1 to 64 features, 1 to 300 instances; Entropy and RelativeEntropy; rewards normal, or
rectified as after a ReLU; priors uniform, or uneven with excluded instances). Each solver has its default limit of
iterations. The unit is the *spread*, the standard deviation of a problem's reward. The marginals, in turn:
`hard`: both hard; `weak` and `strong`: both soft with alpha1 = alpha2 = 0.1 and 100; `mixed`: one hard, one soft of 0.1 to
100. Shifted or scaled: 1000 or -1000 is added to the rewards, or they are multiplied by 1e30 or 1e-30. Own alphas: each
feature and instance is free, hard, or soft with an alpha of 0.1 to 100. Fixed mass: sum P is 1.01 to 101 times what
the hard ones have.

*Error*: the largest entry of |pooled - reference| / spread, over the solved problems. The reference is Newton in
double, to a residual of 1e-13 or to rounding, on the same rounded input. (The rows of the other solvers show that Newton is
right.) At alpha0 = 0 and for Quadratic and KSparse, the error is the duality gap of plan and potentials /
(spread * mass), for a structural term the distance from stationarity (the problems are those with a hard side). `not_exact` is a
dual bound where no plan reaches it. *Residual*: the largest violation of the optimality conditions, in log-marginal units.
*Not solved*: the status, the marginals, and the largest error and residual there. `mass_out_of_range` is a solution with more
or less mass than the scalar can hold (1e-308 to 2e308 in double, 1e-38 to 3e38 in float). `false converged` would be a
solution whose residual, recomputed from its plan and potentials, is above the tolerance. `iteration_limit` is not rounding,
but slow convergence: on some problems with the smallest alpha0, alpha0 = 0 or Quadratic, `Sinkhorn` and `BregmanAdmm` need
more than 10000 iterations. `Newton`, `ActiveSet` and `Automatic`, the default, solve these.
)";

constexpr const char* explanation_of_wide =
    R"({problems} random problems of the whole range, each solved by `Automatic`:

- alpha0 is 0, or 1e-4 to 1e4 spreads; alpha1 and alpha2 are 0, infinite, or 1e-4 to 1e4 spreads;
- Entropy, RelativeEntropy and Quadratic, in turn;
- rewards are normal, rectified, or rounded (many are equal); up to 1000 spreads are added, and they are scaled by 1e-30 to 1e30;
- pairs are forbidden by rewards of -inf, instances are excluded by priors of 0;
- priors are uniform, uneven, or from 1e-30 to 1; some are masses, with sums of 1e-3 to 1e3.

Each has 1 to 64 features and 1 to 300 instances. *Solved* and *residual* are as above.
*Not solved*: the status, the largest residual there, and the first problem's number. With `precision_limit`, the rounding of
the potentials alone leaves this residual: about 1e-15 times the largest potential / alpha0. For Quadratic, the plan's mass is
below what double holds, and its lines' masses were not found.
)";

template <class Scalar>
constexpr double tolerance = std::is_same_v<Scalar, double> ? 1e-10 : 1e-6;

/// The pooled vector of Newton in double, or nothing if it could not be computed.
template <class R>
std::optional<otpool::RealVector> reference(const Case<double>& made) {
    const auto problem = made.problem<R>();
    const auto solution = otpool::Newton{{.tolerance = 1e-13, .max_iterations = 1000}}.solve(problem);
    if (!(solution.residual < 1e-9) || solution.status == otpool::Status::iteration_limit) return {};
    return otpool::ConditionalReadout{}(solution);
}

/// The solution's status if it is a failure, or what is wrong with the numbers of a solution that is said to be one.
template <class Scalar, class R>
std::string failure(const otpool::Solution<Scalar, R>& solution, const otpool::Vector<Scalar>& pooled) {
    if (!pooled.allFinite() || !std::isfinite(solution.residual) || !solution.plan().allFinite()) return "not finite";
    if (!solution.converged()) return otpool::name(solution.status);
    if (solution.residual > tolerance<Scalar>) return "false converged";
    const Recomputed recomputed(solution);
    if (recomputed.is_representable()) {
        if (!(recomputed.residual() <= 1.01 * tolerance<Scalar> + recomputed.rounding())) return "false converged";
    }
    return "";
}

/// The largest entry of |pooled - reference| / spread; without a reference, the duality gap.
template <class Scalar, class R>
double error(const Case<Scalar>& made, const otpool::Solution<Scalar, R>& solution,
             const otpool::Vector<Scalar>& pooled, const std::optional<otpool::RealVector>& expected) {
    if constexpr (!std::is_same_v<R, otpool::Quadratic>) {
        if (made.alpha0 > 0) {
            if (!expected) return std::numeric_limits<double>::quiet_NaN();
            return (pooled.template cast<double>() - *expected).cwiseAbs().maxCoeff() / made.spread;
        }
    }
    const Recomputed recomputed(solution);
    return recomputed.is_representable() ? recomputed.duality_gap(made.spread)
                                         : std::numeric_limits<double>::quiet_NaN();
}

template <class Scalar, class R, class Solver>
void solve(const Solver& solver, const Case<Scalar>& made, const std::optional<otpool::RealVector>& expected,
           Tally& tally) {
    const auto problem = made.template problem<R>();
    const otpool::Solution<Scalar, R> solution = solver.solve(problem);
    const otpool::Vector<Scalar> pooled = otpool::ConditionalReadout{}(solution);
    tally.add({.failure = failure(solution, pooled),
               .error = error(made, solution, pooled, expected),
               .residual = solution.residual,
               .iterations = solution.iterations,
               .marginals = made.marginals});
}

/// The rows of one regime: one for each solver that takes its problems.
struct Rows {
    Tally sinkhorn, admm, newton, active_set, automatic;
    int without_reference = 0;
};

template <class R, class Scalar>
void solve_by_all(const Case<Scalar>& made, const Regime& regime, Rows& rows) {
    const otpool::Options options{.tolerance = tolerance<Scalar>};
    std::optional<otpool::RealVector> expected;
    if constexpr (!std::is_same_v<R, otpool::Quadratic>) {
        if (regime.has_reference()) {
            expected = reference<R>(made.in_double());
            rows.without_reference += expected ? 0 : 1;
            solve<Scalar, R>(otpool::Sinkhorn{options}, made, expected, rows.sinkhorn);
        }
    }
    if (regime.alpha0_high > 0) {
        solve<Scalar, R>(otpool::Newton{options}, made, expected, rows.newton);
    } else {
        solve<Scalar, R>(otpool::ActiveSet{options}, made, expected, rows.active_set);
    }
    if (!regime.fixed_mass) solve<Scalar, R>(otpool::BregmanAdmm{options}, made, expected, rows.admm);
    solve<Scalar, R>(otpool::Automatic{options}, made, expected, rows.automatic);
}

template <class Scalar>
std::string table(std::size_t problems, const std::string& rows_with, support::ProgressBar& progress) {
    std::ostringstream out;
    out << "| alpha0 / spread | solver | solved | largest error | mean error | largest residual | median "
           "iterations "
           "| most iterations | not solved |\n"
           "|---|---|--:|--:|--:|--:|--:|--:|---|\n";
    for (std::size_t index = 0; index < regimes().size(); ++index) {
        const Regime& regime = regimes()[index];
        if (regime.name.find(rows_with) == std::string::npos) continue;
        Rows rows;
        for (std::size_t i = 0; i < problems; ++i) {
            const Case<Scalar> made = random_case<Scalar>(regime, index, i);
            if (regime.quadratic) {
                solve_by_all<otpool::Quadratic>(made, regime, rows);
            } else if (made.relative) {
                solve_by_all<otpool::RelativeEntropy>(made, regime, rows);
            } else {
                solve_by_all<otpool::Entropy>(made, regime, rows);
            }
            progress.advance();
        }
        const auto row = [&](const char* solver, const Tally& tally) {
            out << "| " << regime.name << " | " << solver << " | " << tally.cells() << " |\n";
        };
        if (regime.has_reference()) row("Sinkhorn", rows.sinkhorn);
        if (!regime.fixed_mass) row("BregmanAdmm", rows.admm);
        if (regime.alpha0_high > 0) {
            row("Newton", rows.newton);
        } else {
            row("ActiveSet", rows.active_set);
        }
        row("Automatic", rows.automatic);
        if (rows.without_reference > 0) {
            out << "| " << regime.name << " | *no reference* | " << rows.without_reference << " | | | | | | |\n";
        }
    }
    out << sparse_and_structural_rows<Scalar>(problems, tolerance<Scalar>);
    return out.str();
}

/// Solves a problem of the whole range by Automatic.
template <class R, class Scalar>
void solve_wide(const Case<Scalar>& made, std::size_t index, WideTally& tally) {
    try {
        const otpool::Solution<Scalar, R> solution =
            otpool::Automatic{{.tolerance = tolerance<Scalar>}}.solve(made.template problem<R>());
        tally.add(failure(solution, otpool::ConditionalReadout{}(solution)), solution.residual, index);
    } catch (const otpool::Error& error) {
        tally.add(error.what(), 0, index);
    }
}

/// The rows of the second table of one scalar.
template <class Scalar>
std::string wide_rows(const char* scalar, std::size_t problems, support::ProgressBar& progress) {
    const char* const names[] = {"Entropy", "RelativeEntropy", "Quadratic", "any, alpha0 = 0"};
    WideTally tallies[std::size(names)];
    for (std::size_t i = 0; i < problems; ++i) {
        const Case<Scalar> made = wide_case<Scalar>(i);
        WideTally& tally = tallies[made.alpha0 == 0 ? 3 : i % 3];
        if (i % 3 == 0) solve_wide<otpool::Entropy>(made, i, tally);
        if (i % 3 == 1) solve_wide<otpool::RelativeEntropy>(made, i, tally);
        if (i % 3 == 2) solve_wide<otpool::Quadratic>(made, i, tally);
        progress.advance();
    }
    std::string rows;
    for (std::size_t i = 0; i < std::size(names); ++i) {
        rows += std::string("| ") + scalar + " | " + names[i] + " | " + tallies[i].cells() + " |\n";
    }
    return rows;
}

std::string with_count(std::string text, std::size_t problems) {
    const std::string place = "{problems}";
    return text.replace(text.find(place), place.size(), std::to_string(problems));
}

/// The tables of the regimes whose name has `rows_with` in it.
std::string tables(std::size_t problems, const std::string& rows_with, support::ProgressBar& progress) {
    auto in_double = std::async(std::launch::async, [&] { return table<double>(problems, rows_with, progress); });
    const std::string in_float = table<float>(problems, rows_with, progress);
    return with_count(explanation, problems) + "\n**double, tolerance 1e-10**\n\n" + in_double.get() +
           "\n**float, tolerance 1e-6**\n\n" + in_float;
}

std::string document(std::size_t problems, std::size_t wide, const std::string& rows_with) {
    const bool all = rows_with.empty();
    const auto count = std::count_if(regimes().begin(), regimes().end(), [&](const Regime& regime) {
        return regime.name.find(rows_with) != std::string::npos;
    });
    support::ProgressBar progress("accuracy", 2 * (problems * static_cast<std::size_t>(count) + (all ? wide : 0)));
    const std::string of_regimes = tables(problems, rows_with, progress);
    if (!all) return of_regimes;
    auto wide_in_double = std::async(std::launch::async, [&] { return wide_rows<double>("double", wide, progress); });
    const std::string wide_in_float = wide_rows<float>("float", wide, progress);
    return of_regimes + "\n**Automatic, the whole range**\n\n" + with_count(explanation_of_wide, wide) +
           "\n| scalar | regulariser | solved | largest residual | not solved |\n|---|---|--:|--:|---|\n" +
           wide_in_double.get() + wide_in_float;
}

struct Arguments {
    std::string output = {};
    std::string rows = {};
    std::size_t problems = 32;
    std::size_t wide = 1000;
};

/// Throws std::invalid_argument.
std::size_t parse_count(const std::string& option, const std::string& value, std::size_t most) {
    std::size_t count = 0;
    const char* end = value.data() + value.size();
    const auto [rest, failed] = std::from_chars(value.data(), end, count);
    if (failed != std::errc{} || rest != end || count < 1 || count > most) {
        throw std::invalid_argument(option + " is " + value + "; allowed: 1 to " + std::to_string(most));
    }
    return count;
}

/// Throws std::invalid_argument.
Arguments parse(const std::vector<std::string>& words) {
    Arguments arguments;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& option = words[i];
        if (option != "--output" && option != "--problems" && option != "--wide" && option != "--rows") {
            throw std::invalid_argument("unknown option " + option);
        }
        if (++i == words.size()) throw std::invalid_argument(option + " needs a value");
        if (option == "--output") arguments.output = words[i];
        if (option == "--rows") arguments.rows = words[i];
        if (option == "--problems") arguments.problems = parse_count(option, words[i], 1000);
        if (option == "--wide") arguments.wide = parse_count(option, words[i], 100000);
    }
    return arguments;
}

}  // namespace

int main(int argc, char** argv) try {
    const std::vector<std::string> words(argv + 1, argv + argc);
    if (std::find(words.begin(), words.end(), "--help") != words.end()) {
        std::cout << usage;
        return 0;
    }
    const Arguments arguments = parse(words);
    if (arguments.output.empty()) {
        std::cout << document(arguments.problems, arguments.wide, arguments.rows);
        return 0;
    }
    support::OutputFiles files;
    support::OutputFile& output = files.add(arguments.output);
    output.stream() << document(arguments.problems, arguments.wide, arguments.rows);
    files.commit();
} catch (const std::exception& error) {
    std::cerr << "accuracy: " << error.what() << '\n';
    return 2;
}
