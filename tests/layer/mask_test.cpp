#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "otpool/learning.hpp"
#include "small_layers.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

// Masks: an instance whose own prior is 0 is as if it were not in the bag, whatever a layer learns; the bag's own prior
// and a learned one multiply.

namespace mask_test {

using namespace otpool;
using namespace layer_test;
using tests::Random;

/// Bags with priors of their own, which exclude instances.
struct Batch {
    Matrix<double> instances;
    std::vector<std::int64_t> offsets = {0, 4, 5, 11, 13};
    Vector<double> prior;

    explicit Batch(std::uint64_t seed) : instances(D, 13), prior(13) {
        Random random(seed);
        for (double& entry : instances.reshaped()) entry = random.normal();
        for (double& q : prior) q = std::exp(random.normal());
        for (const Index excluded : {1, 3, 5, 9, 12}) prior[excluded] = 0;
        for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
            auto of_bag = prior.segment(offsets[b], offsets[b + 1] - offsets[b]);
            of_bag /= of_bag.sum();
        }
    }

    Bags<double> bags() const { return {instances, offsets, {}, prior}; }
    Index bag_count() const { return static_cast<Index>(offsets.size()) - 1; }

    /// Without the excluded instances.
    Batch removed() const {
        Batch left = *this;
        left.offsets = {0};
        Index to = 0;
        for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
            for (Index n = offsets[b]; n < offsets[b + 1]; ++n) {
                if (prior[n] == 0) continue;
                left.instances.col(to) = instances.col(n);
                left.prior[to++] = prior[n];
            }
            left.offsets.push_back(to);
        }
        left.instances.conservativeResize(Eigen::NoChange, to);
        left.prior.conservativeResize(to);
        return left;
    }
};

/// Every kind of layer, each with other parameters than it starts with.
void for_each_layer(const auto& visit) {
    const auto moved = [&](const char* name, auto layer) {
        INFO(name);
        Random random(70);
        for (auto& array : named_arrays<double>(layer)) {
            for (double& value : array.values) value += 0.3 * random.normal();
        }
        visit(layer);
    };
    moved("Sinkhorn", started<UotLayer<double>>());
    moved("Sinkhorn, attention", started<UotLayer<double, Sinkhorn, Entropy, Attention<double>>>(attention(), true));
    moved("Sinkhorn, relative entropy, gated attention, parameters per step",
          started<UotLayer<double, Sinkhorn, RelativeEntropy, GatedAttention<double>>>(gated_attention(), true, 4));
    moved("ADMM, attention, joint readout",
          started<UotLayer<double, BregmanAdmm, Entropy, Attention<double>, PositiveSoftplus, JointReadout>>(
              attention()));
    moved("ADMM, quadratic, attention",
          started<UotLayer<double, BregmanAdmm, Quadratic, Attention<double>>>(attention(), false, 4));
    moved("mean", mean_layer<double>());
    moved("max", max_layer<double>());
    moved("attention", attention_layer<double>(attention()));
    moved("gated attention", attention_layer<double>(gated_attention()));
    moved("mixed", mixed_layer<double>());
    moved("gated mean-max", gated_mean_max_layer<double>(D));
    moved("merged attention layers",
          merged_layer<double>(attention_layer<double>(attention()),
                               started<UotLayer<double, Sinkhorn, Entropy, Attention<double>>>(attention())));
}

TEST_CASE("What a mask excludes is as if it were not in the bag") {
    for_each_layer([](auto layer) {
        for (std::uint64_t seed = 1; seed <= 3; ++seed) {
            const Batch batch(seed);
            const Batch left = batch.removed();
            Random random(20 + seed);
            const Matrix<double> weights =
                Matrix<double>::NullaryExpr(D, batch.bag_count(), [&] { return random.normal(); });
            const auto bags = batch.bags();
            const auto forward = layer.forward(bags);
            auto gradient = layer.backward(forward, weights);
            CHECK((layer(bags) - forward.pooled).cwiseAbs().maxCoeff() < 1e-12);

            const auto left_bags = left.bags();
            const auto left_forward = layer.forward(left_bags);
            auto left_gradient = layer.backward(left_forward, weights);
            CHECK((left_forward.pooled - forward.pooled).cwiseAbs().maxCoeff() < 1e-12);
            const double scale = gradient.instances.cwiseAbs().maxCoeff();
            for (Index n = 0, k = 0; n < batch.prior.size(); ++n) {
                if (batch.prior[n] == 0) {
                    CHECK(gradient.instances.col(n) == Vector<double>::Zero(D));
                } else {
                    const double error =
                        (gradient.instances.col(n) - left_gradient.instances.col(k++)).cwiseAbs().maxCoeff();
                    CHECK(error < 1e-11 * scale);
                }
            }
            const auto arrays = named_arrays<double>(gradient);
            const auto left_arrays = named_arrays<double>(left_gradient);
            REQUIRE(arrays.size() == left_arrays.size());
            for (std::size_t i = 0; i < arrays.size(); ++i) {
                INFO(arrays[i].name);
                CHECK((arrays[i].values - left_arrays[i].values).cwiseAbs().maxCoeff() < 1e-11 * (1 + scale));
            }

            // Any finite numbers, however large: the same bits.
            for (const double any : {1e3, -1e30, 1.7e308}) {
                Batch other = batch;
                for (Index n = 0; n < batch.prior.size(); ++n) {
                    if (batch.prior[n] > 0) continue;
                    for (Index d = 0; d < D; ++d) other.instances(d, n) = d % 2 == 0 ? any : -any;
                }
                INFO(any);
                const auto other_bags = other.bags();
                const auto other_forward = layer.forward(other_bags);
                auto other_gradient = layer.backward(other_forward, weights);
                CHECK(other_forward.pooled == forward.pooled);
                CHECK(layer(other_bags) == layer(bags));
                CHECK(other_gradient.instances == gradient.instances);
                const auto other_arrays = named_arrays<double>(other_gradient);
                for (std::size_t i = 0; i < arrays.size(); ++i) CHECK(other_arrays[i].values == arrays[i].values);
            }
        }
    });
}

TEST_CASE("Layers have their gradients where bags have priors of their own") {
    for_each_layer([](auto layer) {
        Batch batch(5);
        Random random(6);
        const Matrix<double> weights =
            Matrix<double>::NullaryExpr(D, batch.bag_count(), [&] { return random.normal(); });
        const auto bags = batch.bags();
        const auto forward = layer.forward(bags);
        auto gradient = layer.backward(forward, weights);
        const auto loss = [&] { return layer(batch.bags()).cwiseProduct(weights).sum(); };
        const auto numeric = [&](double& value) { return tests::central_difference(tests::moving(value, loss), 1e-4); };
        const double scale = gradient.instances.cwiseAbs().maxCoeff();
        for (Index i = 0; i < batch.instances.size(); ++i) {
            CHECK(std::abs(numeric(batch.instances.reshaped()[i]) - gradient.instances.reshaped()[i]) < 1e-6 * scale);
        }
        auto parameters = named_arrays<double>(layer);
        const auto gradients = named_arrays<double>(gradient);
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            INFO(parameters[i].name);
            const double largest = std::max(1e-3 * scale, gradients[i].values.cwiseAbs().maxCoeff());
            for (Index k = 0; k < parameters[i].values.size(); ++k) {
                CHECK(std::abs(numeric(parameters[i].values[k]) - gradients[i].values[k]) < 1e-6 * largest);
            }
        }
    });
}

TEMPLATE_TEST_CASE("A learned prior is multiplied by the bag's own", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> x{{1, 2, 9}, {3, 4, 9}};
    const Attention<Scalar> attention{Matrix<Scalar>{{Scalar(0.1), Scalar(0.2)}}, Vector<Scalar>{{1}}};
    const auto bags = [&](Scalar a, Scalar b, Scalar c) {
        return Bags<Scalar>{x, {0, 3}, {}, Vector<Scalar>{{a, b, c}}};
    };
    // The formula: q0_n ~ own_n exp(tanh(0.1 x_0n + 0.2 x_1n)).
    const auto expected = [&](double a, double b, double c) {
        const Vector<double> q{
            {a * std::exp(std::tanh(0.7)), b * std::exp(std::tanh(1.0)), c * std::exp(std::tanh(2.7))}};
        return Vector<double>(x.template cast<double>() * q / q.sum());
    };
    const auto error = [](const Matrix<Scalar>& pooled, const Vector<double>& right) {
        return (pooled.template cast<double>() - right).cwiseAbs().maxCoeff();
    };
    const double tolerance = std::is_same_v<Scalar, float> ? 2e-6 : 1e-14;
    const auto layer = attention_layer<Scalar>(attention);
    CHECK(expected(0.5, 0.5, 0)[0] == Catch::Approx(1.539).epsilon(1e-3));
    CHECK(error(layer(bags(0.5, 0.5, 0)), expected(0.5, 0.5, 0)) < tolerance);
    CHECK(error(layer(bags(Scalar(0.25), Scalar(0.5), Scalar(0.25))), expected(0.25, 0.5, 0.25)) < tolerance);
    CHECK(error(layer(bags(Scalar(0.125), 0, Scalar(0.875))), expected(0.125, 0, 0.875)) < tolerance);
    const auto pooling = attention_pooling<Scalar>(attention);
    CHECK(error(pooling(bags(Scalar(0.25), Scalar(0.5), Scalar(0.25))), expected(0.25, 0.5, 0.25)) < tolerance);

    using Uot = UotLayer<Scalar, Sinkhorn, Entropy, Attention<Scalar>>;
    const Uot uot{.parameters = Uot::start(2, attention)};
    const Matrix<Scalar> pooled = uot(bags(0.5, 0.5, 0));
    CHECK(pooled(0, 0) == Catch::Approx(1.845).margin(5e-4));
    CHECK(pooled(1, 0) == Catch::Approx(3.845).margin(5e-4));

    // A problem's prior counts as the bag's own where the bag has none.
    auto fixed = layer;
    fixed.problem.instances.prior = Vector<Scalar>{{0.5, 0.5, 0}};
    CHECK(error(fixed(Bags<Scalar>{x, {0, 3}}), expected(0.5, 0.5, 0)) < tolerance);
}

TEST_CASE("A bag's prior that is none is refused, and a learned one does not hide it") {
    const Batch batch(1);
    const auto refusal = [&](const auto& layer, const Vector<double>& prior) {
        return tests::message_of<InvalidArgument>([&] {
            layer(Bags<double>{batch.instances, batch.offsets, {}, prior});
        });
    };
    const auto layer = attention_layer<double>(attention());
    Vector<double> wrong = batch.prior;
    wrong[6] = -1;
    CHECK(refusal(layer, wrong) == "bag 2: q0[1] is -1; allowed: finite and >= 0");
    wrong.setZero();
    CHECK(refusal(layer, wrong) ==
          "bag 0: sum of q0 is 0; allowed: 1, within 0.001 (or any, where the marginal says that it has masses)");
    const auto by_place = attention_layer<double>(Mixture<double>{Vector<double>::Zero(3)});
    CHECK(refusal(by_place, batch.prior) ==
          "bag 0: length of the mixture's logits is 3; allowed: 4, the number of instances");
}

TEST_CASE("A prior by place is masked by place") {
    const Matrix<double> x{{1, 2, 9}};
    const auto layer = attention_layer<double>(Mixture<double>{Vector<double>{{1, 2, 50}}});
    const double pooled = layer(Bags<double>{x, {0, 3}, {}, Vector<double>{{0.25, 0.75, 0}}})(0, 0);
    const double a = 0.25 * std::exp(1);
    const double b = 0.75 * std::exp(2);
    CHECK(pooled == Catch::Approx((a + 2 * b) / (a + b)).epsilon(1e-12));
}

TEST_CASE("Where bags have a reward of their own, a layer's gradient is that of the instances") {
    Batch batch(3);
    const Batch other(4);
    const auto layer = started<UotLayer<double, Sinkhorn, Entropy, Attention<double>>>(attention());
    const auto bags = [&] { return Bags<double>{batch.instances, batch.offsets, other.instances, batch.prior}; };
    const auto at = bags();
    const auto forward = layer.forward(at);
    const Matrix<double> weights = Matrix<double>::Ones(D, batch.bag_count());
    const auto gradient = layer.backward(forward, weights);
    for (Index i = 0; i < batch.instances.size(); ++i) {
        double& value = batch.instances.reshaped()[i];
        const double from = value;
        const double numeric = tests::central_difference(
            [&](double step) {
                value = from + step;
                const double sum = layer(bags()).sum();
                value = from;
                return sum;
            },
            1e-4);
        CHECK(numeric == Catch::Approx(gradient.instances.reshaped()[i]).margin(1e-7));
    }
}

TEMPLATE_TEST_CASE("Published layers leave out what a bag excludes", "", float, double) {
    using Scalar = TestType;
    const RealVector one = RealVector::Ones(1);
    const published::RawParameters parameters{.alpha0 = one, .alpha1 = one, .alpha2 = one, .rho = one};
    const Attention<Real> learned{RealMatrix::Constant(4, 2, 0.1), RealVector::Constant(4, 0.5)};
    const Matrix<Scalar> x{{1, 9, 2}, {3, 9, 4}};
    const Matrix<Scalar> left{{1, 2}, {3, 4}};
    const auto check = [&](const auto& layer) {
        const auto of = [&](const Matrix<Scalar>& bag, const Vector<Scalar>& own) {
            return layer(Bags<Scalar>{bag, {0, bag.cols()}, {}, own});
        };
        // A uniform prior of the bag's own changes nothing; one that is not is a factor of q0.
        CHECK((of(x, Vector<Scalar>{{0.5, 0, 0.5}}) - layer(left)).cwiseAbs().maxCoeff() <= Scalar(1e-6));
        CHECK(of(x, Vector<Scalar>{{0.25, 0, 0.75}}) == of(left, Vector<Scalar>{{0.25, 0.75}}));
        CHECK(of(left, Vector<Scalar>{{0.25, 0.75}}) != Matrix<Scalar>(layer(left)));
    };
    check(published::Sinkhorn<Scalar>{parameters});
    check(published::Sinkhorn<Scalar, Attention<Real>>{parameters, 4, learned});
    check(published::EntropicAdmm<Scalar, Attention<Real>>{parameters, 4, learned});
    const published::Sinkhorn<Scalar, FixedPrior<Real>> uneven{parameters, 4, {RealVector{{0.25, 0.75}}}};
    const published::Sinkhorn<Scalar> even{parameters};
    CHECK((Matrix<Scalar>(uneven(left)) - even(Bags<Scalar>{left, {0, 2}, {}, Vector<Scalar>{{0.25, 0.75}}}))
              .cwiseAbs()
              .maxCoeff() <= Scalar(1e-6));
}

}  // namespace mask_test
