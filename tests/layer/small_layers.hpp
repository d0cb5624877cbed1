#pragma once

#include "otpool/learning.hpp"

// Layers and priors for bags of four features.

namespace layer_test {

inline constexpr otpool::Index D = 4;

inline otpool::Attention<double> attention() {
    return {otpool::Matrix<double>::Constant(3, D, 0.1), otpool::Vector<double>::Constant(3, 0.2)};
}
inline otpool::GatedAttention<double> gated_attention() {
    const otpool::Matrix<double> V = otpool::Matrix<double>::Constant(3, D, 0.1);
    return {V, -V, otpool::Vector<double>::Constant(3, 0.2)};
}

/// The layer as it starts.
template <class Layer, class Prior = otpool::UniformPrior>
Layer started(Prior prior = {}, bool learn_p0 = false, int sets = 1) {
    return {.parameters = Layer::start(D, prior, learn_p0, sets)};
}

}  // namespace layer_test
