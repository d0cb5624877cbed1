#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "otpool/closed_form/quadratic_line.hpp"
#include "otpool/closed_form/wright_omega.hpp"
#include "otpool/solver/sparse/held_lines.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// The equation of one line of a Quadratic plan, and what it is solved with.

namespace quadratic_line_test {

using otpool::Index;
using otpool::detail::MarginalLine;
using otpool::detail::QuadraticLine;
using tests::Random;

TEST_CASE("wright_omega solves w + log w = x") {
    const auto check = [](double x) {
        const long double w = otpool::detail::wright_omega(x);
        INFO("x " << x);
        // Relative to w: x is rounded, and so is the solution, by w / (1 + w) of that.
        const long double error = (w + std::log(w) - static_cast<long double>(x)) / (1 + w);
        CHECK(std::abs(static_cast<double>(error)) <=
              4 * std::numeric_limits<double>::epsilon() * (1 + (x < 0 ? -x : 0)));
    };
    for (double x = -700; x < 50; x += 0.37) check(x);
    for (double x = -42; x < 3; x += 0.0173) check(x);
    for (double x = 1; x < 1e6; x *= 1.01) check(x);
    CHECK(otpool::detail::wright_omega(1.0) == 1);
    CHECK(otpool::detail::wright_omega(1e300) == 1e300);
    CHECK(otpool::detail::wright_omega(-1e300) == 0);
}

/// Checks sum P against the prior, and P against max(0, x + potential), in extended precision.
void check_line(const std::vector<double>& x, const MarginalLine& line) {
    const double highest = *std::max_element(x.begin(), x.end());
    std::vector<double> gap;
    for (const double number : x) gap.push_back(highest - number);
    std::vector<double> scratch = gap;
    const QuadraticLine<> solved(scratch.data(), static_cast<Index>(x.size()), highest, line);
    long double mass = 0;
    long double largest = std::abs(highest) + std::abs(solved.potential);
    for (std::size_t i = 0; i < x.size(); ++i) {
        const long double entry = solved.entry(gap[i]);
        mass += entry;
        const long double expected = std::max(0.0L, static_cast<long double>(x[i]) + solved.potential);
        CHECK(std::abs(static_cast<double>(entry - expected)) <= 1e-14 * static_cast<double>(largest));
        if (entry > 1e-290L) CHECK(std::abs(solved.log_entry(gap[i]) - static_cast<double>(std::log(entry))) < 1e-12);
    }
    CHECK(std::abs(static_cast<double>(std::log(mass)) - solved.log_mass) <= 1e-13 * (1 + std::abs(solved.log_mass)));
    if (line.is_free()) {
        CHECK(solved.potential == 0);
        return;
    }
    const double penalty = line.is_hard() ? 0 : solved.potential / line.alpha;
    const double size = 1 + std::abs(line.log_prior) + std::abs(penalty) +
                        (line.is_hard() ? 0 : static_cast<double>(largest) / line.alpha);
    CHECK(std::abs(solved.log_mass - line.log_prior + penalty) <= 1e-14 * size);
}

TEST_CASE("a line of a Quadratic plan fulfils its equations") {
    const double hard = std::numeric_limits<double>::infinity();
    for (std::uint64_t seed = 0; seed < 3000; ++seed) {
        Random random(seed);
        std::vector<double> x(static_cast<std::size_t>(random.integer(1, 30)));
        const double scale = random.log_uniform(1e-3, 1e3);
        for (double& number : x) number = scale * random.normal();
        if (seed % 3 == 0) {
            for (double& number : x) number = std::round(number);  // ties
        }
        if (seed % 5 == 0) x[0] = 1000 * scale;
        const double alpha = random.chance(0.3) ? hard : random.log_uniform(1e-2, 1e4) * scale;
        INFO("seed " << seed << ", alpha " << alpha);
        const double prior = random.chance(0.3) ? random.log_uniform(1e-30, 1e-5) : random.log_uniform(1e-3, 1);
        check_line(x, {std::log(prior), alpha});
        if (*std::max_element(x.begin(), x.end()) > 0) check_line(x, {std::log(prior), 0});
    }
}

TEST_CASE("a line whose alpha is far below its reward fulfils its equations") {
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        Random random(seed);
        std::vector<double> x(static_cast<std::size_t>(random.integer(1, 8)));
        for (double& number : x) number = random.chance(0.3) ? 0 : random.normal();
        const double alpha = random.log_uniform(1e-60, 1e-8);
        INFO("seed " << seed << ", alpha " << alpha);
        // What the prior adds to the largest entry, alpha log prior, is as large as the reward.
        const double highest = *std::max_element(x.begin(), x.end());
        check_line(x, {(random.log_uniform(1e-3, 1e3) - highest) / alpha, alpha});
    }
}

TEST_CASE("entries without a reward get no mass") {
    const double infinity = std::numeric_limits<double>::infinity();
    for (const double alpha : {0.0, 0.5, infinity}) {
        std::vector<double> gap = {infinity, 0, 0.25, infinity};
        const QuadraticLine<> line(gap.data(), 4, 1.0, {std::log(0.5), alpha});
        CHECK(line.entry(infinity) == 0);
        CHECK(line.log_entry(infinity) == -infinity);
        CHECK(line.entry(0) > 0);
        std::vector<double> none = {infinity, infinity};
        const QuadraticLine<> empty(none.data(), 2, -infinity, {std::log(0.5), alpha});
        CHECK(empty.support == 0);
        CHECK(empty.log_mass == -infinity);
        CHECK(empty.entry(infinity) == 0);
    }
}

TEST_CASE("masses far below any number keep their logarithm") {
    std::vector<double> gap = {0, 3, 0};
    const MarginalLine line{std::log(0.5), 1e-3};
    const QuadraticLine<> solved(gap.data(), 3, -2.0, line);  // log mass = log prior - 2 / alpha
    CHECK(std::abs(solved.log_mass - (line.log_prior - 2000)) < 1e-11);
    CHECK(std::abs(solved.log_entry(0) - (solved.log_mass - std::log(2.0))) < 1e-12);
    CHECK(solved.log_entry(3) == -std::numeric_limits<double>::infinity());
}

TEST_CASE("the balancing shift makes both sides ask for the same mass") {
    const double hard = std::numeric_limits<double>::infinity();
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        Random random(seed);
        std::vector<MarginalLine> rows(static_cast<std::size_t>(random.integer(1, 6)));
        std::vector<MarginalLine> cols(static_cast<std::size_t>(random.integer(1, 6)));
        std::vector<double> f(rows.size()), g(cols.size());
        // An alpha for each line
        for (MarginalLine& line : rows)
            line = {random.normal(), random.chance(0.3) ? hard : random.log_uniform(0.05, 50)};
        for (MarginalLine& line : cols)
            line = {random.normal(), random.chance(0.3) ? hard : random.log_uniform(0.05, 50)};
        rows[0].alpha = random.log_uniform(0.05, 50);
        for (double& potential : f) potential = random.normal();
        for (double& potential : g) potential = random.normal();
        const otpool::detail::HeldMass<> of_rows({rows.data(), f.data(), nullptr, Index(f.size())});
        const otpool::detail::HeldMass<> of_cols({cols.data(), g.data(), nullptr, Index(g.size())});
        const double t = otpool::detail::balancing_shift(of_rows, of_cols);
        // If only one side is soft it has to be able to ask for what the other has; a soft line asks for any mass,
        // unless hard ones ask for more already.
        double lowest = 0;
        long double asked_by_rows = 0;
        long double asked_by_cols = 0;
        for (std::size_t i = 0; i < f.size(); ++i) {
            asked_by_rows += std::exp(static_cast<long double>(rows[i].log_mass(f[i] + t)));
            if (rows[i].is_hard()) lowest += std::exp(rows[i].log_prior);
        }
        bool all_hard = true;
        for (std::size_t k = 0; k < g.size(); ++k) {
            asked_by_cols += std::exp(static_cast<long double>(cols[k].log_mass(g[k] - t)));
            all_hard = all_hard && cols[k].is_hard();
        }
        if (all_hard && lowest >= static_cast<double>(asked_by_cols)) continue;
        INFO("seed " << seed << ", t " << t);
        CHECK(std::abs(static_cast<double>(asked_by_rows / asked_by_cols) - 1) < 1e-11);
    }
}

}  // namespace quadratic_line_test
