#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

#include <otpool/learning.hpp>

#include "tasks.hpp"

namespace learn_pooling {

/// The fixed poolings, and last the layer that should do as well as the best of them.
inline constexpr std::array pooling_names = {"mean", "max", "softmax", "attention", "mixed", "UOT layer"};
inline constexpr std::size_t fixed_poolings = pooling_names.size() - 1;

/// The attention of Ilse et al. with weights w of zero, so that it starts as a mean. (V is random, else nothing would
/// ever change.)
inline otpool::Attention<double> uniform_attention(std::uint64_t seed) {
    constexpr Index hidden = 8;
    return {Generator(seed).normal(hidden, features) / std::sqrt(features), Vector::Zero(hidden)};
}

/// One configuration for all tasks. Relative entropy, as its plan is q0 exp(X / alpha0), row by row, where the
/// marginals are free: the mean or, if q0 learns, attention as alpha0 grows, the max as alpha0 shrinks, and softmax
/// between them. (Under `Entropy` q0 only enters by alpha2.)
using LearnedLayer = otpool::UotLayer<double, otpool::Sinkhorn, otpool::RelativeEntropy, otpool::Attention<double>>;

/// From the library's start but for alpha0, which starts close to the mean of all: from there the attention is found,
/// while at 1/2 every feature already prefers instances of its own.
inline LearnedLayer learned_layer(std::uint64_t seed) {
    LearnedLayer layer{.parameters = LearnedLayer::start(features, uniform_attention(seed))};
    layer.parameters.alpha0[0] = otpool::PositiveExp::raw(3);
    return layer;
}

/// visit(index in pooling_names, the layer as it starts). `seed` is that of the attentions.
template <class Visit>
void for_each_pooling(std::uint64_t seed, const Visit& visit) {
    visit(std::size_t{0}, otpool::mean_layer<double>());
    visit(std::size_t{1}, otpool::max_layer<double>());
    visit(std::size_t{2}, otpool::FixedLayer<double>{.problem = {.alpha0 = 0.5}});  // softmax, half the spread
    visit(std::size_t{3}, otpool::attention_layer<double>(uniform_attention(seed)));
    visit(std::size_t{4}, otpool::mixed_layer<double>());
    visit(std::size_t{5}, learned_layer(seed));
}

}  // namespace learn_pooling
