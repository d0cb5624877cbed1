#include <otpool/adapter/torch.hpp>
#include <otpool/learning.hpp>

#include <array>
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

template <class Scalar>
auto slot_layer() {
    using Layer = SlotLayer<Scalar, JointSlots, PartialSlots>;
    Matrix<Scalar> prototypes(D, 2);
    prototypes << Scalar(0.5), Scalar(-1), Scalar(0.2), 1, Scalar(-0.3), Scalar(0.4), 1, Scalar(0.1);
    return Layer{.parameters = Layer::start(prototypes, {}, true)};
}

template <class Scalar, class Layer>
void check_same_as_without_torch(const Layer& layer) {
    const Batch batch(otpool::detail::torch_scalar<Scalar>);
    TorchLayer<Scalar, Layer> module(layer);
    const torch::Tensor x = batch.x.clone().requires_grad_();
    const torch::Tensor pooled = module.forward(x, batch.ptr);
    const torch::Tensor weights = torch::randn(pooled.sizes(), torch::kDouble).to(x.scalar_type());
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
    check_same_as_without_torch<TestType>(slot_layer<TestType>());
}

/// Central differences through LibTorch alone, of x and every parameter.
template <class Layer>
void check_gradient(const Layer& layer) {
    const Batch batch(torch::kDouble);
    TorchLayer<double, Layer> module(layer);
    torch::Tensor x = batch.x.clone().requires_grad_();
    const torch::Tensor weights = torch::randn(module.forward(x, batch.ptr).sizes(), torch::kDouble);
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
    check_gradient(slot_layer<double>());
}

TEST_CASE("A module of a slot layer returns each bag's slots one after the other, without masked instances") {
    const Batch batch(torch::kDouble);
    const auto layer = slot_layer<double>();
    TorchLayer<double, std::decay_t<decltype(layer)>> module(layer);
    const torch::Tensor pooled = module.forward(batch.x, batch.ptr);
    CHECK(pooled.sizes() == torch::IntArrayRef({3, 2 * D}));
    const torch::Tensor slots = pooled.view({3, 2, D});
    const Matrix<double> x = otpool::detail::as_matrix<double>(batch.x);
    for (const auto& [bag, first, size] : {std::array<Index, 3>{0, 0, 4}, {1, 4, 1}, {2, 5, 6}}) {
        const Matrix<double> instances = x.middleCols(first, size);
        const Matrix<double> sums = instances * layer.plan(instances).transpose();
        for (Index k = 0; k < 2; ++k) {
            const torch::Tensor slot = slots[bag][k].contiguous();
            CHECK(Eigen::Map<const Vector<double>>(slot.data_ptr<double>(), D).isApprox(sums.col(k), 1e-12));
        }
    }
    torch::Tensor prior = torch::full({11}, 1.0 / 3, torch::kDouble);
    prior[2] = 0;
    prior[4] = 1;
    prior.slice(0, 5, 11).fill_(1.0 / 6);
    torch::Tensor masked = batch.x.clone();
    masked[2].fill_(1e200);
    masked.requires_grad_();
    const torch::Tensor of_masked = module.forward(masked, batch.ptr, prior);
    const torch::Tensor removed = module.forward(torch::cat({batch.x.slice(0, 0, 2), batch.x.slice(0, 3, 11)}),
                                                 torch::tensor({0, 3, 4, 10}, torch::kLong));
    CHECK((of_masked - removed).abs().max().item<double>() < 1e-12);
    of_masked.sum().backward();
    CHECK(torch::equal(masked.grad()[2], torch::zeros({D}, torch::kDouble)));
    CHECK(masked.grad().isfinite().all().item<bool>());
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

TEST_CASE("A module's bags have priors of their own, which exclude and multiply") {
    const auto layer = attention_layer<double>(Attention<double>{Matrix<double>{{0.1, 0.2}}, Vector<double>::Ones(1)});
    TorchLayer<double, std::decay_t<decltype(layer)>> module(layer);
    torch::Tensor x = torch::tensor({1.0, 3.0, 2.0, 4.0, 9.0, 9.0}).view({3, 2}).to(torch::kDouble).requires_grad_();
    const torch::Tensor ptr = torch::tensor({0, 3}, torch::kLong);
    const torch::Tensor prior = torch::tensor({0.5, 0.5, 0.0}, torch::kDouble);
    const torch::Tensor pooled = module.forward(x, ptr, prior);
    const torch::Tensor removed = module.forward(x.slice(0, 0, 2), torch::tensor({0, 2}, torch::kLong));
    CHECK((pooled - removed).abs().max().item<double>() < 1e-14);
    CHECK(std::abs(pooled[0][0].item<double>() - 1.539) < 1e-3);
    pooled.sum().backward();
    CHECK(torch::equal(x.grad()[2], torch::zeros({2}, torch::kDouble)));

    const auto refusal = [&](const torch::Tensor& q) {
        return tests::message_of<InvalidArgument>([&] { module.forward(x, ptr, q); });
    };
    CHECK(refusal(prior.to(torch::kFloat)) == "type of prior is Float; allowed: Double");
    CHECK(refusal(prior.unsqueeze(0)) == "shape of prior is (1, 3); allowed: (sum N)");
    CHECK(refusal(prior.slice(0, 0, 2)) == "length of the instance prior is 2; allowed: 3, the number of instances");
    CHECK(refusal(prior.clone().requires_grad_()) ==
          "prior is a tensor that requires a gradient; allowed: constants, as layers do not differentiate a bag's own "
          "prior");
    torch::nn::AnyModule any(std::make_shared<TorchLayer<double, std::decay_t<decltype(layer)>>>(layer));
    CHECK(torch::equal(any.forward(x, ptr, prior), pooled));
    CHECK(torch::equal(any.forward(x, ptr), module.forward(x, ptr)));
}

TEST_CASE("Second derivatives are refused") {
    const Batch batch(torch::kDouble);
    const auto layer = quadratic_layer<double>();
    TorchLayer<double, std::decay_t<decltype(layer)>> module(layer);
    const torch::Tensor W = torch::eye(D, torch::kDouble).requires_grad_();
    const torch::Tensor x = batch.x.clone().requires_grad_();
    const auto gradient = [&](bool create_graph) {
        return torch::autograd::grad({module.forward(x.matmul(W), batch.ptr).sum()}, {x}, {}, create_graph,
                                     create_graph);
    };
    CHECK(tests::message_of<InvalidArgument>([&] { gradient(true); }) ==
          "create_graph is true; allowed: false, as a layer has no second derivatives");
    CHECK(!gradient(false)[0].requires_grad());
    // A gradient that is kept for a second pass is not differentiated.
    const torch::Tensor pooled = module.forward(x, batch.ptr);
    const auto first = torch::autograd::grad({pooled.sum()}, {x}, {}, true, false);
    CHECK(torch::equal(torch::autograd::grad({pooled.sum()}, {x})[0], first[0]));
}

TEST_CASE("A clone has parameters of its own") {
    const Batch batch(torch::kDouble);
    const auto layer = sinkhorn_layer<double>();
    using Module = TorchLayer<double, std::decay_t<decltype(layer)>>;
    Module module(layer);
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : module.parameters()) parameter += 0.25;
    const auto clone = std::dynamic_pointer_cast<Module>(module.clone());
    REQUIRE(clone);
    const torch::Tensor before = module.forward(batch.x, batch.ptr);
    CHECK(torch::equal(clone->forward(batch.x, batch.ptr), before));
    for (torch::Tensor& parameter : clone->parameters()) {
        CHECK(parameter.requires_grad());
        parameter += 0.25;
    }
    CHECK(torch::equal(module.forward(batch.x, batch.ptr), before));
    CHECK(!torch::equal(clone->forward(batch.x, batch.ptr), before));
}

TEST_CASE("A module refuses parameters that were converted, moved or resized") {
    const Batch batch(torch::kFloat);
    const auto layer = sinkhorn_layer<float>();
    using Given = std::decay_t<decltype(layer)>;
    using Tested = TorchLayer<float, Given>;
    const auto refusal = [&](Tested& module) {
        return tests::message_of<InvalidArgument>([&] { module.forward(batch.x, batch.ptr); });
    };
    Tested converted(layer);
    converted.to(torch::kDouble);
    CHECK(refusal(converted) == "type of parameter alpha0 is Double; allowed: Float");
    converted.to(torch::kFloat);
    CHECK(refusal(converted) == "no error");
    struct Moved : Tested {
        explicit Moved(const Given& of) : torch::nn::Module("Moved"), Tested(of) {
            this->parameters_["alpha0"] = torch::empty({1}, torch::kMeta);
        }
    };
    Moved moved(layer);
    CHECK(refusal(moved) == "device of parameter alpha0 is meta; allowed: cpu");
    CHECK(tests::message_of<InvalidArgument>([&] {
              Tested(layer).forward(batch.x.to(torch::Device(torch::kMeta)), batch.ptr);
          }) == "device of x is meta; allowed: cpu");
    Tested resized(layer);
    resized.named_parameters()["p0"].set_data(torch::zeros({D + 1}));
    CHECK(refusal(resized) == "size of parameter p0 is 5; allowed: 4");
    CHECK(tests::message_of<InvalidArgument>([&] { Tested(layer).forward(batch.x.to_sparse(), batch.ptr); }) ==
          "layout of x is Sparse; allowed: Strided, that is dense");
}

TEST_CASE("Parameters and incoming gradients may have any strides") {
    const Batch batch(torch::kDouble);
    const auto layer = sinkhorn_layer<double>();
    TorchLayer<double, std::decay_t<decltype(layer)>> module(layer);
    const torch::Tensor x = batch.x.clone().requires_grad_();
    const torch::Tensor weights = torch::randn({D, 3}, torch::kDouble);
    (module.forward(x, batch.ptr) * weights.t()).sum().backward();
    const torch::Tensor expected = x.grad().clone();
    {
        const torch::NoGradGuard no_grad;
        torch::Tensor p0 = module.named_parameters()["p0"];
        torch::Tensor strided = torch::zeros({D, 2}, torch::kDouble).select(1, 0);
        strided.copy_(p0);
        p0.set_data(strided);
        REQUIRE(!p0.is_contiguous());
    }
    x.mutable_grad() = torch::Tensor();
    (module.forward(x, batch.ptr) * weights.t().contiguous()).sum().backward();
    CHECK(torch::equal(x.grad(), expected));
    // The gradient of a sum is one number, expanded.
    module.forward(x, batch.ptr).sum().backward();
}

}  // namespace torch_layer_test
