// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/layer/fixed_layer.hpp"
#include "otpool/layer/learned_prior.hpp"
#include "otpool/pooling/instance_prior.hpp"

namespace otpool {

/// A layer of layers: M inner layers turn a bag into a bag of M instances, which the outer layer pools.
///
///     y = outer([inner_1(bag), ..., inner_M(bag)])
///
/// Any layers can be combined: mixed_layer and gated_mean_max_layer mix mean and max; a Mixture, an attention or
/// another UotLayer can merge several UotLayers.
template <BagScalar Scalar, class Outer, class... Inner>
struct TwoLevelLayer {
    static constexpr std::size_t M = sizeof...(Inner);  ///< Number of inner layers.

    Outer outer;                 ///< Pools the M vectors.
    std::tuple<Inner...> inner;  ///< Each pools the bag to one vector.

    /// The pooled bags, and what backward() needs. Views the bags, which must outlive it.
    struct Forward {
        Matrix<Scalar> pooled;                         ///< D x B
        typename Outer::Forward outer;                 ///< Of the outer layer.
        std::tuple<typename Inner::Forward...> inner;  ///< Of the inner layers.
    };

    /// What backward() returns.
    struct Gradient {
        Matrix<Scalar> instances;                       ///< dL/d(bags), D x sum N
        typename Outer::Gradient outer;                 ///< Of the outer layer.
        std::tuple<typename Inner::Gradient...> inner;  ///< Of the inner layers.

        /// visit(name, array) for every array of the layers' gradients.
        template <class Visit>
        void for_each_array(const Visit& visit) {
            TwoLevelLayer::for_each_array_of(*this, visit);
        }
    };

    /// Pools the bags. Throws InvalidArgument.
    Forward forward(const Bags<Scalar>& bags) const {
        auto inner_forward =
            std::apply([&](const auto&... layer) { return std::tuple{layer.forward(bags)...}; }, inner);
        // Bag b of the second level is columns [b M, (b + 1) M).
        Matrix<Scalar> second(bags.features(), bags.size() * static_cast<Index>(M));
        for_each(inner_forward, [&](Index m, const auto& level) { of_inner(second, m) = level.pooled; });
        std::vector<std::int64_t> offsets;
        for (Index b = 0; b <= bags.size(); ++b) offsets.push_back(b * static_cast<Index>(M));
        auto outer_forward = outer.forward(Bags<Scalar>{MatrixView<Scalar>(std::move(second)), std::move(offsets)});
        Matrix<Scalar> pooled = outer_forward.pooled;
        return {std::move(pooled), std::move(outer_forward), std::move(inner_forward)};
    }

    /// The pooled bags, D x B.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const { return forward(bags).pooled; }

    /// The gradient of L with respect to bags and parameters, given dL/dpooled (D x B). Pass an old gradient to reuse
    /// its memory.
    Gradient backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled, Gradient gradient = {}) const {
        gradient.outer = outer.backward(forward.outer, dL_dpooled, std::move(gradient.outer));
        backward_inner(forward, gradient.outer.instances, gradient.inner, std::make_index_sequence<M>());
        for_each(gradient.inner, [&](Index m, const auto& of_layer) {
            if (m == 0) {
                gradient.instances = of_layer.instances;
            } else {
                gradient.instances += of_layer.instances;
            }
        });
        return gradient;
    }

    /// visit(name, array) for every array that is learned; names begin with "outer.", "inner0.", "inner1.", ...
    template <class Visit>
    void for_each_array(const Visit& visit) {
        for_each_array_of(*this, visit);
    }

private:
    /// The columns of the second level's batch that inner layer m made.
    template <class Batch>
    static auto of_inner(Batch& second, Index m) {
        return second(Eigen::seqN(0, second.rows()),
                      Eigen::seqN(m, second.cols() / static_cast<Index>(M), static_cast<Index>(M)));
    }

    template <class Tuple, class Visit>
    static void for_each(Tuple& tuple, const Visit& visit) {
        std::apply(
            [&](auto&... element) {
                Index m = 0;
                (visit(m++, element), ...);
            },
            tuple);
    }

    template <std::size_t... Is>
    void backward_inner(const Forward& forward, const Matrix<Scalar>& dL_dsecond,
                        std::tuple<typename Inner::Gradient...>& gradients, std::index_sequence<Is...>) const {
        ((std::get<Is>(gradients) = std::get<Is>(inner).backward(
              std::get<Is>(forward.inner), Matrix<Scalar>(of_inner(dL_dsecond, static_cast<Index>(Is))),
              std::move(std::get<Is>(gradients)))),
         ...);
    }

    template <class LayerOrGradient, class Visit>
    static void for_each_array_of(LayerOrGradient& of, const Visit& visit) {
        of.outer.for_each_array([&](const std::string& name, auto& array) { visit("outer." + name, array); });
        for_each(of.inner, [&](Index m, auto& layer) {
            const std::string prefix = "inner" + std::to_string(m) + ".";
            layer.for_each_array([&](const std::string& name, auto& array) { visit(prefix + name, array); });
        });
    }
};

/// Layers merged by learned weights, which start equal: y = sum_m softmax(logits)_m inner_m(bag).
template <BagScalar Scalar, class... Inner>
auto merged_layer(Inner... inner) {
    using Outer = FixedLayer<Scalar, Mixture<Scalar>>;
    return TwoLevelLayer<Scalar, Outer, Inner...>{
        attention_layer<Scalar>(Mixture<Scalar>{Vector<Scalar>::Zero(sizeof...(Inner))}),
        std::tuple<Inner...>(std::move(inner)...)};
}

/// y = w mean + (1 - w) max with a learned w, which starts at 1/2 (Lee, Gallagher & Tu 2016).
template <BagScalar Scalar>
auto mixed_layer() {
    return merged_layer<Scalar>(mean_layer<Scalar>(), max_layer<Scalar>());
}

/// y = w mean + (1 - w) max, w = sigmoid(<weights, mean> + bias) for each bag; weights and bias start at 0, w at 1/2.
template <BagScalar Scalar>
auto gated_mean_max_layer(Index features) {
    using Outer = FixedLayer<Scalar, MeanMaxGate<Scalar>>;
    return TwoLevelLayer<Scalar, Outer, FixedLayer<Scalar>, FixedLayer<Scalar>>{
        attention_layer<Scalar>(MeanMaxGate<Scalar>{.weights = Vector<Scalar>::Zero(features)}),
        {mean_layer<Scalar>(), max_layer<Scalar>()}};
}

}  // namespace otpool
