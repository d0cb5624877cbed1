// Copyright (c) 2026 the otpool authors. MIT licence.

// Whether Automatic takes the right solver: its time against that of every solver by itself, over sizes and alphas, as a
// Markdown table.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <limits>
#include <otpool/otpool.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "random.hpp"

namespace {

using namespace otpool;

constexpr const char* usage =
    R"(usage: solver_choice [--help]

Solves problems of many sizes and alphas by each solver and by Automatic, to 1e-8 in double. Prints a row for each with
the times in milliseconds (a minus: not solved), and at the end the share of problems where Automatic takes at most 1.5
times as long as the fastest that solves it. Takes about five minutes.
)";

struct Time {
    double milliseconds = std::numeric_limits<double>::infinity();  ///< Infinite if it does not solve the problem.
    int iterations = 0;
};

/// The shortest of up to five solves, fewer if they take long.
template <class Solver, class R>
Time time_of(const Solver& solver, const UotProblem<double, R>& problem) {
    using Clock = std::chrono::steady_clock;
    Time time;
    double shortest = std::numeric_limits<double>::infinity();
    double total = 0;
    for (int i = 0; i < 5 && total < 300; ++i) {
        const auto start = Clock::now();
        const auto solution = solver.solve(problem);
        const double taken = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
        shortest = std::min(shortest, taken);
        total += taken;
        time.iterations = solution.iterations;
        if (!solution.converged() && solution.status != Status::mass_out_of_range) return time;
    }
    time.milliseconds = shortest;
    return time;
}

std::string printed(const Time& time) {
    if (std::isinf(time.milliseconds)) return "- (" + std::to_string(time.iterations) + ")";
    std::ostringstream text;
    text << std::setprecision(3) << time.milliseconds << " (" << time.iterations << ")";
    return text.str();
}

struct Count {
    int all = 0, near_best = 0, unsolved = 0;
};

/// Prints one row, and counts it.
template <class R>
void compare(const std::string& name, const UotProblem<double, R>& problem, Count& count) {
    const Options options{.tolerance = 1e-8};
    std::vector<Time> single;
    if constexpr (EntropicRegularizer<R>) {
        if (problem.alpha0 > 0) single.push_back(time_of(Sinkhorn{options}, problem));
    }
    if (problem.alpha0 > 0) {
        single.push_back(time_of(Newton{options}, problem));
    } else {
        single.push_back(time_of(ActiveSet{options}, problem));
    }
    single.push_back(time_of(BregmanAdmm{{.tolerance = 1e-8, .max_iterations = 3000}}, problem));
    const Time automatic = time_of(Automatic{options}, problem);
    double best = std::numeric_limits<double>::infinity();
    for (const Time& time : single) best = std::min(best, time.milliseconds);
    const double ratio = automatic.milliseconds / best;
    ++count.all;
    count.unsolved += std::isinf(automatic.milliseconds) ? 1 : 0;
    count.near_best += ratio <= 1.5 ? 1 : 0;
    std::cout << "| " << name << " | ";
    if (single.size() == 2) std::cout << "| ";
    for (const Time& time : single) std::cout << printed(time) << " | ";
    std::cout << printed(automatic) << " | " << std::setprecision(3) << ratio << " |" << std::endl;
}

struct Sides {
    const char* name;
    double alpha1, alpha2;  ///< In spreads.
};

void compare_all() {
    constexpr double inf = std::numeric_limits<double>::infinity();
    const std::vector<Sides> all_sides = {
        {"hard", inf, inf}, {"mixed", inf, 1}, {"strong", 100, 100}, {"even", 1, 1}, {"weak", 0.05, 0.05}};
    std::cout
        << "| D x N, marginals, alpha0 / spread | Sinkhorn | Newton or ActiveSet | BregmanAdmm | Automatic | ratio "
           "to the best |\n|---|--:|--:|--:|--:|--:|\n";
    Count count;
    for (const auto& [D, N] :
         std::vector<std::pair<Index, Index>>{{4, 50}, {16, 100}, {64, 300}, {32, 4000}, {300, 64}}) {
        bench::Random random(static_cast<std::uint64_t>(D + N));
        const Matrix<double> bag = random.normal_matrix<double>(D, N);
        for (const Sides& sides : all_sides) {
            const auto fill = [&](auto problem, double alpha0) {
                problem.reward = bag;
                problem.alpha0 = alpha0;
                problem.features.alpha = sides.alpha1;
                problem.instances.alpha = sides.alpha2;
                return problem;
            };
            const std::string size = std::to_string(D) + " x " + std::to_string(N) + ", " + sides.name + ", ";
            for (const double alpha0 : {10., 1., 0.1, 0.01, 1e-3, 1e-4}) {
                std::ostringstream name;
                name << size << alpha0;
                compare(name.str(), fill(UotProblem<double, Entropy>{}, alpha0), count);
            }
            compare(size + "Quadratic, 1", fill(UotProblem<double, Quadratic>{}, 1), count);
            if (D * N < 50000) compare(size + "0", fill(UotProblem<double, Entropy>{}, 0), count);
        }
    }
    std::cout << "\nAutomatic takes at most 1.5 times as long as the fastest in " << count.near_best << " of "
              << count.all << " problems; it leaves " << count.unsolved << " unsolved." << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) {
        const bool help = argc == 2 && std::string(argv[1]) == "--help";
        (help ? std::cout : std::cerr) << usage;
        return help ? EXIT_SUCCESS : 2;
    }
    compare_all();
    return EXIT_SUCCESS;
}
