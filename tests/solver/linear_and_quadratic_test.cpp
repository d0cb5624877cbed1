#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/random_problem.hpp"
#include "support/sample.hpp"

// alpha0 = 0 and the Quadratic regulariser, against optimality conditions and values found otherwise.

namespace linear_and_quadratic_test {

using namespace otpool;
using namespace tests;

/// max over permutations of sum_d x(d, permutation(d)) / D: exact transport between uniform marginals of equal size.
double best_assignment(const Matrix<double>& x) {
    std::vector<Index> permutation(static_cast<std::size_t>(x.rows()));
    std::iota(permutation.begin(), permutation.end(), Index{0});
    double best = -std::numeric_limits<double>::infinity();
    do {
        double value = 0;
        for (Index d = 0; d < x.rows(); ++d) value += x(d, permutation[static_cast<std::size_t>(d)]);
        best = std::max(best, value / static_cast<double>(x.rows()));
    } while (std::next_permutation(permutation.begin(), permutation.end()));
    return best;
}

TEST_CASE("at alpha0 = 0 and hard marginals, Bregman ADMM finds the linear programme's value") {
    int converged = 0;
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        Random random(seed);
        const Index size = random.integer(1, 7);
        const Matrix<double> bag = random_bag<double>(random, size, size, BagKind::normal);
        const UotProblem<double> problem{
            .reward = bag, .alpha0 = 0, .features = {.alpha = hard}, .instances = {.alpha = hard}};
        const auto solution = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 20000}}.solve(problem);
        INFO("seed " << seed << ", size " << size << ", iterations " << solution.iterations);
        if (!solution.converged()) continue;  // slow where two assignments are nearly as good
        ++converged;
        CHECK(marginal_violation(solution) <= 1e-8);
        CHECK(std::abs(-solution.objective() - best_assignment(bag)) <= 1e-8);
    }
    CHECK(converged >= 27);
}

TEST_CASE("at alpha0 = 0, what Bregman ADMM calls converged has no duality gap") {
    int taken = 0;
    int converged = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        if (!in_sample(seed)) continue;
        ++taken;
        RandomProblem<double> random(seed,
                                     {.most_features = 12, .most_instances = 40, .least_alpha = 0.1, .limits = 0.3});
        random.problem.alpha0 = 0;
        INFO(random.drawn);
        const auto solution = BregmanAdmm{{.tolerance = 1e-9, .max_iterations = 10000}}.solve(random.problem);
        if (!solution.converged() || (random.drawn.alpha1 == 0 && random.drawn.alpha2 == 0)) continue;
        ++converged;
        CHECK(marginal_violation(solution) <= 1e-8);
        CHECK(std::abs(duality_gap(solution)) <= 1e-7);
    }
    CHECK(converged + 1 > 0.52 * taken);
}

TEST_CASE("max pooling by iterating at alpha0 = 0") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        RandomProblem<double> random(seed, {.most_features = 16, .most_instances = 60});
        random.problem.alpha0 = 0;
        random.problem.features = {.alpha = hard};
        random.problem.instances = {.alpha = 0};
        INFO(random.drawn);
        const auto solution =
            BregmanAdmm{{.tolerance = 1e-10, .max_iterations = 20000, .closed_forms = false}}.solve(random.problem);
        CHECK(solution.converged());
        const Vector<double> maximum = random.bag.rowwise().maxCoeff();
        CHECK((ConditionalReadout{}(solution)-maximum).cwiseAbs().maxCoeff() <= 1e-8 * spread(random.bag));
    }
}

TEMPLATE_TEST_CASE("a Quadratic plan is max(0, X + f + g) / (2 alpha0)", "", double, float) {
    const double tolerance = std::is_same_v<TestType, double> ? 1e-9 : 1e-5;
    int taken = 0;
    int converged = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        if (!in_sample(seed)) continue;
        ++taken;
        const RandomProblem<TestType, Quadratic> random(seed, {.most_features = 10,
                                                               .most_instances = 30,
                                                               .least_alpha0 = 0.1,
                                                               .most_alpha0 = 100,
                                                               .least_alpha = 0.1,
                                                               .most_alpha = 100});
        INFO(random.drawn);
        const auto solution = BregmanAdmm{{.tolerance = tolerance, .max_iterations = 10000}}.solve(random.problem);
        CHECK(solution.plan().allFinite());
        if (!solution.converged()) continue;
        ++converged;
        CHECK(marginal_violation(solution) <= 20 * tolerance);
        const double scale = 1 + (random.drawn.alpha0 + (std::isfinite(random.drawn.alpha1) ? random.drawn.alpha1 : 0) +
                                  (std::isfinite(random.drawn.alpha2) ? random.drawn.alpha2 : 0)) /
                                     spread(random.bag);
        const double largest = random.bag.cwiseAbs().maxCoeff() / spread(random.bag);
        CHECK(std::abs(duality_gap(solution)) <= 10 * tolerance * (scale + largest));
    }
    CHECK(converged + 1 > 0.71 * taken);
}

TEST_CASE("Quadratic with free instances is the projection onto the simplex") {
    // min ||p - x / (2 alpha0)||^2 over the simplex, of mass 1/D: thresholds found by trying every size of the support.
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        RandomProblem<double, Quadratic> random(seed, {.most_features = 5, .most_instances = 30, .zeros = false});
        random.problem.features = {.alpha = hard};
        random.problem.instances = {.alpha = 0};
        INFO(random.drawn);
        const auto solution = BregmanAdmm{}.solve(random.problem);
        REQUIRE(solution.converged());
        const Matrix<double> plan = solution.plan();
        const double mass = 1.0 / static_cast<double>(random.drawn.D);
        for (Index d = 0; d < random.drawn.D; ++d) {
            const double top = random.bag.row(d).maxCoeff();
            Eigen::ArrayXd z = (random.bag.row(d).array() - top) / (2 * random.problem.alpha0);
            Eigen::ArrayXd sorted = z;
            std::sort(sorted.begin(), sorted.end(), std::greater<>{});
            double threshold = 0;
            for (Index k = 1; k <= sorted.size(); ++k) {
                const double t = (sorted.head(k).sum() - mass) / static_cast<double>(k);
                if (sorted[k - 1] > t) threshold = t;
            }
            const Eigen::ArrayXd expected = (z - threshold).max(0);
            CHECK((plan.row(d).transpose().array() - expected).abs().maxCoeff() <= 1e-12);
        }
    }
}

}  // namespace linear_and_quadratic_test
