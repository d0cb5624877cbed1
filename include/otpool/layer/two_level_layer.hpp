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

/// A layer of layers: M inner ones make of a bag a bag of M instances, which the outer one pools.
///
///     y = outer([inner_1(bag), ..., inner_M(bag)])
///
/// Any layers will do: mixed_layer and gated_mean_max_layer mix mean and max, several UotLayers are merged by a
/// Mixture, by attention or by another UotLayer.
template <BagScalar Scalar, class Outer, class... Inner>
struct TwoLevelLayer {
    static constexpr std::size_t M = sizeof...(Inner);

    Outer outer;
    std::tuple<Inner...> inner;

    struct Forward {
        Matrix<Scalar> pooled;  ///< D x B
        typename Outer::Forward outer;
        std::tuple<typename Inner::Forward...> inner;
    };

    struct Gradient {
        Matrix<Scalar> instances;  ///< dL/d(bags), D x sum N
        typename Outer::Gradient outer;
        std::tuple<typename Inner::Gradient...> inner;

        template <class Visit>
        void for_each_array(const Visit& visit) {
            TwoLevelLayer::for_each_array_of(*this, visit);
        }
    };

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

    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const { return forward(bags).pooled; }

    /// The gradient of L with respect to bags and parameters, given dL/dpooled, D x B. In the memory of `gradient`,
    /// which may be an earlier one.
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

    /// Names what is learned, "outer." and "inner0." before the layers' own names: see named_arrays().
    template <class Visit>
    void for_each_array(const Visit& visit) {
        for_each_array_of(*this, visit);
    }

private:
    /// The columns of the second level's batch that inner layer m made.
    template <class Batch>
    static auto of_inner(Batch& second, Index m) {
        return second(Eigen::all, Eigen::seqN(m, second.cols() / static_cast<Index>(M), static_cast<Index>(M)));
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

/// Layers merged by weights of their own: y = sum_m softmax(logits)_m inner_m(bag), from equal ones.
template <BagScalar Scalar, class... Inner>
auto merged_layer(Inner... inner) {
    using Outer = FixedLayer<Scalar, Mixture<Scalar>>;
    return TwoLevelLayer<Scalar, Outer, Inner...>{
        attention_layer<Scalar>(Mixture<Scalar>{Vector<Scalar>::Zero(sizeof...(Inner))}),
        std::tuple<Inner...>(std::move(inner)...)};
}

/// y = w mean + (1 - w) max with a learned w, from 1/2 (Lee, Gallagher & Tu 2016).
template <BagScalar Scalar>
auto mixed_layer() {
    return merged_layer<Scalar>(mean_layer<Scalar>(), max_layer<Scalar>());
}

/// y = w mean + (1 - w) max, w = sigmoid(<weights, mean> + bias) of each bag, from weights of zero: w = 1/2.
template <BagScalar Scalar>
auto gated_mean_max_layer(Index features) {
    using Outer = FixedLayer<Scalar, MeanMaxGate<Scalar>>;
    return TwoLevelLayer<Scalar, Outer, FixedLayer<Scalar>, FixedLayer<Scalar>>{
        attention_layer<Scalar>(MeanMaxGate<Scalar>{.weights = Vector<Scalar>::Zero(features)}),
        {mean_layer<Scalar>(), max_layer<Scalar>()}};
}

}  // namespace otpool
