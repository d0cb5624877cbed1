#include <otpool/adapter/torch.hpp>
#include <otpool/learning.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"

// The LibTorch module: the same numbers as the layer without it, gradients checked through autograd, nothing copied.

namespace torch_layer_test {

using namespace otpool;

constexpr std::int64_t D = 4;

struct Batch {
    torch::Tensor x, ptr;

    explicit Batch(torch::ScalarType type) {
        torch::manual_seed(1);
        x = torch::randn({11, D}, torch::kDouble).to(type);
        ptr = torch::tensor({0, 4, 5, 11}, torch::kLong);
    }
};

template <class Scalar>
auto sinkhorn_layer() {
    using Layer = UotLayer<Scalar, Sinkhorn, Entropy, Attention<Scalar>>;
    const Attention<Scalar> attention{Matrix<Scalar>::Constant(3, D, Scalar(0.1)),
                                      Vector<Scalar>::LinSpaced(3, Scalar(-0.2), Scalar(0.3))};
    return Layer{.parameters = Layer::start(D, attention, true)};
}

template <class Scalar>
auto quadratic_layer() {
    using Layer = UotLayer<Scalar, BregmanAdmm, Quadratic>;
    return Layer{.parameters = Layer::start(D, {}, false, 4)};
}

template <class Scalar, class Layer>
void check_same_as_without_torch(const Layer& layer) {
    const Batch batch(otpool::detail::torch_scalar<Scalar>);
    TorchLayer<Scalar, Layer> module(layer);
    const torch::Tensor x = batch.x.clone().requires_grad_();
    const torch::Tensor pooled = module.forward(x, batch.ptr);
    const torch::Tensor weights = torch::randn({3, D}, torch::kDouble).to(x.scalar_type());
    (pooled * weights).sum().backward();

    const Matrix<Scalar> instances = otpool::detail::as_matrix<Scalar>(batch.x);
    const Bags<Scalar> bags{instances, {0, 4, 5, 11}};
    const auto forward = layer.forward(bags);
    CHECK(otpool::detail::as_matrix<Scalar>(pooled.detach().contiguous()) == forward.pooled);
    auto gradient = layer.backward(forward, Matrix<Scalar>(otpool::detail::as_matrix<Scalar>(weights)));
    CHECK(otpool::detail::as_matrix<Scalar>(x.grad()) == gradient.instances);
    const auto arrays = named_arrays<Scalar>(gradient);
    const auto parameters = module.named_parameters();
    REQUIRE(parameters.size() == arrays.size());
    for (std::size_t i = 0; i < arrays.size(); ++i) {
        std::string name = arrays[i].name;
        std::replace(name.begin(), name.end(), '.', '_');
        CHECK(parameters[i].key() == name);
        const torch::Tensor grad = parameters[i].value().grad();
        REQUIRE(grad.defined());
        const Eigen::Map<const Vector<Scalar>> values(grad.data_ptr<Scalar>(), grad.numel());
        CHECK(values == arrays[i].values);
    }
}

TEMPLATE_TEST_CASE("A module is its layer", "", float, double) {
    check_same_as_without_torch<TestType>(sinkhorn_layer<TestType>());
    check_same_as_without_torch<TestType>(quadratic_layer<TestType>());
    check_same_as_without_torch<TestType>(max_layer<TestType>());
    check_same_as_without_torch<TestType>(gated_mean_max_layer<TestType>(D));
}

/// Central differences through LibTorch alone, of x and every parameter.
template <class Layer>
void check_gradient(const Layer& layer) {
    const Batch batch(torch::kDouble);
    TorchLayer<double, Layer> module(layer);
    const torch::Tensor weights = torch::randn({3, D}, torch::kDouble);
    torch::Tensor x = batch.x.clone().requires_grad_();
    const auto loss = [&] { return (module.forward(x, batch.ptr).tanh() * weights).sum(); };
    loss().backward();
    std::vector<torch::Tensor> leaves = module.parameters();
    leaves.push_back(x);
    const double scale = x.grad().abs().max().item<double>();
    for (torch::Tensor& leaf : leaves) {
        const torch::NoGradGuard no_grad;
        const torch::Tensor derivative = leaf.grad().clone();
        torch::Tensor flat = leaf.view(-1);
        double error = 0;
        double largest = 1e-3 * scale;
        for (std::int64_t i = 0; i < flat.numel(); ++i) {
            const double from = flat[i].item<double>();
            const auto at = [&](double step) {
                flat[i] = from + step;
                const double value = loss().template item<double>();
                flat[i] = from;
                return value;
            };
            const double numeric = tests::central_difference(at, 1e-4);
            error = std::max(error, std::abs(numeric - derivative.view(-1)[i].item<double>()));
            largest = std::max(largest, std::abs(numeric));
        }
        CHECK(error < 1e-6 * largest);
    }
}

TEST_CASE("Autograd through a module is the derivative") {
    check_gradient(sinkhorn_layer<double>());
    check_gradient(quadratic_layer<double>());
    check_gradient(mixed_layer<double>());
}

TEST_CASE("A module neither copies the bags nor their gradient") {
    const Batch batch(torch::kDouble);
    auto layer = quadratic_layer<double>();
    TorchLayer<double, decltype(layer)> module(layer);
    const otpool::detail::TorchTape<double, decltype(layer)> tape(layer, batch.x, {0, 4, 5, 11});
    CHECK(tape.forward.bags.instances().matrix().data() == batch.x.data_ptr<double>());
    auto gradient = layer.backward(tape.forward, Matrix<double>(Matrix<double>::Ones(D, 3)));
    const double* data = gradient.instances.data();
    const torch::Tensor tensor = otpool::detail::as_tensor<double>(std::move(gradient.instances));
    CHECK(tensor.data_ptr<double>() == data);
}

TEST_CASE("A module takes x of any strides, and a step of an optimiser changes what it does") {
    const Batch batch(torch::kDouble);
    auto layer = sinkhorn_layer<double>();
    auto module = std::make_shared<TorchLayer<double, decltype(layer)>>(layer);
    const torch::Tensor transposed = batch.x.t().contiguous().t();
    REQUIRE(!transposed.is_contiguous());
    const torch::Tensor before = module->forward(batch.x, batch.ptr);
    CHECK(torch::equal(module->forward(transposed, batch.ptr), before));
    torch::optim::SGD optimizer(module->parameters(), 0.5);
    before.square().sum().backward();
    optimizer.step();
    CHECK(!torch::equal(module->forward(batch.x, batch.ptr), before));
    CHECK(module->layer().parameters.alpha0[0] == module->named_parameters()["alpha0"][0].item<double>());
}

TEST_CASE("A module refuses tensors that do not fit") {
    const Batch batch(torch::kDouble);
    auto layer = quadratic_layer<double>();
    TorchLayer<double, decltype(layer)> module(layer);
    const auto refusal = [&](const torch::Tensor& x, const torch::Tensor& ptr) {
        return tests::message_of<InvalidArgument>([&] { module.forward(x, ptr); });
    };
    CHECK(refusal(batch.x.to(torch::kFloat), batch.ptr) == "type of x is Float; allowed: Double");
    CHECK(refusal(batch.x[0], batch.ptr) == "shape of x is (4); allowed: (sum N, D)");
    CHECK(refusal({}, batch.ptr) == "x is undefined; allowed: a tensor");
    CHECK(refusal(batch.x, batch.ptr.to(torch::kInt)) == "type of ptr is Int; allowed: Long");
    CHECK(refusal(batch.x, torch::tensor({0, 4, 10}, torch::kLong)) ==
          "offsets[2] is 10; allowed: the number of instances, 11");
    CHECK(refusal(batch.x, torch::tensor({0, 4, 4, 11}, torch::kLong)) ==
          "bag 1 is empty; allowed: at least one instance, or a fill value for empty bags");
}

}  // namespace torch_layer_test
