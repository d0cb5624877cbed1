// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <limits>
#include <optional>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/batch.hpp"
#include "otpool/pooling/instance_prior.hpp"

namespace otpool {

/// Attention whose scores agree with what they pool (Yan et al., "Deep Multi-instance Learning with Dynamic Pooling",
/// ACML 2018), from scores s = 0:
///
///     `iterations` times:  y = attention with q0 = softmax(s),  s_n += <x_n, squash(y)>
///     returned:            y = attention with q0 = softmax(s)
///
/// with squash(y) = |y| y / (1 + |y|^2); a bag's own prior multiplies the softmax. `attention` pools a bag by its
/// prior.
template <BagScalar Scalar, class AttentionPooling>
struct DynamicRouting {
    AttentionPooling attention;
    int iterations = 3;                    ///< At least 0: the mean.
    std::optional<Scalar> empty_bag = {};  ///< What an empty bag of a batch pools to; left empty: it is an error.
    Execution execution = {};              ///< What the bags of a batch are shared out by; Sequential by default.

    /// Pools one bag.
    Vector<Scalar> operator()(const Bag<Scalar>& bag) const {
        detail::require(iterations >= 0, "iterations", iterations, "at least 0");
        Bag<Scalar> routed = bag;
        Vector<Scalar> scores = Vector<Scalar>::Zero(bag.instances.cols());
        routed.prior = routing(scores, bag.prior);
        Vector<Scalar> pooled = attention(routed);
        for (int i = 0; i < iterations; ++i) {
            const RealVector wide = pooled.template cast<Real>();
            const Real norm = wide.stableNorm();
            const Vector<Scalar> squashed = (norm / (1 + norm * norm) * wide).template cast<Scalar>();
            scores += bag.instances.matrix().transpose() * squashed;
            routed.prior = routing(scores, bag.prior);
            pooled = attention(routed);
        }
        return pooled;
    }
    Vector<Scalar> operator()(const MatrixView<Scalar>& instances) const { return (*this)(Bag<Scalar>{instances}); }

    /// Pools a batch of B bags: D x B.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        return detail::pool_batch<Scalar>(bags, empty_bag, execution, [&](const detail::BagTask<Scalar>& task) {
            Eigen::Ref<Vector<Scalar>> pooled = task.pooled;
            pooled = (*this)(task.bag);
        });
    }

private:
    /// softmax(scores), in the proportions of the bag's own prior where it brings one.
    static Vector<Scalar> routing(const Vector<Scalar>& scores, const Vector<Scalar>& prior) {
        if (prior.size() != scores.size()) return softmax(scores);
        Vector<Scalar> weighted = scores;
        for (Index n = 0; n < scores.size(); ++n) {
            weighted[n] = prior[n] > 0 ? scores[n] + std::log(prior[n]) : std::numeric_limits<Scalar>::lowest();
        }
        // Nothing that is excluded comes back, with a weight that has but underflowed.
        return (prior.array() > 0).select(softmax(weighted), Scalar(0));
    }
};

}  // namespace otpool
