#include <cmath>
#include <cstdint>

#include "otpool/solver/sinkhorn.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Where Sinkhorn's steps start: with which half step, and from which potentials.

namespace first_half_step_test {

using namespace otpool;
using namespace tests;

/// The plan after so many steps by their formulas, from these potentials.
Matrix<double> plan_by_formula(const UotProblem<double>& problem, int steps, HalfStep first, Vector<double> f,
                               Vector<double> g) {
    const Matrix<double> X = problem.reward.matrix();
    const double a0 = problem.alpha0;
    const auto half_step = [&](const Marginal<double>& side, Index i, Index size, const auto& exponents) {
        const double alpha = side.alphas.size() > 0 ? side.alphas[i] : side.alpha;
        const double k = std::isinf(alpha) ? 1 : alpha / (alpha + a0);
        const double log_prior = side.prior.size() > 0 ? std::log(side.prior[i]) : -std::log(double(size));
        return k * a0 * (log_prior - std::log((exponents.array() / a0).exp().sum()));
    };
    for (int half = 0; half < 2 * steps; ++half) {
        const bool of_features = (first == HalfStep::features) == (half % 2 == 0);
        for (Index d = 0; d < X.rows() && of_features; ++d)
            f[d] = half_step(problem.features, d, X.rows(), X.row(d).transpose() + g);
        for (Index n = 0; n < X.cols() && !of_features; ++n)
            g[n] = half_step(problem.instances, n, X.cols(), X.col(n) + f);
    }
    return (((X.colwise() + f).rowwise() + g.transpose()).array() / a0).exp();
}

TEST_CASE("Sinkhorn's steps may start with the instances") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Matrix<double> bag =
            random_bag<double>(random, random.integer(1, 6), random.integer(1, 20), BagKind::normal);
        UotProblem<double> problem{.reward = bag, .alpha0 = random.log_uniform(0.2, 2)};
        problem.instances.alpha = hard;
        problem.features.alpha = random.chance(0.5) ? double(hard) : 1;
        if (random.chance(0.5)) problem.features.prior = uneven_prior<double>(random, bag.rows(), false);
        if (bag.rows() > 1 && random.chance(0.5)) {
            problem.features.alphas = Vector<double>::Constant(bag.rows(), 0.7);
            problem.features.alphas[0] = hard;
        }
        for (const int steps : {1, 2, 7}) {
            const Sinkhorn solver{.options = {.iterations = steps}, .translation = false, .first = HalfStep::instances};
            const auto solution = solver.solve(problem);
            CHECK(solution.iterations == steps);
            const Matrix<double> expected =
                plan_by_formula(problem, steps, HalfStep::instances, Vector<double>::Zero(bag.rows()),
                                Vector<double>::Zero(bag.cols()));
            CHECK((solution.plan() - expected).cwiseAbs().maxCoeff() < 1e-12);
            const double off = (expected.colwise().sum().array() * double(bag.cols())).log().abs().maxCoeff();
            CHECK(std::abs(solution.residual - off) < 1e-10);
            CHECK(std::abs(solution.mass() - expected.sum()) < 1e-12);
        }
    }
}

TEST_CASE("The first half step of Sinkhorn starts where its documentation says") {
    Random random(6400);
    const double alpha1 = GENERATE(0.5, 3.0, double(hard));
    const double alpha2 = GENERATE(2.0, double(hard));
    const bool own = GENERATE(false, true);
    const HalfStep first = GENERATE(HalfStep::features, HalfStep::instances);
    const double level = GENERATE(0.0, 5.0, -5.0);
    const Matrix<double> bag = random_bag<double>(random, 3, 5, BagKind::normal).array() + level;
    UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.7, .features = {.alpha = alpha1}, .instances = {.alpha = alpha2}};
    if (own) {
        problem.features.alphas = Vector<double>::Constant(3, alpha1);
        problem.features.alphas[1] = std::isinf(alpha1) ? 2 : double(hard);
    }
    const double S = bag.maxCoeff();
    const auto start = [&](double alpha, bool is_hard, Index size) {
        const double sum = problem.alpha0 + alpha1 + alpha2;
        return Vector<double>::Constant(size, is_hard ? -S : own || std::isinf(sum) ? 0 : -alpha * S / sum).eval();
    };
    const Sinkhorn solver{.options = {.iterations = 1, .closed_forms = false}, .translation = false, .first = first};
    const Matrix<double> expected = plan_by_formula(problem, 1, first, start(alpha1, !own && std::isinf(alpha1), 3),
                                                    start(alpha2, std::isinf(alpha2), 5));
    INFO("alphas " << alpha1 << ", " << alpha2 << ", own " << own << ", level " << level);
    CHECK((solver.solve(problem).plan() - expected).cwiseAbs().maxCoeff() < 1e-12 * expected.maxCoeff());
}

}  // namespace first_half_step_test
