#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_problem.hpp"

// Iteration control, which all solvers share: fixed steps, tolerance, observer, history, warm start, refusals.

namespace control_test {

using namespace otpool;
using namespace tests;

// Refused at compile time.
static_assert(!SolverOf<Sinkhorn, float, Quadratic>);
static_assert(SolverOf<BregmanAdmm, float, Quadratic>);
static_assert(SolverOf<Newton, double, Quadratic>);
static_assert(SolverOf<ActiveSet, float, Quadratic>);
static_assert(SolverOf<Sinkhorn, float, RelativeEntropy>);
static_assert(SolverOf<Newton, double, Entropy>);

struct Sample {
    Matrix<double> bag;
    UotProblem<double> problem;

    Sample() {
        Random random(11);
        bag = random_bag<double>(random, 6, 25, BagKind::normal);
        problem = {.reward = bag, .alpha0 = 0.2, .features = {.alpha = 2}, .instances = {.alpha = 0.5}};
    }
};

TEMPLATE_TEST_CASE("a fixed number of iterations is exactly that", "", Sinkhorn, BregmanAdmm, Newton) {
    const Sample sample;
    for (const int steps : {1, 4, 25}) {
        const auto solution = TestType{{.iterations = steps, .tolerance = 1e-3}}.solve(sample.problem);
        CHECK(solution.iterations == steps);
        CHECK(std::isfinite(solution.residual));
        CHECK((solution.status == Status::converged) == (solution.residual <= 1e-3));
        CHECK(solution.history.empty());
    }
}

TEMPLATE_TEST_CASE("history and observer see every iteration", "", Sinkhorn, BregmanAdmm, Newton) {
    const Sample sample;
    std::vector<int> iterations;
    std::vector<double> residuals;
    const auto solution = TestType{{.tolerance = 1e-9, .history = true}}.solve(
        sample.problem, {.observer = [&](int iteration, double residual) {
            iterations.push_back(iteration);
            residuals.push_back(residual);
            return false;
        }});
    REQUIRE(solution.converged());
    REQUIRE(solution.history.size() == static_cast<std::size_t>(solution.iterations));
    CHECK(solution.history == residuals);
    CHECK(solution.history.back() == solution.residual);
    for (std::size_t i = 0; i < iterations.size(); ++i) CHECK(iterations[i] == static_cast<int>(i) + 1);
}

TEMPLATE_TEST_CASE("an observer stops the solver", "", Sinkhorn, BregmanAdmm, Newton) {
    const Sample sample;
    for (const bool fixed : {false, true}) {
        Options options{.tolerance = 1e-14};
        if (fixed) options.iterations = 50;
        const auto solution =
            TestType{options}.solve(sample.problem, {.observer = [](int i, double) { return i == 2; }});
        CHECK(solution.iterations == 2);
        CHECK(solution.status == Status::stopped);
    }
}

TEMPLATE_TEST_CASE("an iteration limit is a status, not an exception", "", Sinkhorn, BregmanAdmm) {
    const Sample sample;
    const auto solution = TestType{{.tolerance = 1e-12, .max_iterations = 3}}.solve(sample.problem);
    CHECK(solution.status == Status::iteration_limit);
    CHECK(solution.iterations == 3);
    CHECK(solution.residual > 1e-12);
}

TEMPLATE_TEST_CASE("a warm start begins where the other solution ended", "", Sinkhorn, BregmanAdmm, Newton) {
    Sample sample;
    for (const double alpha2 : {0.5, std::numeric_limits<double>::infinity()}) {
        sample.problem.instances.alpha = alpha2;
        const TestType solver{{.tolerance = 1e-8}};
        const auto cold = solver.solve(sample.problem);
        REQUIRE(cold.converged());
        const auto warm = solver.solve(sample.problem, {.warm_start = &cold});
        CHECK(warm.converged());
        CHECK(warm.iterations <= 2);
        // From another solver's solution, of a slightly different problem.
        auto nearby = sample.problem;
        nearby.alpha0 *= 1.01;
        const auto other = Newton{{.tolerance = 1e-10}}.solve(nearby);
        const auto from_other = solver.solve(sample.problem, {.warm_start = &other});
        CHECK(from_other.converged());
        CHECK(from_other.iterations <= cold.iterations);
        CHECK((ConditionalReadout{}(from_other)-ConditionalReadout{}(cold)).cwiseAbs().maxCoeff() < 1e-6);
    }
    const Matrix<double> smaller = sample.bag.leftCols(5);
    const UotProblem<double> small{.reward = smaller};
    const auto other = TestType{}.solve(small);
    CHECK(message_of<InvalidArgument>([&] { TestType{}.solve(sample.problem, {.warm_start = &other}); }) ==
          "shape of the warm start is 6 x 5; allowed: 6 x 25, the shape of the reward");
}

TEMPLATE_TEST_CASE("options are checked before any work", "", Sinkhorn, BregmanAdmm, Newton) {
    const Sample sample;
    const auto refused = [&](const Options& options) {
        return message_of<InvalidArgument>([&] { TestType{options}.solve(sample.problem); });
    };
    CHECK(refused({.iterations = 0}) == "iterations is 0; allowed: at least 1");
    CHECK(refused({.max_iterations = -3}) == "max_iterations is -3; allowed: at least 1");
    CHECK(refused({.tolerance = 0}) == "tolerance is 0; allowed: finite and > 0");
    CHECK(refused({.tolerance = std::nan("")}) == "tolerance is nan; allowed: finite and > 0");
}

TEST_CASE("a Newton solve that ends on the way to a small alpha0 reports its plan's residual") {
    Sample sample;
    sample.problem.alpha0 = 1e-3;
    sample.problem.instances.alpha = hard;
    const auto enough = Newton{}.solve(sample.problem);
    REQUIRE(enough.converged());
    REQUIRE(enough.iterations > 4);
    for (int steps = 1; steps < enough.iterations; ++steps) {
        // A tolerance that the easier problems meet, but not this one.
        const auto solution = Newton{{.tolerance = 1e-2, .max_iterations = steps}}.solve(sample.problem);
        INFO(steps << " steps, residual " << solution.residual);
        const double violation = marginal_violation(solution);
        CHECK(std::abs(violation - solution.residual) <= 1e-6 * (1 + violation));
        CHECK(solution.converged() == (violation <= 1e-2));
    }
}

TEST_CASE("rho is checked") {
    const Sample sample;
    for (const double rho : {0.0, -1.0, std::numeric_limits<double>::infinity()}) {
        CHECK_THROWS_AS((BregmanAdmm{{}, rho}.solve(sample.problem)), InvalidArgument);
    }
    CHECK(message_of<InvalidArgument>([&] {
              BregmanAdmm{{}, 0.0}.solve(sample.problem);
          }) == "rho is 0; allowed: finite and > 0");
}

TEMPLATE_TEST_CASE("alpha0 = 0 is refused by name where no closed form applies", "", Sinkhorn, Newton) {
    Sample sample;
    sample.problem.alpha0 = 0;
    CHECK_THROWS_AS(TestType{}.solve(sample.problem), UnsupportedProblem);
    CHECK_THROWS_AS(TestType{}.solve(sample.problem), Error);
    sample.problem.instances.alpha = 0;
    CHECK(TestType{}.solve(sample.problem).converged());
    CHECK_THROWS_AS(TestType{{.closed_forms = false}}.solve(sample.problem), UnsupportedProblem);
}

TEST_CASE("any rho and either dual step lead Bregman ADMM to the same plan") {
    const Sample sample;
    const auto reference = Newton{{.tolerance = 1e-11}}.solve(sample.problem);
    for (const double rho : {0.05, 0.5, 2.0}) {
        const auto solution = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 20000}, rho}.solve(sample.problem);
        INFO("rho " << rho);
        CHECK(solution.converged());
        CHECK((solution.plan() - reference.plan()).cwiseAbs().maxCoeff() < 1e-8);
    }
    const auto textbook = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 3000}, {}, DualStep::textbook};
    const auto scaled = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 3000}};
    const auto slow = textbook.solve(sample.problem);
    const auto fast = scaled.solve(sample.problem);
    CHECK(fast.converged());
    CHECK(slow.iterations > fast.iterations);
    CHECK((slow.plan() - reference.plan()).cwiseAbs().maxCoeff() < 0.1 * reference.plan().maxCoeff());
}

}  // namespace control_test
