#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "solver/sparse_problem.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/sample.hpp"

// ActiveSet, against the conditions of optimality, the duality gap and values found otherwise.

namespace active_set_test {

using namespace otpool;
using namespace tests;

/// Whether the plan's entries form a forest: no entry closes a cycle.
template <class Scalar>
bool is_forest(const Matrix<Scalar>& plan) {
    std::vector<Index> parent(static_cast<std::size_t>(plan.rows() + plan.cols()));
    std::iota(parent.begin(), parent.end(), Index{0});
    const auto root = [&](Index i) {
        while (parent[static_cast<std::size_t>(i)] != i) i = parent[static_cast<std::size_t>(i)];
        return i;
    };
    for (Index n = 0; n < plan.cols(); ++n) {
        for (Index d = 0; d < plan.rows(); ++d) {
            if (plan(d, n) == 0) continue;
            const Index a = root(d);
            const Index b = root(plan.rows() + n);
            if (a == b) return false;
            parent[static_cast<std::size_t>(a)] = b;
        }
    }
    return true;
}

/// The largest X + f + g, and its largest size where the plan has mass, over the reward's spread and potentials.
template <class Scalar, class R>
double tightness(const Solution<Scalar, R>& solution) {
    const WideMatrix x = solution.problem.reward.matrix().template cast<Wide>();
    const Matrix<Scalar> plan = solution.plan();
    const Vector<Scalar>& q = solution.problem.instances.prior;
    Wide worst = 0;
    for (Index n = 0; n < plan.cols(); ++n) {
        if (q.size() > 0 && q[n] == 0) continue;
        for (Index d = 0; d < plan.rows(); ++d) {
            const Wide f = solution.feature_potential[d];
            const Wide g = solution.instance_potential[n];
            const Wide slack = x(d, n) + f + g;
            const Wide size = static_cast<Wide>(spread(solution.problem.reward.matrix())) + std::abs(f) + std::abs(g);
            worst = std::max(worst, (plan(d, n) > 0 ? std::abs(slack) : slack) / size);
        }
    }
    return static_cast<double>(worst);
}

/// Solves and checks a problem; returns the pivots.
template <class Scalar>
int check(const SparseProblem<Scalar, Entropy>& made) {
    INFO(made);
    constexpr bool is_double = std::is_same_v<Scalar, double>;
    const double tolerance = is_double ? 1e-10 : 1e-6;
    const auto solution = ActiveSet{{.tolerance = tolerance}}.solve(made.problem);
    CHECK(solution.converged());
    CHECK(solution.residual <= tolerance);
    CHECK(marginal_violation(solution) <= (is_double ? 1e-10 : 1e-4));
    CHECK(tightness(solution) <= (is_double ? 1e-13 : 1e-6));
    // Weak marginals' masses are up to e^30, and their penalties' rounding with them.
    if (!made.is_constant() && is_double) CHECK(std::abs(duality_gap(solution)) <= 2e-12);
    CHECK(is_forest(solution.plan()));
    return solution.iterations;
}

TEST_CASE("ActiveSet solves every kind of marginals and priors at alpha0 = 0") {
    int most = 0;
    for (std::uint64_t seed = 0; seed < 400; ++seed) {
        if (in_sample(seed)) most = std::max(most, check<double>({seed, 0, 0}));
    }
    CHECK(most < 2000);
}

TEST_CASE("ActiveSet does not depend on the reward's unit, nor on its offset") {
    for (std::uint64_t seed = 1000; seed < 1032; ++seed) {
        if (!in_sample(seed)) continue;
        const SparseProblem<double, Entropy> made(seed, 0, 0);
        INFO(made);
        const Matrix<double> plan = ActiveSet{}.solve(made.problem).plan();
        for (const double scale : {1e-150, 1e150}) {
            const SparseProblem<double, Entropy> scaled(seed, 0, 0, scale);
            check(scaled);
            CHECK((ActiveSet{}.solve(scaled.problem).plan() - plan).cwiseAbs().maxCoeff() <= 1e-9 * plan.maxCoeff());
        }
        if (made.marginals == std::string("weak") || made.marginals == std::string("strong")) continue;
        const SparseProblem<double, Entropy> shifted(seed, 0, 0, 1, 1000);  // whose mass is fixed by a hard side
        const auto solution = ActiveSet{{.tolerance = 1e-9}}.solve(shifted.problem);
        CHECK(solution.converged());
        CHECK(std::abs(duality_gap(solution)) <= 1e-9);
    }
}

TEST_CASE("ActiveSet takes bags of float") {
    for (std::uint64_t seed = 2000; seed < 2060; ++seed) {
        if (in_sample(seed)) check<float>({seed, 0, 0});
    }
}

TEST_CASE("ActiveSet finds the linear programme's value") {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        Random random(seed);
        const Index size = random.integer(1, 7);
        const BagKind kind = seed % 2 == 0 ? BagKind::normal : BagKind::rounded;
        const Matrix<double> bag = random_bag<double>(random, size, size, kind);
        std::vector<Index> permutation(static_cast<std::size_t>(size));
        std::iota(permutation.begin(), permutation.end(), Index{0});
        double best = -std::numeric_limits<double>::infinity();
        do {
            double value = 0;
            for (Index d = 0; d < size; ++d) value += bag(d, permutation[static_cast<std::size_t>(d)]);
            best = std::max(best, value / static_cast<double>(size));
        } while (std::next_permutation(permutation.begin(), permutation.end()));
        const UotProblem<double> problem{
            .reward = bag, .alpha0 = 0, .features = {.alpha = hard}, .instances = {.alpha = hard}};
        const auto solution = ActiveSet{}.solve(problem);
        INFO("seed " << seed << ", size " << size);
        REQUIRE(solution.converged());
        CHECK(std::abs(-solution.objective() - best) <= 1e-13);
    }
}

TEST_CASE("ActiveSet solves exact transport of 100 x 16 to the last digits") {
    for (const BagKind kind : all_bag_kinds) {
        Random random(static_cast<std::uint64_t>(kind));
        const Matrix<double> bag = random_bag<double>(random, 16, 100, kind);
        for (const bool transposed : {false, true}) {
            const Matrix<double> reward = transposed ? Matrix<double>(bag.transpose()) : bag;
            const UotProblem<double, Quadratic> problem{
                .reward = reward, .alpha0 = 0, .features = {.alpha = hard}, .instances = {.alpha = hard}};
            const auto solution = ActiveSet{{.tolerance = 1e-12}}.solve(problem);
            INFO(name(kind) << ", residual " << solution.residual);
            REQUIRE(solution.converged());
            CHECK(std::abs(duality_gap(solution)) <= 2e-12);
        }
    }
}

TEST_CASE("ActiveSet finds the winners of a problem with a free side") {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        Random random(seed);
        const Matrix<double> bag =
            random_bag<double>(random, random.integer(1, 8), random.integer(1, 20), BagKind::normal);
        UotProblem<double> problem{.reward = bag, .alpha0 = 0};
        const double alpha = seed % 4 < 2 ? 0.7 : double(hard);
        problem.features.alpha = seed % 2 == 0 ? alpha : 0;
        problem.instances.alpha = seed % 2 == 0 ? 0 : alpha;
        const auto solution = ActiveSet{{.closed_forms = false}}.solve(problem);
        INFO("seed " << seed);
        REQUIRE(solution.converged());
        const Matrix<double> plan = ActiveSet{}.solve(problem).plan();  // which is the closed form
        CHECK((solution.plan() - plan).cwiseAbs().maxCoeff() <= 1e-12 * plan.maxCoeff());
        CHECK((ConditionalReadout{}(solution)-ConditionalReadout{}(ActiveSet{}.solve(problem))).cwiseAbs().maxCoeff() <
              1e-12);
    }
}

TEST_CASE("ActiveSet takes priors down to 1e-30") {
    for (std::uint64_t seed = 3000; seed < 3060; ++seed) {
        if (!in_sample(seed)) continue;
        SparseProblem<double, Entropy> made(seed, 0, 0);
        Random random(seed);
        Vector<double> p(made.drawn.D);
        for (double& prior : p) prior = random.log_uniform(1e-30, 1);
        made.problem.features.prior = p / p.sum();
        check(made);
    }
}

TEST_CASE("ActiveSet keeps the digits of lines whose weak penalty leaves next to nothing") {
    for (std::uint64_t seed = 4000; seed < 4040; ++seed) {
        if (!in_sample(seed)) continue;
        SparseProblem<double, Entropy> made(seed, 0, 0);
        Random random(seed);
        auto& weak = seed % 2 == 0 ? made.problem.features : made.problem.instances;
        auto& other = seed % 2 == 0 ? made.problem.instances : made.problem.features;
        weak.alpha = spread(made.bag) * random.log_uniform(1e-4, 1e-3);
        other.alpha = hard;
        if (made.is_constant()) continue;
        INFO(made);
        const auto solution = ActiveSet{{.tolerance = 1e-10}}.solve(made.problem);
        CHECK(solution.converged());
        CHECK(std::abs(duality_gap(solution)) <= 1e-10);
        CHECK(tightness(solution) <= 1e-13);
        const Vector<double> pooled = ConditionalReadout{}(solution);
        CHECK(pooled.allFinite());
        CHECK((pooled.array() <= made.bag.rowwise().maxCoeff().array()).all());
        // Most of the features' masses, about exp(-10000), are known only by their logarithms.
        if (std::isinf(made.problem.features.alpha)) continue;
        const auto log_p = wide_prior(made.problem.features, made.drawn.D).array().log().cast<double>().eval();
        Vector<double> log_mass = detail::log_row_sums(solution.log_plan) + solution.log_plan.log_scale();
        const Vector<double> wanted = log_p - solution.feature_potential.array() / made.problem.features.alpha;
        CHECK((log_mass - wanted).cwiseAbs().maxCoeff() <= 1e-9);
    }
}

TEST_CASE("ActiveSet has the iteration control of other solvers") {
    const SparseProblem<double, Entropy> made(sizeable_seed, 0, 0);
    INFO(made);
    std::vector<double> residuals;
    const auto cold = ActiveSet{{.history = true}}.solve(made.problem, {.observer = [&](int, double residual) {
                                                             residuals.push_back(residual);
                                                             return false;
                                                         }});
    REQUIRE(cold.converged());
    REQUIRE(cold.iterations > 5);
    CHECK(cold.history == residuals);
    CHECK(cold.history.size() == static_cast<std::size_t>(cold.iterations));
    CHECK(cold.history.back() == cold.residual);
    CHECK(cold.plan() == ActiveSet{}.solve(made.problem).plan());
    const auto warm = ActiveSet{}.solve(made.problem, {.warm_start = &cold});
    CHECK(warm.converged());
    CHECK(warm.iterations < cold.iterations);
    CHECK((warm.plan() - cold.plan()).cwiseAbs().maxCoeff() < 1e-12);
    const auto cut = ActiveSet{{.max_iterations = 3}}.solve(made.problem);
    CHECK(cut.status == Status::iteration_limit);
    CHECK(cut.iterations == 3);
    CHECK(cut.residual > 1e-8);
    const auto stopped = ActiveSet{}.solve(made.problem, {.observer = [](int i, double) { return i == 2; }});
    CHECK(stopped.status == Status::stopped);
    Vector<double> pooled(made.drawn.D);
    CHECK(ActiveSet{}.pool(made.problem, pooled).converged());
    CHECK((pooled - ConditionalReadout{}(cold)).cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("ActiveSet says what it does not solve") {
    const Matrix<double> bag{{0.3, -0.4}, {0.1, 0.9}};
    const UotProblem<double> problem{.reward = bag, .alpha0 = 0.5, .instances = {.alpha = 1}};
    const auto refusal = [](const ActiveSet& solver, const auto& of) {
        return message_of<UnsupportedProblem>([&] { solver.solve(of); });
    };
    CHECK(
        refusal({}, problem) ==
        "ActiveSet does not solve a problem with alpha0 > 0; allowed: alpha0 = 0 (the other solvers take alpha0 > 0)");
    auto none = problem;
    none.alpha0 = 0;
    CHECK(refusal({{.iterations = 4}}, none) ==
          "ActiveSet does not solve a problem with a fixed number of iterations; allowed: max_iterations instead");
}

}  // namespace active_set_test
