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

// Priors of sum 1: what an instance's prior gains, the others lose, whether the plan has mass there or not.

/// Random parameters with a soft marginal, where the last instance, the last feature or both are forbidden as a whole.
Parameters parameters_with_forbidden_lines(Random& random, double reward_of_forbidden) {
    Parameters drawn = tests::random_parameters(random, {.limits = false}, 4, 5);
    const Index D = random.integer(2, 4);
    const Index N = random.integer(2, 5);
    const auto draw = [&](auto& numbers) {
        for (double& number : numbers.reshaped()) number = random.normal();
    };
    drawn.reward.resize(D, N);
    drawn.values.resize(D, N);
    drawn.log_p0.resize(D);
    drawn.log_q0.resize(N);
    draw(drawn.reward);
    draw(drawn.values);
    draw(drawn.log_p0);
    draw(drawn.log_q0);
    // A feature that has no other reward than -inf is refused; one of large negative rewards is not.
    const Index lines = reward_of_forbidden == never ? 1 : random.integer(1, 3);
    if (lines != 2) drawn.reward.col(N - 1).setConstant(reward_of_forbidden);
    if (lines != 1) drawn.reward.row(D - 1).setConstant(reward_of_forbidden);
    // A hard or free side has no line that is forbidden as a whole to no effect.
    if (lines == 1 && random.chance(0.3)) drawn.shared.alpha1 = random.chance(0.5) ? double(hard) : 0.0;
    if (lines == 2 && random.chance(0.3)) drawn.shared.alpha2 = random.chance(0.5) ? double(hard) : 0.0;
    return drawn;
}

template <class R, class Readout>
void check_forbidden_lines(const auto& mode) {
    for (const double reward : {never, -1e12}) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            Random random(seed);
            const Parameters parameters = parameters_with_forbidden_lines(random, reward);
            const auto found = tests::check_gradient<R>(random, parameters, mode, Readout{});
            INFO("seed " << seed << '\n' << parameters.reward << '\n' << found);
            CHECK(found.error() < 1e-6);
            CHECK(found.kinks() == 0);
        }
    }
}

TEST_CASE("A line that is forbidden as a whole has the derivative of its prior's normalisation") {
    const auto implicit = [](const Parameters&) {
        return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
    };
    check_forbidden_lines<Entropy, JointReadout>(implicit);
    check_forbidden_lines<RelativeEntropy, JointReadout>(implicit);
    const auto sinkhorn = [](const Parameters&) {
        return Unrolled<Sinkhorn>{{{.iterations = 4, .closed_forms = false}}};
    };
    check_forbidden_lines<Entropy, JointReadout>(sinkhorn);
    check_forbidden_lines<RelativeEntropy, JointReadout>(sinkhorn);
    const auto admm = [](const Parameters& at) {
        return Unrolled<BregmanAdmm>{{{.iterations = 4, .closed_forms = false}, at.shared.rho}};
    };
    check_forbidden_lines<Entropy, JointReadout>(admm);
    check_forbidden_lines<Quadratic, JointReadout>(admm);
}

TEST_CASE("At alpha0 = 0 and for Quadratic, a forbidden instance has the derivative of its prior's normalisation") {
    const auto check = [&]<class R>(R, const auto& mode, double alpha0) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            Random random(seed);
            Parameters parameters = parameters_with_forbidden_lines(random, never);
            parameters.shared.alpha0 = alpha0;
            const auto found = tests::check_gradient<R>(random, parameters, mode, JointReadout{});
            INFO("seed " << seed << '\n' << parameters.reward << '\n' << found);
            CHECK(found.error() < 1e-6);
        }
    };
    check(
        Entropy{}, [](const Parameters&) { return Implicit<ActiveSet>{}; }, 0);
    check(
        Quadratic{},
        [](const Parameters&) {
            return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
        },
        0.3);
}

}  // namespace forbidden_pairs_test
