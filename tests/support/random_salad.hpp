#pragma once

#include <vector>

#include "otpool/slots/salad.hpp"
#include "support/random_bags.hpp"

namespace tests {

/// A network of these sizes, the inputs first, with outputs of about unit size.
template <class Scalar>
otpool::Network<Scalar> random_network(Random& random, const std::vector<Index>& sizes) {
    otpool::Network<Scalar> network;
    for (std::size_t i = 1; i < sizes.size(); ++i) {
        const auto scale = static_cast<Scalar>(1 / std::sqrt(static_cast<double>(sizes[i - 1])));
        network.layers.push_back({scale * random_matrix<Scalar>(random, sizes[i], sizes[i - 1]),
                                  random_matrix<Scalar>(random, sizes[i], 1)});
    }
    return network;
}

/// An aggregator of patches with D features, tokens of 5 numbers unless it has none, and K slots.
template <class Scalar>
otpool::Salad<Scalar> random_salad(Random& random, Index D, Index K, bool without_token) {
    const auto scores = random_network<Scalar>(random, {D, 7, K});
    const auto values = random_network<Scalar>(random, {D, 6, 4});
    otpool::Salad<Scalar> salad{otpool::salad_pooling<Scalar>(static_cast<Scalar>(random.normal()), scores, 3, values)};
    if (!without_token) salad.token_network = random_network<Scalar>(random, {5, 8, 3});
    return salad;
}

}  // namespace tests
