#include "otpool/layer/slot_layer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "otpool/layer/instances_as_prototypes.hpp"
#include "otpool/layer/named_array.hpp"
#include "otpool/pooling/attention.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

// A layer of slots: gradients of bags and of every named array by central differences, training, refusals.

namespace slot_layer_test {

using namespace otpool;
using tests::Random;

constexpr Index D = 3;
constexpr Index K = 2;

Matrix<double> normal(Random& random, Index rows, Index cols) {
    Matrix<double> matrix(rows, cols);
    for (double& entry : matrix.reshaped()) entry = random.normal();
    return matrix;
}

struct Batch {
    Matrix<double> instances;
    std::vector<std::int64_t> offsets = {0, 4, 8, 13};
    Vector<double> prior = {};

    explicit Batch(std::uint64_t seed) {
        Random random(seed);
        instances = normal(random, D, 13);
    }
    Bags<double> bags() const { return {instances, offsets, {}, prior}; }
};

template <class Layer>
Layer started(std::uint64_t seed, bool learn_p0 = false, decltype(Layer::Parameters::prior) prior = {}) {
    Random random(100 + seed);
    return {.parameters = Layer::start(normal(random, D, K), prior, learn_p0), .steps = 3};
}

/// The largest difference to central differences, relative to the array's largest derivative.
template <class Layer>
void check_gradient(Layer layer, std::uint64_t seed, bool masked = false) {
    Batch batch(seed);
    if (masked) {
        batch.prior = Vector<double>{{0.25, 0.25, 0.25, 0.25, 0.4, 0.4, 0, 0.2, 0.25, 0.25, 0.25, 0.25, 0}};
        batch.instances.col(6).setConstant(1e300);
    }
    Random random(50 + seed);
    auto parameters = named_arrays<double>(layer);
    for (auto& array : parameters) {
        for (double& value : array.values) value += 0.3 * random.normal();
    }
    const Matrix<double> weights = normal(random, D * K, 3);
    const auto loss = [&] { return layer(batch.bags()).cwiseProduct(weights).sum(); };
    const auto bags = batch.bags();
    const auto forward = layer.forward(bags);
    CHECK(forward.pooled.isApprox(layer(bags), 1e-12));
    auto gradient = layer.backward(forward, weights);
    const auto numeric = [&](double& value) { return tests::central_difference(tests::moving(value, loss), 1e-4); };
    const double scale = gradient.instances.cwiseAbs().maxCoeff();
    CHECK(scale > 1e-3);
    double error = 0;
    for (Index n = 0; n < 13; ++n) {
        const bool excluded = masked && batch.prior[n] == 0;
        for (Index d = 0; d < D; ++d) {
            const double expected = excluded ? 0 : numeric(batch.instances(d, n));
            error = std::max(error, std::abs(expected - gradient.instances(d, n)));
        }
    }
    INFO("seed " << seed << ", bags");
    CHECK(error < 1e-6 * scale);
    const auto gradients = named_arrays<double>(gradient);
    REQUIRE(gradients.size() == parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        INFO(parameters[i].name);
        CHECK(gradients[i].name == parameters[i].name);
        REQUIRE(gradients[i].values.size() == parameters[i].values.size());
        CHECK(gradients[i].values.allFinite());
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

template <class Layer>
void check_gradients() {
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        const bool masked = seed % 2 == 1;
        Layer layer = started<Layer>(seed, seed % 3 == 0);
        layer.solver.translation = seed % 4 < 2;
        check_gradient(layer, seed, masked);
        layer.solver.first = HalfStep::instances;
        layer.parameters.alpha1.conservativeResize(seed % 2);  // one alpha for all slots, or hard slots
        check_gradient(layer, seed, masked);
        layer.alpha2 = 2;
        check_gradient(layer, seed, masked);
    }
}

TEST_CASE("A slot layer has its own gradient: conditional and joint readouts") {
    check_gradients<SlotLayer<double>>();
    check_gradients<SlotLayer<double, JointSlots>>();
}

TEST_CASE("A slot layer has its own gradient: with a dummy slot") {
    check_gradients<SlotLayer<double, JointSlots, Dustbin>>();
    check_gradients<SlotLayer<double, ConditionalSlots, PartialSlots, SquaredDistance<double>>>();
}

TEST_CASE("A slot layer has its own gradient: with a learned prior of instances") {
    using Layer = SlotLayer<double, JointSlots, NoDummySlot, DotProduct<double>, Attention<double>, PositiveSoftplus,
                            RelativeEntropy>;
    const Attention<double> attention{Matrix<double>::Constant(2, D, 0.1), Vector<double>::Constant(2, 0.2)};
    for (const bool masked : {false, true}) check_gradient(started<Layer>(1, true, attention), 1, masked);
}

TEST_CASE("A slot layer pools as the SlotPooling of its parameters") {
    const Batch batch(3);
    auto layer = started<SlotLayer<double, JointSlots, Dustbin>>(3, true);
    layer.parameters.dummy_reward[0] = 0.4;
    layer.parameters.p0 << 0.3, -0.5;
    SlotPooling<double, DotProduct<double>, Sinkhorn, JointSlots, Dustbin> pooling{
        .reward = {layer.parameters.prototypes},
        .parameters = {.alpha0 = std::sqrt(3.0) / 2,
                       .features = {.alpha = std::sqrt(3.0)},
                       .instances = {.alpha = hard}},
        .solver = {.options = {.iterations = 3}},
        .dummy = {0.4}};
    pooling.parameters.features.prior = softmax(layer.parameters.p0);
    CHECK(layer(batch.bags()).isApprox(pooling(batch.bags()), 1e-12));
    const Matrix<double> plan = layer.plan(batch.instances.leftCols(4).eval());
    CHECK(plan.rows() == K);
    CHECK((plan.colwise().sum().array() <= 0.25 + 1e-12).all());
}

TEST_CASE("A slot layer in float is the one in double") {
    const Batch batch(4);
    auto layer = started<SlotLayer<double>>(4, true);
    const Matrix<float> instances = batch.instances.cast<float>();
    SlotLayer<float> of_float{
        .parameters = SlotLayer<float>::start(layer.parameters.prototypes.cast<float>(), {}, true), .steps = 3};
    const Bags<float> bags{instances, batch.offsets};
    const auto forward = layer.forward(batch.bags());
    const auto found = of_float.forward(bags);
    CHECK((found.pooled.cast<double>() - forward.pooled).cwiseAbs().maxCoeff() < 1e-5);
    const auto expected = layer.backward(forward, Matrix<double>::Ones(D * K, 3).eval());
    const auto gradient = of_float.backward(found, Matrix<float>::Ones(D * K, 3).eval());
    const auto error = [](const auto& a, const auto& b) {
        return (a.template cast<double>() - b).cwiseAbs().maxCoeff();
    };
    CHECK(error(gradient.instances, expected.instances) < 1e-5);
    CHECK(error(gradient.parameters.prototypes, expected.parameters.prototypes) < 1e-5);
    CHECK(error(gradient.parameters.alpha1, expected.parameters.alpha1) < 1e-5);
}

/// Adam (Kingma & Ba, arXiv 1412.6980, Algorithm 1).
struct Adam {
    double rate;
    std::vector<Vector<double>> first = {}, second = {};
    int step = 0;

    void operator()(const std::vector<NamedArray<double>>& parameters,
                    const std::vector<NamedArray<double>>& gradient) {
        ++step;
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            if (step == 1) {
                first.emplace_back(Vector<double>::Zero(parameters[i].values.size()));
                second.push_back(first.back());
            }
            const auto g = gradient[i].values.array();
            first[i] = 0.9 * first[i].array() + 0.1 * g;
            second[i] = 0.999 * second[i].array() + 0.001 * g.square();
            const double of_first = 1 - std::pow(0.9, step);
            const double of_second = 1 - std::pow(0.999, step);
            auto values = parameters[i].values;
            values.array() -= rate * (first[i].array() / of_first) / ((second[i].array() / of_second).sqrt() + 1e-8);
        }
    }
};

TEST_CASE("A slot layer learns another's prototypes, alphas and dustbin from what it pools") {
    using Layer = SlotLayer<double, JointSlots, Dustbin>;
    Random random(7);
    Layer teacher{.parameters = Layer::start(normal(random, D, K), {}, true), .steps = 3};
    teacher.parameters.dummy_reward[0] = 1;
    teacher.parameters.alpha0[0] -= 0.5;
    teacher.parameters.alpha1 << 2, -2;
    teacher.parameters.p0 << 1, 0;
    Layer student{.parameters = Layer::start(teacher.parameters.prototypes + 0.7 * normal(random, D, K), {}, true),
                  .steps = 3};
    const Matrix<double> training = normal(random, D, 160);
    const Matrix<double> held_out = normal(random, D, 160);
    std::vector<std::int64_t> offsets;
    for (std::int64_t i = 0; i <= 160; i += 8) offsets.push_back(i);
    const Bags<double> bags{training, offsets};
    const Bags<double> others{held_out, offsets};
    const Matrix<double> wanted = teacher(bags);
    const auto loss = [&] { return (student(others) - teacher(others)).squaredNorm(); };
    const double before = loss();
    Adam adam{0.03};
    for (int epoch = 0; epoch < 400; ++epoch) {
        const auto forward = student.forward(bags);
        auto gradient = student.backward(forward, Matrix<double>(forward.pooled - wanted));
        adam(named_arrays<double>(student), named_arrays<double>(gradient));
    }
    CHECK(before > 0.1);
    CHECK(loss() < 0.02 * before);
}

TEST_CASE("A slot layer's arrays have names") {
    auto layer = started<SlotLayer<double, JointSlots, Dustbin>>(1, true);
    std::string names;
    for (const auto& array : named_arrays<double>(layer)) {
        names += array.name + "[" + std::to_string(array.values.size()) + "] ";
    }
    CHECK(names == "prototypes[6] bias[2] alpha0[1] alpha1[2] p0[2] dummy_reward[1] ");
    named_arrays<double>(layer)[0].values[5] = 7;
    CHECK(layer.parameters.prototypes(2, 1) == 7);
}

TEST_CASE("Prototypes to start from are instances that lie apart") {
    Random random(2);
    Matrix<double> instances = 0.01 * normal(random, D, 13);
    instances.middleCols(4, 3).array() += 10;
    instances.rightCols(6).array() -= 10;
    Vector<double> prior = Vector<double>::Constant(13, 0.25);
    prior[3] = 0;
    instances.col(3).setConstant(std::nan(""));
    const Bags<double> bags{instances, {0, 4, 7, 13}, {}, prior};
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const Matrix<double> prototypes = instances_as_prototypes(bags, 3, seed);
        CHECK(prototypes == instances_as_prototypes(bags, 3, seed));
        Vector<double> levels = prototypes.colwise().mean();
        std::sort(levels.begin(), levels.end());
        CHECK((levels - Vector<double>{{-10, 0, 10}}).cwiseAbs().maxCoeff() < 0.1);
        for (Index k = 0; k < 3; ++k) {
            bool found = false;
            for (Index n = 0; n < 13; ++n) found = found || instances.col(n) == prototypes.col(k);
            CHECK(found);
        }
    }
    const Matrix<double> same = Matrix<double>::Ones(D, 2);
    CHECK(instances_as_prototypes(Bags<double>{same, {0, 2}}, 3) == Matrix<double>::Ones(D, 3));
    using tests::message_of;
    CHECK(message_of<InvalidArgument>([&] { instances_as_prototypes(bags, 0); }) == "slots is 0; allowed: at least 1");
}

TEST_CASE("A slot layer refuses what does not fit") {
    const Batch batch(1);
    const auto refusal = [&](const auto& layer) {
        return tests::message_of<InvalidArgument>([&] { layer(batch.bags()); });
    };
    const auto layer = started<SlotLayer<double>>(1);
    auto changed = layer;
    changed.steps = 0;
    CHECK(refusal(changed) == "steps is 0; allowed: at least 1");
    changed = layer;
    changed.parameters.alpha0.resize(0);
    CHECK(refusal(changed) == "length of alpha0 is 0; allowed: 1");
    changed = layer;
    changed.parameters.alpha1.setZero(3);
    CHECK(refusal(changed) ==
          "length of alpha1 is 3; allowed: 2, the number of slots, 1 for all slots, or 0 for hard slots");
    changed = layer;
    changed.parameters.alpha1[1] = std::nan("");
    CHECK(refusal(changed) == "alpha1[1] is nan; allowed: finite numbers");
    changed = layer;
    changed.parameters.p0.setZero(3);
    CHECK(refusal(changed) == "length of p0 is 3; allowed: 2, the number of slots, or 0 for a uniform prior");
    changed = layer;
    changed.parameters.dummy_reward.setZero(1);
    CHECK(refusal(changed) == "length of dummy_reward is 1; allowed: 0, as there is no dummy slot");
    changed = layer;
    changed.parameters.prototypes.setZero(4, K);
    CHECK(refusal(changed) == "bag 0: features of the prototypes is 4; allowed: 3, those of the instances");
    auto distance = started<SlotLayer<double, ConditionalSlots, NoDummySlot, SquaredDistance<double>>>(1);
    distance.parameters.bias.setZero(K);
    CHECK(refusal(distance) == "length of bias is 2; allowed: 0, as only DotProduct has a bias");
}

}  // namespace slot_layer_test
