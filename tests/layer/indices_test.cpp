#include <cstdint>
#include <utility>
#include <vector>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Bags given by lists of indices, in poolings and layers, compared with the same bags copied next to each other.

namespace indices_test {

using namespace otpool;
using tests::Random;

constexpr Index D = 3;

/// Two workers that take turns, so that each has memory of its own.
struct TwoWorkers {
    Index workers() const { return 2; }
    void for_each(Index count, const Task& task) const {
        for (Index i = count; i-- > 0;) task(i, i % 2);
    }
};

template <class Scalar>
struct Batch {
    Matrix<Scalar> instances, copied;
    std::vector<std::int64_t> indices, offsets = {0};
    Vector<Scalar> prior;

    explicit Batch(std::uint64_t seed) {
        Random random(seed);
        instances = tests::random_bag<Scalar>(random, D, 30, tests::BagKind::relu);
        for (int b = 0; b < 20; ++b) {
            const Index size = random.integer(1, 9);
            for (Index n = 0; n < size; ++n) indices.push_back(random.integer(0, 29));
            offsets.push_back(static_cast<std::int64_t>(indices.size()));
        }
        copied.resize(D, static_cast<Index>(indices.size()));
        prior.resize(copied.cols());
        Index place = 0;
        for (const Index n : indices) copied.col(place++) = instances.col(n);
        for (Index b = 0; b < 20; ++b) {
            const auto at = static_cast<std::size_t>(b);
            const Index size = offsets[at + 1] - offsets[at];
            prior.segment(offsets[at], size) = tests::uneven_prior<Scalar>(random, size, true);
        }
    }

    /// With a reward and a prior of the bags' own, or without.
    std::pair<Bags<Scalar>, Bags<Scalar>> bags(bool own) const {
        if (!own) return {Bags<Scalar>::of_indices(instances, indices, offsets), Bags<Scalar>{copied, offsets}};
        return {Bags<Scalar>::of_indices(instances, indices, offsets, Matrix<Scalar>(-instances), prior),
                Bags<Scalar>{copied, offsets, Matrix<Scalar>(-copied), prior}};
    }
};

TEMPLATE_TEST_CASE("Bags of indices pool as their copies do", "", float, double) {
    using Scalar = TestType;
    for (const bool own : {false, true}) {
        const Batch<Scalar> batch(own ? 1 : 2);
        const auto [listed, copied] = batch.bags(own);
        const auto check = [&, &listed = listed, &copied = copied](auto pooling) {
            const Matrix<Scalar> expected = pooling(copied);
            CHECK(pooling(listed) == expected);
            pooling.execution = TwoWorkers{};
            CHECK(pooling(listed) == expected);
        };
        check(mean_pooling<Scalar>());
        check(max_pooling<Scalar>());
        check(min_pooling<Scalar>());
        check(softmax_pooling<Scalar>(Scalar(0.5)));
        check(generalized_mean_pooling<Scalar>(2));
        check(attention_pooling<Scalar>(Attention<Scalar>{Matrix<Scalar>::Ones(2, D), Vector<Scalar>::Ones(2)}));
        check(mixed_pooling<Scalar>(Scalar(0.5)));
        check(dynamic_routing_pooling<Scalar>(2));
        check(Pooling<Scalar, Sinkhorn>{.parameters = {.alpha0 = 1, .instances = {.alpha = 1}},
                                        .solver = {{.iterations = 4}}});
    }
}

TEST_CASE("Layers pool bags of indices, and add up the gradients of an instance's places") {
    for (const bool own : {false, true}) {
        const Batch<double> batch(own ? 3 : 4);
        const auto [listed, copied] = batch.bags(own);
        const auto check = [&, &listed = listed, &copied = copied](const auto& layer) {
            const auto forward = layer.forward(listed);
            const auto expected = layer.forward(copied);
            CHECK(forward.pooled == expected.pooled);
            CHECK(layer(listed) == layer(copied));
            Random random(5);
            const Matrix<double> weights = Matrix<double>::NullaryExpr(D, 20, [&] { return random.normal(); });
            auto of_copied = layer.backward(expected, weights);
            Matrix<double> sums = Matrix<double>::Zero(D, 30);
            for (std::size_t i = 0; i < batch.indices.size(); ++i) {
                sums.col(batch.indices[i]) += of_copied.instances.col(static_cast<Index>(i));
            }
            auto gradient = layer.backward(forward, weights);
            CHECK((gradient.instances - sums).cwiseAbs().maxCoeff() <= 1e-14 * sums.cwiseAbs().maxCoeff());
            const auto arrays = named_arrays<double>(gradient);
            const auto expected_arrays = named_arrays<double>(of_copied);
            for (std::size_t i = 0; i < arrays.size(); ++i) CHECK(arrays[i].values == expected_arrays[i].values);
            gradient = layer.backward(forward, weights, std::move(gradient));
            CHECK((gradient.instances - sums).cwiseAbs().maxCoeff() <= 1e-14 * sums.cwiseAbs().maxCoeff());
        };
        const Attention<double> attention{Matrix<double>::Constant(2, D, 0.3), Vector<double>::Ones(2)};
        using Uot = UotLayer<double, Sinkhorn, Entropy, Attention<double>>;
        check(Uot{.parameters = Uot::start(D, attention)});
        check(attention_layer<double>(attention));
        check(mixed_layer<double>());
    }
}

}  // namespace indices_test
