#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// Where log S is a sum of large numbers that cancel: alpha0 far below the rewards' spread, and none at all. BregmanAdmm
// finds plans to a tolerance of 1e-10 there, and does not say so of others.

namespace small_alpha0_test {

using namespace otpool;
using namespace tests;

/// The residual as Solution::residual defines it, in extended precision, from plan and potentials.
template <class R>
double residual_of(const Solution<double, R>& solution) {
    const UotProblem<double, R>& problem = solution.problem;
    const WideMatrix S = solution.plan().template cast<Wide>();
    WideMatrix slack = problem.reward.matrix().template cast<Wide>();
    slack.colwise() += solution.feature_potential.template cast<Wide>();
    slack.rowwise() += solution.instance_potential.template cast<Wide>().transpose();
    WideMatrix gap;
    Wide most_above = 0;
    if (problem.alpha0 > 0) {
        WideMatrix P = (slack.array() / problem.alpha0).exp();
        if constexpr (std::same_as<R, RelativeEntropy>) {
            const WideVector q = wide_prior(problem.instances, S.cols());
            P.array() *= (wide_prior(problem.features, S.rows()) * q.transpose()).array();
        }
        gap = (P - S).cwiseAbs();
    } else {
        const Wide unit = BregmanAdmm::default_rho(problem);
        most_above = slack.maxCoeff() / unit;
        gap = slack.cwiseAbs().cwiseProduct(S) / unit;
    }
    const Wide of_rows = gap.rowwise().sum().cwiseQuotient(S.rowwise().sum()).maxCoeff();
    const Wide of_cols = gap.colwise().sum().cwiseQuotient(S.colwise().sum()).maxCoeff();
    return std::max(marginal_violation(solution), static_cast<double>(std::max({most_above, of_rows, of_cols})));
}

/// What the rounding of the potentials to double may add to it.
template <class R>
double rounding_of(const Solution<double, R>& solution) {
    const double largest =
        std::max(solution.feature_potential.cwiseAbs().maxCoeff(), solution.instance_potential.cwiseAbs().maxCoeff());
    const auto& problem = solution.problem;
    const double unit = problem.alpha0 > 0 ? problem.alpha0 : BregmanAdmm::default_rho(problem);
    return 1e-12 + 4 * std::numeric_limits<double>::epsilon() * largest / unit;
}

/// Solves random problems with alpha0 from `least` to `most` spreads. Returns how many are not found.
template <class R>
int problems_missed(std::uint64_t problems, double least, double most) {
    constexpr double tolerance = 1e-10;
    int missed = 0;
    for (std::uint64_t seed = 0; seed < problems; ++seed) {
        if (!in_sample(seed)) continue;
        Random random(seed);
        const Index D = random.integer(1, 6);
        const Index N = random.integer(1, 24);
        const Matrix<double> bag = random_bag<double>(random, D, N, seed % 2 == 0 ? BagKind::normal : BagKind::shifted);
        const double unit = std::max(spread(bag), 1e-3);
        UotProblem<double, R> problem{.reward = bag, .alpha0 = most > 0 ? unit * random.log_uniform(least, most) : 0};
        problem.features.alpha = unit * random.log_uniform(0.1, 100);
        problem.instances.alpha = unit * random.log_uniform(0.1, 100);
        if (seed % 3 == 1) problem.features.alpha = hard;
        if (seed % 3 == 2) problem.instances.alpha = hard;
        if (random.chance(0.5)) problem.features.prior = uneven_prior<double>(random, D, false);

        const BregmanAdmm solver{{.tolerance = tolerance, .max_iterations = 20000}};
        const auto solution = solver.solve(problem);
        INFO("seed " << seed << ", " << D << " x " << N << ", alpha0 " << problem.alpha0 << ", iterations "
                     << solution.iterations << ", residual " << solution.residual);
        if (!solution.converged()) {
            ++missed;
            continue;
        }
        CHECK(residual_of(solution) <= tolerance + rounding_of(solution));
        Vector<double> pooled(D);
        solver.pool(problem, pooled);
        const Vector<double> mean = ConditionalReadout{}(solution);
        CHECK((pooled - mean).cwiseAbs().maxCoeff() <= 1e-12 * (unit + bag.cwiseAbs().maxCoeff()));
    }
    return missed;
}

TEST_CASE("Bregman ADMM has all digits at a small alpha0", "[admm_sweep]") {
    CHECK(problems_missed<Entropy>(24, 1e-4, 1e-3) <= 1);
    CHECK(problems_missed<RelativeEntropy>(24, 1e-4, 1e-3) <= 1);
}

TEST_CASE("Bregman ADMM has all digits without a regulariser", "[admm_sweep]") {
    CHECK(problems_missed<Entropy>(24, 0, 0) <= 1);
}

}  // namespace small_alpha0_test
