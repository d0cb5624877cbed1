#include "otpool/pooling/network.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "otpool/slots/named_slot_poolings.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

namespace network_test {

using namespace otpool;
using namespace tests;

template <class Scalar>
constexpr double near = std::same_as<Scalar, double> ? 1e-12 : 1e-5;

template <class Scalar>
Network<Scalar> network_of(Random& random, const std::vector<Index>& sizes) {
    Network<Scalar> network;
    for (std::size_t i = 1; i < sizes.size(); ++i) {
        LinearLayer<Scalar> layer{random_matrix<Scalar>(random, sizes[i], sizes[i - 1])};
        if (random.chance(0.7)) layer.bias = random_matrix<Scalar>(random, sizes[i], 1).col(0);
        network.layers.push_back(layer);
    }
    return network;
}

/// The outputs of one instance, number by number and in double.
template <class Scalar>
std::vector<double> by_formula(const Network<Scalar>& network, std::vector<double> h) {
    for (std::size_t i = 0; i < network.layers.size(); ++i) {
        const auto& [weight, bias] = network.layers[i];
        std::vector<double> next(static_cast<std::size_t>(weight.rows()));
        for (std::size_t o = 0; o < next.size(); ++o) {
            next[o] = bias.size() > 0 ? double(bias[Index(o)]) : 0;
            for (std::size_t j = 0; j < h.size(); ++j) {
                next[o] += double(weight(Index(o), Index(j))) * (i > 0 && h[j] < 0 ? 0 : h[j]);
            }
        }
        h = next;
    }
    return h;
}

TEMPLATE_TEST_CASE("a network is its formula for every instance", "", double, float) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        std::vector<Index> sizes(static_cast<std::size_t>(random.integer(2, 5)));
        for (Index& size : sizes) size = random.integer(1, 12);
        const auto network = network_of<TestType>(random, sizes);
        const Matrix<TestType> x =
            random_matrix<TestType>(random, sizes[0], random.integer(0, 3) * 256 + random.integer(0, 9));
        const Matrix<TestType> found = network(x);
        REQUIRE(found.rows() == sizes.back());
        REQUIRE(found.cols() == x.cols());
        for (Index n = 0; n < x.cols(); ++n) {
            std::vector<double> h;
            for (Index d = 0; d < x.rows(); ++d) h.push_back(double(x(d, n)));
            h = by_formula(network, h);
            double largest = 1;
            for (double y : h) largest = std::max(largest, std::abs(y));
            for (std::size_t o = 0; o < h.size(); ++o) {
                CHECK(std::abs(double(found(Index(o), n)) - h[o]) < near<TestType> * largest);
            }
        }
        // Of any layout in memory.
        CHECK((network(Matrix<TestType>(x.transpose()).transpose()) - found).cwiseAbs().sum() <=
              near<TestType> * (1 + found.cwiseAbs().sum()));
    }
}

TEMPLATE_TEST_CASE("slots pool values that are a function of the bag", "", double, float) {
    Random random(1);
    const auto scores = network_of<TestType>(random, {6, 8, 3});
    const auto values = network_of<TestType>(random, {6, 5, 4});
    Matrix<TestType> x = random_matrix<TestType>(random, 6, 600);
    const PoolingParameters<TestType> parameters{.alpha0 = 2, .features = {.alpha = hard}, .instances = {.alpha = 1}};
    const SlotPooling<TestType, Network<TestType>, Sinkhorn, JointSlots, NoDummySlot, Entropy, Network<TestType>>
        pooling{.reward = scores,
                .parameters = parameters,
                .solver = {{.iterations = 5}},
                .readout = {.scale = 2},
                .values = values,
                .empty_bag = TestType(3)};
    const Matrix<TestType> pooled = pooling(x);
    const Matrix<double> sums =
        2 * values(x).template cast<double>() * pooling.plan({.instances = x}).template cast<double>().transpose();
    REQUIRE(pooled.rows() == 4);
    REQUIRE(pooled.cols() == 3);
    CHECK((pooled.template cast<double>() - sums).cwiseAbs().maxCoeff() < near<TestType> * sums.cwiseAbs().maxCoeff());

    const Matrix<TestType> batch = pooling(Bags<TestType>(x, std::vector<std::int64_t>{0, 600, 600}));
    CHECK(batch.rows() == 12);
    CHECK(batch.col(0).reshaped(4, 3) == pooled);
    CHECK((batch.col(1).array() == 3).all());

    // Instances of prior 0 are never read.
    Vector<TestType> q0 = Vector<TestType>::Constant(600, TestType(1) / 599);
    q0[17] = 0;
    const Matrix<TestType> without = pooling(Bag<TestType>{.instances = x, .prior = q0});
    x.col(17).setConstant(std::numeric_limits<TestType>::quiet_NaN());
    CHECK(pooling(Bag<TestType>{.instances = x, .prior = q0}) == without);
}

TEST_CASE("networks whose shapes do not fit are refused") {
    Random random(2);
    const Matrix<double> x = random_matrix<double>(random, 3, 2);
    const auto refusal = [&](const Network<double>& network) {
        return message_of<InvalidArgument>([&] { network(x); });
    };
    CHECK(refusal({}) == "number of layers is 0; allowed: at least 1");
    CHECK(refusal(network_of<double>(random, {2, 4})) ==
          "columns of the weight of layer 0 is 2; allowed: 3, the number of features");
    auto network = network_of<double>(random, {3, 4, 2});
    network.layers[1].weight.resize(2, 5);
    CHECK(refusal(network) == "columns of the weight of layer 1 is 5; allowed: 4, the outputs of the layer before");
    network = network_of<double>(random, {3, 4, 2});
    network.layers[0].bias.resize(3);
    CHECK(refusal(network) == "length of the bias of layer 0 is 3; allowed: 4, the rows of its weight");
    network.layers[0].weight.resize(0, 3);
    CHECK(refusal(network) == "rows of the weight of layer 0 is 0; allowed: at least 1");
}

}  // namespace network_test
