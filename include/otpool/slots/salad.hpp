// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/network.hpp"
#include "otpool/slots/named_slot_poolings.hpp"

namespace otpool {

/// salad_pooling() with scores of a network, which pools the outputs of another.
template <BagScalar Scalar>
using SaladPooling = decltype(salad_pooling(Scalar(), Network<Scalar>(), 3, Network<Scalar>()));

/// The whole aggregator of SALAD (Izquierdo & Civera, "Optimal Transport Aggregation for Visual Place Recognition", CVPR
/// 2024): from the features of an image's N patches (D x N) and of its global token to one descriptor of length 1,
///
///     (t / |t|; y_1 / |y_1|, ..., y_K / |y_K|) / its length,    t = token_network(token)   (G numbers)
///
/// where y_1, ..., y_K (D' numbers each) is what the slots pool. The descriptor has G + D' K numbers: t, then feature by
/// feature the K slots', as in theirs. A norm counts as 1e-12 at least. As their module in evaluation (no dropout), but that
/// N <= K is refused, where theirs takes the logarithm of a negative mass.
///
///     Salad<float> salad{salad_pooling(z, scores, 3, cluster_features), token_features};
///     load_salad<float>(SafetensorsFile("dino_salad.safetensors"))   // otpool/adapter/salad_weights.hpp
///
/// A value type; calls are const and thread-safe.
template <BagScalar Scalar>
struct Salad {
    SaladPooling<Scalar> pooling;        ///< reward: their `score`, values: `cluster_features`, dummy: `dust_bin`.
    Network<Scalar> token_network = {};  ///< Their `token_features`. Without layers the descriptor has no token, G = 0.

    /// The descriptor of one image: `patches` is D x N, `token` has one column. Throws InvalidArgument.
    Vector<Scalar> operator()(const Bag<Scalar>& patches, const MatrixView<Scalar>& token = {}) const {
        return descriptors(pooling(patches).reshaped(), pooling.values.rows(0), tokens(token, 1));
    }
    /// Likewise, without a reward or prior of the patches.
    Vector<Scalar> operator()(const MatrixView<Scalar>& patches, const MatrixView<Scalar>& token = {}) const {
        return (*this)(Bag<Scalar>{patches}, token);
    }
    /// The descriptors of a batch of B images, (G + D' K) x B; token b is column b.
    Matrix<Scalar> operator()(const Bags<Scalar>& patches, const MatrixView<Scalar>& token = {}) const {
        return descriptors(pooling(patches), pooling.values.rows(0), tokens(token, patches.size()));
    }

private:
    /// G x B
    Matrix<Scalar> tokens(const MatrixView<Scalar>& token, Index images) const {
        if (token_network.layers.empty()) {
            detail::require_that(token.empty(), "number of tokens", token.cols(),
                                 "0, because there is no token network");
            return Matrix<Scalar>(0, images);
        }
        detail::require_that(token.cols() == images, "number of tokens", token.cols(),
                             detail::text(images, ", the number of images"));
        detail::require_that(token.all_finite(), "a token", "not finite", "finite numbers");
        return token_network(token);
    }

    static Matrix<Scalar> descriptors(const Matrix<Scalar>& pooled, Index rows, const Matrix<Scalar>& tokens) {
        const Index G = tokens.rows();
        const Index slots = pooled.rows() / rows;
        Matrix<Scalar> result(G + pooled.rows(), pooled.cols());
        for (Index b = 0; b < pooled.cols(); ++b) {
            Matrix<Scalar> of_slots = pooled.col(b).reshaped(rows, slots);
            for (Index k = 0; k < slots; ++k) of_slots.col(k) = unit(of_slots.col(k));
            result.col(b).head(G) = unit(tokens.col(b));
            result.col(b).tail(pooled.rows()) = of_slots.transpose().reshaped();
            result.col(b) = unit(result.col(b));
        }
        return result;
    }

    /// v / |v|
    static Vector<Scalar> unit(const Vector<Scalar>& v) {
        return v / (std::max)(v.stableNorm(), static_cast<Scalar>(1e-12));
    }
};

}  // namespace otpool
