#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "otpool/slots/named_slot_poolings.hpp"
#include "otpool/slots/sp2ot_assignment.hpp"
#include "otpool/solver/newton.hpp"
#include "otpool/solver/structural.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// Structural: the objective never rises, and the plan fulfils the conditions of a stationary point, both from their
// formulas.

namespace structural_test {

using namespace otpool;
using namespace tests;

Matrix<double> symmetric(Random& random, Index size, bool positive) {
    const Matrix<double> x = random_bag<double>(random, size, size + 3, BagKind::normal);
    const Matrix<double> c =
        positive ? Matrix<double>(x * x.transpose()) : Matrix<double>(x.leftCols(size) + x.leftCols(size).transpose());
    return c / c.cwiseAbs().maxCoeff();
}

enum class Sides { both_hard, features_hard, instances_hard_own_alphas, soft_of_mass };

/// A problem with a structural term. Not copyable: it views its matrices.
template <class R = Entropy>
struct Structured {
    Matrix<double> reward, C1, C2;
    UotProblem<double, R> problem;

    Structured(std::uint64_t seed, bool positive, Sides sides) {
        Random random(seed);
        const Index K = 5;
        const Index N = 8;
        reward = random_bag<double>(random, K, N, BagKind::normal);
        C1 = symmetric(random, K, positive);
        C2 = symmetric(random, N, positive);
        problem.reward = reward;
        problem.alpha0 = 0.1;
        problem.features.prior = uneven_prior<double>(random, K, false);
        problem.instances.prior = uneven_prior<double>(random, N, seed % 2 == 1);
        problem.features.alpha = hard;
        problem.instances.alpha = sides == Sides::features_hard ? 0.5 : double(hard);
        if (sides == Sides::instances_hard_own_alphas) {
            problem.features.alphas.resize(K);
            problem.features.alphas << 0.3, 1, hard, 2, 0;
        }
        if (sides == Sides::soft_of_mass) {
            problem.features.alpha = 0.4;
            problem.instances.alpha = 0.7;
            problem.mass = 1.3;
        }
    }
    Structured(const Structured&) = delete;
    Structured& operator=(const Structured&) = delete;

    template <class Inner>
    Structural<Inner> solver(Inner inner, double alpha = 1) const {
        return {.options = {.tolerance = 1e-10},
                .feature_structure = C1,
                .instance_structure = C2,
                .alpha = alpha,
                .inner = inner};
    }
};

/// The objective by its formula.
template <class R>
double objective_of(const Structured<R>& made, const Matrix<double>& P, double alpha) {
    const UotProblem<double, R>& problem = made.problem;
    const WideVector p = wide_prior(problem.features, P.rows());
    const WideVector q = wide_prior(problem.instances, P.cols());
    const WideMatrix plan = P.template cast<Wide>();
    Wide sum = penalty_value(wide_alphas(problem.features, P.rows()), plan.rowwise().sum(), p) +
               penalty_value(wide_alphas(problem.instances, P.cols()), plan.colwise().sum(), q);
    sum -= (made.reward.template cast<Wide>().array() * plan.array()).sum();
    const WideMatrix pull = made.C1.template cast<Wide>() * plan * made.C2.template cast<Wide>();
    sum -= alpha / 2 * (pull.array() * plan.array()).sum();
    for (Index n = 0; n < P.cols(); ++n) {
        for (Index d = 0; d < P.rows(); ++d) {
            const Wide entry = plan(d, n);
            if constexpr (std::same_as<R, Quadratic>) {
                sum += problem.alpha0 * entry * entry;
            } else if (q[n] > 0) {
                const Wide base = std::same_as<R, RelativeEntropy> ? p[d] * q[n] : 1;
                sum += problem.alpha0 * (entry > 0 ? entry * (std::log(entry / base) - 1) : 0);
                if (std::same_as<R, RelativeEntropy>) sum += problem.alpha0 * base;
            }
        }
    }
    return static_cast<double>(sum);
}

/// How far the plan is from the one that its potentials generate at the reward X + alpha C1 P C2, relative to its rows.
template <class R>
double distance_from_stationarity(const Structured<R>& made, const Solution<double, R>& solution, double alpha) {
    const UotProblem<double, R>& problem = made.problem;
    const Matrix<double> P = solution.plan();
    const WideVector p = wide_prior(problem.features, P.rows());
    const WideVector q = wide_prior(problem.instances, P.cols());
    const Matrix<double> reward = made.reward + alpha * (made.C1 * P * made.C2);
    double largest = 0;
    for (Index d = 0; d < P.rows(); ++d) {
        Wide off = 0;
        for (Index n = 0; n < P.cols(); ++n) {
            if (q[n] == 0) {
                CHECK(P(d, n) == 0);
                continue;
            }
            const Wide slack =
                reward(d, n) + solution.feature_potential[d] + solution.instance_potential[n] + solution.mass_potential;
            Wide entry = std::exp(slack / problem.alpha0);
            if constexpr (std::same_as<R, RelativeEntropy>) entry *= p[d] * q[n];
            if constexpr (std::same_as<R, Quadratic>) entry = std::max(Wide(0), slack) / (2 * problem.alpha0);
            off += std::abs(entry - P(d, n));
        }
        largest = std::max(largest, static_cast<double>(off / P.row(d).sum()));
    }
    return largest;
}

/// Solves, checks the conditions and that no iteration raises the objective. Returns the number of iterations.
template <class R, class Inner>
int check(const Structured<R>& made, Inner inner) {
    const auto solver = made.solver(inner);
    const auto solution = solver.solve(made.problem);
    REQUIRE(solution.converged());
    CHECK(marginal_violation(solution) <= 1e-9);
    if (made.problem.mass) CHECK(std::abs(solution.mass() - *made.problem.mass) <= 1e-9);
    CHECK(distance_from_stationarity(made, solution, 1) <= 1e-9);
    const double objective = objective_of(made, solution.plan(), 1);
    CHECK(std::abs(solution.objective() - objective) <= 1e-10);
    double before = std::numeric_limits<double>::infinity();
    for (int i = 1; i <= solution.iterations; ++i) {
        auto cut = solver;
        cut.options.iterations = i;
        const double now = objective_of(made, cut.solve(made.problem).plan(), 1);
        CHECK(now <= before + 1e-9);
        before = now;
    }
    CHECK(std::abs(before - objective) <= 1e-9);
    return solution.iterations;
}

TEST_CASE("Structural finds a stationary point, and its objective never rises") {
    int most = 0;
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        for (const bool positive : {true, false}) {
            for (const Sides sides :
                 {Sides::both_hard, Sides::features_hard, Sides::instances_hard_own_alphas, Sides::soft_of_mass}) {
                INFO("seed " << seed << ", positive " << positive << ", sides " << static_cast<int>(sides));
                most = std::max(most, check(Structured<>(seed, positive, sides), Sinkhorn{}));
            }
        }
    }
    CHECK(most <= 200);
}

TEST_CASE("Structural takes every inner solver and regulariser that solves its problems") {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        for (const bool positive : {true, false}) {
            INFO("seed " << seed << ", positive " << positive);
            check(Structured<RelativeEntropy>(seed, positive, Sides::features_hard), Sinkhorn{});
            check(Structured<>(seed, positive, Sides::instances_hard_own_alphas), Newton{});
            check(Structured<Quadratic>(seed, positive, Sides::both_hard), Newton{});
            check(Structured<Quadratic>(seed, positive, Sides::features_hard), Newton{});
        }
    }
}

TEST_CASE("Structural without a term is the inner solver, and so is a term that both marginals fix") {
    const Structured<> made(3, false, Sides::features_hard);
    const Matrix<double> plain = Sinkhorn{{.tolerance = 1e-12}}.solve(made.problem).plan();
    CHECK((made.solver(Sinkhorn{}, 0).solve(made.problem).plan() - plain).cwiseAbs().maxCoeff() <= 1e-10);
    // C1 = 1 1^T and C2 = 1 1^T: the term is mass^2.
    Structured<> constant(3, false, Sides::features_hard);
    constant.C1.setOnes();
    constant.C2.setOnes();
    const auto solution = constant.solver(Sinkhorn{}).solve(constant.problem);
    CHECK((solution.plan() - plain).cwiseAbs().maxCoeff() <= 1e-9);
    CHECK(std::abs(solution.structural_term + 0.5) <= 1e-9);
}

TEST_CASE("Structural takes bags of float, forbidden pairs and masses, and starts warm") {
    Structured<> made(2, true, Sides::features_hard);
    made.problem.features.has_masses = true;
    made.problem.features.prior *= 3;
    const auto solution = made.solver(Sinkhorn{}).solve(made.problem);
    REQUIRE(solution.converged());
    CHECK(std::abs(solution.mass() - 3) <= 1e-9);
    CHECK(distance_from_stationarity(made, solution, 1) <= 1e-9);
    const auto warm = made.solver(Sinkhorn{}).solve(made.problem, {.warm_start = &solution});
    CHECK(warm.iterations <= 2);
    CHECK((warm.plan() - solution.plan()).cwiseAbs().maxCoeff() <= 1e-9);

    const Structured<> whole(2, true, Sides::features_hard);
    const Matrix<float> reward = whole.reward.cast<float>();
    UotProblem<float> in_float{.reward = reward,
                               .alpha0 = 0.1F,
                               .features = {.alpha = hard, .prior = whole.problem.features.prior.cast<float>()},
                               .instances = {.alpha = 0.5F, .prior = whole.problem.instances.prior.cast<float>()}};
    auto solver = whole.solver(Sinkhorn{});
    const Matrix<double> plan = solver.solve(whole.problem).plan();
    CHECK((solver.solve(in_float).plan().cast<double>() - plan).cwiseAbs().maxCoeff() <= 1e-5);

    Structured<> forbids(2, true, Sides::features_hard);
    const Matrix<double> values = forbids.reward;
    forbids.problem.values = values;
    forbids.reward(1, 2) = -std::numeric_limits<double>::infinity();
    const auto without = forbids.solver(Sinkhorn{}).solve(forbids.problem);
    CHECK(without.converged());
    CHECK(without.plan()(1, 2) == 0);
    forbids.reward(1, 2) = -1e3;
    CHECK((forbids.solver(Sinkhorn{}).solve(forbids.problem).plan() - without.plan()).cwiseAbs().maxCoeff() <= 1e-9);
}

TEST_CASE("Structural refuses what it does not solve, in a sentence") {
    static_assert(SolverOf<Structural<>, float, Entropy> && !SolverOf<Structural<>, double, Quadratic>);
    static_assert(!SolverOf<Structural<Newton>, double, KSparse>);
    const Structured<> made(1, true, Sides::both_hard);
    const auto solver = made.solver(Sinkhorn{});
    const auto refused = [&](const auto& change) {
        auto problem = made.problem;
        auto other = solver;
        change(problem, other);
        return message_of<Error>([&] { other.solve(problem); });
    };
    CHECK(refused([](auto& problem, auto&) {
              problem.features.alpha = 1;
              problem.instances.alpha = 1;
          }).find("no hard side and no mass") != std::string::npos);
    CHECK(refused([](auto& problem, auto&) { problem.alpha0 = 0; }).find("alpha0 = 0") != std::string::npos);
    CHECK(refused([&](auto&, auto& other) { other.feature_structure = made.C2; }) ==
          "shape of feature_structure is 8 x 8; allowed: 5 x 5");
    Matrix<double> lopsided = made.C2;
    lopsided(1, 2) += 1;
    CHECK(refused([&](auto&, auto& other) { other.instance_structure = lopsided; }).find("symmetric") !=
          std::string::npos);
}

TEST_CASE("SlotPooling pools the plan of Structural") {
    const Structured<> made(4, true, Sides::both_hard);
    const auto solver = made.solver(Sinkhorn{});
    const SlotPooling<double, GivenReward, Structural<>> pool{
        .parameters = {.alpha0 = 0.1, .features = made.problem.features, .instances = made.problem.instances},
        .solver = solver};
    const Matrix<double> bag = Matrix<double>::Random(3, 8);
    const Matrix<double> plan = solver.solve(made.problem).plan();
    const Matrix<double> expected = bag * plan.transpose() * plan.rowwise().sum().cwiseInverse().asDiagonal();
    const Bag<double> given{.instances = bag, .reward = made.reward};
    CHECK((pool(given) - expected).cwiseAbs().maxCoeff() <= 1e-12);
}

TEST_CASE("SP2OT's assignment is a stationary point of its objective, and without the term PPOT's") {
    Random random(7);
    const Index K = 4;
    const Index N = 30;
    const Matrix<double> scores = random_bag<double>(random, K, N, BagKind::normal);
    Matrix<double> logs = scores;
    for (Index n = 0; n < N; ++n) logs.col(n).array() -= std::log(scores.col(n).array().exp().sum());
    Matrix<double> affinity = Matrix<double>::Random(N, N).cwiseAbs();
    const double rho = 0.6;
    const double lambda = 0.5;
    const Matrix<double> shares = sp2ot_assignment<double>(logs, affinity, rho, lambda);
    const Matrix<double> P = shares / static_cast<double>(N);
    // With the dummy's entries q_n - c_n, the conditions are those of  X + lambda P (A + A^T) = 0.1 log P - f_k - g_n,
    // with log(r_k / (rho/K)) = -f_k, and the dummy 0 = 0.1 log(q_n - c_n) - F - g_n.
    const Matrix<double> pull = lambda * P * (affinity + affinity.transpose());
    const Vector<double> r = P.rowwise().sum();
    CHECK(std::abs(1 - r.sum() - (1 - rho)) <= 1e-7);
    double F = 0;
    for (Index n = 0; n < N; ++n) {
        const double left = 1.0 / static_cast<double>(N) - P.col(n).sum();
        REQUIRE(left > 0);
        for (Index k = 0; k < K; ++k) {
            const double f = -std::log(r[k] * static_cast<double>(K) / rho);
            const double g = 0.1 * std::log(P(k, n)) - f - logs(k, n) - pull(k, n);
            const double of_dummy = 0.1 * std::log(left) - g;
            if (n == 0 && k == 0) F = of_dummy;
            CHECK(std::abs(of_dummy - F) <= 1e-7);
        }
    }
    CHECK((sp2ot_assignment<double>(logs, affinity, rho, 0.0) - ppot_assignment<double>(logs, rho))
              .cwiseAbs()
              .maxCoeff() <= 1e-7);
}

}  // namespace structural_test
