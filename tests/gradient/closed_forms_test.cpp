#include <cmath>
#include <cstdint>
#include <string>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/sample.hpp"

// Closed forms have closed gradients: the limits of alpha0, and the log-mean-exp readout.

namespace closed_forms_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

/// alpha0 at a limit, with marginals of every kind; Implicit, and Unrolled, which takes the closed form too.
template <class R, class Readout>
void check_limit(double alpha0, bool one_side_free) {
    int kinks = 0;  // where two rewards are about to change places
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        parameters.shared.alpha0 = alpha0;
        if (one_side_free) (seed % 2 == 0 ? parameters.shared.alpha1 : parameters.shared.alpha2) = 0;
        if (one_side_free && parameters.shared.alpha1 + parameters.shared.alpha2 == 0) continue;  // no mass is given
        INFO("seed " << seed << ": " << parameters);
        const auto implicit = [](const Parameters&) { return Implicit<BregmanAdmm>{}; };
        const auto by_implicit = tests::check_gradient<R>(random, parameters, implicit, Readout{});
        INFO(by_implicit);
        CHECK(by_implicit.error() < 1e-6);
        kinks += by_implicit.kinks();
        const auto unrolled = [](const Parameters& at) {
            return Unrolled<BregmanAdmm>{{{.iterations = 4}, at.shared.rho}};
        };
        CHECK(tests::check_gradient<R>(random, parameters, unrolled, Readout{}).error() < 1e-6);
    }
    CHECK(kinks <= 4);
}

TEMPLATE_TEST_CASE("Without a regulariser the winners are followed", "", ConditionalReadout, JointReadout) {
    check_limit<Entropy, TestType>(0, true);
    check_limit<RelativeEntropy, TestType>(0, true);
    check_limit<Quadratic, TestType>(0, true);
}

TEMPLATE_TEST_CASE("With nothing but the regulariser the priors are followed", "", ConditionalReadout, JointReadout) {
    check_limit<Entropy, TestType>(infinity, false);
    check_limit<RelativeEntropy, TestType>(infinity, false);
}

TEST_CASE("Max pooling routes to the winners, and ties share") {
    const Matrix<double> bag{{1, 3, 3, 0}, {2, -1, 0, 1}};
    const UotProblem<double> problem{.reward = bag, .alpha0 = 0};
    const Implicit<Sinkhorn> mode;
    const Vector<double> dL_dy{{10, 7}};
    const auto gradient = mode.backward(ConditionalReadout{}, mode.solve(problem), dL_dy);
    CHECK(gradient.reward == Matrix<double>{{0, 5, 5, 0}, {7, 0, 0, 0}});
    CHECK(gradient.alpha0[0] == 0);
    CHECK(gradient.alpha1[0] == 0);
}

TEST_CASE("Mean pooling gives every instance its share, attention the prior's") {
    const Matrix<double> bag{{1, 3, 3, 0}, {2, -1, 0, 1}};
    const Vector<double> dL_dy{{8, 4}};
    const Implicit<Sinkhorn> mode;
    const UotProblem<double> mean{.reward = bag, .alpha0 = infinity};
    const auto of_mean = mode.backward(ConditionalReadout{}, mode.solve(mean), dL_dy);
    CHECK((of_mean.reward - Matrix<double>{{2, 2, 2, 2}, {1, 1, 1, 1}}).cwiseAbs().maxCoeff() < 1e-14);
    CHECK(of_mean.alpha0[0] == 0);

    const Vector<double> q0{{0.5, 0.25, 0.25, 0}};
    const UotProblem<double> attention{.reward = bag, .alpha0 = infinity, .instances = {hard, q0}};
    const auto gradient = mode.backward(ConditionalReadout{}, mode.solve(attention), dL_dy);
    CHECK((gradient.reward - dL_dy * q0.transpose()).cwiseAbs().maxCoeff() < 1e-14);
    // y = X softmax(s): dL/ds_n = q_n (x_n - y)^T dL/dy
    const Vector<double> y = bag * q0;
    const Vector<double> expected = q0.array() * ((bag.colwise() - y).transpose() * dL_dy).array();
    CHECK((gradient.log_q0 - expected).cwiseAbs().maxCoeff() < 1e-14);
}

TEST_CASE("An excluded instance has no gradient") {
    const Matrix<double> bag{{1, 3, 5, 0}, {2, -1, 9, 1}};
    const Vector<double> q0{{0.5, 0.25, 0, 0.25}};
    const UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.4, .features = {.alpha = 2}, .instances = {.alpha = 3, .prior = q0}};
    const auto check = [&](const auto& mode) {
        const auto gradient = mode.backward(JointReadout{}, mode.solve(problem), Vector<double>{{1, -2}});
        CHECK(gradient.reward.col(2).isZero(0));
        CHECK(gradient.log_q0[2] == 0);
        CHECK(!gradient.reward.col(1).isZero(0));
    };
    check(Implicit<Newton>{});
    check(Unrolled<Sinkhorn>{{{.iterations = 3}}});
    check(Unrolled<BregmanAdmm>{{{.iterations = 3}, 1.0}});
}

TEST_CASE("The log-mean-exp readout has its own derivative") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {.least_alpha0 = 0.05, .most_alpha0 = 50});
        parameters.shared.alpha2 = 0;
        if (seed % 10 == 0) parameters.shared.alpha0 = 0;
        if (seed % 10 == 1) parameters.shared.alpha0 = infinity;
        const auto mode = [](const Parameters&) { return Implicit<Sinkhorn>{}; };
        const auto check = tests::check_gradient<Entropy>(random, parameters, mode, LogMeanExpReadout{});
        INFO("seed " << seed << ": " << check);
        CHECK(check.error() < 1e-6);
    }
    const Matrix<double> bag{{1, 3}, {2, 4}};
    const UotProblem<double> held{.reward = bag, .instances = {.alpha = 1}};
    const Implicit<Sinkhorn> mode;
    const auto tape = mode.solve(held);
    CHECK(tests::message_of<UnsupportedProblem>([&] {
              mode.backward(LogMeanExpReadout{}, tape, Vector<double>{{1, 1}});
          }) == "the gradient of LogMeanExpReadout does not solve a problem with alpha2 > 0; allowed: alpha2 = 0");
}

}  // namespace closed_forms_test
