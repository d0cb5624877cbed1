// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <string>
#include <utility>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/network_weights.hpp"
#include "otpool/adapter/safetensors.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/slots/salad.hpp"

namespace otpool {

/// The aggregator of SALAD with the weights of a released model:
///
///     load_salad<float>(SafetensorsFile("dino_salad.safetensors"), "aggregator.")
///
/// Tensors, after `prefix`, for D features of a patch, D' of a cluster, K clusters and a token of G numbers:
///
///     score.0.weight, score.3.weight                        [H, D, 1, 1], [K, H, 1, 1]
///     cluster_features.0.weight, cluster_features.3.weight  [H, D, 1, 1], [D', H, 1, 1]
///     token_features.0.weight, token_features.2.weight      [H, T], [G, H]
///     dust_bin                                              [] or [1]
///
/// and the biases. Their checkpoint is a pickle; in Python this writes the file:
///
///     safetensors.torch.save_file(torch.load("dino_salad.ckpt"), "dino_salad.safetensors")
///
/// Throws FileError.
template <BagScalar Scalar>
Salad<Scalar> load_salad(const SafetensorsFile& file, const std::string& prefix = "") {
    const auto network = [&](const std::string& name, const char* second) {
        return load_network<Scalar>(file, {prefix + name + ".0", prefix + name + second});
    };
    Network<Scalar> scores = network("score", ".3");
    Network<Scalar> cluster_features = network("cluster_features", ".3");
    const Index features = scores.layers.front().weight.cols();
    if (cluster_features.layers.front().weight.cols() != features) {
        throw FileError(file.path(), "inputs of " + detail::printable(prefix) + "cluster_features.0",
                        detail::printed(cluster_features.layers.front().weight.cols()),
                        detail::printed(features) + ", those of score.0");
    }
    const std::string dustbin = prefix + "dust_bin";
    if (file.numbers(dustbin).size() != 1) {
        throw FileError(file.path(), "shape of " + detail::printable(dustbin), detail::printed(file.shape(dustbin)),
                        "[] or [1]");
    }
    const auto z = static_cast<Scalar>(detail::finite_matrix(file, dustbin, 1, 1)(0, 0));
    return {salad_pooling(z, std::move(scores), 3, std::move(cluster_features)), network("token_features", ".2")};
}

}  // namespace otpool
