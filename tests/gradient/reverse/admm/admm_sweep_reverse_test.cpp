#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "otpool/learning.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/pooled_only.hpp"
#include "support/sample.hpp"

// The gradient of Bregman ADMM's sweeps, against central differences and against that of the whole state.

namespace admm_sweep_reverse_test {

using namespace otpool;
using tests::Parameters;
using tests::PooledOnly;
using tests::Random;

/// A random problem, and steps that share its parameters, or each have theirs; some instances are excluded.
struct Drawn {
    Parameters parameters;
    int steps;

    Drawn(std::uint64_t seed, Index most_features, Index most_instances, int most_steps) {
        Random random(seed);
        parameters = tests::random_parameters(random, {}, most_features, most_instances);
        steps = static_cast<int>(random.integer(1, most_steps));
        if (random.chance(0.2)) parameters.shared.alpha0 = 0;
        Vector<double>& log_q0 = parameters.log_q0;
        for (Index n = 1; n < log_q0.size(); ++n) {
            if (seed % 5 == 0 && random.chance(0.3)) log_q0[n] = -std::numeric_limits<double>::infinity();
        }
        if (seed % 2 == 1) tests::draw_steps(random, steps, 0.5, parameters);
    }
};

PooledOnly<BregmanAdmm> mode(const Parameters& at, int steps) {
    return {{{{.iterations = steps, .closed_forms = false}, at.shared.rho}, at.steps}};
}

template <class R>
void compare_with_central_differences() {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        if (!tests::in_sample(seed)) continue;
        const Drawn drawn(seed, seed % 3 == 0 ? 9 : 3, seed % 3 == 0 ? 20 : 35, seed % 10 == 0 ? 20 : 5);
        Random random(1000 + seed);
        CHECK(mode(drawn.parameters, drawn.steps).solve(drawn.parameters.problem<R>()).trajectory->swept());
        const auto check = tests::check_gradient<R>(
            random, drawn.parameters, [&](const Parameters& at) { return mode(at, drawn.steps); },
            ConditionalReadout{});
        INFO("seed " << seed << ", " << drawn.steps << " steps: " << check);
        CHECK(check.error() < 1e-6);
    }
}

TEST_CASE("The gradient of Bregman ADMM's sweeps is that of central differences", "[admm_sweep]") {
    compare_with_central_differences<Entropy>();
    compare_with_central_differences<RelativeEntropy>();
}

/// The largest difference, relative to the largest expected entry or to `least`.
template <class Found, class Expected>
double difference(const Found& found, const Expected& expected, double least) {
    if (expected.size() == 0) return found.size() == 0 ? 0.0 : 1.0;
    const auto error = found.template cast<double>() - expected.template cast<double>();
    return error.cwiseAbs().maxCoeff() / std::max<double>(expected.cwiseAbs().maxCoeff(), least);
}

template <class Scalar, class R>
void compare_with_state(double tolerance) {
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
        if (!tests::in_sample(seed)) continue;
        const Drawn drawn(seed, seed % 3 == 0 ? 70 : 5, seed % 3 == 1 ? 7 : 100, seed % 10 == 0 ? 30 : 8);
        const UotProblem<double, R> expected_problem = drawn.parameters.problem<R>();
        const Matrix<Scalar> reward = drawn.parameters.reward.template cast<Scalar>();
        const Matrix<Scalar> values = drawn.parameters.values.template cast<Scalar>();
        UotProblem<Scalar, R> problem{.reward = reward, .alpha0 = static_cast<Scalar>(expected_problem.alpha0)};
        if (values.size() > 0) problem.values = values;
        problem.features = {static_cast<Scalar>(expected_problem.features.alpha),
                            expected_problem.features.prior.template cast<Scalar>()};
        problem.instances = {static_cast<Scalar>(expected_problem.instances.alpha),
                             expected_problem.instances.prior.template cast<Scalar>()};
        const Unrolled<BregmanAdmm> unrolled = mode(drawn.parameters, drawn.steps).mode;
        const auto tape = unrolled.solve(problem, true);
        const auto expected_tape = unrolled.solve(expected_problem);
        CHECK(tape.trajectory->swept());
        CHECK_FALSE(expected_tape.trajectory->swept());
        Random random(1000 + seed);
        Vector<double> dL_dy(reward.rows());
        for (double& entry : dL_dy) entry = random.normal();
        const auto found = unrolled.backward(ConditionalReadout{}, tape, Vector<Scalar>(dL_dy.cast<Scalar>()));
        const auto expected = unrolled.backward(ConditionalReadout{}, expected_tape, dL_dy);
        INFO("seed " << seed << ", " << drawn.steps << " steps: " << drawn.parameters);
        CHECK(difference(tape.mean, expected_tape.mean, 1) < tolerance);
        double least = expected.reward.cwiseAbs().maxCoeff();
        if (values.size() > 0) least = std::max(least, expected.values.cwiseAbs().maxCoeff());
        least = 0.1 * least + 1e-12;
        CHECK(difference(found.reward, expected.reward, least) < tolerance);
        CHECK(difference(found.values, expected.values, least) < tolerance);
        CHECK(difference(found.log_p0, expected.log_p0, least) < tolerance);
        CHECK(difference(found.log_q0, expected.log_q0, least) < tolerance);
        CHECK(difference(found.alpha0, expected.alpha0, least) < 10 * tolerance);
        CHECK(difference(found.alpha1, expected.alpha1, least) < 10 * tolerance);
        CHECK(difference(found.alpha2, expected.alpha2, least) < 10 * tolerance);
        CHECK(difference(found.rho, expected.rho, least) < 10 * tolerance);
    }
}

TEST_CASE("The gradient of Bregman ADMM's sweeps is that of its state", "[admm_sweep]") {
    compare_with_state<double, Entropy>(1e-10);
    compare_with_state<double, RelativeEntropy>(1e-10);
    compare_with_state<float, Entropy>(1e-4);
    compare_with_state<float, RelativeEntropy>(1e-4);
}

TEST_CASE("Bregman ADMM's steps are swept where they are only to pool and can be", "[admm_sweep]") {
    Random random(5);
    Matrix<float> bag(20, 70);
    for (float& entry : bag.reshaped()) entry = static_cast<float>(random.normal());
    const auto swept = [&]<class R>(const UotProblem<float, R>& problem, BregmanAdmm solver) {
        return Unrolled<BregmanAdmm>{solver}.solve(problem, true).trajectory->swept();
    };
    const UotProblem<float> problem{
        .reward = bag, .alpha0 = 0.1F, .features = {.alpha = 3}, .instances = {.alpha = 0.5F}};
    const BregmanAdmm solver{{.iterations = 4}, 0.3};
    CHECK(swept(problem, solver));
    CHECK_FALSE(swept(problem, {{.iterations = 4, .history = true}, 0.3}));
    CHECK_FALSE(swept(problem, {{.iterations = 4}, 0.3, DualStep::textbook}));
    const UotProblem<float, Quadratic> quadratic{.reward = bag, .features = {.alpha = 3}, .instances = {.alpha = 1}};
    CHECK_FALSE(swept(quadratic, solver));
    CHECK_FALSE(swept(problem, {{.iterations = 4}, 1e-8}));  // exponents of 1e9

    using tests::message_of;
    const Unrolled<BregmanAdmm> unrolled{solver};
    const auto tape = unrolled.solve(problem, true);
    const Vector<float> dL_dy = Vector<float>::Ones(20);
    CHECK(message_of<UnsupportedProblem>([&] { unrolled.backward(JointReadout{}, tape, dL_dy); }) ==
          "a tape of no more than pooled vectors does not solve a problem with another readout; allowed: "
          "ConditionalReadout");

    // A pooling asks for no more where it reads no more; a batch of one bag has that bag's gradient.
    const DifferentiablePooling<float, Unrolled<BregmanAdmm>> pooling{
        .parameters = {.alpha0 = 0.1F, .features = {.alpha = 3}, .instances = {.alpha = 0.5F}}, .mode = unrolled};
    const auto forward = pooling.forward(Bags<float>(bag, {0, 70}));
    CHECK(forward.tapes[0].trajectory->swept());
    CHECK(pooling.backward(forward, dL_dy).reward == unrolled.backward(ConditionalReadout{}, tape, dL_dy).reward);
    const DifferentiablePooling<float, Unrolled<BregmanAdmm>, Entropy, JointReadout> joint{
        .parameters = pooling.parameters, .mode = unrolled};
    CHECK_FALSE(joint.forward(Bags<float>(bag, {0, 70})).tapes[0].trajectory.value().swept());
}

TEST_CASE("A float bag whose exponents float cannot resolve has its gradient in double", "[admm_sweep]") {
    Random random(6);
    Matrix<float> bag(20, 70);
    for (float& entry : bag.reshaped()) entry = static_cast<float>(random.normal());
    const Matrix<double> wide = bag.cast<double>();
    const Vector<float> dL_dy = Vector<float>::LinSpaced(20, -1, 1);
    for (const auto& [scale, alpha0, rho] : {std::tuple{1.0, 0.02, 0.1}, {1e-30, 1.0, 1.0}, {1e30, 2e29, 1e29}}) {
        const Matrix<float> scaled = bag * static_cast<float>(scale);
        const UotProblem<float> problem{
            .reward = scaled, .alpha0 = static_cast<float>(alpha0), .instances = {.alpha = 1}};
        const Matrix<double> expected_bag = scaled.cast<double>();
        const UotProblem<double> expected_problem{
            .reward = expected_bag, .alpha0 = problem.alpha0, .instances = {.alpha = 1}};
        const Unrolled<BregmanAdmm> unrolled{{{.iterations = 6}, rho}};
        const auto tape = unrolled.solve(problem, true);
        CHECK(tape.trajectory->swept());
        const auto found = unrolled.backward(ConditionalReadout{}, tape, dL_dy);
        const auto expected = unrolled.backward(ConditionalReadout{}, unrolled.solve(expected_problem),
                                                Vector<double>(dL_dy.cast<double>()));
        INFO("scale " << scale);
        CHECK(difference(found.reward, expected.reward, 0) < 1e-6);
        if (scale < 1) continue;  // the plan hardly depends on alphas: of that, rounding leaves nothing to compare with
        CHECK(difference(found.alpha0, expected.alpha0, 0) < 1e-4);
        CHECK(difference(found.alpha2, expected.alpha2, 0) < 1e-4);
    }
}

TEST_CASE("Memory of Bregman ADMM's sweeps grows by D x N blocks every eight steps", "[admm_sweep]") {
    if (!tests::Allocations::counted) return;  // this linker does not wrap malloc
    Random random(3);
    Matrix<double> bag(40, 300);
    for (double& entry : bag.reshaped()) entry = random.normal();
    const UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.5, .features = {.alpha = 2}, .instances = {.alpha = 0.7}};
    const auto held = [&](int steps) {
        const tests::Allocations allocations(40 * 300 * sizeof(double) / 2);
        const auto tape = Unrolled<BregmanAdmm>{{{.iterations = steps}, 0.6}}.solve(problem, true);
        return allocations.bytes_held();
    };
    // 3 (D + N) numbers a step, the instances padded to tiles. Sanitizers bring an operator new of their own, so that
    // what std::vector holds may not be counted.
    CHECK(held(8) - held(4) <= 4 * (3 * (40 + 304) * sizeof(double) + 512));
    CHECK(held(9) - held(8) >= 40 * 304 * sizeof(double));
    CHECK(held(16) - held(9) <= 7 * (3 * (40 + 304) * sizeof(double) + 512));
}

}  // namespace admm_sweep_reverse_test
