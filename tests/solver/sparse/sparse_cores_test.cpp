#include <cmath>
#include <limits>
#include <vector>

#include "otpool/solver/active_set.hpp"
#include "otpool/solver/newton.hpp"
#include "otpool/solver/sparse/quadratic_newton.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// The cores of Newton for Quadratic and of ActiveSet, with entries that may have no mass: their reward is -inf. A reward
// far below all others has the same effect there.

namespace sparse_cores_test {

using namespace otpool;
using namespace tests;
using detail::ActiveSetSearch;
using detail::Inspection;
using detail::OrientedProblem;
using detail::QuadraticNewton;

struct Sample {
    Matrix<double> bag;
    UotProblem<double, Quadratic> problem;
    std::vector<std::size_t> forbidden;

    explicit Sample(std::uint64_t seed) {
        Random random(seed);
        const Index D = random.integer(2, 6);
        const Index N = random.integer(D, 12);
        bag = random_bag<double>(random, D, N, BagKind::normal);
        problem = {.reward = bag, .alpha0 = 0.5, .features = {.alpha = 2}, .instances = {.alpha = 1}};
        if (seed % 3 == 0) problem.features.alpha = hard;
        if (seed % 3 == 1) problem.instances.alpha = hard;
        for (Index n = 0; n < N; ++n) {  // never a whole row or column
            for (Index d = 0; d < D; ++d) {
                if (d != n % D && random.chance(0.4)) forbidden.push_back(static_cast<std::size_t>(n * D + d));
            }
        }
    }

    OrientedProblem<> with(double reward, const Inspection& inspection, double unit) const {
        OrientedProblem<> oriented(inspection, unit, inspection.highest_of_all());
        for (const std::size_t place : forbidden) oriented.reward[place] = reward;
        return oriented;
    }
};

/// log P, a column after the other.
std::vector<double> log_plan_of(const detail::SolvedPlan& found) {
    std::vector<double> log_plan;
    found.log_plan.for_each_log_column(
        [&](Index, Index, const RealVector& column) { log_plan.insert(log_plan.end(), column.begin(), column.end()); });
    return log_plan;
}

template <class Solve>
void check(const Solve& solve) {
    constexpr double nothing = -std::numeric_limits<double>::infinity();
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        const Sample sample(seed);
        INFO("seed " << seed);
        const std::vector<double> never = solve(sample, nothing);
        const std::vector<double> low = solve(sample, -1000);
        for (const std::size_t place : sample.forbidden) CHECK(never[place] == nothing);
        for (std::size_t i = 0; i < never.size(); ++i) {
            CHECK(std::abs(std::exp(never[i]) - std::exp(low[i])) <= 1e-9);
        }
    }
}

TEST_CASE("The connected parts of a plan are those of its entries") {
    // Rows 0 and 2 share column 1; row 1 has column 0; row 3 and column 2 have no entries.
    const std::vector<double> plan{0, 1, 0, 0, 2, 0, 1e-300, 0, 0, 0, 0, 0};
    const std::vector<detail::PlanPart> parts = detail::connected_parts(plan, 4, 3);
    REQUIRE(parts.size() == 4);
    CHECK(parts[0].rows == std::vector<Index>{0, 2});
    CHECK(parts[0].cols == std::vector<Index>{1});
    CHECK(parts[1].rows == std::vector<Index>{1});
    CHECK(parts[1].cols == std::vector<Index>{0});
    CHECK(parts[2].rows == std::vector<Index>{3});
    CHECK(parts[2].cols.empty());
    CHECK(parts[3].rows.empty());
    CHECK(parts[3].cols == std::vector<Index>{2});
}

TEST_CASE("Newton for Quadratic gives entries of reward -inf no mass") {
    check([](const Sample& sample, double reward) {
        const Inspection inspection(sample.problem);
        const OrientedProblem<> oriented = sample.with(reward, inspection, 1);
        QuadraticNewton<> newton(oriented, nullptr);
        for (int i = 0; i < 60 && newton.residual() > 1e-12; ++i) newton.step();
        CHECK(newton.residual() <= 1e-10);
        return log_plan_of(newton.solution());
    });
}

TEST_CASE("ActiveSet gives entries of reward -inf no mass") {
    check([](const Sample& sample, double reward) {
        const Inspection inspection(sample.problem);
        const OrientedProblem<> oriented = sample.with(reward, inspection, 1);
        ActiveSetSearch<> search(oriented, nullptr);
        for (int i = 0; i < 1000 && !search.is_done(); ++i) search.pivot();
        search.set_plan();
        CHECK(search.residual() <= 1e-12);
        return log_plan_of(search.solution());
    });
}

}  // namespace sparse_cores_test
