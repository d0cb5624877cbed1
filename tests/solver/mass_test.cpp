#include <algorithm>
#include <cmath>
#include <cstdint>

#include "otpool/learning.hpp"
#include "otpool/otpool.hpp"
#include "otpool/plan/solution_of_potentials.hpp"
#include "solver/mixed_problem.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_problem.hpp"

// The plan's mass as a constraint, sum P = m.

namespace mass_test {

using namespace otpool;
using namespace tests;

/// The sum of the priors of a side's hard lines.
template <class Scalar>
double hard_sum(const Marginal<Scalar>& side, Index size) {
    const WideVector prior = wide_prior(side, size);
    const WideVector alpha = wide_alphas(side, size);
    return static_cast<double>((alpha.array() == Wide(infinity)).select(prior, WideVector::Zero(size)).sum());
}

/// Whether a side is hard: all of its lines that are not excluded.
template <class Scalar>
bool is_hard(const Marginal<Scalar>& side, Index size) {
    const WideVector prior = wide_prior(side, size);
    const WideVector alpha = wide_alphas(side, size);
    return (alpha.array() == Wide(infinity) || prior.array() == 0).all();
}

/// A mass that the problem can have: of a hard side its prior's, else above what hard lines have, tiny or huge.
template <class Scalar, class R>
Scalar possible_mass(Random& random, const UotProblem<Scalar, R>& problem) {
    const Index D = problem.reward.rows();
    const Index N = problem.reward.cols();
    if (is_hard(problem.features, D) || is_hard(problem.instances, N)) return 1;
    const double least = std::max(hard_sum(problem.features, D), hard_sum(problem.instances, N));
    return static_cast<Scalar>(least > 0 ? least * (1 + random.log_uniform(1e-3, 1e3)) : random.log_uniform(1e-8, 1e8));
}

template <class Scalar, class R>
void check_optimal(const Solution<Scalar, R>& solution, double unit) {
    const bool in_double = std::same_as<Scalar, double>;
    const UotProblem<Scalar, R>& problem = solution.problem;
    CHECK(solution.status == Status::converged);
    CHECK(marginal_violation(solution) < (in_double ? 2e-9 : 2e-4));
    // Where sum P is off m, the gap has that times lambda.
    const double price = 1 + std::abs(static_cast<double>(solution.mass_potential)) / unit;
    CHECK(std::abs(duality_gap(solution, unit)) < (in_double ? 1e-8 : 1e-3) * price);
    CHECK(std::abs(solution.mass() - solution.plan().sum()) <= (in_double ? 1e-9 : 1e-4) * solution.mass());
    CHECK(std::abs(solution.mass() - *problem.mass) <= (in_double ? 1e-9 : 1e-4) * *problem.mass);
    if (!in_double) return;
    // exp((X + f + g + lambda) / alpha0), with the priors of RelativeEntropy; f and g of free lines are 0.
    const WideVector p = wide_prior(problem.features, problem.reward.rows());
    const WideVector q = wide_prior(problem.instances, problem.reward.cols());
    const double weight = std::same_as<R, RelativeEntropy> ? 1 : 0;
    double off = 0;
    const Matrix<Scalar> plan = solution.plan();
    const double largest = static_cast<double>(plan.maxCoeff());
    for (Index n = 0; n < plan.cols(); ++n) {
        for (Index d = 0; d < plan.rows(); ++d) {
            if (q[n] == 0) continue;
            const Wide exponent = (static_cast<Wide>(problem.reward(d, n)) + solution.feature_potential[d] +
                                   solution.instance_potential[n] + solution.mass_potential) /
                                  problem.alpha0;
            const Wide entry = std::exp(exponent) * std::pow(p[d] * q[n], static_cast<Wide>(weight));
            off = std::max(off, static_cast<double>(std::abs(entry - plan(d, n))) / largest);
        }
    }
    CHECK(off < 1e-7);
    for (Index d = 0; d < plan.rows(); ++d) {
        if (detail::alpha_of(problem.features, d) == 0) CHECK(solution.feature_potential[d] == 0);
    }
}

TEMPLATE_TEST_CASE("solvers take a fixed mass, with an alpha for each feature and instance", "", double, float) {
    const double tolerance = std::same_as<TestType, double> ? 1e-10 : 1e-6;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        INFO("seed " << seed);
        const auto check = [&](auto& mixed) {
            Random random(seed + 5000);
            mixed.problem.mass = possible_mass(random, mixed.problem);
            CAPTURE(*mixed.problem.mass);
            check_optimal(Newton{{.tolerance = tolerance}}.solve(mixed.problem), mixed.unit());
            check_optimal(Sinkhorn{{.tolerance = tolerance}}.solve(mixed.problem), mixed.unit());
            check_optimal(Automatic{{.tolerance = tolerance}}.solve(mixed.problem), mixed.unit());
            check_optimal(Newton{{.tolerance = tolerance, .closed_forms = false}}.solve(mixed.problem), mixed.unit());
        };
        Mixed<TestType, Entropy> entropy(seed);
        check(entropy);
        Mixed<TestType, RelativeEntropy> relative(seed);
        check(relative);
    }
}

TEST_CASE("with one alpha a side, the plan of a fixed mass is the free one rescaled") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        RandomProblem<double> made(seed, {.most_features = 20,
                                          .most_instances = 60,
                                          .least_alpha0 = 0.02,
                                          .most_alpha0 = 100,
                                          .least_alpha = 1e-2,
                                          .most_alpha = 100,
                                          .limits = 0.1});
        UotProblem<double>& problem = made.problem;
        if (std::isinf(problem.features.alpha) || std::isinf(problem.instances.alpha)) continue;
        CAPTURE(made.drawn);
        const auto free = Newton{{.tolerance = 1e-9}}.solve(problem);
        Random random(seed);
        problem.mass = random.log_uniform(1e-6, 1e6);
        const double log_factor = std::log(*problem.mass) - free.log_mass;
        const auto check = [&](const auto& solver) {
            const auto fixed = solver.solve(problem);
            CHECK(fixed.status == Status::converged);
            CHECK(std::abs(fixed.log_mass - std::log(*problem.mass)) < 1e-9);
            double off = 0;
            for (const Index k : {Index{0}, static_cast<Index>(fixed.log_plan.active().size()) - 1}) {
                RealVector a(problem.reward.rows());
                RealVector b(problem.reward.rows());
                fixed.log_plan.column(k, a.data());
                free.log_plan.column(k, b.data());
                const RealVector ratio = a + fixed.log_plan.log_scale() - b - free.log_plan.log_scale();
                off = std::max(off, (ratio.array() - log_factor).abs().maxCoeff());
            }
            CHECK(off < 1e-7);
            // lambda = log(m / free mass) (alpha0 + alpha1 + alpha2), as its gradient of the free mass is one over that.
            const double sum = problem.alpha0 + problem.features.alpha + problem.instances.alpha;
            CHECK(std::abs(fixed.mass_potential / sum - log_factor) < 1e-7);
        };
        check(Sinkhorn{{.tolerance = 1e-9}});
        check(Newton{{.tolerance = 1e-9}});
        Vector<double> pooled(problem.reward.rows());
        Vector<double> expected(problem.reward.rows());
        Sinkhorn{{.iterations = 3}}.pool(problem, pooled);
        problem.mass = {};
        Sinkhorn{{.iterations = 3}}.pool(problem, expected);
        CHECK((pooled - expected).cwiseAbs().maxCoeff() < 1e-9 * spread(made.bag));
    }
}

TEST_CASE("a fixed mass has a closed form at alpha0 = inf and with a free side") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        INFO("seed " << seed);
        const auto check = [&](auto& mixed) {
            Random random(seed + 7000);
            mixed.problem.mass = possible_mass(random, mixed.problem);
            auto large = mixed.problem;
            large.alpha0 = 1e12 * mixed.unit();
            mixed.problem.alpha0 = infinity;
            const auto solution = ClosedForm{}.solve(mixed.problem);
            CHECK(solution.converged());
            CHECK(std::abs(solution.log_mass - std::log(*mixed.problem.mass)) < 1e-9);
            const Matrix<double> expected = Newton{{.tolerance = 1e-12}}.solve(large).plan();
            CHECK((solution.plan() - expected).cwiseAbs().maxCoeff() < 1e-7 * expected.maxCoeff());
        };
        Mixed<double> entropy(seed);
        check(entropy);
        Mixed<double, RelativeEntropy> relative(seed);
        check(relative);

        for (const bool free_features : {false, true}) {
            for (const bool both : {false, true}) {
                Mixed<double> mixed(seed);
                UotProblem<double>& problem = mixed.problem;
                if (free_features || both) problem.features.alphas = Vector<double>::Zero(mixed.bag.rows());
                if (!free_features || both) problem.instances.alphas = Vector<double>::Zero(mixed.bag.cols());
                Random random(seed + 9000);
                problem.mass = possible_mass(random, problem);
                const auto solution = ClosedForm{}.solve(problem);
                CHECK(solution.iterations == 0);
                check_optimal(solution, mixed.unit());
                check_optimal(Sinkhorn{{.tolerance = 1e-10, .closed_forms = false}}.solve(problem), mixed.unit());
            }
        }
    }
}

TEST_CASE("steps of Sinkhorn hold the mass, and pool what their plan says") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        Mixed<double> mixed(seed, 0.2, 5);
        Random random(seed);
        mixed.problem.mass = possible_mass(random, mixed.problem);
        for (const HalfStep first : {HalfStep::features, HalfStep::instances}) {
            const Sinkhorn steps{.options = {.iterations = 3, .closed_forms = false}, .first = first};
            const auto solution = steps.solve(mixed.problem);
            const Matrix<double> plan = solution.plan();
            CHECK(std::abs(solution.residual - marginal_violation(solution)) < 1e-8);
            Vector<double> pooled(mixed.bag.rows());
            steps.pool(mixed.problem, pooled);
            const Vector<double> mean =
                (plan.cwiseProduct(mixed.bag).rowwise().sum()).cwiseQuotient(plan.rowwise().sum());
            CHECK((pooled - mean).cwiseAbs().maxCoeff() < 1e-10 * (1 + mixed.bag.cwiseAbs().maxCoeff()));
        }
    }
}

/// One step by its formulas, with lambda found by bisection: f and lambda with g = 0, then g.
TEST_CASE("a step of Sinkhorn with a fixed mass is that of its formulas") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Matrix<double> bag = random_bag<double>(random, 4, 7, BagKind::normal);
        UotProblem<double> problem{.reward = bag, .alpha0 = random.log_uniform(0.2, 2)};
        problem.features.alphas = Vector<double>{{0.3, 2, 0, 5}};
        if (random.chance(0.5)) problem.features.alphas[1] = hard;
        problem.features.prior = uneven_prior<double>(random, 4, false);
        problem.instances.alpha = random.chance(0.3) ? 0.0 : random.log_uniform(0.1, 10);
        problem.mass = problem.features.prior[1] * (1 + random.log_uniform(0.1, 10));
        const double a0 = problem.alpha0;
        const auto damping = [&](double alpha) { return std::isinf(alpha) ? 1 : alpha / (alpha + a0); };
        Vector<double> lse(4);
        for (Index d = 0; d < 4; ++d) lse[d] = std::log((bag.row(d).array() / a0).exp().sum());
        const auto potentials = [&](double lambda) {
            Vector<double> f(4);
            for (Index d = 0; d < 4; ++d) {
                const double excess = a0 * (std::log(problem.features.prior[d]) - lse[d]) - lambda;
                f[d] = damping(problem.features.alphas[d]) * excess;
            }
            return f;
        };
        double low = -1e4;
        double high = 1e4;
        for (int i = 0; i < 200; ++i) {
            const double lambda = (low + high) / 2;
            const double mass = (((potentials(lambda).array() + lambda) / a0 + lse.array()).exp()).sum();
            (mass < *problem.mass ? low : high) = lambda;
        }
        const double lambda = (low + high) / 2;
        Matrix<double> exponents = (bag.colwise() + potentials(lambda)).array() + lambda;
        for (Index n = 0; n < 7; ++n) {
            const double sum = std::log((exponents.col(n).array() / a0).exp().sum());
            exponents.col(n).array() += damping(problem.instances.alpha) * a0 * (-std::log(7.0) - sum);
        }
        const Matrix<double> expected = (exponents / a0).array().exp();
        const Sinkhorn step{.options = {.iterations = 1, .closed_forms = false}, .translation = false};
        CHECK((step.solve(problem).plan() - expected).cwiseAbs().maxCoeff() < 1e-10 * expected.maxCoeff());
    }
}

TEST_CASE("a warm start at the optimum of a fixed mass takes one iteration") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        Mixed<double> mixed(seed, 0.2, 5);
        Random random(seed);
        mixed.problem.mass = possible_mass(random, mixed.problem);
        const auto check = [&](const auto& solver) {
            const auto cold = solver.solve(mixed.problem);
            const auto warm = solver.solve(mixed.problem, {.warm_start = &cold});
            CHECK(warm.converged());
            CHECK(warm.iterations <= 1);
        };
        check(Sinkhorn{{.tolerance = 1e-9, .closed_forms = false}});
        check(Newton{{.tolerance = 1e-9, .closed_forms = false}});
    }
}

TEST_CASE("potentials of one's own are scaled to the fixed mass") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        Mixed<double, RelativeEntropy> mixed(seed, 0.2, 5);
        Random random(seed);
        mixed.problem.mass = possible_mass(random, mixed.problem);
        const auto newton = Newton{{.tolerance = 1e-11}}.solve(mixed.problem);
        const auto again = solution_of_potentials(mixed.problem, newton.feature_potential, newton.instance_potential,
                                                  newton.iterations, 1e-8);
        if (detail::fixed_mass(mixed.problem)) check_optimal(again, mixed.unit());
        CHECK(again.converged());
    }
}

TEST_CASE("a fixed mass goes with rewards of any size") {
    for (const double size : {1e-300, 1e-30, 1e30, 1e300}) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            INFO("size " << size << ", seed " << seed);
            Mixed<double> mixed(seed, 0.2, 5);
            Random random(seed);
            mixed.problem.mass = possible_mass(random, mixed.problem);
            if (!detail::fixed_mass(mixed.problem)) continue;
            const Matrix<double> expected = Newton{{.tolerance = 1e-11}}.solve(mixed.problem).plan();
            const Matrix<double> bag = size * mixed.bag;
            auto scaled = mixed.problem;
            scaled.reward = bag;
            scaled.alpha0 *= size;
            for (auto* side : {&scaled.features, &scaled.instances}) side->alphas *= size;
            const auto check = [&](const auto& solver) {
                const auto solution = solver.solve(scaled);
                CHECK(solution.converged());
                CHECK((solution.plan() - expected).cwiseAbs().maxCoeff() < 1e-8 * expected.maxCoeff());
            };
            check(Sinkhorn{{.tolerance = 1e-10}});
            check(Newton{{.tolerance = 1e-10}});
        }
    }
}

TEST_CASE("poolings take a fixed mass") {
    Random random(3);
    const Matrix<double> bag = random_bag<double>(random, 5, 20, BagKind::normal);
    const PoolingParameters<double> parameters{.alpha0 = 0.5,
                                               .features = {.alpha = 1, .penalty = AtMost()},
                                               .instances = {.alpha = 1, .penalty = AtMost()},
                                               .mass = 0.7};
    const SlotPooling<double, DotProduct<double>, Sinkhorn> slots{
        .reward = {.prototypes = random_bag<double>(random, 5, 3, BagKind::normal)}, .parameters = parameters};
    const Matrix<double> drawn = slots.plan({bag});
    CHECK(std::abs(drawn.sum() - 0.7) < 1e-7);
    CHECK(drawn.rowwise().sum().maxCoeff() < (1 + 1e-7) / 3);
    CHECK(drawn.colwise().sum().maxCoeff() < (1 + 1e-7) / 20);
    const Pooling<double> pooling{parameters, {}};
    const auto solution = pooling.solve({bag});
    CHECK(std::abs(solution.mass() - 0.7) < 1e-7);
    CHECK((pooling(bag) - ConditionalReadout{}(solution)).cwiseAbs().maxCoeff() < 1e-7);
}

TEST_CASE("masses that do not go with the problem are refused") {
    const Matrix<double> bag = Matrix<double>::Random(2, 4);
    UotProblem<double> problem{.reward = bag};
    problem.features.alpha = 1;
    problem.instances.alpha = 1;
    const auto message = [&](const auto& solver) {
        return message_of<InvalidArgument>([&] { solver.solve(problem); });
    };
    for (const double mass : {0.0, -1.0, std::nan(""), double(infinity)}) {
        problem.mass = mass;
        CHECK(message(Sinkhorn{}).substr(0, 8) == "mass is ");
        CHECK(message(Newton{}).find("allowed: finite and > 0") != std::string::npos);
    }
    problem.mass = 0.4;
    problem.features.alphas = Vector<double>{{1, hard}};
    CHECK(message(Sinkhorn{}) ==
          "mass is 0.40000000000000002; allowed: more than 0.5, the sum of p0 over hard features");
    problem.features.alphas = {};
    problem.instances.alpha = hard;
    CHECK(message(Sinkhorn{}) ==
          "mass is 0.40000000000000002; allowed: 1, the sum of q0, within 0.001 of it, as all instances are hard");
    problem.mass = 1;
    CHECK(Sinkhorn{}.solve(problem).converged());
    CHECK(BregmanAdmm{}.solve(problem).converged());
    problem.alpha0 = 0;
    CHECK(ActiveSet{}.solve(problem).converged());
}

TEST_CASE("solvers and gradients that do not take a fixed mass say so") {
    const Matrix<double> bag = Matrix<double>::Random(2, 4);
    UotProblem<double> problem{.reward = bag};
    problem.features.alpha = 1;
    problem.instances.alpha = 1;
    problem.mass = 0.5;
    const auto message = [&](const auto& solve) { return message_of<UnsupportedProblem>(solve); };
    CHECK(
        message([&] { BregmanAdmm{}.solve(problem); }) ==
        "BregmanAdmm does not solve a problem with a fixed mass; allowed: no mass, or a hard side (Sinkhorn and Newton "
        "take a fixed mass)");
    CHECK(message([&] { Unrolled<Sinkhorn>{{{.iterations = 2}}}.solve(problem); }).find("a fixed mass") !=
          std::string::npos);
    UotProblem<double, Quadratic> quadratic{.reward = bag};
    quadratic.features.alpha = 1;
    quadratic.mass = 0.5;
    CHECK(message([&] { Newton{}.solve(quadratic); }).find("a fixed mass") != std::string::npos);
    CHECK(message([&] { Automatic{}.solve(quadratic); }).find("a fixed mass") != std::string::npos);
    problem.alpha0 = 0;
    const std::string limit =
        "A solver does not solve a problem with alpha0 = 0 and a fixed mass; allowed: alpha0 > 0, no mass, or a hard "
        "side";
    CHECK(message([&] { ActiveSet{}.solve(problem); }) == limit);
    CHECK(message([&] { Automatic{}.solve(problem); }) == limit);
    problem.instances.alpha = 0;
    CHECK(message([&] { ClosedForm{}.solve(problem); }) == limit);
}

}  // namespace mass_test
