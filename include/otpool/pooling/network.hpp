// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// x -> W x + b
template <BagScalar Scalar>
struct LinearLayer {
    Matrix<Scalar> weight;     ///< W, a row per output: `weight` of PyTorch's Linear, or of a 1 x 1 convolution.
    Vector<Scalar> bias = {};  ///< b, a number per output; empty means 0.
};

/// A small network that is applied to every instance by itself:
///
///     h_0 = x,  h_i = max(W_i h_(i-1) + b_i, 0),  output = W_L h_(L-1) + b_L
///
/// These are L linear layers, or 1 x 1 convolutions, with a ReLU between any two. As a reward of slots, K outputs are the
/// scores of K slots; as values of slots, the outputs of an instance are what the slots pool.
template <BagScalar Scalar>
struct Network {
    std::vector<LinearLayer<Scalar>> layers;  ///< The first one first.

    /// The number of outputs. Throws InvalidArgument if there are no layers.
    Index outputs() const {
        detail::require_that(!layers.empty(), "number of layers", layers.size(), "at least 1");
        return layers.back().weight.rows();
    }
    Index slots() const { return outputs(); }                   ///< K, as a reward.
    Index rows(Index /*features*/) const { return outputs(); }  ///< D', as values.

    /// The outputs of every instance, a column each. Throws InvalidArgument if the shapes do not fit. Cost: one matrix
    /// product a layer. Memory besides the result: blocks of 256 instances.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& /*prior*/ = {}) const {
        validate(instances.rows());
        constexpr Index most = 256;
        Matrix<Scalar> result(outputs(), instances.cols());
        Matrix<Scalar> hidden;
        Matrix<Scalar> next;
        for (Index first = 0; first < instances.cols(); first += most) {
            const Index count = (std::min)(most, instances.cols() - first);
            hidden = instances.middle_cols(first, count).matrix();
            for (const LinearLayer<Scalar>& layer : layers) {
                if (&layer != &layers.front()) hidden = hidden.cwiseMax(Scalar(0));
                next.noalias() = layer.weight * hidden;
                if (layer.bias.size() > 0) next.colwise() += layer.bias;
                hidden.swap(next);
            }
            result.middleCols(first, count) = hidden;
        }
        return result;
    }

    /// Throws InvalidArgument unless the layers fit each other and instances with this number of features.
    void validate(Index features) const {
        using detail::text;
        outputs();
        Index inputs = features;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            const auto& [weight, bias] = layers[i];
            const char* const whose = i == 0 ? ", the number of features" : ", the outputs of the layer before";
            detail::require_that(weight.rows() > 0, text("rows of the weight of layer ", i), weight.rows(),
                                 "at least 1");
            detail::require_that(weight.cols() == inputs, text("columns of the weight of layer ", i), weight.cols(),
                                 text(inputs, whose));
            detail::require_that(bias.size() == 0 || bias.size() == weight.rows(),
                                 text("length of the bias of layer ", i), bias.size(),
                                 text(weight.rows(), ", the rows of its weight"));
            inputs = weight.rows();
        }
    }
};

}  // namespace otpool
