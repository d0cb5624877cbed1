#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "otpool/closed_form/quadratic.hpp"
#include "otpool/plan/dual_bound.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/solver/automatic.hpp"
#include "otpool/solver/closed_form.hpp"
#include "otpool/solver/newton.hpp"
#include "solver/sparse_problem.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/sample.hpp"

// KSparse: the limit, the conditions of optimality, and a dual bound that no plan beats; against every choice of supports
// where there are few.

namespace k_sparse_test {

using namespace otpool;
using namespace tests;

Index most_in_a_column(const Matrix<double>& plan) {
    Index most = 0;
    for (Index n = 0; n < plan.cols(); ++n) most = std::max(most, (plan.col(n).array() > 0).count());
    return most;
}

/// The same problem without the limit.
template <class Scalar>
UotProblem<Scalar, Quadratic> without_limit(const UotProblem<Scalar, KSparse>& problem) {
    return {.reward = problem.reward,
            .values = problem.values,
            .alpha0 = problem.alpha0,
            .features = problem.features,
            .instances = problem.instances};
}

/// What an objective or a bound is rounded by, relative to the terms that it adds up.
double size_of(const Solution<double, KSparse>& solution) {
    const Matrix<double> plan = solution.plan();
    const auto finite_part = [](const Vector<double>& potential, double alpha) {
        return alpha > 0 ? potential.cwiseMax(-1e9).cwiseAbs().maxCoeff() : 0;
    };
    return 1e-3 + plan.sum() * (solution.problem.reward.matrix().cwiseAbs().maxCoeff() +
                                finite_part(solution.feature_potential, solution.problem.features.alpha) +
                                finite_part(solution.instance_potential, solution.problem.instances.alpha));
}

/// Solves and checks a problem, and returns its status.
Status check(const UotProblem<double, KSparse>& problem) {
    const auto solution = Newton{{.tolerance = 1e-10, .closed_forms = false}}.solve(problem);
    const Matrix<double> plan = solution.plan();
    CHECK(most_in_a_column(plan) <= problem.regularizer.most);
    const double bound = dual_bound(solution);
    const double size = size_of(solution);
    if (solution.converged()) {
        CHECK(marginal_violation(solution) <= 1e-9);
        // With both, this plan is the best one.
        CHECK(std::abs(solution.objective() - bound) <= 1e-9 * size);
    }
    const auto whole = Newton{{.tolerance = 1e-10}}.solve(without_limit(problem));
    CHECK(bound >= dual_bound(whole) - 1e-7 * size);
    return solution.status;
}

TEST_CASE("Newton finds the optimum of KSparse, or says that there is only a bound") {
    int exact = 0;
    int bounds = 0;
    int others = 0;
    for (std::uint64_t seed = 0; seed < 240; ++seed) {
        if (!in_sample(seed)) continue;
        SparseProblem<double, KSparse> made(seed, 0.1, 10);
        made.problem.regularizer.most = Index{1} << (seed / 32 % 4);
        INFO(made << ", at most " << made.problem.regularizer.most);
        const Status status = check(made.problem);
        (status == Status::converged ? exact : status == Status::not_exact ? bounds : others) += 1;
    }
    CAPTURE(exact, bounds, others);
    CHECK(others <= (exact + bounds) / 50);
    CHECK(exact >= (exact + bounds) / 3);
}

/// The least objective over all choices of `most` features for every instance, one after the other.
double least_of_all_supports(const UotProblem<double, KSparse>& problem) {
    const Index D = problem.reward.rows();
    const Index N = problem.reward.cols();
    std::vector<int> subsets;  // of features, as bits
    for (int bits = 0; bits < (1 << D); ++bits) {
        int size = 0;
        for (int d = 0; d < D; ++d) size += bits >> d & 1;
        if (size == problem.regularizer.most) subsets.push_back(bits);
    }
    const Matrix<double> reward = problem.reward.matrix();
    double least = std::numeric_limits<double>::infinity();
    std::vector<std::size_t> choice(static_cast<std::size_t>(N), 0);
    while (true) {
        Matrix<double> allowed = reward;
        for (Index n = 0; n < N; ++n) {
            for (Index d = 0; d < D; ++d) {
                const bool is_in = subsets[choice[static_cast<std::size_t>(n)]] >> d & 1;
                if (!is_in) allowed(d, n) = -std::numeric_limits<double>::infinity();
            }
        }
        const bool reaches_all = (allowed.array() > -1e300).rowwise().any().all();
        auto restricted = without_limit(problem);
        restricted.reward = allowed;
        restricted.values = reward;
        if (reaches_all) {
            const auto solution = Newton{{.tolerance = 1e-10}}.solve(restricted);
            if (solution.converged()) {
                // Not the objective, to which a forbidden pair adds 0 times -inf.
                least = std::min(least, dual_bound(solution));
            }
        }
        std::size_t n = 0;
        while (n < choice.size() && ++choice[n] == subsets.size()) choice[n++] = 0;
        if (n == choice.size()) return least;
    }
}

TEST_CASE("KSparse is as good as the best choice of supports, and its bound is below that") {
    int taken = 0;
    int exact = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        if (!in_sample(seed)) continue;
        ++taken;
        Random random(seed);
        const Index D = random.integer(2, 3);
        const Index N = random.integer(D, 5);
        const Matrix<double> bag = random_bag<double>(random, D, N, BagKind::normal);
        UotProblem<double, KSparse> problem{.reward = bag,
                                            .alpha0 = random.log_uniform(0.1, 3),
                                            .features = {.alpha = random.log_uniform(0.3, 10)},
                                            .instances = {.alpha = random.log_uniform(0.3, 10)},
                                            .regularizer = {.most = random.integer(1, D - 1)}};
        if (seed % 3 == 0) problem.instances.alpha = hard;
        if (seed % 3 == 1) problem.features.alpha = hard;
        INFO("seed " << seed);
        const auto solution = Newton{{.tolerance = 1e-10}}.solve(problem);
        CHECK((solution.converged() || solution.status == Status::not_exact));
        const double least = least_of_all_supports(problem);
        CHECK(dual_bound(solution) <= least + 1e-8);
        if (!solution.converged()) continue;
        ++exact;
        CHECK(std::abs(solution.objective() - least) <= 1e-8);
    }
    if (taken >= 6) CHECK(exact > 0);  // fewer may have none
}

TEST_CASE("KSparse without an effect is Quadratic") {
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        if (!in_sample(seed)) continue;
        SparseProblem<double, KSparse> made(seed, 0.1, 10);
        made.problem.regularizer.most = made.drawn.D;
        INFO(made);
        const auto limited = Newton{{.tolerance = 1e-10}}.solve(made.problem);
        const auto whole = Newton{{.tolerance = 1e-10}}.solve(without_limit(made.problem));
        REQUIRE(limited.converged());
        const Matrix<double> plan = whole.plan();
        CHECK((limited.plan() - plan).cwiseAbs().maxCoeff() <= 1e-7 * plan.maxCoeff());
    }
}

TEST_CASE("KSparse takes alphas for each line, bags of float, and other units") {
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        if (!in_sample(seed)) continue;
        SparseProblem<double, KSparse> made(seed, 0.1, 10);
        made.problem.regularizer.most = 4;
        Random random(seed + 900);
        made.problem.features.alphas.resize(made.drawn.D);
        for (double& alpha : made.problem.features.alphas) {
            alpha = random.chance(0.2) ? 0 : spread(made.bag) * random.log_uniform(0.3, 30) + 1e-3;
        }
        made.problem.instances.alpha = seed % 2 == 0 ? double(hard) : spread(made.bag) + 1e-3;
        INFO(made);
        const Status status = check(made.problem);
        CHECK((status == Status::converged || status == Status::not_exact));

        SparseProblem<float, KSparse> in_float(seed, 0.1, 10);
        in_float.problem.regularizer.most = 8;
        const auto solution = Newton{}.solve(in_float.problem);
        CHECK((solution.converged() || solution.status == Status::not_exact));

        SparseProblem<double, KSparse> one(seed, 0.1, 10);
        SparseProblem<double, KSparse> scaled(seed, 0.1, 10, 1e150);
        one.problem.regularizer.most = scaled.problem.regularizer.most = 8;
        const auto of_one = Newton{{.tolerance = 1e-10}}.solve(one.problem);
        const auto of_scaled = Newton{{.tolerance = 1e-10}}.solve(scaled.problem);
        CHECK(of_one.status == of_scaled.status);
        if (!of_one.converged()) continue;
        const Matrix<double> plan = of_one.plan();
        CHECK((of_scaled.plan() - plan).cwiseAbs().maxCoeff() <= 1e-7 * plan.maxCoeff());
    }
}

TEST_CASE("KSparse with free features is thresholded instance by instance") {
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        if (!in_sample(seed)) continue;
        SparseProblem<double, KSparse> made(seed, 0.1, 10);
        made.problem.features.alpha = 0;
        if (made.problem.instances.alpha == 0) made.problem.instances.alpha = hard;
        made.problem.regularizer.most = 1 + static_cast<Index>(seed % 3);
        INFO(made);
        const auto closed = ClosedForm{}.solve(made.problem);
        const auto iterated = Newton{{.tolerance = 1e-10, .closed_forms = false}}.solve(made.problem);
        CHECK(closed.converged());
        CHECK(closed.iterations == 0);
        const Matrix<double> plan = closed.plan();
        CHECK(most_in_a_column(plan) <= made.problem.regularizer.most);
        CHECK(marginal_violation(closed) <= 1e-9);
        if (!made.is_constant() && made.drawn.kind == BagKind::normal) {  // ties may be broken in other ways
            CHECK((iterated.plan() - plan).cwiseAbs().maxCoeff() <= 1e-8 * plan.maxCoeff());
        }
    }
}

TEST_CASE("Automatic passes KSparse on to Newton, and others refuse it") {
    static_assert(SolverOf<Newton, double, KSparse> && SolverOf<Automatic, double, KSparse>);
    static_assert(!SolverOf<BregmanAdmm, double, KSparse> && !SolverOf<Sinkhorn, double, KSparse>);
    static_assert(!SolverOf<ActiveSet, float, KSparse>);
    SparseProblem<double, KSparse> made(sizeable_seed, 0.1, 10);
    made.problem.regularizer.most = 8;
    const auto solution = Automatic{}.solve(made.problem);
    CHECK((solution.plan() - Newton{}.solve(made.problem).plan()).cwiseAbs().maxCoeff() == 0);
    Vector<double> pooled(made.drawn.D);
    CHECK(Automatic{}.pool(made.problem, pooled).status == solution.status);
    CHECK((pooled - ConditionalReadout{}(solution)).cwiseAbs().maxCoeff() <= 1e-12);

    const auto refused = [&](const auto& change) {
        auto problem = made.problem;
        change(problem);
        return message_of<Error>([&] { Automatic{}.solve(problem); });
    };
    CHECK(refused([](auto& problem) { problem.regularizer.most = 0; }) == "most is 0; allowed: at least 1");
    CHECK(refused([](auto& problem) { problem.alpha0 = 0; }).find("alpha0 = 0") != std::string::npos);
    CHECK(message_of<UnsupportedProblem>([&] { ClosedForm{}.solve(made.problem); }).find("KSparse with alpha1 = 0") !=
          std::string::npos);
    CHECK(name(Status::not_exact) == std::string("not_exact"));
}

TEST_CASE("KSparse has the iteration control of other solvers") {
    SparseProblem<double, KSparse> made(sizeable_seed, 0.1, 0.3);
    made.problem.regularizer.most = 8;
    const auto cold = Newton{{.tolerance = 1e-10, .history = true}}.solve(made.problem);
    CHECK(cold.history.size() == static_cast<std::size_t>(cold.iterations));
    CHECK(cold.history.back() == cold.residual);
    const auto fixed = Newton{{.iterations = 3, .tolerance = 1e-10}}.solve(made.problem);
    CHECK(fixed.iterations == 3);
    const auto stopped = Newton{{.iterations = 9, .tolerance = 1e-14}}.solve(
        made.problem, {.observer = [](int i, double) { return i == 2; }});
    CHECK(stopped.iterations == 2);
    CHECK(stopped.status == Status::stopped);
}

}  // namespace k_sparse_test
