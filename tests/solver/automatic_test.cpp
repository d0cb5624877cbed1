#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_problem.hpp"
#include "support/sample.hpp"

// The solver that chooses the solver.

namespace automatic_test {

using namespace otpool;
using namespace tests;

/// Solves random problems, from next to no regulariser to nothing else; checks that all are solved, by their plans.
template <class Scalar, class R>
void check_all_solved(const ProblemRange& range, std::uint64_t first, std::uint64_t count, double alpha0_of_all = -1) {
    const double tolerance = std::is_same_v<Scalar, double> ? 1e-8 : 1e-4;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        if (!in_sample(seed)) continue;
        RandomProblem<Scalar, R> random(seed, range);
        if (alpha0_of_all >= 0) random.problem.alpha0 = static_cast<Scalar>(alpha0_of_all);
        INFO(random.drawn);
        const auto solution = Automatic{}.solve(random.problem);
        CHECK((solution.converged() || solution.status == Status::mass_out_of_range));
        CHECK(solution.residual <= (std::is_same_v<Scalar, double> ? 1e-8 : 1e-6));
        Vector<Scalar> pooled(random.bag.rows());
        const Outcome outcome = Automatic{}.pool(random.problem, pooled);
        CHECK((outcome.converged() || outcome.status == Status::mass_out_of_range));
        const Vector<Scalar> expected = ConditionalReadout{}(solution);
        CHECK(((pooled - expected).template cast<double>().cwiseAbs().maxCoeff()) <=
              10 * tolerance * spread(random.bag));
        if (!solution.converged() || !std::isfinite(random.problem.alpha0)) continue;
        CHECK(marginal_violation(solution) <= 10 * tolerance);
        const double unit = std::max({spread(random.bag), static_cast<double>(random.problem.alpha0), 1e-20});
        if constexpr (std::is_same_v<Scalar, double>) CHECK(std::abs(duality_gap(solution, unit)) <= 1e-6);
    }
}

constexpr ProblemRange wide{.least_alpha0 = 1e-4, .most_alpha0 = 1e4, .least_alpha = 1e-3, .most_alpha = 1e3};

TEMPLATE_TEST_CASE("every entropic problem is solved", "", double, float) {
    check_all_solved<TestType, Entropy>(wide, 100, 200);
    check_all_solved<TestType, RelativeEntropy>(wide, 400, 100);
}
TEMPLATE_TEST_CASE("every quadratic problem is solved", "", double, float) {
    check_all_solved<TestType, Quadratic>(wide, 600, 150);
}
TEMPLATE_TEST_CASE("every problem of alpha0 = 0 is solved", "", double, float) {
    check_all_solved<TestType, Entropy>(wide, 800, 100, 0);
}

TEST_CASE("a hard problem goes to the next solver, and iterations go on") {
    Random random(3);
    const Matrix<double> bag = random_bag<double>(random, 30, 60, BagKind::normal);
    UotProblem<double> problem{.reward = bag, .alpha0 = 1e-4};
    problem.features.alpha = problem.instances.alpha = 0.4;
    std::vector<int> seen;
    const Observer observer = [&](int iteration, double) {
        seen.push_back(iteration);
        return false;
    };
    const auto solution = Automatic{{.history = true}}.solve(problem, {.observer = observer});
    CHECK(solution.converged());
    CHECK(solution.iterations > 140);  // all of Sinkhorn's, and some
    CHECK(solution.history.size() == static_cast<std::size_t>(solution.iterations));
    REQUIRE(seen.size() == static_cast<std::size_t>(solution.iterations));
    for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == static_cast<int>(i) + 1);

    problem.features.alpha = problem.instances.alpha = hard;  // Newton at once
    CHECK(Automatic{}.solve(problem).iterations < 100);
    problem.features.alpha = problem.instances.alpha = 0.4;

    const auto limited = Automatic{{.max_iterations = 50}}.solve(problem);
    CHECK(limited.iterations == 50);
    CHECK(limited.status == Status::iteration_limit);
    const auto stopped =
        Automatic{}.solve(problem, {.observer = [](int iteration, double) { return iteration == 145; }});
    CHECK(stopped.status == Status::stopped);
    CHECK(stopped.iterations == 145);
}

TEST_CASE("a fixed number of iterations is Sinkhorn's") {
    Random random(4);
    const Matrix<double> bag = random_bag<double>(random, 5, 30, BagKind::normal);
    UotProblem<double> problem{.reward = bag, .alpha0 = 0.1};
    problem.instances.alpha = hard;
    const Options options{.iterations = 3};
    CHECK(Automatic{options}.solve(problem).plan() == Sinkhorn{options}.solve(problem).plan());
    Vector<double> pooled(5);
    Vector<double> expected(5);
    Automatic{options}.pool(problem, pooled);
    Sinkhorn{options}.pool(problem, expected);
    CHECK(pooled == expected);
}

}  // namespace automatic_test
