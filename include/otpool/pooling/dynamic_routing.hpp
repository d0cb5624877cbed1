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

/// Attention whose scores are updated from the pooled vector (Yan et al., "Deep Multi-instance Learning with Dynamic
/// Pooling", ACML 2018). It starts with scores s = 0:
///
///     `iterations` times:  y = attention with q0 = softmax(s),  s_n += <x_n, squash(y)>
///     returned:            y = attention with q0 = softmax(s)
///
/// with squash(y) = |y| y / (1 + |y|^2). If a bag has its own prior, the softmax is multiplied by it.
template <BagScalar Scalar, class AttentionPooling>
struct DynamicRouting {
    AttentionPooling attention;            ///< Pools a bag by its prior: y = sum_n q0_n x_n.
    int iterations = 3;                    ///< At least 0; 0 pools by the mean, or by the bag's prior.
    std::optional<Scalar> empty_bag = {};  ///< Fills an empty bag's pooled vector; if unset, an empty bag is an error.
    Execution execution = {};              ///< Runs the bags of a batch; Sequential by default.

    /// Pools one bag.
    Vector<Scalar> operator()(const Bag<Scalar>& bag) const {
        detail::require_that(iterations >= 0, "iterations", iterations, "at least 0");
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
    /// Pools one bag without its own prior.
    Vector<Scalar> operator()(const MatrixView<Scalar>& instances) const { return (*this)(Bag<Scalar>{instances}); }

    /// Pools a batch of B bags: D x B.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        return detail::pool_batch<Scalar>(bags, empty_bag, execution, [&](const detail::BagTask<Scalar>& task) {
            Eigen::Ref<Vector<Scalar>> pooled = task.pooled;
            pooled = (*this)(task.bag);
        });
    }

private:
    /// softmax(scores), multiplied by the bag's own prior if it has one, and normalised.
    static Vector<Scalar> routing(const Vector<Scalar>& scores, const Vector<Scalar>& prior) {
        if (prior.size() != scores.size()) return softmax(scores);
        Vector<Scalar> weighted = scores;
        for (Index n = 0; n < scores.size(); ++n) {
            weighted[n] = prior[n] > 0 ? scores[n] + std::log(prior[n]) : std::numeric_limits<Scalar>::lowest();
        }
        // An excluded instance keeps weight 0, even if every other weight is as small.
        return (prior.array() > 0).select(softmax(weighted), Scalar(0));
    }
};

}  // namespace otpool
