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

/// Throws InvalidArgument unless `tensor` is a CPU tensor of this type and number of dimensions.
inline void require_tensor(const torch::Tensor& tensor, const std::string& name, torch::ScalarType type,
                           std::int64_t dimensions, const std::string& shape) {
    require_that(tensor.defined(), name, "undefined", "a tensor");
    require_that(tensor.device().is_cpu(), "device of " + name, tensor.device(), "cpu");
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

    TorchTape(Layer layer_, torch::Tensor instances_, std::vector<std::int64_t> offsets)
        : layer(std::move(layer_)),
          instances(std::move(instances_)),
          forward(layer.forward(Bags<Scalar>{MatrixView<Scalar>(as_matrix<Scalar>(instances)), std::move(offsets)})) {}
};

/// The autograd function under TorchLayer. Its gradient is not differentiable again.
template <BagScalar Scalar, class Layer>
struct TorchFunction : torch::autograd::Function<TorchFunction<Scalar, Layer>> {
    static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& instances,
                                 const std::vector<std::int64_t>& offsets, const Layer& layer, at::TensorList) {
        auto tape = c10::make_intrusive<TorchTape<Scalar, Layer>>(layer, instances.contiguous(), offsets);
        Matrix<Scalar> pooled = tape->forward.pooled;  // D x B, small
        context->save_for_backward({instances});       // detects changes in place
        context->saved_data["tape"] = torch::IValue::make_capsule(tape);
        return as_tensor<Scalar>(std::move(pooled));
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list dL_dpooled) {
        context->get_saved_variables();
        const auto capsule = context->saved_data["tape"].toCapsule();
        auto* tape = static_cast<TorchTape<Scalar, Layer>*>(capsule.get());
        const torch::Tensor incoming = dL_dpooled[0].contiguous();
        auto gradient = tape->layer.backward(tape->forward, MatrixView<Scalar>(as_matrix<Scalar>(incoming)));
        torch::autograd::variable_list all{{}, {}, {}};
        for (const auto& array : named_arrays<Scalar>(gradient)) {
            all.push_back(torch::empty(array.values.size(), torch_scalar<Scalar>));
            std::copy(array.values.begin(), array.values.end(), all.back().template data_ptr<Scalar>());
        }
        all[0] = as_tensor<Scalar>(std::move(gradient.instances));
        return all;
    }
};

}  // namespace detail

/// A layer of otpool (UotLayer, FixedLayer, TwoLevelLayer) as a module. It maps x of shape (sum N, D), the instances of
/// all bags one after the other, and `ptr`, B + 1 offsets as in PyTorch Geometric, to the pooled vectors (B, D).
///
/// On the CPU, in the layer's scalar. The module's parameters are the layer's named arrays, with "_" for "." in the
/// names. They start as copies of the layer's and live in LibTorch from then on. Neither the bags nor their gradient
/// are copied (except x that is not contiguous, once). Throws InvalidArgument as the layer does. forward() may run
/// concurrently.
template <BagScalar Scalar, class Layer>
class TorchLayer : public torch::nn::Module {
public:
    /// Copies the layer's parameters to LibTorch.
    explicit TorchLayer(Layer layer) : torch::nn::Module("TorchLayer"), layer_(std::move(layer)) {
        for (const auto& array : named_arrays<Scalar>(layer_)) {
            std::string name = array.name;
            std::replace(name.begin(), name.end(), '.', '_');
            auto values = torch::empty(array.values.size(), detail::torch_scalar<Scalar>);
            std::copy(array.values.begin(), array.values.end(), values.template data_ptr<Scalar>());
            register_parameter(name, values);
        }
    }

    /// The pooled vectors, (B, D).
    torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& ptr) {
        detail::require_tensor(x, "x", detail::torch_scalar<Scalar>, 2, "(sum N, D)");
        detail::require_tensor(ptr, "ptr", torch::kLong, 1, "(B + 1)");
        const torch::Tensor offsets = ptr.contiguous();
        const std::int64_t* first = offsets.data_ptr<std::int64_t>();
        const std::vector<torch::Tensor> learned = parameters();
        const at::TensorList inputs = learned;  // apply() takes no other list of tensors for inputs
        return detail::TorchFunction<Scalar, Layer>::apply(x, std::vector<std::int64_t>(first, first + offsets.numel()),
                                                           layer(), inputs);
    }

    /// The layer with the module's current parameters.
    Layer layer() const {
        Layer current = layer_;
        const auto tensors = parameters();
        auto arrays = named_arrays<Scalar>(current);
        for (std::size_t i = 0; i < arrays.size(); ++i) {
            const torch::Tensor values = tensors[i].detach().contiguous();
            std::copy_n(values.template data_ptr<Scalar>(), arrays[i].values.size(), arrays[i].values.begin());
        }
        return current;
    }

private:
    Layer layer_;
};

}  // namespace otpool
