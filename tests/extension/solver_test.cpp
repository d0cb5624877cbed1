#include <cmath>

#include "otpool/learning.hpp"
#include "otpool/otpool.hpp"
#include "otpool/plan/solution_of_potentials.hpp"
#include "support/catch.hpp"
#include "support/random_problem.hpp"

// A solver that the library does not have, in a page.

namespace solver_test {

using namespace otpool;
using namespace tests;

/// Scaling as in the textbook, without a care for ranges: u <- (p / K v)^k1, v <- (q / K^T u)^k2, K = exp(X / alpha0).
struct TextbookScaling {
    Options options = {};

    template <BagScalar Scalar>
    Solution<Scalar, Entropy> solve(const UotProblem<Scalar>& problem, const Run<Scalar, Entropy>& run = {}) const {
        validate(problem, run.execution);
        const double alpha0 = problem.alpha0;
        if (!(alpha0 > 0 && std::isfinite(alpha0))) {
            throw UnsupportedProblem("TextbookScaling", "alpha0 = 0 or inf", "alpha0 in (0, inf)");
        }
        const Matrix<double> K = (problem.reward.matrix().template cast<double>() / alpha0).array().exp();
        const auto power = [&](double alpha) { return std::isinf(alpha) ? 1 : alpha / (alpha + alpha0); };
        const double k1 = power(problem.features.alpha);
        const double k2 = power(problem.instances.alpha);
        Vector<double> u = Vector<double>::Ones(K.rows());
        Vector<double> v = Vector<double>::Ones(K.cols());
        const int limit = options.iterations.value_or(1000);
        for (int k = 0; k < limit; ++k) {
            u = (K * v * static_cast<double>(K.rows())).array().inverse().pow(k1);
            v = (K.transpose() * u * static_cast<double>(K.cols())).array().inverse().pow(k2);
        }
        return solution_of_potentials(problem, Vector<double>(alpha0 * u.array().log()),
                                      Vector<double>(alpha0 * v.array().log()), limit,
                                      options.tolerance.value_or(1e-8));
    }
};

TEMPLATE_TEST_CASE("A solver from outside finds Newton's plan", "", double, float) {
    int converged = 0;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        RandomProblem<TestType> random(seed, {.least_alpha0 = 0.1, .most_alpha0 = 10, .most_alpha = 3});
        INFO(random.drawn);
        random.problem.features.prior = random.problem.instances.prior = {};  // as it knows uniform ones alone
        const auto found = TextbookScaling{{.tolerance = 1e-6}}.solve(random.problem);
        const auto expected = Newton{}.solve(random.problem);
        if (!found.converged()) continue;
        ++converged;
        CHECK(found.residual <= 1e-6);
        const Vector<double> difference =
            (ConditionalReadout{}(found)-ConditionalReadout{}(expected)).template cast<double>();
        CHECK(difference.cwiseAbs().maxCoeff() <= 1e-4 * spread(random.bag));
        CHECK(found.log_mass == Catch::Approx(expected.log_mass).margin(1e-4));
        const auto potential = [&](const auto& solution) {
            return (solution.feature_potential.replicate(1, random.bag.cols()) +
                    solution.instance_potential.transpose().replicate(random.bag.rows(), 1))
                .eval();
        };
        CHECK((potential(found) - potential(expected)).norm() <= 1e-3 * (1 + potential(expected).norm()));
    }
    CHECK(converged > 30);
}

TEST_CASE("A pooling and gradients take a solver from outside") {
    const Matrix<double> bag = Matrix<double>::Random(5, 9);
    const PoolingParameters<double> parameters{.alpha0 = 0.3, .instances = {.alpha = 0.5}};
    const auto pooled = Pooling{parameters, TextbookScaling{}}(bag);
    CHECK((pooled - Pooling{parameters, Sinkhorn{{.tolerance = 1e-12}}}(bag)).norm() < 1e-10);

    const UotProblem<double> problem{.reward = bag, .alpha0 = 0.3, .instances = {.alpha = 0.5}};
    const Vector<double> dL_dy = Vector<double>::Ones(5);
    const auto gradient = [&](const auto& mode) {
        return mode.backward(ConditionalReadout{}, mode.solve(problem), dL_dy).reward;
    };
    CHECK((gradient(Implicit<TextbookScaling>{}) - gradient(Implicit<Newton>{})).norm() < 1e-8);
}

TEST_CASE("What a solver from outside has not solved is not called converged") {
    const Matrix<double> bag = Matrix<double>::Random(5, 9);
    const UotProblem<double> problem{.reward = bag, .alpha0 = 0.1, .instances = {.alpha = hard}};
    const auto solution = TextbookScaling{{.iterations = 1}}.solve(problem);
    CHECK(solution.status == Status::iteration_limit);
    CHECK(solution.residual > 1e-3);
}

}  // namespace solver_test
