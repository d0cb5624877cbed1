#include <algorithm>
#include <cmath>
#include <cstdint>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/sample.hpp"

// Implicit gradients of sparse optima: Quadratic by Newton, and vertices at alpha0 = 0 by ActiveSet.

namespace sparse_optimum_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

/// Central differences step by 1e-4, of fourth order: away from kinks they are right to about 1e-8 of the largest
/// derivative, as the solution is right to 1e-12 or rounding. Where an entry of the plan comes or goes within the step,
/// the second and fourth order differ, and the entry is left out (a kink); closer to the edge of the step that shows
/// only in part: hence 1e-6.
constexpr double allowed = 1e-6;

template <class Readout>
void check_quadratic(double least_alpha0, double most_alpha0, std::uint64_t first) {
    int kinks = 0;
    for (std::uint64_t seed = first; seed < first + 60; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        const Parameters parameters =
            tests::random_parameters(random, {.least_alpha0 = least_alpha0, .most_alpha0 = most_alpha0});
        const auto mode = [](const Parameters&) {
            return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
        };
        const auto check = tests::check_gradient<Quadratic>(random, parameters, mode, Readout{});
        INFO("seed " << seed << ": " << check);
        CHECK(check.error() < allowed);
        kinks += check.kinks();
    }
    CHECK(kinks < 60);
}

TEMPLATE_TEST_CASE("Implicit is the derivative of a Quadratic optimum by Newton", "", ConditionalReadout,
                   JointReadout) {
    check_quadratic<TestType>(0.2, 3, 0);
    check_quadratic<TestType>(3, 30, 100);
}

TEMPLATE_TEST_CASE("Implicit is the derivative of a vertex by ActiveSet", "", ConditionalReadout, JointReadout) {
    int kinks = 0;
    int compared = 0;
    for (std::uint64_t seed = 0; seed < 120; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        parameters.shared.alpha0 = 0;
        // Weaker marginals have masses of e^100, which no differences resolve.
        for (double* alpha : {&parameters.shared.alpha1, &parameters.shared.alpha2}) *alpha = std::max(*alpha, 0.3);
        const auto mode = [](const Parameters&) { return Implicit<ActiveSet>{.solver = {{.tolerance = 1e-11}}}; };
        const auto check = tests::check_gradient<Entropy>(random, parameters, mode, TestType{});
        INFO("seed " << seed << ": " << check);
        CHECK(check.error() < allowed);
        kinks += check.kinks();
        ++compared;
    }
    CHECK(kinks < compared);
}

TEST_CASE("A gradient of a vertex in float is the one in double, rounded") {
    const Matrix<float> bag{{0.3f, 1.5f, -0.8f, 0.2f}, {-1.2f, 0.1f, 0.9f, 0.4f}};
    const UotProblem<float> narrow{.reward = bag, .alpha0 = 0, .features = {.alpha = 2}, .instances = {.alpha = 0.5f}};
    const UotProblem<double> wide{
        .reward = bag.cast<double>().eval(), .alpha0 = 0, .features = {.alpha = 2}, .instances = {.alpha = 0.5}};
    const Implicit<ActiveSet> mode;
    const auto of_float = mode.backward(JointReadout{}, mode.solve(narrow), Vector<float>{{1, -2}});
    const auto of_double = mode.backward(JointReadout{}, mode.solve(wide), Vector<double>{{1, -2}});
    CHECK((of_float.reward.cast<double>() - of_double.reward).cwiseAbs().maxCoeff() <
          1e-5 * of_double.reward.cwiseAbs().maxCoeff());
}

}  // namespace sparse_optimum_test
