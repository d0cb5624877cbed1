#include <cmath>
#include <cstdint>
#include <functional>
#include <string>

#include "otpool/learning.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/pooled_only.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// The gradient of a fixed number of steps.

namespace unrolled_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

/// The mode of a solver at some parameters.
auto unrolled(Sinkhorn solver, const Parameters& at) { return Unrolled<Sinkhorn>{solver, at.steps}; }
auto unrolled(BregmanAdmm solver, const Parameters& at) {
    solver.rho = at.shared.rho;
    return Unrolled<BregmanAdmm>{solver, at.steps};
}

/// Many problems, with parameters shared by the steps, and one set a step; of what `wrapped` makes of the mode.
template <class R, class Readout, class Solver, class Wrapped = std::identity>
void check(Solver solver, const Wrapped& wrapped = {}) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        const int steps = static_cast<int>(random.integer(1, 5));
        solver.options.iterations = steps;
        solver.options.closed_forms = random.chance(0.5);
        if (seed % 2 == 1) tests::draw_steps(random, steps, 1, parameters);
        const auto mode = [&](const Parameters& at) { return wrapped(unrolled(solver, at)); };
        const auto check = tests::check_gradient<R>(random, parameters, mode, Readout{});
        INFO("seed " << seed << ": " << check);
        CHECK(check.error() < 1e-6);
        CHECK(check.kinks() == 0);
    }
}

TEMPLATE_TEST_CASE("Unrolled is the derivative of Sinkhorn's steps", "", ConditionalReadout, JointReadout, SumReadout) {
    check<Entropy, TestType>(Sinkhorn{});
    check<RelativeEntropy, TestType>(Sinkhorn{});
}

TEST_CASE("Unrolled is the derivative of Sinkhorn's steps without translation") {
    check<Entropy, JointReadout>(Sinkhorn{.translation = false});
}

TEST_CASE("Unrolled is the derivative of Sinkhorn's steps that are only to pool") {
    const auto only_pools = [](const Unrolled<Sinkhorn>& mode) { return tests::PooledOnly{mode}; };
    check<Entropy, ConditionalReadout>(Sinkhorn{}, only_pools);
    check<RelativeEntropy, ConditionalReadout>(Sinkhorn{}, only_pools);
}

TEST_CASE("A tape of Sinkhorn's that is only to pool pools as any, and is of no use to other readouts") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        Random random(seed);
        const Parameters parameters = tests::random_parameters(random, {});
        const auto problem = parameters.problem<Entropy>();
        if (parameters.shared.alpha1 == 0 || parameters.shared.alpha2 == 0) continue;  // a closed form
        const Unrolled<Sinkhorn> mode{{{.iterations = 5}}};
        const auto tape = mode.solve(problem, true);
        CHECK_FALSE(tape.solution.has_value());
        const Vector<double> pooled = tape.mean;
        const Vector<double> expected = ConditionalReadout{}(*mode.solve(problem).solution);
        CHECK((pooled - expected).cwiseAbs().maxCoeff() <= 1e-13 * expected.cwiseAbs().maxCoeff());
        CHECK(tests::message_of<UnsupportedProblem>([&] { mode.backward(JointReadout{}, tape, pooled); }) ==
              "a tape of no more than pooled vectors does not solve a problem with another readout; allowed: "
              "ConditionalReadout");
    }
}

TEMPLATE_TEST_CASE("A tape of Sinkhorn's that is only to pool has the gradient of any", "", Entropy, RelativeEntropy) {
    // Of a bag of more than the few instances that are looked at before its exponentials are taken: some are higher
    // than those, some by next to nothing of which there are exponentials.
    for (const Index D : {2, 70}) {
        Random random(static_cast<std::uint64_t>(D));
        Matrix<double> bag = tests::random_bag<double>(random, D, 700, tests::BagKind::normal);
        bag.col(650).array() += 4;
        bag.rightCols(20).array() -= 9;
        const Matrix<double> values = tests::random_bag<double>(random, D, 700, tests::BagKind::normal);
        const Vector<double> dL_dy = Vector<double>::Ones(D) + Vector<double>::Unit(D, 0);
        for (const bool separate : {false, true}) {
            const auto check = [&]<class Scalar>(Scalar, double tolerance) {
                UotProblem<double, TestType> problem{
                    .reward = bag, .alpha0 = 0.2, .features = {.alpha = 1}, .instances = {.alpha = 3}};
                if (separate) problem.values = values;
                const Unrolled<Sinkhorn> mode{{{.iterations = 4}}};
                const auto expected = mode.backward(ConditionalReadout{}, mode.solve(problem), dL_dy);
                UotProblem<Scalar, TestType> of_scalar{.reward = bag.template cast<Scalar>().eval(),
                                                       .alpha0 = Scalar(0.2),
                                                       .features = {.alpha = 1},
                                                       .instances = {.alpha = 3}};
                if (separate) of_scalar.values = values.template cast<Scalar>().eval();
                const Vector<Scalar> of_pooled = dL_dy.template cast<Scalar>();
                const auto gradient = mode.backward(ConditionalReadout{}, mode.solve(of_scalar, true), of_pooled);
                const auto error = [](const auto& found, const auto& reference) {
                    return (found.template cast<double>() - reference).cwiseAbs().maxCoeff() /
                           reference.cwiseAbs().maxCoeff();
                };
                INFO(D << " features, " << sizeof(Scalar) << " bytes a number, separate values: " << separate);
                CHECK(error(gradient.reward, expected.reward) <= tolerance);
                if (separate) CHECK(error(gradient.values, expected.values) <= tolerance);
                CHECK(error(gradient.log_q0, expected.log_q0) <= tolerance);
                CHECK(error(gradient.alpha0, expected.alpha0) <= tolerance);
                CHECK(error(gradient.alpha1, expected.alpha1) <= tolerance);
                CHECK(error(gradient.alpha2, expected.alpha2) <= tolerance);
            };
            check(double(), 1e-9);
            check(float(), 1e-3);
        }
    }
}

TEMPLATE_TEST_CASE("In float, the level of what is pooled takes no digits of the gradient", "", Entropy,
                   RelativeEntropy) {
    Random random(11);
    const Matrix<float> bag = tests::random_bag<float>(random, 20, 50, tests::BagKind::normal);
    const Matrix<float> values = tests::random_bag<float>(random, 20, 50, tests::BagKind::normal);
    const Vector<float> dL_dy = Vector<float>::LinSpaced(20, -1, 1.5);
    const auto check = [&](const auto& mode, const Matrix<float>& reward, const Matrix<float>& of_values) {
        const auto gradient = [&]<class Scalar>(Scalar) {
            const UotProblem<Scalar, TestType> problem{.reward = reward.template cast<Scalar>().eval(),
                                                       .values = of_values.template cast<Scalar>().eval(),
                                                       .alpha0 = Scalar(0.5),
                                                       .features = {.alpha = 1},
                                                       .instances = {.alpha = 2}};
            return mode.backward(ConditionalReadout{}, mode.solve(problem, true), dL_dy.template cast<Scalar>().eval());
        };
        const auto found = gradient(float());
        const auto expected = gradient(double());
        const auto error = [](const auto& of_float, const auto& of_double) {
            return (of_float.template cast<double>() - of_double).cwiseAbs().maxCoeff();
        };
        const double largest = expected.reward.cwiseAbs().maxCoeff();
        CHECK(error(found.reward, expected.reward) <= 1e-5 * largest);
        CHECK(error(found.log_q0, expected.log_q0) <= 1e-5 * expected.log_q0.cwiseAbs().maxCoeff());
        const double of_alphas = std::max(
            {std::abs(expected.alpha0[0]), std::abs(expected.alpha1[0]), std::abs(expected.alpha2[0]), largest});
        CHECK(error(found.alpha0, expected.alpha0) <= 3e-5 * of_alphas);
        CHECK(error(found.alpha1, expected.alpha1) <= 3e-5 * of_alphas);
        CHECK(error(found.alpha2, expected.alpha2) <= 3e-5 * of_alphas);
    };
    for (const float level : {0.F, 1e3F, -1e5F}) {
        INFO("level " << level);
        const Matrix<float> shifted = bag.array() + level;
        const Matrix<float> shifted_values = values.array() + level;
        for (const Matrix<float>& of_values : {Matrix<float>(), shifted_values}) {
            check(Unrolled<Sinkhorn>{{{.iterations = 4}}}, shifted, of_values);
            check(Unrolled<BregmanAdmm>{{{.iterations = 4}, 1.0}}, shifted, of_values);
        }
    }
}

TEMPLATE_TEST_CASE("Unrolled is the derivative of Bregman ADMM's steps", "", ConditionalReadout, JointReadout,
                   SumReadout) {
    check<Entropy, TestType>(BregmanAdmm{});
    check<RelativeEntropy, TestType>(BregmanAdmm{});
    check<Quadratic, TestType>(BregmanAdmm{});
}

TEST_CASE("Unrolled is the derivative of Bregman ADMM's textbook steps") {
    check<Entropy, JointReadout>(BregmanAdmm{.dual_step = DualStep::textbook});
    check<Quadratic, ConditionalReadout>(BregmanAdmm{.dual_step = DualStep::textbook});
}

TEST_CASE("Unrolled differentiates Bregman ADMM's steps without a regulariser") {
    for (std::uint64_t seed = 500; seed < 560; ++seed) {
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        parameters.shared.alpha0 = 0;
        const auto mode = [&](const Parameters& at) {
            return unrolled(BregmanAdmm{{.iterations = 3, .closed_forms = false}}, at);
        };
        const auto check = tests::check_gradient<Entropy>(random, parameters, mode, JointReadout{});
        INFO("seed " << seed << ": " << check);
        CHECK(check.error() < 1e-6);
    }
}

TEMPLATE_TEST_CASE("The forward pass is the solver's own", "", Sinkhorn, BregmanAdmm) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        TestType solver{{.iterations = 4}};
        if constexpr (std::same_as<TestType, BregmanAdmm>) solver.rho = parameters.shared.rho;
        const auto problem = parameters.problem<RelativeEntropy>();
        const auto expected = solver.solve(problem);
        const auto solution = *unrolled(solver, parameters).solve(problem).solution;
        INFO("seed " << seed << ": " << parameters);
        CHECK(solution.plan() == expected.plan());
        CHECK(solution.residual == expected.residual);
        CHECK(solution.status == expected.status);
        CHECK(solution.iterations == expected.iterations);
        // Four equal sets of parameters are the shared ones.
        if (parameters.shared.alpha1 == 0 || parameters.shared.alpha2 == 0) continue;  // a closed form
        parameters.steps.assign(4, parameters.shared);
        const Matrix<double> plan = unrolled(solver, parameters).solve(problem).solution->plan();
        CHECK((plan - expected.plan()).cwiseAbs().maxCoeff() <= 1e-13 * plan.maxCoeff());
    }
}

TEST_CASE("Sinkhorn's memory does not grow by D x N blocks with the number of steps") {
    Random random(3);
    Matrix<double> bag(40, 300);
    for (double& entry : bag.reshaped()) entry = random.normal();
    const UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.5, .features = {.alpha = 2}, .instances = {.alpha = 0.7}};
    const Vector<double> dL_dy = Vector<double>::Ones(40);
    struct Counts {
        std::size_t large, bytes;
    };
    const auto counts = [&](int steps) {
        const tests::Allocations allocations(40 * 300 * sizeof(double) / 2);
        const Unrolled<Sinkhorn> mode{{{.iterations = steps}}};
        const auto tape = mode.solve(problem);
        const std::size_t held = allocations.bytes_held();
        const auto gradient = mode.backward(ConditionalReadout{}, tape, dL_dy);
        CHECK(gradient.reward.allFinite());
        return Counts{allocations.large(), held};
    };
    if (!tests::Allocations::counted) return;  // this linker does not wrap malloc
    const Counts few = counts(8);
    const Counts many = counts(16);
    CHECK(few.large >= 1);  // the gradient of the reward: the counter counts
    CHECK(many.large == few.large);
    // 3 (D + N) numbers a step, and what holds them
    CHECK(many.bytes - few.bytes <= 8 * (3 * (40 + 300) * sizeof(double) + 512));
    CHECK(many.bytes > few.bytes);
}

TEST_CASE("Unrolled refuses what it cannot differentiate") {
    using tests::message_of;
    const Matrix<double> bag{{0.3, -0.4, 0.5}, {0.1, 0.9, -0.2}};
    const UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.5, .features = {.alpha = hard}, .instances = {.alpha = 2}};
    CHECK(message_of<InvalidArgument>([&] { Unrolled<Sinkhorn>{}.solve(problem); }) ==
          "number of iterations to unroll is not set; allowed: at least 1");
    CHECK(message_of<InvalidArgument>([&] { Unrolled<BregmanAdmm>{{{.iterations = 2}}}.solve(problem); }) ==
          "rho of the steps to unroll is not set; allowed: finite and > 0");
    CHECK(message_of<InvalidArgument>([&] {
              Unrolled<Sinkhorn>{{{.iterations = 3}}, {StepParameters{}}}.solve(problem);
          }) == "number of step parameters is 1; allowed: as many as iterations, 3");
    const auto with_step = [&](const StepParameters& step) {
        return message_of<Error>([&] { Unrolled<Sinkhorn>{{{.iterations = 1}}, {step}}.solve(problem); });
    };
    CHECK(with_step({.alpha0 = -1}) == "alpha0 of step 0 is -1; allowed: finite and >= 0");
    CHECK(with_step({.alpha1 = -1}) == "alpha1 of step 0 is -1; allowed: 0 to inf");
    CHECK(with_step({.alpha2 = std::nan("")}) == "alpha2 of step 0 is nan; allowed: 0 to inf");
    CHECK(with_step({.rho = 0}) == "rho of step 0 is 0; allowed: finite and > 0");
    CHECK(with_step({.alpha0 = 0}) ==
          "Unrolled Sinkhorn does not solve a problem with alpha0 = 0; allowed: alpha0 > 0 and finite");
    UotProblem<double> flat = problem;
    flat.alpha0 = infinity;
    flat.instances.alpha = hard;
    CHECK(message_of<UnsupportedProblem>([&] {
              Unrolled<BregmanAdmm>{{{.iterations = 2, .closed_forms = false}, 1.0}}.solve(flat);
          }) ==
          "Unrolled BregmanAdmm does not solve a problem with alpha0 = inf and no closed form; allowed: alpha0 finite");
}

}  // namespace unrolled_test
