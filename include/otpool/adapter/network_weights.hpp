// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/safetensors.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/network.hpp"

namespace otpool {

namespace detail {

/// A tensor's numbers as a matrix, which must be finite.
inline RealMatrix finite_matrix(const SafetensorsFile& file, const std::string& name, Index rows, Index cols) {
    const RealVector numbers = file.numbers(name);
    RealMatrix matrix(rows, cols);
    for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < cols; ++j) {
            matrix(i, j) = numbers[i * cols + j];
            if (std::isfinite(matrix(i, j))) continue;
            throw FileError(file.path(), printable(name) + "[" + printed(i) + ", " + printed(j) + "]",
                            printed(matrix(i, j)), "finite numbers");
        }
    }
    return matrix;
}

}  // namespace detail

/// Reads a linear layer, or a 1 x 1 convolution, of PyTorch: `name`.weight, of shape [outputs, inputs] or [outputs, inputs,
/// 1, 1], and `name`.bias, [outputs], if it is there. Throws FileError.
template <BagScalar Scalar>
LinearLayer<Scalar> load_linear_layer(const SafetensorsFile& file, const std::string& name) {
    using detail::printable;
    const auto refuse = [&](const std::string& tensor, const std::string& allowed) {
        throw FileError(file.path(), "shape of " + printable(tensor), detail::printed(file.shape(tensor)), allowed);
    };
    const std::string weight = name + ".weight";
    const std::vector<std::uint64_t>& shape = file.shape(weight);
    const bool is_convolution = shape.size() == 4 && shape[2] == 1 && shape[3] == 1;
    if ((shape.size() != 2 && !is_convolution) || shape[0] == 0 || shape[1] == 0) {
        refuse(weight, "[outputs, inputs] or [outputs, inputs, 1, 1]");
    }
    const auto outputs = static_cast<Index>(shape[0]);
    LinearLayer<Scalar> layer{
        detail::finite_matrix(file, weight, outputs, static_cast<Index>(shape[1])).template cast<Scalar>()};
    const std::string bias = name + ".bias";
    if (file.contains(bias)) {
        if (file.shape(bias) != std::vector<std::uint64_t>{shape[0]}) {
            refuse(bias, "[" + std::to_string(shape[0]) + "], after " + weight);
        }
        layer.bias = detail::finite_matrix(file, bias, outputs, 1).template cast<Scalar>();
    }
    return layer;
}

/// Reads a network from layers of these names, the first one first. Throws FileError.
template <BagScalar Scalar>
Network<Scalar> load_network(const SafetensorsFile& file, const std::vector<std::string>& names) {
    Network<Scalar> network;
    for (const std::string& name : names) {
        LinearLayer<Scalar> layer = load_linear_layer<Scalar>(file, name);
        if (!network.layers.empty() && layer.weight.cols() != network.outputs()) {
            throw FileError(file.path(), "inputs of " + detail::printable(name), detail::printed(layer.weight.cols()),
                            detail::printed(network.outputs()) + ", the outputs of the layer before");
        }
        network.layers.push_back(std::move(layer));
    }
    return network;
}

}  // namespace otpool
