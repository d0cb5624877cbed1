#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "otpool/otpool.hpp"
#include "solver/mixed_problem.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_bags.hpp"

// An alpha for each feature or instance: free, soft and hard ones in one problem.

namespace own_alphas_test {

using namespace otpool;
using namespace tests;

template <class Scalar, class R>
void check_optimal(const Solution<Scalar, R>& solution, double unit) {
    const bool in_double = std::same_as<Scalar, double>;
    CHECK(solution.status == Status::converged);
    CHECK(marginal_violation(solution) < (in_double ? 2e-9 : 2e-4));
    CHECK(std::abs(duality_gap(solution, unit)) < (in_double ? 1e-8 : 1e-3));
    CHECK(std::abs(solution.mass() - solution.plan().sum()) <= (in_double ? 1e-9 : 1e-4) * solution.mass());
}

TEMPLATE_TEST_CASE("solvers take an alpha for each feature and instance", "", double, float) {
    const double tolerance = std::same_as<TestType, double> ? 1e-10 : 1e-6;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        INFO("seed " << seed);
        const auto check = [&](const auto& mixed) {
            check_optimal(Newton{{.tolerance = tolerance}}.solve(mixed.problem), mixed.unit());
            check_optimal(Sinkhorn{{.tolerance = tolerance}}.solve(mixed.problem), mixed.unit());
            check_optimal(Automatic{{.tolerance = tolerance}}.solve(mixed.problem), mixed.unit());
        };
        check(Mixed<TestType, Entropy>(seed));
        check(Mixed<TestType, RelativeEntropy>(seed));
    }
}

TEST_CASE("Newton takes alphas of their own at small alpha0") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        const Mixed<double> mixed(seed, 1e-3, 0.02);
        check_optimal(Newton{{.tolerance = 1e-9}}.solve(mixed.problem), mixed.unit());
    }
}

TEST_CASE("Newton for Quadratic takes alphas of their own") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        const Mixed<double, Quadratic> mixed(seed, 0.1, 10);
        check_optimal(Newton{{.tolerance = 1e-10}}.solve(mixed.problem), mixed.unit());
        check_optimal(Automatic{{.tolerance = 1e-10}}.solve(mixed.problem), mixed.unit());
    }
}

TEST_CASE("ActiveSet takes alphas of their own, with free lines on one side") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        Mixed<double> mixed(seed);
        mixed.problem.alpha0 = 0;
        auto& alphas = seed % 2 == 0 ? mixed.problem.features.alphas : mixed.problem.instances.alphas;
        for (double& alpha : alphas) alpha = alpha > 0 ? alpha : mixed.unit();
        check_optimal(ActiveSet{{.tolerance = 1e-10}}.solve(mixed.problem), mixed.unit());
        check_optimal(Automatic{{.tolerance = 1e-10}}.solve(mixed.problem), mixed.unit());
    }
}

TEST_CASE("Sinkhorn's translation goes with alphas for each feature") {
    int with = 0;
    int without = 0;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        Random random(seed);
        const Matrix<double> bag = random_bag<double>(random, 6, 40, BagKind::normal);
        UotProblem<double> problem{.reward = bag, .alpha0 = 0.3 * spread(bag)};
        problem.features.alphas.resize(6);
        for (double& alpha : problem.features.alphas) alpha = spread(bag) * random.log_uniform(10, 100);
        problem.instances.alpha = 30 * spread(bag);
        const Sinkhorn plain{{.tolerance = 1e-10, .max_iterations = 100000}, false, {.memory = 0}};
        const Sinkhorn translated{{.tolerance = 1e-10}, true, {.memory = 0}};
        const auto solution = translated.solve(problem);
        check_optimal(solution, spread(bag));
        with += solution.iterations;
        without += plain.solve(problem).iterations;
    }
    CHECK(5 * with < without);
}

TEST_CASE("alphas that are all alike have the solution of one alpha") {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Matrix<double> bag = random_bag<double>(random, 5, 12, BagKind::normal);
        const double alphas[] = {0, 0.3, 20, infinity};
        UotProblem<double> problem{.reward = bag, .alpha0 = random.log_uniform(0.05, 2)};
        problem.features.alpha = alphas[random.integer(1, 3)];
        problem.instances.alpha = alphas[random.integer(0, 3)];
        auto each = problem;
        each.features.alphas = Vector<double>::Constant(5, problem.features.alpha);
        each.instances.alphas = Vector<double>::Constant(12, problem.instances.alpha);
        for (const double alpha0 : {problem.alpha0, double(infinity)}) {
            problem.alpha0 = each.alpha0 = alpha0;
            const auto difference = [&](const auto& solver) {
                const auto expected = solver.solve(problem);
                const auto found = solver.solve(each);
                CHECK(std::abs(found.mass() - expected.mass()) < 1e-8 * expected.mass());
                return (found.plan() - expected.plan()).cwiseAbs().maxCoeff() / expected.mass();
            };
            CHECK(difference(Sinkhorn{{.tolerance = 1e-11}}) < 1e-8);
            CHECK(difference(Newton{{.tolerance = 1e-11}}) < 1e-8);
            const bool both_soft = std::isfinite(problem.features.alpha) && std::isfinite(problem.instances.alpha);
            if (!both_soft) CHECK(difference(Sinkhorn{{.iterations = 4}}) < 1e-9);  // else steps start elsewhere
        }
    }
}

TEST_CASE("at alpha0 = inf alphas of their own have a closed form") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        const auto check = [&](auto& mixed) {
            auto large = mixed.problem;
            large.alpha0 = 1e9 * mixed.unit() * 100;
            mixed.problem.alpha0 = infinity;
            const auto solution = ClosedForm{}.solve(mixed.problem);
            CHECK(solution.status == Status::converged);
            CHECK(marginal_violation(solution) < 1e-9);
            const Matrix<double> expected = Newton{{.tolerance = 1e-12}}.solve(large).plan();
            CHECK((solution.plan() - expected).cwiseAbs().maxCoeff() < 1e-7 * expected.maxCoeff());
            Vector<double> pooled(mixed.bag.rows());
            ClosedForm{}.pool(mixed.problem, pooled);
            const Vector<double> mean =
                (expected.cwiseProduct(mixed.bag).rowwise().sum()).cwiseQuotient(expected.rowwise().sum());
            CHECK((pooled - mean).cwiseAbs().maxCoeff() < 1e-7 * (1 + mixed.bag.cwiseAbs().maxCoeff()));
        };
        Mixed<double> entropy(seed);
        check(entropy);
        Mixed<double, RelativeEntropy> relative(seed);
        check(relative);
    }
}

TEST_CASE("a free side leaves closed forms for alphas of their own") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        INFO("seed " << seed);
        Mixed<double, Quadratic> quadratic(seed, 0.1, 5);
        quadratic.problem.instances.alphas = {};
        quadratic.problem.instances.alpha = 0;
        check_optimal(Newton{{.tolerance = 1e-10}}.solve(quadratic.problem), quadratic.unit());
        std::swap(quadratic.problem.features, quadratic.problem.instances);
        quadratic.bag.transposeInPlace();
        quadratic.problem.reward = quadratic.bag;
        for (double& p : quadratic.problem.features.prior) p = std::max(p, 1e-6);
        for (double& q : quadratic.problem.instances.prior) q = std::max(q, 1e-6);
        check_optimal(ClosedForm{}.solve(quadratic.problem), quadratic.unit());
    }
    const Matrix<double> bag{{1, 3, 2}, {0, -1, 0.5}, {2, 2.5, -1}};
    UotProblem<double> limit{.reward = bag, .alpha0 = 0};
    limit.features.alphas = Vector<double>{{2, hard, 4}};
    const auto solution = ClosedForm{}.solve(limit);
    CHECK(solution.converged());
    const Matrix<double> expected{{0, std::exp(1.5) / 3, 0}, {0, 0, 1.0 / 3}, {0, std::exp(2.5 / 4) / 3, 0}};
    CHECK((solution.plan() - expected).cwiseAbs().maxCoeff() < 1e-12);
    UotProblem<double, Quadratic> constant{.reward = bag, .alpha0 = infinity};
    constant.features.alphas = Vector<double>{{2, hard, 4}};
    const Matrix<double> hard_row{{0, 0, 0}, {1.0 / 9, 1.0 / 9, 1.0 / 9}, {0, 0, 0}};
    CHECK((ClosedForm{}.solve(constant).plan() - hard_row).cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("a fixed number of Sinkhorn steps with alphas for each line pools what its plan says") {
    check_pools_its_plan(Sinkhorn{{.iterations = 3, .closed_forms = false}});
}

TEST_CASE("alphas that do not go with the problem are refused") {
    const Matrix<double> bag = Matrix<double>::Random(3, 4);
    UotProblem<double> problem{.reward = bag};
    problem.features.alphas = Vector<double>::Ones(2);
    CHECK(message_of<InvalidArgument>([&] { Sinkhorn{}.solve(problem); }) ==
          "number of alphas of alpha1 is 2; allowed: 3");
    problem.features.alphas = Vector<double>{{1, -1, 2}};
    CHECK(message_of<InvalidArgument>([&] { Sinkhorn{}.solve(problem); }) == "alpha1[1] is -1; allowed: 0 to inf");
    problem.features.alphas = Vector<double>{{1, infinity, infinity}};
    problem.features.prior = Vector<double>{{1e-17, 0.5, 0.5}};
    problem.instances.alpha = hard;
    CHECK(message_of<InvalidArgument>([&] { Sinkhorn{}.solve(problem); }) ==
          "sum of p0 over hard features is 1; allowed: less than 1, the sum of q0, as all instances are hard");
    problem.features.prior = {};
    problem.alpha0 = 0;
    problem.features.alphas[0] = 0;
    problem.instances.alphas = Vector<double>{{0, 1, 1, 1}};
    CHECK(message_of<UnsupportedProblem>([&] { ActiveSet{}.solve(problem); }) ==
          "ActiveSet does not solve a problem with alpha0 = 0 and both free features and free instances; allowed: free "
          "lines on one side, or all lines free");
}

}  // namespace own_alphas_test
