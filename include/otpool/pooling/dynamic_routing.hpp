// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <limits>
#include <optional>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/batch.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/pooling/own_prior.hpp"

namespace otpool {

/// Attention whose scores are updated from the pooled vector (Yan et al., "Deep Multi-instance Learning with Dynamic
/// Pooling", ACML 2018). It starts with scores s = 0:
///
///     `iterations` times:  y = attention with q0 = softmax(s),  s_n += <x_n, squash(y)>
///     returned:            y = attention with q0 = softmax(s)
///
/// with squash(y) = |y| y / (1 + |y|^2). If a bag has its own prior, the softmax is multiplied by it; instances that it
/// excludes have no score.
template <BagScalar Scalar, class AttentionPooling>
struct DynamicRouting {
    AttentionPooling attention;            ///< Pools a bag by its prior: y = sum_n q0_n x_n.
    int iterations = 3;                    ///< At least 0; 0 pools by the mean, or by the bag's prior.
    std::optional<Scalar> empty_bag = {};  ///< Fills an empty bag's pooled vector; if unset, an empty bag is an error.
    Execution execution = {};              ///< Runs the bags of a batch; Sequential by default.

    /// Pools one bag.
    Vector<Scalar> operator()(const Bag<Scalar>& bag) const {
        detail::require_that(iterations >= 0, "iterations", iterations, "at least 0");
        const detail::ActiveInstances<UniformPrior, Scalar> active(bag.instances, bag.prior);
        const auto x = active.instances.matrix().template cast<Real>();
        RealVector scores = RealVector::Zero(active.instances.cols());  // times `unit`, so that no sum overflows
        constexpr Real unit = 0x1p-64;
        Bag<Scalar> routed = bag;
        const auto pooled_by_scores = [&]() -> Vector<Scalar> {
            if (scores.size() > 0) scores.array() -= scores.maxCoeff();
            const RealVector bounded = (scores / unit).cwiseMax(std::numeric_limits<Real>::lowest());
            routed.prior = softmax(bounded).template cast<Scalar>();
            if (bag.prior.size() > 0) routed.prior = detail::multiplied(routed.prior, active, bag.prior);
            return attention(routed);
        };
        Vector<Scalar> pooled = pooled_by_scores();
        for (int i = 0; i < iterations; ++i) {
            const RealVector squashed = unit * squash(pooled);
            for (Index n = 0; n < scores.size(); ++n) scores[n] += x.col(n).dot(squashed);
            pooled = pooled_by_scores();
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
    /// |y| y / (1 + |y|^2), for y of any length.
    static RealVector squash(const Vector<Scalar>& y) {
        const Real largest = static_cast<Real>(y.cwiseAbs().maxCoeff());
        if (largest == 0) return RealVector::Zero(y.size());
        const RealVector direction = y.template cast<Real>() / largest;
        const Real length = direction.norm();
        const Real inverse = 1 / largest / length;
        return direction / (length * (1 + inverse * inverse));
    }
};

}  // namespace otpool
