#include <algorithm>
#include <cmath>
#include <cstdint>

#include "otpool/gradient/structural_gradient.hpp"
#include "otpool/solver/newton.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/sample.hpp"

// The gradient of Structural against central differences, and GMRES against the equations that it solves.

namespace structural_gradient_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

Matrix<double> symmetric(Random& random, Index size) {
    Matrix<double> x(size, size);
    for (double& entry : x.reshaped()) entry = random.normal();
    const Matrix<double> c = x + x.transpose();
    return c / c.cwiseAbs().maxCoeff();
}

template <class R, class Inner>
void check(std::uint64_t seed, double allowed) {
    Random random(seed);
    Parameters parameters = tests::random_parameters(random, {.least_alpha0 = 0.2, .most_alpha0 = 2, .limits = false});
    parameters.values.resize(0, 0);
    (random.chance(0.5) ? parameters.shared.alpha1 : parameters.shared.alpha2) = hard;
    if (random.chance(0.3)) parameters.shared.alpha1 = parameters.shared.alpha2 = hard;
    const Index D = parameters.reward.rows();
    const Index N = parameters.reward.cols();
    if (D * N == 1) return;  // a plan of one entry and a fixed mass is constant
    if (std::isinf(parameters.shared.alpha2) && random.chance(0.5)) {
        parameters.alphas1.resize(D);
        for (double& alpha : parameters.alphas1) alpha = random.chance(0.2) ? 0 : random.log_uniform(0.1, 10);
    }
    Matrix<double> C1 = symmetric(random, D);
    Matrix<double> C2 = symmetric(random, N);
    Matrix<double> weight(D, N);
    for (double& entry : weight.reshaped()) entry = random.normal();
    Structural<Inner> solver{.options = {.tolerance = 1e-12},
                             .feature_structure = C1,
                             .instance_structure = C2,
                             .alpha = random.log_uniform(0.1, 1)};
    solver.inner.options.tolerance = 1e-13;
    const auto base_problem = parameters.problem<R>();
    const auto base = solver.solve(base_problem);
    if (!(base.residual < 1e-11)) return;
    auto exact = base;
    exact.status = Status::converged;  // to rounding
    const StructuralGradient gradient = structural_gradient(solver, exact, weight);
    const auto number = [&](const UotProblem<double, R>& problem) {
        return weight.cwiseProduct(solver.solve(problem, {.warm_start = &base}).plan()).sum();
    };
    const tests::GradientCheck of_problem(
        parameters, [&](const Parameters& moved) { return number(moved.problem<R>()); }, gradient.problem);
    INFO("seed " << seed << ": " << of_problem);
    CHECK(of_problem.error() < allowed);

    const double scale = std::max({gradient.problem.reward.cwiseAbs().maxCoeff(), std::abs(gradient.alpha),
                                   gradient.feature_structure.cwiseAbs().maxCoeff(), 1e-3});
    const double alpha = solver.alpha;
    const double of_alpha = tests::central_difference(
        [&](double step) {
            solver.alpha = alpha + step;
            return number(base_problem);
        },
        1e-4);
    solver.alpha = alpha;
    CHECK(std::abs(of_alpha - gradient.alpha) <= allowed * scale);
    const auto check_structure = [&](Matrix<double>& C, const Matrix<double>& of_C) {
        const Matrix<double> before = C;
        const Matrix<double> direction = symmetric(random, C.rows());
        const double numeric = tests::central_difference(
            [&](double step) {
                C = before + step * direction;
                return number(base_problem);
            },
            1e-4);
        C = before;
        CHECK(std::abs(numeric - of_C.cwiseProduct(direction).sum()) <= allowed * scale);
    };
    check_structure(C1, gradient.feature_structure);
    check_structure(C2, gradient.instance_structure);
}

TEST_CASE("The gradient of Structural is its derivative") {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        if (!tests::in_sample(seed)) continue;
        check<Entropy, Newton>(seed, 1e-6);
    }
}

TEST_CASE("The gradient of Structural is its derivative with other regularisers") {
    for (std::uint64_t seed = 100; seed < 115; ++seed) {
        if (!tests::in_sample(seed)) continue;
        check<RelativeEntropy, Newton>(seed, 1e-6);
        check<Quadratic, Newton>(seed, 1e-6);
    }
}

TEST_CASE("GMRES solves a linear system by its products") {
    for (const Index size : {1, 2, 7, 30}) {
        const RealMatrix A = RealMatrix::Identity(size, size) * 2 + RealMatrix::Random(size, size);
        const RealVector x = RealVector::Random(size);
        int products = 0;
        const RealVector found = detail::gmres(
            [&](const RealVector& v) {
                ++products;
                return RealVector(A * v);
            },
            RealVector(A * x), 1e-13, 100);
        CHECK((A * (found - x)).norm() <= 1e-11 * (A * x).norm());
        CHECK(products <= size + 1);
    }
    // A singular system with a solution, and none to solve.
    const RealMatrix A{{1, 1}, {1, 1}};
    const auto apply = [&](const RealVector& v) { return RealVector(A * v); };
    CHECK((A * detail::gmres(apply, RealVector{{2, 2}}, 1e-13, 10) - RealVector{{2, 2}}).norm() <= 1e-12);
    CHECK(detail::gmres(apply, RealVector(RealVector::Zero(2)), 1e-13, 10).norm() == 0);
}

}  // namespace structural_gradient_test
