// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <string>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/marginal.hpp"

namespace otpool {

// Functors from a bag (D x N) to its instance prior q0 (N entries >= 0 of sum 1; none: uniform).

/// q0_n = 1/N
struct UniformPrior {
    template <BagScalar Scalar>
    Vector<Scalar> operator()(const MatrixView<Scalar>&) const {
        return {};
    }
};

/// The same q0 for every bag, which must have as many instances.
template <BagScalar Scalar>
struct FixedPrior {
    Vector<Scalar> prior;

    Vector<Scalar> operator()(const MatrixView<Scalar>&) const { return prior; }
};

/// softmax(scores)_n = exp(s_n) / sum_m exp(s_m)
template <BagScalar Scalar>
Vector<Scalar> softmax(const Vector<Scalar>& scores) {
    for (Index n = 0; n < scores.size(); ++n) {
        detail::require(std::isfinite(scores[n]), "scores[" + detail::printed(n) + "]", scores[n], "finite numbers");
    }
    if (scores.size() == 0) return {};
    const RealVector shifted = scores.template cast<Real>().array() - static_cast<Real>(scores.maxCoeff());
    const RealVector weight = shifted.array().exp();
    return (weight / weight.sum()).template cast<Scalar>();
}

/// The attention of Ilse, Tomczak & Welling, "Attention-based Deep Multiple Instance Learning" (ICML 2018), eq. 8:
/// q0 = softmax_n( w^T tanh(V x_n) ). Cost: L D multiplications an instance.
template <BagScalar Scalar>
struct Attention {
    Matrix<Scalar> V;  ///< L x D
    Vector<Scalar> w;  ///< L

    Vector<Scalar> operator()(const MatrixView<Scalar>& bag) const {
        check(bag.rows());
        Vector<Scalar> scores(bag.cols());
        for (Index n = 0; n < bag.cols(); ++n) {
            scores[n] = w.dot((V * bag.matrix().col(n)).array().tanh().matrix());
        }
        return softmax(scores);
    }

    void check(Index features) const {
        detail::require(V.cols() == features, "columns of the attention's V", V.cols(),
                        detail::printed(features) + ", the number of features");
        detail::require(w.size() == V.rows(), "length of the attention's w", w.size(),
                        detail::printed(V.rows()) + ", the number of rows of V");
    }
};

/// The gated attention of Ilse et al. 2018, eq. 9: q0 = softmax_n( w^T (tanh(V x_n) * sigmoid(U x_n)) ), * entry by
/// entry.
template <BagScalar Scalar>
struct GatedAttention {
    Matrix<Scalar> V;  ///< L x D
    Matrix<Scalar> U;  ///< L x D
    Vector<Scalar> w;  ///< L

    Vector<Scalar> operator()(const MatrixView<Scalar>& bag) const {
        Attention<Scalar>{V, w}.check(bag.rows());
        detail::require(U.rows() == V.rows() && U.cols() == V.cols(), "shape of the attention's U",
                        detail::printed_shape(U.rows(), U.cols()),
                        detail::printed_shape(V.rows(), V.cols()) + ", the shape of V");
        Vector<Scalar> scores(bag.cols());
        for (Index n = 0; n < bag.cols(); ++n) {
            const auto x = bag.matrix().col(n);
            const Vector<Scalar> gate = (1 + (-(U * x)).array().exp()).inverse();
            scores[n] = w.dot((V * x).array().tanh().matrix().cwiseProduct(gate));
        }
        return softmax(scores);
    }
};

template <class Derived>
FixedPrior(const Eigen::MatrixBase<Derived>&) -> FixedPrior<typename Derived::Scalar>;

}  // namespace otpool
