#include <cmath>
#include <cstdint>

#include "otpool/solver/sinkhorn.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Sinkhorn that starts with the instances' half step.

namespace first_half_step_test {

using namespace otpool;
using namespace tests;

/// The plan after so many steps by their formulas, g first, from f = 0.
Matrix<double> plan_by_formula(const UotProblem<double>& problem, int steps) {
    const Matrix<double> X = problem.reward.matrix();
    const double a0 = problem.alpha0;
    Vector<double> f = Vector<double>::Zero(X.rows());
    Vector<double> g = Vector<double>::Zero(X.cols());
    const auto half_step = [&](const Marginal<double>& side, Index i, Index size, const auto& exponents) {
        const double alpha = side.alphas.size() > 0 ? side.alphas[i] : side.alpha;
        const double k = std::isinf(alpha) ? 1 : alpha / (alpha + a0);
        const double log_prior = side.prior.size() > 0 ? std::log(side.prior[i]) : -std::log(double(size));
        return k * a0 * (log_prior - std::log((exponents.array() / a0).exp().sum()));
    };
    for (int step = 0; step < steps; ++step) {
        for (Index n = 0; n < X.cols(); ++n) g[n] = half_step(problem.instances, n, X.cols(), X.col(n) + f);
        for (Index d = 0; d < X.rows(); ++d) f[d] = half_step(problem.features, d, X.rows(), X.row(d).transpose() + g);
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
            const Matrix<double> expected = plan_by_formula(problem, steps);
            CHECK((solution.plan() - expected).cwiseAbs().maxCoeff() < 1e-12);
            const double off = (expected.colwise().sum().array() * double(bag.cols())).log().abs().maxCoeff();
            CHECK(std::abs(solution.residual - off) < 1e-10);
            CHECK(std::abs(solution.mass() - expected.sum()) < 1e-12);
        }
    }
}

}  // namespace first_half_step_test
