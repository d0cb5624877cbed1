#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "otpool/learning.hpp"
#include "small_layers.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

// Layers: gradients of bags and of every named array by central differences, starting points, refusals.

namespace uot_layer_test {

using namespace otpool;
using namespace layer_test;
using tests::Random;

struct Batch {
    Matrix<double> instances = Matrix<double>(D, 11);
    std::vector<std::int64_t> offsets = {0, 4, 5, 11};

    explicit Batch(std::uint64_t seed) {
        Random random(seed);
        for (double& entry : instances.reshaped()) entry = random.normal();
    }
    Bags<double> bags() const { return {instances, offsets}; }
};

void randomize(Random& random, double scale, auto& arrays) {
    for (auto& array : arrays) {
        for (double& value : array.values) value += scale * random.normal();
    }
}

/// The largest difference to central differences, relative to the array's largest derivative.
template <class Layer>
void check_gradient(Layer layer) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        Batch batch(seed);
        Random random(50 + seed);
        auto parameters = named_arrays<double>(layer);
        randomize(random, 0.3, parameters);
        Matrix<double> weights(D, 3);
        for (double& weight : weights.reshaped()) weight = random.normal();
        const auto loss = [&] { return layer(batch.bags()).cwiseProduct(weights).sum(); };
        const auto bags = batch.bags();
        const auto forward = layer.forward(bags);
        typename Layer::Gradient earlier;  // whose numbers must not matter, nor its sizes
        if (seed % 2 == 0) {
            const auto fewer = Bags<double>{batch.instances.leftCols(5).eval(), {0, 5}};
            earlier = layer.backward(layer.forward(fewer), weights.leftCols(1));
        }
        auto gradient = layer.backward(forward, weights, std::move(earlier));
        const auto numeric = [&](double& value) { return tests::central_difference(tests::moving(value, loss), 1e-4); };
        const double scale = gradient.instances.cwiseAbs().maxCoeff();
        double error = 0;
        for (Index i = 0; i < batch.instances.size(); ++i) {
            const double difference = numeric(batch.instances.reshaped()[i]) - gradient.instances.reshaped()[i];
            error = std::max(error, std::abs(difference));
        }
        INFO("seed " << seed << ", bags");
        CHECK(error < 1e-6 * scale);
        const auto gradients = named_arrays<double>(gradient);
        REQUIRE(gradients.size() == parameters.size());
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            INFO(parameters[i].name);
            CHECK(gradients[i].name == parameters[i].name);
            REQUIRE(gradients[i].values.size() == parameters[i].values.size());
            double largest = 1e-3 * scale;
            error = 0;
            for (Index k = 0; k < parameters[i].values.size(); ++k) {
                const double derivative = numeric(parameters[i].values[k]);
                largest = std::max(largest, std::abs(derivative));
                error = std::max(error, std::abs(derivative - gradients[i].values[k]));
            }
            CHECK(error < 1e-6 * largest);
        }
    }
}

TEST_CASE("A UOT layer has its own gradient: Sinkhorn") {
    check_gradient(started<UotLayer<double>>());
    check_gradient(started<UotLayer<double>>(UniformPrior{}, true, 4));
    check_gradient(started<UotLayer<double, Sinkhorn, RelativeEntropy, Attention<double>>>(attention(), true));
    check_gradient(started<UotLayer<double, Sinkhorn, Entropy, GatedAttention<double>, PositiveSoftplus, JointReadout>>(
        gated_attention(), true, 4));
}

TEST_CASE("A UOT layer has its own gradient: Bregman ADMM") {
    check_gradient(started<UotLayer<double, BregmanAdmm>>(UniformPrior{}, true, 4));
    check_gradient(started<UotLayer<double, BregmanAdmm, Entropy, Attention<double>>>(attention()));
    check_gradient(started<UotLayer<double, BregmanAdmm, Quadratic>>(UniformPrior{}, true));
    check_gradient(started<UotLayer<double, BregmanAdmm, Quadratic, GatedAttention<double>, PositiveSoftplus>>(
        gated_attention(), false, 4));
}

TEST_CASE("Fixed and two-level layers have their gradients") {
    check_gradient(mean_layer<double>());
    check_gradient(max_layer<double>());
    check_gradient(attention_layer<double>(attention()));
    check_gradient(attention_layer<double>(gated_attention()));
    check_gradient(mixed_layer<double>());
    check_gradient(gated_mean_max_layer<double>(D));
    check_gradient(
        merged_layer<double>(started<UotLayer<double>>(), started<UotLayer<double, BregmanAdmm, Quadratic>>()));
    check_gradient(TwoLevelLayer<double, UotLayer<double>, FixedLayer<double>, UotLayer<double>>{
        started<UotLayer<double>>(), {mean_layer<double>(), started<UotLayer<double>>()}});
}

TEST_CASE("A gradient takes no memory where it is given that of an earlier one") {
    const Batch batch(1);
    const auto bags = batch.bags();
    const auto check = [&](const auto& layer) {
        const auto forward = layer.forward(bags);
        const Matrix<double> dL_dpooled = Matrix<double>::Ones(D, 3);
        auto gradient = layer.backward(forward, dL_dpooled);
        const Matrix<double> first = gradient.instances;
        const double* memory = gradient.instances.data();
        gradient = layer.backward(forward, dL_dpooled, std::move(gradient));
        CHECK(gradient.instances.data() == memory);
        CHECK(gradient.instances == first);
    };
    check(started<UotLayer<double>>());
    check(started<UotLayer<double, BregmanAdmm, Quadratic>>());
    check(attention_layer<double>(attention()));
    check(mixed_layer<double>());
}

TEST_CASE("Passes in the memory of earlier ones, and without a tape, have the same bits") {
    Workspaces workspaces;
    const auto check = [&](const auto& layer) {
        for (const unsigned seed : {1U, 2U, 1U}) {
            const Batch batch(seed);
            const auto bags = batch.bags();
            const Matrix<double> dL_dpooled = Matrix<double>::Ones(D, 3);
            const auto forward = layer.forward(bags, workspaces);
            CHECK(forward.pooled == layer.forward(bags).pooled);
            CHECK(layer(bags, workspaces) == forward.pooled);
            const auto gradient = layer.backward(forward, dL_dpooled, {}, workspaces);
            const auto alone = layer.backward(forward, dL_dpooled);
            CHECK(gradient.instances == alone.instances);
            CHECK(gradient.parameters.alpha0 == alone.parameters.alpha0);
        }
    };
    check(started<UotLayer<double>>());
    check(started<UotLayer<double>>(UniformPrior{}, true, 4));
    check(started<UotLayer<double, BregmanAdmm>>());
    check(started<UotLayer<double, BregmanAdmm, Entropy, Attention<double>>>(attention(), true, 4));
    check(started<UotLayer<double, BregmanAdmm, Quadratic>>());
}

TEST_CASE("A layer's arrays have names") {
    auto layer = started<UotLayer<double, BregmanAdmm, Entropy, Attention<double>>>(attention(), true, 4);
    std::string names;
    for (const auto& array : named_arrays<double>(layer)) {
        names += array.name + "[" + std::to_string(array.values.size()) + "] ";
    }
    CHECK(names == "alpha0[4] alpha1[4] alpha2[4] rho[4] p0[4] prior.V[12] prior.w[3] ");
    auto two = mixed_layer<double>();
    CHECK(named_arrays<double>(two).front().name == "outer.prior.logits");
    // They view the layer: a step of an optimiser is a step of the layer.
    named_arrays<double>(layer)[0].values[2] = 7;
    CHECK(layer.parameters.alpha0[2] == 7);
}

TEST_CASE("A layer starts between the mean and the max, close to softmax pooling") {
    const Batch batch(9);
    const auto bags = batch.bags();
    const Matrix<double> softmax = softmax_pooling<double>(0.5)(bags);
    const double spread = 1;
    CHECK((started<UotLayer<double>>()(bags) - softmax).cwiseAbs().maxCoeff() < 0.3 * spread);
    CHECK((started<UotLayer<double, BregmanAdmm>>()(bags) - softmax).cwiseAbs().maxCoeff() < 0.3 * spread);
    const Matrix<double> quadratic = started<UotLayer<double, BregmanAdmm, Quadratic>>()(bags);
    const Matrix<double> mean = mean_pooling<double>()(bags);
    const Matrix<double> max = max_pooling<double>()(bags);
    CHECK((quadratic - mean).minCoeff() > -1e-12);
    CHECK((max - quadratic).minCoeff() > -1e-12);
    CHECK((mixed_layer<double>()(bags) - (mean + max) / 2).cwiseAbs().maxCoeff() < 1e-12);
    CHECK((gated_mean_max_layer<double>(D)(bags) - (mean + max) / 2).cwiseAbs().maxCoeff() < 1e-12);
}

TEMPLATE_TEST_CASE("The positive transforms are inverted and derived", "", PositiveExp, PositiveSoftplus) {
    for (const double value : {1e-6, 0.1, 1.0, 3.0, 50.0, 1e4}) {
        const double raw = TestType::raw(value);
        CHECK(std::abs(TestType::value(raw) - value) <= 1e-9 * value);
        const double h = 1e-5;
        const double numeric = (TestType::value(raw + h) - TestType::value(raw - h)) / (2 * h);
        CHECK(std::abs(numeric - TestType::derivative(raw)) <= 1e-6 * numeric);
    }
    for (const double raw : {-1e6, -50.0, 1e3}) {
        CHECK(TestType::value(raw) > 0);
        CHECK(std::isfinite(TestType::value(raw)));
    }
}

TEST_CASE("A layer refuses what does not fit") {
    const Batch batch(1);
    const auto refusal = [&](auto layer) { return tests::message_of<InvalidArgument>([&] { layer(batch.bags()); }); };
    auto layer = started<UotLayer<double>>();
    layer.steps = 0;
    CHECK(refusal(layer) == "steps is 0; allowed: at least 1");
    layer = started<UotLayer<double>>();
    layer.parameters.alpha1.setZero(3);
    CHECK(refusal(layer) == "length of alpha1 is 3; allowed: 1, or the number of steps, 4");
    layer = started<UotLayer<double>>();
    layer.parameters.alpha2[0] = std::nan("");
    CHECK(refusal(layer) == "alpha2[0] is nan; allowed: finite numbers");
    layer = started<UotLayer<double>>();
    layer.parameters.p0.setZero(3);
    CHECK(refusal(layer) == "length of p0 is 3; allowed: 4, the number of features, or 0 for a uniform prior");
    CHECK(refusal(attention_layer<double>(Mixture<double>{Vector<double>::Zero(2)})) ==
          "bag 0: length of the mixture's logits is 2; allowed: 4, the number of instances");
}

TEST_CASE("Where alpha0 leaves a gradient no digits, it is refused") {
    const Batch batch(2);
    const auto bags = batch.bags();
    const Matrix<double> dL_dpooled = Matrix<double>::Ones(D, 3);
    auto layer = started<UotLayer<double>>();
    layer.parameters.alpha0[0] = -38;
    CHECK(layer(bags).allFinite());
    const auto forward = layer.forward(bags);
    const std::string message = tests::message_of<InvalidArgument>([&] { layer.backward(forward, dL_dpooled); });
    CHECK(message.substr(0, 23) == "alpha0 at bag 0 is 3.13");
    CHECK(message.find("allowed: about ") != std::string::npos);
    CHECK(message.find(" or more, if a gradient is taken") != std::string::npos);
    // Excluded instances do not count.
    Matrix<double> apart = batch.instances;
    apart.col(1).setConstant(1e30);
    Vector<double> prior = Vector<double>::Ones(11);
    prior[1] = 0;
    for (const auto& [first, size, active] : {std::array<Index, 3>{0, 4, 3}, {4, 1, 1}, {5, 6, 6}}) {
        prior.segment(first, size) /= static_cast<double>(active);
    }
    layer.parameters.alpha0[0] = 0;
    const Bags<double> masked{apart, batch.offsets, {}, prior};
    const auto of_masked = layer.forward(masked);
    CHECK(layer.backward(of_masked, dL_dpooled).instances.allFinite());

    // ADMM's gradient has its digits at any alpha0: next to max pooling, it is that of the winners.
    auto admm = started<UotLayer<double, BregmanAdmm>>();
    admm.parameters.alpha0[0] = -40;
    check_gradient(admm);
}

}  // namespace uot_layer_test
