#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/sample.hpp"

// Implicit gradients of problems whose lines have an alpha each: free, soft and hard ones, in any mix.

namespace own_alphas_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

const auto by_newton = [](const Parameters&) {
    return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
};

/// The number of kinks in the gradients of `count` problems, change(random, parameters) of random ones.
template <class R, class Readout>
int check_each(std::uint64_t count, const auto& mode, const auto& change) {
    int kinks = 0;
    for (std::uint64_t seed = 0; seed < count; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        change(random, parameters);
        const auto found = tests::check_gradient<R>(random, parameters, mode, Readout{});
        INFO("seed " << seed << ": " << found << '\n' << parameters.reward);
        CHECK(found.error() < 1e-6);
        kinks += found.kinks();
    }
    return kinks;
}

TEMPLATE_TEST_CASE("Implicit is the derivative of an optimum whose lines have an alpha each", "", ConditionalReadout,
                   JointReadout, SumReadout) {
    const auto change = [](Random& random, Parameters& parameters) { tests::draw_alphas(random, parameters); };
    CHECK(check_each<Entropy, TestType>(150, by_newton, change) == 0);
    CHECK(check_each<RelativeEntropy, TestType>(100, by_newton, change) == 0);
}

TEMPLATE_TEST_CASE("Implicit is the derivative of a Quadratic optimum whose lines have an alpha each", "",
                   ConditionalReadout, JointReadout) {
    const auto change = [](Random& random, Parameters& parameters) { tests::draw_alphas(random, parameters); };
    CHECK(check_each<Quadratic, TestType>(150, by_newton, change) < 150);
}

TEST_CASE("priors of masses are differentiated entry by entry where lines have an alpha each") {
    const auto change = [](Random& random, Parameters& parameters) {
        tests::draw_alphas(random, parameters);
        parameters.has_masses = true;
        parameters.log_p0.array() += 0.3 * random.normal();
        // Of two sides, of which one is hard, the other's mass is to be within reach.
        const auto all_hard = [](double common, const Vector<double>& alphas) {
            return alphas.size() == 0 ? std::isinf(common) : alphas.minCoeff() == double(hard);
        };
        if (all_hard(parameters.shared.alpha1, parameters.alphas1))
            parameters.alphas1 = Vector<double>::Ones(parameters.reward.rows());
        if (all_hard(parameters.shared.alpha2, parameters.alphas2))
            parameters.alphas2 = Vector<double>::Ones(parameters.reward.cols());
    };
    CHECK(check_each<Entropy, JointReadout>(60, by_newton, change) == 0);
    CHECK(check_each<RelativeEntropy, JointReadout>(60, by_newton, change) == 0);
}

TEST_CASE("priors that some or all lines are held to are differentiated through their normalisation") {
    const auto change = [](Random& random, Parameters& parameters) {
        parameters.alphas1.resize(parameters.reward.rows());
        for (double& alpha : parameters.alphas1) alpha = random.chance(0.5) ? double(hard) : random.log_uniform(0.1, 9);
        parameters.shared.alpha2 = hard;
    };
    CHECK(check_each<Entropy, JointReadout>(60, by_newton, change) == 0);
    CHECK(check_each<RelativeEntropy, ConditionalReadout>(60, by_newton, change) == 0);
}

TEMPLATE_TEST_CASE("pairs may be forbidden, and instances excluded, where lines have an alpha each", "", Entropy,
                   RelativeEntropy, Quadratic) {
    const auto change = [](Random& random, Parameters& parameters) {
        tests::draw_alphas(random, parameters);
        if (parameters.values.size() == 0) parameters.values = parameters.reward;
        if (parameters.alphas2.size() == 0) parameters.alphas2 = Vector<double>::Ones(parameters.reward.cols());
        const Index N = parameters.reward.cols();
        for (Index n = 1; n < N; ++n) {
            const Index d = random.integer(0, parameters.reward.rows() - 1);
            // Where all lines are hard a plan may not exist.
            if (std::isfinite(parameters.alphas2[n]) && random.chance(0.5))
                parameters.reward(d, n) = -std::numeric_limits<double>::infinity();
        }
        if (N > 2 && random.chance(0.5)) parameters.alphas2[N - 1] = 0.4;
        if (N > 2 && parameters.alphas2[N - 1] == 0.4)
            parameters.reward.col(N - 1).setConstant(-std::numeric_limits<double>::infinity());
        if (N > 1) parameters.alphas2[0] = 3;
        if (N > 1 && random.chance(0.3)) parameters.log_q0[1] = -std::numeric_limits<double>::infinity();
    };
    check_each<TestType, JointReadout>(60, by_newton, change);
}

TEMPLATE_TEST_CASE("Implicit follows a vertex whose lines have an alpha each", "", ConditionalReadout, JointReadout) {
    const auto mode = [](const Parameters&) { return Implicit<ActiveSet>{.solver = {{.tolerance = 1e-11}}}; };
    const auto change = [](Random& random, Parameters& parameters) {
        parameters.shared.alpha0 = 0;
        tests::draw_alphas(random, parameters, 0.3, false);
        auto& [alpha0, alpha1, alpha2, rho] = parameters.shared;
        for (double* alpha : {&alpha1, &alpha2}) *alpha = std::max(*alpha, 0.3);
        // Free lines on one side alone.
        Vector<double>& alphas = parameters.alphas1.size() > 0 ? parameters.alphas1 : parameters.alphas2;
        for (double& alpha : alphas) alpha = random.chance(0.3) ? 0 : alpha;
    };
    CHECK(check_each<Entropy, TestType>(150, mode, change) < 150);
}

TEMPLATE_TEST_CASE("the winners at alpha0 = 0 have an alpha each", "", Entropy, RelativeEntropy, Quadratic) {
    const auto mode = [](const Parameters&) { return Implicit<ClosedForm>{}; };
    const auto change = [](Random& random, Parameters& parameters) {
        parameters.shared.alpha0 = 0;
        tests::draw_alphas(random, parameters, 0.3, false);
        const bool by_feature = parameters.alphas1.size() > 0;
        (by_feature ? parameters.alphas2 : parameters.alphas1).resize(0);
        (by_feature ? parameters.shared.alpha2 : parameters.shared.alpha1) = 0;
    };
    CHECK(check_each<TestType, JointReadout>(60, mode, change) <= 4);
}

TEMPLATE_TEST_CASE("at alpha0 = inf hard lines follow their priors", "", Entropy, RelativeEntropy, Quadratic) {
    const auto mode = [](const Parameters&) { return Implicit<ClosedForm>{}; };
    const auto change = [](Random& random, Parameters& parameters) {
        parameters.shared.alpha0 = infinity;
        tests::draw_alphas(random, parameters);
        if (!std::same_as<TestType, Quadratic>) return;
        for (double& alpha : parameters.alphas2) alpha = std::min(alpha, 20.0);
        parameters.shared.alpha2 = std::min(parameters.shared.alpha2, 20.0);
    };
    CHECK(check_each<TestType, JointReadout>(60, mode, change) == 0);
    CHECK(check_each<TestType, ConditionalReadout>(60, mode, change) == 0);
}

TEST_CASE("a gradient in float is the one in double where lines have an alpha each") {
    const Matrix<float> bag{{0.3f, 1.5f, -0.8f, 0.2f}, {-1.2f, 0.1f, 0.9f, 0.4f}, {0.1f, 0.2f, -0.5f, 1.0f}};
    UotProblem<float> narrow{.reward = bag, .alpha0 = 0.5f};
    narrow.features.alphas = Vector<float>{{hard, 0, 2}};
    narrow.instances.alphas = Vector<float>{{0.25f, hard, 0, 4}};
    UotProblem<double> wide{.reward = bag.cast<double>().eval(), .alpha0 = 0.5};
    wide.features.alphas = narrow.features.alphas.cast<double>();
    wide.instances.alphas = narrow.instances.alphas.cast<double>();
    const Implicit<Sinkhorn> mode;
    const auto of_float = mode.backward(JointReadout{}, mode.solve(narrow), Vector<float>{{1, -2, 3}});
    const auto of_double = mode.backward(JointReadout{}, mode.solve(wide), Vector<double>{{1, -2, 3}});
    const auto near = [&](const auto& a, const auto& b) {
        return (a.template cast<double>() - b).cwiseAbs().maxCoeff() < 1e-5 * of_double.reward.cwiseAbs().maxCoeff();
    };
    CHECK(near(of_float.reward, of_double.reward));
    CHECK(near(of_float.alphas1, of_double.alphas1));
    CHECK(near(of_float.alphas2, of_double.alphas2));
    CHECK(of_double.alphas1.size() == 3);
    CHECK(of_double.alphas1[0] == 0);
    CHECK(of_double.alphas2[1] == 0);
    CHECK(of_double.alpha1[0] == 0);
}

TEST_CASE("a batch has an alpha's derivative per instance, and the sum of the bags' per feature") {
    Random random(3);
    Matrix<double> x(3, 8);
    for (double& entry : x.reshaped()) entry = random.normal();
    DifferentiablePooling<double, Implicit<Newton>> pooling{.mode = {.solver = {{.tolerance = 1e-12}}}};
    pooling.parameters.features.alphas = Vector<double>{{0, 2, hard}};
    pooling.parameters.instances.alphas = Vector<double>{{1, hard, 0, 3}};
    const Matrix<double> dL_dpooled{{1, 2}, {-1, 3}, {2, 0.5}};
    const Bags<double> both(x, std::vector<std::int64_t>{0, 4, 8});
    const auto gradient = pooling.backward(pooling.forward(both), dL_dpooled);
    REQUIRE(gradient.alphas1.size() == 3);
    REQUIRE(gradient.alphas2.size() == 8);
    RealVector sum = RealVector::Zero(3);
    for (Index b = 0; b < 2; ++b) {
        const Matrix<double> bag = x.middleCols(4 * b, 4);
        const Bags<double> alone(bag, std::vector<std::int64_t>{0, 4});
        const auto of_bag = pooling.backward(pooling.forward(alone), dL_dpooled.col(b));
        CHECK(of_bag.alphas2 == gradient.alphas2.segment(4 * b, 4));
        sum += of_bag.alphas1;
    }
    CHECK(sum == gradient.alphas1);
    const Bags<double> none(Matrix<double>(3, 0), std::vector<std::int64_t>{0});
    CHECK(pooling.backward(pooling.forward(none), Matrix<double>(3, 0)).alphas1 == RealVector::Zero(3));
}

}  // namespace own_alphas_test
