// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/layer/named_array.hpp"

// Layers of otpool/layer as modules of LibTorch. Needs LibTorch (torch::torch); otpool.hpp does not.

namespace otpool {

namespace detail {

template <BagScalar Scalar>
constexpr torch::ScalarType torch_scalar = std::same_as<Scalar, double> ? torch::kDouble : torch::kFloat;

inline std::string printed_shape(const torch::Tensor& tensor) {
    std::string shape = "(";
    for (std::int64_t i = 0; i < tensor.dim(); ++i) shape += (i > 0 ? ", " : "") + printed(tensor.size(i));
    return shape + ")";
}

/// Throws InvalidArgument unless `tensor` is a dense CPU tensor of this type and number of dimensions.
inline void require_tensor(const torch::Tensor& tensor, const std::string& name, torch::ScalarType type,
                           std::int64_t dimensions, const std::string& shape) {
    require_that(tensor.defined(), name, "undefined", "a tensor");
    require_that(tensor.device().is_cpu(), "device of " + name, tensor.device(), "cpu");
    require_that(tensor.layout() == torch::kStrided, "layout of " + name, tensor.layout(), "Strided, that is dense");
    require_that(tensor.scalar_type() == type, "type of " + name, tensor.scalar_type(), printed(type));
    require_that(tensor.dim() == dimensions, "shape of " + name, printed_shape(tensor), shape);
}

/// A D x M matrix as an (M, D) tensor with the same bytes. Takes over the matrix.
template <class Scalar>
torch::Tensor as_tensor(Matrix<Scalar>&& matrix) {
    auto* owned = new Matrix<Scalar>(std::move(matrix));
    return torch::from_blob(
        owned->data(), {owned->cols(), owned->rows()}, [owned](void*) { delete owned; }, torch_scalar<Scalar>);
}

/// A contiguous (M, D) tensor as a D x M matrix, without a copy.
template <class Scalar>
Eigen::Map<const Matrix<Scalar>> as_matrix(const torch::Tensor& tensor) {
    return {tensor.template data_ptr<Scalar>(), tensor.size(1), tensor.size(0)};
}

/// What a layer's backward pass needs: the layer, its forward result, and the bags that the result views.
template <BagScalar Scalar, class Layer>
struct TorchTape : torch::CustomClassHolder {
    Layer layer;
    torch::Tensor instances;
    typename Layer::Forward forward;

    TorchTape(Layer layer_, torch::Tensor instances_, std::vector<std::int64_t> offsets, Vector<Scalar> prior = {})
        : layer(std::move(layer_)),
          instances(std::move(instances_)),
          forward(layer.forward(Bags<Scalar>{
              MatrixView<Scalar>(as_matrix<Scalar>(instances)), std::move(offsets), {}, std::move(prior)})) {}
};

/// The autograd function under TorchLayer. It refuses to be differentiated twice.
template <BagScalar Scalar, class Layer>
struct TorchFunction : torch::autograd::Function<TorchFunction<Scalar, Layer>> {
    static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& instances,
                                 const std::vector<std::int64_t>& offsets, const Vector<Scalar>& prior,
                                 const Layer& layer, at::TensorList) {
        auto tape = c10::make_intrusive<TorchTape<Scalar, Layer>>(layer, instances.contiguous(), offsets, prior);
        Matrix<Scalar> pooled = tape->forward.pooled;  // D x B, small
        context->save_for_backward({instances});       // detects changes in place
        context->saved_data["tape"] = torch::IValue::make_capsule(tape);
        return as_tensor<Scalar>(std::move(pooled));
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list dL_dpooled) {
        // Gradient mode is on if the caller wants to differentiate the gradient. Torch would take it for a constant.
        require_that(!torch::GradMode::is_enabled(), "create_graph", "true",
                     "false, as a layer has no second derivatives");
        context->get_saved_variables();
        const auto capsule = context->saved_data["tape"].toCapsule();
        auto* tape = static_cast<TorchTape<Scalar, Layer>*>(capsule.get());
        const torch::Tensor incoming = dL_dpooled[0].contiguous();
        auto gradient = tape->layer.backward(tape->forward, MatrixView<Scalar>(as_matrix<Scalar>(incoming)));
        torch::autograd::variable_list all{{}, {}, {}, {}};
        for (const auto& array : named_arrays<Scalar>(gradient)) {
            all.push_back(torch::empty(array.values.size(), torch_scalar<Scalar>));
            std::copy(array.values.begin(), array.values.end(), all.back().template data_ptr<Scalar>());
        }
        all[0] = as_tensor<Scalar>(std::move(gradient.instances));
        return all;
    }
};

}  // namespace detail

/// A layer of otpool (UotLayer, SlotLayer, FixedLayer, TwoLevelLayer) as a module. It maps x of shape (sum N, D), the
/// instances of all bags one after the other, and `ptr`, B + 1 offsets as in PyTorch Geometric, to the pooled vectors
/// (B, D). Those of a SlotLayer are (B, K D), a bag's slots one after the other; view({B, K, D}) has them apart.
///
/// On the CPU, in the layer's scalar: to() may neither change the type of the parameters nor move them elsewhere. The
/// module's parameters are the layer's named arrays, with "_" for "." in the names. They start as copies of the layer's
/// and live in LibTorch from then on; clone() copies them. Neither the bags nor their gradient are copied (except x that
/// is not contiguous, once). There are no second derivatives: create_graph = true is refused. Throws InvalidArgument as
/// the layer does. forward() may run concurrently.
template <BagScalar Scalar, class Layer>
class TorchLayer : public torch::nn::Cloneable<TorchLayer<Scalar, Layer>> {
public:
    /// Copies the layer's parameters to LibTorch.
    explicit TorchLayer(Layer layer) : torch::nn::Module("TorchLayer"), layer_(std::move(layer)) { reset(); }

    /// Sets the parameters to the layer's, as they were when the module was made.
    void reset() override {
        for (const auto& array : named_arrays<Scalar>(layer_)) {
            auto values = torch::empty(array.values.size(), detail::torch_scalar<Scalar>);
            std::copy(array.values.begin(), array.values.end(), values.template data_ptr<Scalar>());
            this->register_parameter(torch_name(array.name), values);
        }
    }

    /// The pooled vectors, (B, D) or (B, K D). `prior`, if defined, is the bags' own prior: sum N entries >= 0 that sum
    /// to 1 in every bag, constants to autograd. It multiplies a learned prior; instances of prior 0 are excluded.
    torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& ptr, const torch::Tensor& prior = {}) {
        detail::require_tensor(x, "x", detail::torch_scalar<Scalar>, 2, "(sum N, D)");
        detail::require_tensor(ptr, "ptr", torch::kLong, 1, "(B + 1)");
        const torch::Tensor offsets = ptr.contiguous();
        const std::int64_t* first = offsets.data_ptr<std::int64_t>();
        const std::vector<torch::Tensor> learned = this->parameters();
        const at::TensorList inputs = learned;  // apply() takes no other list of tensors for inputs
        return detail::TorchFunction<Scalar, Layer>::apply(x, std::vector<std::int64_t>(first, first + offsets.numel()),
                                                           own_prior(prior), layer(), inputs);
    }

    /// The layer with the module's current parameters. Throws InvalidArgument if their type, device or size was changed.
    Layer layer() const {
        Layer current = layer_;
        const auto tensors = this->named_parameters();
        for (auto& array : named_arrays<Scalar>(current)) {
            const std::string name = torch_name(array.name);
            const torch::Tensor& tensor = tensors[name];
            const std::string size = detail::printed(array.values.size());
            detail::require_tensor(tensor, "parameter " + name, detail::torch_scalar<Scalar>, 1, "(" + size + ")");
            detail::require_that(tensor.numel() == array.values.size(), "size of parameter " + name, tensor.numel(),
                                 size);
            const torch::Tensor values = tensor.detach().contiguous();
            std::copy_n(values.template data_ptr<Scalar>(), array.values.size(), array.values.begin());
        }
        return current;
    }

private:
    // In a Sequential or AnyModule, forward() takes two tensors or three.
    FORWARD_HAS_DEFAULT_ARGS({2, torch::nn::AnyValue(torch::Tensor())});

    static std::string torch_name(std::string name) {
        std::replace(name.begin(), name.end(), '.', '_');
        return name;
    }

    static Vector<Scalar> own_prior(const torch::Tensor& prior) {
        if (!prior.defined()) return {};
        detail::require_tensor(prior, "prior", detail::torch_scalar<Scalar>, 1, "(sum N)");
        detail::require_that(!prior.requires_grad(), "prior", "a tensor that requires a gradient",
                             "constants, as layers do not differentiate a bag's own prior");
        const torch::Tensor values = prior.contiguous();
        return Eigen::Map<const Vector<Scalar>>(values.template data_ptr<Scalar>(), values.numel());
    }

    Layer layer_;
};

}  // namespace otpool
