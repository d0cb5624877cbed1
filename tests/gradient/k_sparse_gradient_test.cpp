#include <cstdint>
#include <string>

#include "otpool/gradient/implicit.hpp"
#include "otpool/solver/newton.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/sample.hpp"

// The gradient of KSparse where the dual has no gap: that of Quadratic on the plan's support.

namespace k_sparse_gradient_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

TEMPLATE_TEST_CASE("Implicit is the derivative of a KSparse optimum", "", ConditionalReadout, JointReadout) {
    int compared = 0;
    int limited = 0;
    for (std::uint64_t seed = 0; seed < 120; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {.least_alpha0 = 0.2, .most_alpha0 = 3});
        if (random.chance(0.5)) tests::draw_alphas(random, parameters);
        const Index most = random.integer(1, 3);
        const auto problem_of = [&](const Parameters& at) {
            auto problem = at.problem<KSparse>();
            problem.regularizer.most = most;
            return problem;
        };
        const Implicit<Newton> mode{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
        const auto tape = mode.solve(problem_of(parameters));
        if (!(tape.outcome.residual < 1e-10)) continue;  // only a bound
        ++compared;
        if (most < parameters.reward.rows()) ++limited;
        Vector<double> weights(parameters.reward.rows());
        for (double& weight : weights) weight = random.normal();
        const tests::GradientCheck check(
            parameters,
            [&](const Parameters& moved) {
                return weights.dot(detail::read(TestType{}, mode.solve(problem_of(moved))));
            },
            mode.backward(TestType{}, tape, weights));
        INFO("seed " << seed << ", at most " << most << ": " << check);
        CHECK(check.error() < 1e-6);
    }
    CAPTURE(compared, limited);
    CHECK(limited >= compared / 5);
    CHECK(compared > 0);
}

TEST_CASE("Implicit refuses a KSparse problem that has only a bound") {
    const Matrix<double> reward = Matrix<double>::Random(6, 2);
    const UotProblem<double, KSparse> problem{
        .reward = reward, .features = {.alpha = hard}, .instances = {.alpha = hard}, .regularizer = {.most = 2}};
    const Implicit<Newton> mode;
    const auto tape = mode.solve(problem);
    CHECK(tests::message_of<InvalidArgument>([&] {
              mode.backward(ConditionalReadout{}, tape, Vector<double>(Vector<double>::Ones(6)));
          }).find("not_exact") != std::string::npos);
}

}  // namespace k_sparse_gradient_test
