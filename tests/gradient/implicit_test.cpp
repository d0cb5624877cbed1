#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/random_problem.hpp"
#include "support/sample.hpp"

// The implicit gradient, of the optimum.

namespace implicit_test {

using namespace otpool;
using tests::AlphaRange;
using tests::Parameters;
using tests::Random;

/// Many problems of one regulariser and readout, by Newton to the last digit.
template <class R, class Readout>
void check_by_newton(const AlphaRange& range) {
    for (std::uint64_t seed = 0; seed < 70; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        const Parameters parameters = tests::random_parameters(random, range);
        const auto mode = [](const Parameters&) {
            return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
        };
        const auto check = tests::check_gradient<R>(random, parameters, mode, Readout{});
        INFO("seed " << seed << ": " << check);
        CHECK(check.error() < 1e-6);
        CHECK(check.kinks() == 0);
    }
}

TEMPLATE_TEST_CASE("Implicit is the derivative of the optimum - Entropy", "", ConditionalReadout, JointReadout,
                   SumReadout) {
    check_by_newton<Entropy, TestType>({});
}

TEMPLATE_TEST_CASE("Implicit is the derivative of the optimum - RelativeEntropy", "", ConditionalReadout,
                   JointReadout) {
    check_by_newton<RelativeEntropy, TestType>({});
}

TEST_CASE("Implicit is the derivative of the optimum at small alpha0") {
    check_by_newton<Entropy, ConditionalReadout>({.least_alpha0 = 0.03, .most_alpha0 = 0.2});
}

TEMPLATE_TEST_CASE("Implicit is the derivative of a Quadratic optimum, closed or not", "", ConditionalReadout,
                   JointReadout) {
    int taken = 0;
    int compared = 0;
    int kinks = 0;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        if (!tests::in_sample(seed)) continue;
        ++taken;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {}, 3, 4);
        const auto mode = [](const Parameters& at) {
            BregmanAdmm solver{{.tolerance = 1e-13, .max_iterations = 2000}};
            if (at.shared.rho > 0) solver.rho = {};
            return Implicit<BregmanAdmm>{.solver = solver, .accept_unconverged = true};
        };
        const auto solution = *mode(parameters).solve(parameters.problem<Quadratic>()).solution;
        if (solution.residual > 1e-12) continue;  // no central differences of what is not solved
        const auto check = tests::check_gradient<Quadratic>(random, parameters, mode, TestType{});
        INFO("seed " << seed << ": " << check << ", alphas " << solution.problem.alpha0);
        CHECK(check.error() < 1e-6);
        kinks += check.kinks();
        ++compared;
    }
    CHECK(compared + 1 > 0.64 * taken);
    CHECK(kinks < 0.5 * taken);
}

/// Whether two gradients agree, relative to the largest derivative with respect to a reward, or to a thousandth.
void check_same(const ProblemGradient<double>& gradient, const ProblemGradient<double>& expected, double tolerance) {
    const double bound = tolerance * std::max(1e-3, expected.reward.cwiseAbs().maxCoeff());
    CHECK((gradient.reward - expected.reward).cwiseAbs().maxCoeff() <= bound);
    CHECK((gradient.log_p0 - expected.log_p0).cwiseAbs().maxCoeff() <= bound);
    CHECK((gradient.log_q0 - expected.log_q0).cwiseAbs().maxCoeff() <= bound);
    CHECK(std::abs(gradient.alpha0[0] - expected.alpha0[0]) <= bound);
    CHECK(std::abs(gradient.alpha1[0] - expected.alpha1[0]) <= bound);
    CHECK(std::abs(gradient.alpha2[0] - expected.alpha2[0]) <= bound);
    CHECK(std::abs(gradient.rho[0] - expected.rho[0]) <= bound);
}

TEST_CASE("Implicit does not depend on who found the optimum") {
    for (std::uint64_t seed = 200; seed < 300; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        const Parameters parameters = tests::random_parameters(random, {});
        const auto problem = parameters.problem<Entropy>();
        const Vector<double> dL_dy = Vector<double>::LinSpaced(parameters.reward.rows(), -1, 2);
        const Options options{.tolerance = 1e-11, .max_iterations = 20000, .closed_forms = seed % 2 == 0};
        const auto gradient = [&](auto solver) {
            const Implicit<decltype(solver)> mode{.solver = solver};
            return mode.backward(ConditionalReadout{}, mode.solve(problem), dL_dy);
        };
        const auto by_newton = gradient(Newton{options});
        INFO("seed " << seed << ": " << parameters);
        check_same(gradient(Sinkhorn{options}), by_newton, 1e-7);
        check_same(gradient(BregmanAdmm{options}), by_newton, 1e-7);
    }
}

TEST_CASE("Implicit and Unrolled agree at convergence") {
    for (std::uint64_t seed = 300; seed < 340; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        const Parameters parameters = tests::random_parameters(random, {.least_alpha0 = 0.5});
        const auto problem = parameters.problem<Entropy>();
        const Vector<double> dL_dy = Vector<double>::LinSpaced(parameters.reward.rows(), -1, 2);
        const Implicit<Newton> implicit{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
        const auto expected = implicit.backward(JointReadout{}, implicit.solve(problem), dL_dy);
        INFO("seed " << seed << ": " << parameters);
        const auto compare = [&](const auto& unrolled) {
            const auto tape = unrolled.solve(problem);
            REQUIRE(tape.solution->residual < 1e-9);
            check_same(unrolled.backward(JointReadout{}, tape, dL_dy), expected, 1e-6);
        };
        compare(Unrolled<Sinkhorn>{{{.iterations = 400, .closed_forms = false}}});
        compare(Unrolled<BregmanAdmm>{{{.iterations = 2000, .closed_forms = false}, 0.7}});
    }
}

TEST_CASE("Large systems are solved by conjugate gradients to the same gradient") {
    Random random(7);
    const Index D = detail::OptimumSystem<>::direct_size + 4;
    Matrix<double> bag(D, D + 3);
    for (double& entry : bag.reshaped()) entry = random.normal();
    for (const double alpha : {double(hard), 0.7}) {
        const UotProblem<double> problem{
            .reward = bag, .alpha0 = 1, .features = {.alpha = alpha}, .instances = {.alpha = alpha}};
        const Implicit<Sinkhorn> mode{.solver = {{.tolerance = 1e-12}}};
        Vector<double> dL_dy(D);
        for (double& entry : dL_dy) entry = random.normal();
        const auto tape = mode.solve(problem);
        const auto gradient = mode.backward(ConditionalReadout{}, tape, dL_dy);
        // A directional derivative by central differences.
        Matrix<double> direction(bag.rows(), bag.cols());
        for (double& entry : direction.reshaped()) entry = random.normal();
        const auto at = [&](double step) {
            const Matrix<double> moved = bag + step * direction;
            UotProblem<double> other = problem;
            other.reward = moved;
            return dL_dy.dot(mode.solve(other).mean);
        };
        const double numeric = tests::central_difference(at, 1e-4);
        const double analytic = gradient.reward.cwiseProduct(direction).sum();
        INFO(analytic << " against " << numeric);
        CHECK(std::abs(analytic - numeric) < 1e-6 * std::abs(numeric));
        if (alpha == double(hard)) CHECK(gradient.alpha1[0] == 0);
    }
}

TEST_CASE("A gradient in float is the one in double, rounded") {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const tests::RandomProblem<float, RelativeEntropy> made(
            seed, {.most_features = 8, .most_instances = 20, .least_alpha0 = 0.1, .most_alpha0 = 10});
        const auto in_double = made.in_double();
        const Vector<float> dL_dy = Vector<float>::Ones(made.bag.rows());
        const Implicit<Newton> mode{.solver = {{.tolerance = 1e-12}}, .accept_unconverged = true};
        const auto narrow = mode.backward(ConditionalReadout{}, mode.solve(made.problem), dL_dy);
        const auto wide =
            mode.backward(ConditionalReadout{}, mode.solve(in_double), Vector<double>(dL_dy.cast<double>()));
        INFO(made.drawn);
        const double scale = std::max(1e-3, wide.reward.cwiseAbs().maxCoeff());
        CHECK((narrow.reward.cast<double>() - wide.reward).cwiseAbs().maxCoeff() < 1e-5 * scale);
    }
}

TEST_CASE("Implicit refuses what has not converged unless told otherwise") {
    const Matrix<double> bag{{0.3, -0.4, 0.5}, {0.1, 0.9, -0.2}};
    const UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.01, .features = {.alpha = hard}, .instances = {.alpha = hard}};
    Implicit<Sinkhorn> mode{.solver = {{.iterations = 2}}};
    const auto tape = mode.solve(problem);
    const Vector<double> dL_dy{{1, 1}};
    CHECK(tests::message_of<InvalidArgument>([&] { mode.backward(ConditionalReadout{}, tape, dL_dy); }) ==
          "status of the solution is iteration_limit; allowed: converged, or any with accept_unconverged");
    mode.accept_unconverged = true;
    CHECK(mode.backward(ConditionalReadout{}, tape, dL_dy).reward.allFinite());

    const UotProblem<double> transport{
        .reward = bag, .alpha0 = 0, .features = {.alpha = hard}, .instances = {.alpha = hard}};
    const Implicit<BregmanAdmm> by_admm{.accept_unconverged = true};
    const auto vertex = by_admm.solve(transport);
    CHECK(tests::message_of<UnsupportedProblem>([&] { by_admm.backward(ConditionalReadout{}, vertex, dL_dy); }) ==
          "Implicit does not solve a problem with alpha0 = 0 and no closed form; allowed: alpha0 > 0, a free side, or "
          "ActiveSet's solution; Unrolled differentiates BregmanAdmm's steps");
}

}  // namespace implicit_test
