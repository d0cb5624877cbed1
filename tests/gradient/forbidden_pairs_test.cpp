#include <cmath>
#include <cstdint>
#include <limits>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"

// Gradients of problems that forbid pairs by rewards of -inf, or by large negative ones.

namespace forbidden_pairs_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

constexpr double never = -std::numeric_limits<double>::infinity();

/// Random parameters where about a third of the pairs are forbidden, but not all of a feature's or of a hard instance's.
Parameters parameters_with_forbidden(Random& random, double reward_of_forbidden) {
    Parameters drawn = tests::random_parameters(random, {});
    const Index D = drawn.reward.rows();
    const Index N = drawn.reward.cols();
    if (drawn.values.size() == 0) drawn.values = drawn.reward;
    // With both sides hard, a plan on the allowed pairs may not exist.
    if (std::isinf(drawn.shared.alpha1) && std::isinf(drawn.shared.alpha2)) drawn.shared.alpha2 = 0.7;
    for (Index n = 0; n < N; ++n) {
        const bool all = std::isfinite(drawn.shared.alpha2) && N > D && n == N - 1 && random.chance(0.5);
        for (Index d = 0; d < D; ++d) {
            const bool kept = !all && (d == n % D || n == d % N);
            if (!kept && (all || random.chance(0.4))) drawn.reward(d, n) = reward_of_forbidden;
        }
    }
    return drawn;
}

/// check(random, parameters) for many problems.
void for_each_problem(std::uint64_t count, const auto& check) {
    for (const double reward : {never, -1e12}) {
        for (std::uint64_t seed = 0; seed < count; ++seed) {
            Random random(seed);
            const Parameters parameters = parameters_with_forbidden(random, reward);
            INFO("seed " << seed);
            const auto found = check(random, parameters);
            INFO(parameters.reward << '\n' << found);
            CHECK(found.error() < 1e-6);
            CHECK(found.kinks() == 0);
        }
    }
}

TEMPLATE_TEST_CASE("Implicit is the derivative of an optimum that draws nothing on forbidden pairs", "", Entropy,
                   RelativeEntropy) {
    for_each_problem(30, [](Random& random, const Parameters& parameters) {
        const auto mode = [](const Parameters&) {
            return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
        };
        return tests::check_gradient<TestType>(random, parameters, mode, ConditionalReadout{});
    });
}

template <class Solver>
void check_unrolled(Solver solver) {
    solver.options.iterations = 4;
    solver.options.closed_forms = false;
    for_each_problem(20, [&](Random& random, const Parameters& parameters) {
        const auto mode = [&](const Parameters& at) {
            if constexpr (requires { solver.rho; }) solver.rho = at.shared.rho;
            return Unrolled<Solver>{solver, at.steps};
        };
        return tests::check_gradient<Entropy>(random, parameters, mode, ConditionalReadout{});
    });
}

TEST_CASE("Unrolled is the derivative of Sinkhorn's steps with forbidden pairs") { check_unrolled(Sinkhorn{}); }
TEST_CASE("Unrolled is the derivative of BregmanAdmm's steps with forbidden pairs") { check_unrolled(BregmanAdmm{}); }

}  // namespace forbidden_pairs_test
