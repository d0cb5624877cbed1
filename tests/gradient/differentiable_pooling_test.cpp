#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

// Ragged batches, forward and backward.

namespace differentiable_pooling_test {

using namespace otpool;
using tests::Random;

struct Batch {
    Matrix<double> instances, reward;
    Vector<double> log_prior;
    std::vector<std::int64_t> offsets = {0, 3, 4, 9};

    explicit Batch(std::uint64_t seed) : instances(4, 9), reward(4, 9), log_prior(9) {
        Random random(seed);
        for (double& entry : instances.reshaped()) entry = random.normal();
        for (double& entry : reward.reshaped()) entry = random.normal();
        for (double& entry : log_prior) entry = random.normal();
    }

    Bags<double> bags() const {
        Vector<double> prior = log_prior.array().exp();
        for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
            auto part = prior.segment(offsets[b], offsets[b + 1] - offsets[b]);
            part /= part.sum();
        }
        return {instances, offsets, reward, prior};
    }
};

/// dL/d(entry) of a batch's loss by central differences against the gradient's.
template <class Pooling>
void check(Pooling pooling) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
        Batch batch(seed);
        Random random(100 + seed);
        Matrix<double> weights(4, 3);
        for (double& weight : weights.reshaped()) weight = random.normal();
        const auto loss = [&] { return pooling.forward(batch.bags()).pooled.cwiseProduct(weights).sum(); };
        const auto bags = batch.bags();
        const auto forward = pooling.forward(bags);
        const auto gradient = pooling.backward(forward, weights);
        const auto numeric = [&](double& value, double unit) {
            return tests::central_difference(tests::moving(value, loss), 1e-4 * unit);
        };
        const double scale = gradient.reward.cwiseAbs().maxCoeff() + gradient.values.cwiseAbs().maxCoeff();
        double error = 0;
        for (Index i = 0; i < batch.reward.size(); ++i) {
            error = std::max(error, std::abs(numeric(batch.reward.reshaped()[i], 1) - gradient.reward.reshaped()[i]));
            error =
                std::max(error, std::abs(numeric(batch.instances.reshaped()[i], 1) - gradient.values.reshaped()[i]));
        }
        for (Index n = 0; n < 9; ++n) {
            error = std::max(error, std::abs(numeric(batch.log_prior[n], 1) - gradient.log_q0[n]));
        }
        const auto compare_alpha = [&](double& alpha, double derivative) {
            if (std::isfinite(alpha)) error = std::max(error, std::abs(numeric(alpha, alpha) - derivative));
        };
        compare_alpha(pooling.parameters.alpha0, gradient.alpha0[0]);
        compare_alpha(pooling.parameters.features.alpha, gradient.alpha1[0]);
        compare_alpha(pooling.parameters.instances.alpha, gradient.alpha2[0]);
        INFO("seed " << seed);
        CHECK(error < 1e-6 * scale);
    }
}

TEST_CASE("The gradient of a ragged batch is that of its bags, side by side") {
    const PoolingParameters<double> soft{.alpha0 = 0.4, .features = {.alpha = 2}, .instances = {.alpha = 0.7}};
    const PoolingParameters<double> half{.alpha0 = 0.4, .features = {.alpha = hard}, .instances = {.alpha = 0.7}};
    check(DifferentiablePooling<double, Implicit<Newton>>{soft, {{{.tolerance = 1e-12}}}});
    check(
        DifferentiablePooling<double, Implicit<Newton>, RelativeEntropy, JointReadout>{half, {{{.tolerance = 1e-12}}}});
    check(DifferentiablePooling<double, Unrolled<Sinkhorn>, Entropy, JointReadout>{soft, {{{.iterations = 4}}}});
    check(DifferentiablePooling<double, Unrolled<BregmanAdmm>, Quadratic>{half, {{{.iterations = 4}, 2.0}}});
}

TEMPLATE_TEST_CASE("What is pooled is what Pooling pools", "", float, double) {
    using Scalar = TestType;
    const Batch batch(1);
    const Matrix<Scalar> instances = batch.instances.cast<Scalar>();
    const Bags<Scalar> bags{instances, batch.offsets};
    const PoolingParameters<Scalar> parameters{.alpha0 = Scalar(0.4), .instances = {.alpha = Scalar(0.7)}};
    const Sinkhorn solver{{.iterations = 4}};
    const DifferentiablePooling<Scalar, Unrolled<Sinkhorn>> pooling{parameters, {solver}};
    const auto forward = pooling.forward(bags);
    CHECK(forward.pooled == Pooling<Scalar, Sinkhorn>{parameters, solver}(bags));
    const auto gradient = pooling.backward(forward, Matrix<Scalar>::Ones(4, 3));
    CHECK(gradient.reward.cols() == 9);
    CHECK(gradient.values.size() == 0);
    CHECK(gradient.log_q0.size() == 9);
}

/// Whether a gradient is the same, bit for bit, in memory that holds any numbers.
template <class Pooling>
void check_memory(const Pooling& pooling, const Bags<double>& bags) {
    const auto forward = pooling.forward(bags);
    Random random(7);
    Matrix<double> weights(4, 3);
    for (double& weight : weights.reshaped()) weight = random.normal();
    const auto expected = pooling.backward(forward, weights);
    auto memory = expected;
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    for (Matrix<double>* matrix : {&memory.reward, &memory.values}) matrix->setConstant(nothing);
    memory.log_q0.setConstant(nothing);
    const auto gradient = pooling.backward(forward, weights, std::move(memory));
    CHECK(expected.reward.allFinite());
    CHECK(gradient.reward == expected.reward);
    CHECK(gradient.values == expected.values);
    CHECK(gradient.log_q0 == expected.log_q0);
}

TEST_CASE("The memory of a gradient may hold any numbers") {
    const PoolingParameters<double> soft{.alpha0 = 0.4, .features = {.alpha = 2}, .instances = {.alpha = 0.7}};
    PoolingParameters<double> free = soft;
    free.instances.alpha = 0;
    const Sinkhorn steps{{.iterations = 3}};
    const std::vector<StepParameters> parameters = {{0.4, 2, 0.7}, {0.5, 1, 0.6}, {0.3, 2, 0.9}};
    const Batch batch(1);
    const Vector<double> prior{{0.5, 0, 0.5, 1, 0, 0.2, 0.3, 0.5, 0}};
    const Bags<double> all{batch.instances, batch.offsets};
    const Bags<double> excluding{batch.instances, batch.offsets, {}, prior};
    const Bags<double> apart{batch.instances, batch.offsets, batch.reward, prior};
    for (const Bags<double>& bags : {all, excluding, apart}) {
        check_memory(DifferentiablePooling<double, Unrolled<Sinkhorn>>{soft, {steps}}, bags);
        check_memory(DifferentiablePooling<double, Unrolled<Sinkhorn>>{soft, {steps, parameters}}, bags);
        check_memory(DifferentiablePooling<double, Unrolled<Sinkhorn>, RelativeEntropy, JointReadout>{soft, {steps}},
                     bags);
        check_memory(DifferentiablePooling<double, Unrolled<Sinkhorn>, Entropy, LogMeanExpReadout>{free, {steps}},
                     bags);
        check_memory(DifferentiablePooling<double, Unrolled<BregmanAdmm>>{soft, {{{.iterations = 3}, 2.0}}}, bags);
        check_memory(DifferentiablePooling<double, Unrolled<BregmanAdmm>, Quadratic>{soft, {{{.iterations = 3}, 2.0}}},
                     bags);
        check_memory(DifferentiablePooling<double, Implicit<Newton>>{soft, {}}, bags);
        for (const double alpha1 : {0, 2}) {  // 0: nothing comes of the reward
            const PoolingParameters<double> sharp{
                .alpha0 = 0, .features = {.alpha = alpha1}, .instances = {.alpha = 0}};
            check_memory(DifferentiablePooling<double, Implicit<BregmanAdmm>>{sharp, {}}, bags);
        }
    }
}

TEMPLATE_TEST_CASE("A gradient beyond the scalar's numbers is its largest ones", "", Entropy, RelativeEntropy) {
    Random random(3);
    Matrix<float> bag(5, 7);
    for (float& entry : bag.reshaped()) entry = static_cast<float>(random.normal());
    const Matrix<float> reward = 0.01F * bag;
    const Bags<float> bags{bag, {0, 7}, reward};
    const DifferentiablePooling<float, Unrolled<Sinkhorn>, TestType> pooling{
        {.alpha0 = 0.01F, .instances = {.alpha = 1}}, {Sinkhorn{{.iterations = 3}}}};
    const auto forward = pooling.forward(bags);
    const float largest = std::numeric_limits<float>::max();
    const Matrix<float> gradient = pooling.backward(forward, Matrix<float>::Constant(5, 1, largest / 4)).reward;
    CHECK(gradient.allFinite());
    CHECK(gradient.maxCoeff() == largest);
    CHECK(gradient.minCoeff() == -largest);
}

TEST_CASE("Backward refuses what does not fit the forward pass") {
    const Batch batch(1);
    const auto bags = batch.bags();
    const DifferentiablePooling<double, Implicit<Newton>> pooling;
    const auto forward = pooling.forward(bags);
    const auto refusal = [&](const Matrix<double>& dL_dpooled) {
        return tests::message_of<InvalidArgument>([&] { pooling.backward(forward, dL_dpooled); });
    };
    CHECK(refusal(Matrix<double>::Ones(4, 2)) ==
          "shape of dL/dpooled is 4 x 2; allowed: 4 x 3, the shape of what was pooled");
    Matrix<double> with_nan = Matrix<double>::Ones(4, 3);
    with_nan(1, 2) = std::numeric_limits<double>::quiet_NaN();
    CHECK(refusal(with_nan) == "dL/dpooled at feature 1, instance 2 is nan; allowed: finite numbers");
    CHECK(tests::message_of<InvalidArgument>([&] {
              pooling.forward(Bags<double>{batch.instances, {0, 3, 3, 9}});
          }) == "bag 1 is empty; allowed: at least one instance, or a fill value for empty bags");
}

}  // namespace differentiable_pooling_test
