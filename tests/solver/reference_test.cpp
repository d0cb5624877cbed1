#include <cmath>
#include <limits>

#include "otpool/otpool.hpp"
#include "reference_cases.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/random_problem.hpp"

// Newton, which the other solvers are held to, against references that are independent of it.

namespace reference_test {

using namespace otpool;
using namespace tests;

template <Regularizer R>
void check_reference_case(const ReferenceCase& c) {
    const Eigen::Map<const Eigen::MatrixXd> bag(c.bag.data(), c.D, c.N);
    const auto vector = [](const std::vector<double>& v) {
        return Eigen::VectorXd(Eigen::Map<const Eigen::VectorXd>(v.data(), static_cast<Index>(v.size())));
    };
    const UotProblem<double, R> problem{
        .reward = bag, .alpha0 = c.alpha0, .features = {c.alpha1, vector(c.p0)}, .instances = {c.alpha2, vector(c.q0)}};
    for (const bool closed_forms : {true, false}) {
        const auto solution = Newton{{.tolerance = 1e-12, .closed_forms = closed_forms}}.solve(problem);
        CHECK(solution.converged());
        CHECK((ConditionalReadout{}(solution)-vector(c.pooled)).cwiseAbs().maxCoeff() <= 1e-8 * spread(bag));
        CHECK(std::abs(solution.mass() / c.mass - 1) <= 1e-8);
    }
}

/// The pooled vector by the textbook iteration in extended precision: half steps alone, no translation, no scaling.
template <class Scalar, class R>
WideVector pooled_by_plain_scaling(const UotProblem<Scalar, R>& problem) {
    const Wide alpha0 = problem.alpha0;
    WideMatrix x = problem.reward.matrix().template cast<Wide>() / alpha0;
    const WideMatrix values = x * alpha0;
    const WideVector p = wide_prior(problem.features, x.rows());
    const WideVector q = wide_prior(problem.instances, x.cols());
    if (std::same_as<R, RelativeEntropy>) x += (p * q.transpose()).array().log().matrix();
    const auto damping = [&](Wide alpha) { return std::isinf(alpha) ? 1 : alpha / (alpha + alpha0); };
    const auto log_sum_exp = [](const WideVector& a) {
        return a.maxCoeff() + std::log((a.array() - a.maxCoeff()).exp().sum());
    };
    WideVector f = WideVector::Zero(x.rows());
    WideVector g = WideVector::Zero(x.cols());
    Wide change = 1;
    for (int iteration = 0; iteration < 100000 && change > 1e-15L; ++iteration) {
        change = 0;
        for (Index d = 0; d < x.rows(); ++d) {
            f[d] = damping(problem.features.alpha) * (std::log(p[d]) - log_sum_exp(x.row(d).transpose() + g));
        }
        for (Index n = 0; n < x.cols(); ++n) {
            const Wide next = damping(problem.instances.alpha) * (std::log(q[n]) - log_sum_exp(x.col(n) + f));
            change = std::max(change, std::abs(next - g[n]));
            g[n] = next;
        }
    }
    REQUIRE(change <= 1e-15L);
    WideVector pooled(x.rows());
    for (Index d = 0; d < x.rows(); ++d) {
        const WideVector weight = (x.row(d).transpose() + g).array() - log_sum_exp(x.row(d).transpose() + g);
        pooled[d] = weight.array().exp().matrix().dot(values.row(d));
    }
    return pooled;
}

TEMPLATE_TEST_CASE("Newton finds what plain scaling in extended precision finds", "", Entropy, RelativeEntropy) {
    const ProblemRange range{.most_features = 12,
                             .most_instances = 30,
                             .least_alpha0 = 0.05,
                             .most_alpha0 = 10,
                             .least_alpha = 0.03,
                             .most_alpha = 30,
                             .limits = 0.25,
                             .zeros = false};
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const RandomProblem<double, TestType> random(seed, range);
        INFO(random.drawn);
        const auto solution = Newton{{.tolerance = 1e-12, .closed_forms = false}}.solve(random.problem);
        CHECK(solution.converged());
        const WideVector difference =
            ConditionalReadout{}(solution).template cast<Wide>() - pooled_by_plain_scaling(random.problem);
        CHECK(difference.cwiseAbs().maxCoeff() <= 1e-9 * spread(random.bag));
    }
}

TEST_CASE("Newton agrees with stored solutions of an independent solver") {
    for (const ReferenceCase& c : reference_cases()) {
        INFO("D " << c.D << ", N " << c.N << ", alphas " << c.alpha0 << ' ' << c.alpha1 << ' ' << c.alpha2);
        if (c.relative) {
            check_reference_case<RelativeEntropy>(c);
        } else {
            check_reference_case<Entropy>(c);
        }
    }
}

TEMPLATE_TEST_CASE("Newton's solutions have no duality gap", "", Entropy, RelativeEntropy) {
    int most_iterations = 0;
    for (std::uint64_t seed = 100; seed < 400; ++seed) {
        const RandomProblem<double, TestType> random(seed, {});
        INFO(random.drawn);
        const auto solution = Newton{{.tolerance = 1e-10, .closed_forms = false}}.solve(random.problem);
        most_iterations = std::max(most_iterations, solution.iterations);
        if (solution.status == Status::mass_out_of_range) continue;
        REQUIRE(solution.converged());
        CHECK(marginal_violation(solution) <= 1e-9);
        // The terms of the gap are large beside it where alphas are, and their rounding with them.
        const double terms =
            1 + (random.drawn.alpha0 + (std::isfinite(random.drawn.alpha1) ? random.drawn.alpha1 : 0) +
                 (std::isfinite(random.drawn.alpha2) ? random.drawn.alpha2 : 0) + random.bag.cwiseAbs().maxCoeff()) /
                    spread(random.bag);
        CHECK(std::abs(duality_gap(solution)) <= 1e-9 * terms);
    }
    CHECK(most_iterations <= 200);
}

}  // namespace reference_test
