#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "otpool/problem/at_most.hpp"
#include "otpool/problem/range.hpp"
#include "otpool/problem/total_variation.hpp"
#include "otpool/solver/active_set.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_problem.hpp"

// The library's penalties beside Kullback-Leibler.

namespace penalties_test {

using namespace otpool;
using namespace tests;

constexpr double inf = std::numeric_limits<double>::infinity();

/// How a line's marginal is held: to [low, high] times its prior, with a potential from least to most times alpha where
/// it is between the bounds; at the upper bound it may be lower, down to -price, at the lower one higher.
struct Held {
    double low, high, price;
};

/// How far potential and marginal of a line are from optimal: m within its bounds, f < 0 only at the upper and f > 0
/// only at the lower one; or, with a price, f = -price above and f = price below.
double off_optimal(const Held& held, double m, double p, double f_over_alpha) {
    if (held.low == held.high && std::isinf(held.price)) return std::abs(std::log(m / p));
    const double above = std::log(m / (held.high * p));
    const double below = held.low > 0 ? std::log(held.low * p / m) : -inf;
    if (std::isfinite(held.price)) {  // low = high = 1
        const double wanted = above > 0 ? -held.price : held.price;
        const double inside = std::max(std::abs(above), std::abs(f_over_alpha) - held.price);
        return std::min(inside, std::abs(f_over_alpha - wanted));
    }
    const double outside = std::max({above, below, 0.0});
    const double at_bound = f_over_alpha < 0 ? std::abs(above) : std::abs(below);
    return std::max(outside, std::min(std::abs(f_over_alpha), at_bound));
}

template <class Scalar>
double off_optimal(const Marginal<Scalar>& side, const Held& held, const Vector<Scalar>& m, const Vector<Scalar>& f) {
    double worst = 0;
    const Vector<double> prior =
        side.prior.size() > 0 ? Vector<double>(side.prior.template cast<double>())
                              : Vector<double>(Vector<double>::Constant(m.size(), 1.0 / static_cast<double>(m.size())));
    const double sum = side.has_masses ? 1 : prior.sum();
    for (Index i = 0; i < m.size(); ++i) {
        const double alpha = side.alphas.size() > 0 ? side.alphas[i] : side.alpha;
        const double p = prior[i] / sum;
        if (p == 0) continue;
        if (alpha == 0) {
            worst = std::max(worst, std::abs(static_cast<double>(f[i])));
        } else if (std::isinf(alpha)) {
            worst = std::max(worst, std::abs(std::log(static_cast<double>(m[i]) / p)));
        } else {
            worst = std::max(worst, off_optimal(held, m[i], p, static_cast<double>(f[i]) / alpha));
        }
    }
    return worst;
}

/// Whether the plan is exp((X + f + g + lambda) / alpha0), relative to its largest entry.
template <class Scalar>
double off_potentials(const Solution<Scalar, Entropy>& solution) {
    const UotProblem<Scalar>& problem = solution.problem;
    const Matrix<Scalar> plan = solution.plan();
    double worst = 0;
    for (Index n = 0; n < plan.cols(); ++n) {
        if (problem.instances.prior.size() > 0 && problem.instances.prior[n] == 0) continue;
        for (Index d = 0; d < plan.rows(); ++d) {
            const double sum = static_cast<double>(problem.reward(d, n)) + solution.feature_potential[d] +
                               solution.instance_potential[n] + solution.mass_potential;
            worst = std::max(worst, std::abs(std::exp(sum / problem.alpha0) - plan(d, n)));
        }
    }
    return worst / static_cast<double>(plan.maxCoeff());
}

struct Kind {
    AnyPenalty penalty;
    Held held;
};

Kind kind(Random& random) {
    switch (random.integer(0, 2)) {
        case 0: return {AtMost(), {0, 1, inf}};
        case 1: {
            const double low = random.chance(0.3) ? 0.0 : random.uniform(0.3, 1);
            const double high = random.chance(0.2) ? inf : random.uniform(1, 2);
            return {Range(low, high), {low, high, inf}};
        }
        default: return {TotalVariation(), {1, 1, 1}};
    }
}

template <class Scalar>
struct HeldProblem : RandomProblem<Scalar> {
    Kind of_features, of_instances;

    explicit HeldProblem(std::uint64_t seed)
        : RandomProblem<Scalar>(seed, {.most_features = 12,
                                       .most_instances = 40,
                                       .least_alpha0 = 0.05,
                                       .most_alpha0 = 3,
                                       .least_alpha = 0.05,
                                       .most_alpha = 5,
                                       .limits = 0}) {
        this->bag.array() -= this->bag.mean();
        Random random(seed + 1000);
        of_features = kind(random);
        of_instances = kind(random);
        this->problem.features.penalty = of_features.penalty;
        this->problem.instances.penalty = of_instances.penalty;
        if (random.chance(0.3)) (random.chance(0.5) ? this->problem.features : this->problem.instances).alpha = 0;
    }

    void check(const Solution<Scalar, Entropy>& solution) const {
        const bool in_double = std::same_as<Scalar, double>;
        const double tolerance = in_double ? 1e-7 : 2e-4;
        CHECK(solution.converged());
        CHECK(off_potentials(solution) < (in_double ? 1e-6 : 3e-3));
        CHECK(off_optimal(this->problem.features, of_features.held, solution.feature_marginal(),
                          solution.feature_potential) < tolerance);
        CHECK(off_optimal(this->problem.instances, of_instances.held, solution.instance_marginal(),
                          solution.instance_potential) < tolerance);
    }
};

TEMPLATE_TEST_CASE("Sinkhorn and BregmanAdmm meet the conditions of AtMost, Range and TotalVariation", "", double,
                   float) {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        HeldProblem<TestType> made(seed);
        INFO(made.drawn);
        made.check(Sinkhorn{{.max_iterations = 200000}}.solve(made.problem));
        if (seed % 4 == 0) made.check(BregmanAdmm{{.max_iterations = 200000}}.solve(made.problem));
    }
}

TEST_CASE("penalties go with an alpha for each line") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        HeldProblem<double> made(seed);
        INFO(made.drawn);
        Random random(seed);
        Marginal<double>& side = random.chance(0.5) ? made.problem.features : made.problem.instances;
        const Index size = &side == &made.problem.features ? made.bag.rows() : made.bag.cols();
        side.alphas.resize(size);
        for (double& alpha : side.alphas) alpha = random.chance(0.2) ? 0.0 : spread(made.bag) * random.uniform(0.1, 2);
        made.check(Sinkhorn{{.max_iterations = 200000}}.solve(made.problem));
    }
}

TEST_CASE("a fixed mass goes with penalties: partial transport") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        HeldProblem<double> made(seed);
        INFO(made.drawn);
        Random random(seed);
        if (random.chance(0.7)) {
            made.of_features = made.of_instances = {AtMost(), {0, 1, inf}};
            made.problem.features.penalty = made.problem.instances.penalty = AtMost();
            made.problem.mass = random.uniform(0.05, 0.99);
        } else {
            made.of_features = {TotalVariation(), {1, 1, 1}};
            made.problem.features.penalty = TotalVariation();
            made.problem.instances.alpha = 0;
            made.problem.mass = random.log_uniform(0.01, 100);
        }
        const auto solution = Sinkhorn{{.max_iterations = 200000}}.solve(made.problem);
        made.check(solution);
        CHECK(std::abs(solution.plan().sum() / *made.problem.mass - 1) < 1e-7);
    }
}

TEST_CASE("Range(1, 1) is a hard marginal") {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        HeldProblem<double> made(seed);
        INFO(made.drawn);
        made.problem.instances.penalty = KullbackLeibler();
        made.problem.features.penalty = Range(1, 1);
        made.problem.features.alpha = 1;
        const Matrix<double> ranged = Sinkhorn{{.tolerance = 1e-10}}.solve(made.problem).plan();
        made.problem.features.alpha = hard;
        const Matrix<double> held = Sinkhorn{{.tolerance = 1e-10}}.solve(made.problem).plan();
        CHECK((ranged - held).cwiseAbs().maxCoeff() < 1e-8);
    }
}

TEST_CASE("AtMost tends to partial transport, a linear programme") {
    for (std::uint64_t seed = 0; seed < 15; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Matrix<double> bag = random_bag<double>(random, 3, 9, BagKind::normal);
        const double m = random.uniform(0.3, 0.9);
        UotProblem<double> problem{.reward = bag, .alpha0 = 3e-3 * spread(bag)};
        const Vector<double> p = uneven_prior<double>(random, 3, false);
        problem.features = {.alpha = hard, .prior = m * p, .has_masses = true};
        problem.instances = {.alpha = 1, .penalty = AtMost()};
        const auto solution = Sinkhorn{{.tolerance = 1e-6, .max_iterations = 200000}}.solve(problem);
        CHECK(solution.converged());
        const Matrix<double> plan = solution.plan();
        CHECK(plan.colwise().sum().maxCoeff() < (1 + 1e-5) / 9);
        // The same with a fourth row that takes the rest, for nothing.
        Matrix<double> extended(4, 9);
        extended << bag, Matrix<double>::Zero(1, 9);
        Vector<double> prior(4);
        prior << m * p, 1 - m;
        const UotProblem<double> programme{
            .reward = extended, .alpha0 = 0, .features = {.alpha = hard, .prior = prior}, .instances = {.alpha = hard}};
        const Matrix<double> best = ActiveSet{}.solve(programme).plan().topRows(3);
        const double lost = bag.cwiseProduct(best - plan).sum();
        CHECK(lost > -1e-5 * spread(bag));
        CHECK(lost < problem.alpha0 * m * std::log(27.0));  // the entropy's range
    }
}

TEST_CASE("penalties that no plan meets never converge") {
    const Matrix<double> bag = Matrix<double>::Random(3, 5);
    UotProblem<double> problem{.reward = bag};
    problem.features = {.alpha = hard, .prior = Vector<double>::Ones(3), .has_masses = true};  // sum 3
    problem.instances = {.alpha = 1, .penalty = AtMost()};
    CHECK(!Sinkhorn{{.max_iterations = 2000}}.solve(problem).converged());
    CHECK(!BregmanAdmm{{.max_iterations = 2000}}.solve(problem).converged());
    problem.features = {.alpha = 1, .penalty = AtMost()};
    problem.mass = 1.5;
    CHECK(!Sinkhorn{{.max_iterations = 2000}}.solve(problem).converged());
    problem.mass = {};
    CHECK(Sinkhorn{}.solve(problem).converged());
    CHECK(std::isfinite(Sinkhorn{}.solve(problem).objective()));
    CHECK(message_of<InvalidArgument>([] { Range(0.5, 0.9); }) ==
          "high of Range is 0.90000000000000002; allowed: 1 to inf");
    CHECK(message_of<InvalidArgument>([] { Range(1.5, 2); }) == "low of Range is 1.5; allowed: 0 to 1");
}

}  // namespace penalties_test
