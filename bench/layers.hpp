// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <otpool/learning.hpp>
#include <otpool/otpool.hpp>
#include <string>
#include <utility>
#include <vector>

#include "random.hpp"

namespace bench {

/// The size of a batch of bags of one size and the steps of a layer, as in the names of benchmarks: bags/N/D/K.
struct LayerSize {
    otpool::Index bags;
    otpool::Index instances;
    otpool::Index features;
    int steps;

    std::string text() const {
        return std::to_string(bags) + "/" + std::to_string(instances) + "/" + std::to_string(features) + "/" +
               std::to_string(steps);
    }

    std::vector<std::int64_t> offsets() const {
        std::vector<std::int64_t> offsets;
        for (otpool::Index b = 0; b <= bags; ++b) offsets.push_back(b * instances);
        return offsets;
    }
};

/// Standard normal instances, and where each bag begins.
template <class Scalar>
struct Batch {
    otpool::Matrix<Scalar> instances;
    std::vector<std::int64_t> offsets;

    Batch(otpool::Index features, std::vector<std::int64_t> offsets_)
        : instances(Random(1).normal_matrix<Scalar>(features, offsets_.back())), offsets(std::move(offsets_)) {}

    otpool::Bags<Scalar> bags() const { return {instances, offsets}; }
};

/// K steps at alpha0 = 0.1. Both marginals are soft, so that no part of the iteration is left out.
template <class Scalar, class Solver>
auto layer(int steps) {
    return otpool::Pooling<Scalar, Solver>{
        .parameters = {.alpha0 = Scalar(0.1), .features = {.alpha = 1}, .instances = {.alpha = 1}},
        .solver = {{.iterations = steps}}};
}

/// The same layer with learned parameters; rho is BregmanAdmm's default.
template <class Scalar, class Solver>
auto learned_layer(int steps) {
    const auto raw = [](double value) {
        return otpool::Vector<Scalar>::Constant(1, static_cast<Scalar>(std::log(value))).eval();
    };
    using Layer = otpool::UotLayer<Scalar, Solver>;
    Layer layer{.parameters = {.alpha0 = raw(0.1), .alpha1 = raw(1), .alpha2 = raw(1)}, .steps = steps};
    if constexpr (Layer::has_rho) layer.parameters.rho = raw(0.2);
    return layer;
}

/// Times a layer's forward and backward pass, which reuse the memory of the passes before.
template <class Scalar, class Layer>
void time_both_passes(benchmark::State& state, const Layer& layer, const otpool::Bags<Scalar>& bags,
                      const otpool::Matrix<Scalar>& dL_dpooled) {
    otpool::Workspaces workspaces;
    typename Layer::Gradient gradient;
    for (auto _ : state) {
        gradient = layer.backward(layer.forward(bags, workspaces), dL_dpooled, std::move(gradient), workspaces);
        benchmark::DoNotOptimize(gradient.instances.data());
    }
}

/// Sets the counters: bytes of the bags per second, and the time per element and step.
template <class Scalar>
void count(benchmark::State& state, const Batch<Scalar>& batch, int steps) {
    const auto elements = static_cast<double>(batch.instances.size());
    const auto rate = benchmark::Counter::kIsIterationInvariantRate;
    state.counters["bytes"] = benchmark::Counter(elements * sizeof(Scalar), rate, benchmark::Counter::OneK::kIs1024);
    state.counters["per_element_step"] = benchmark::Counter(elements * steps, rate | benchmark::Counter::kInvert);
}

}  // namespace bench
