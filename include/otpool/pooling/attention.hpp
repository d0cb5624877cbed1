// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/instance_prior.hpp"

namespace otpool {

/// The attention of Ilse, Tomczak & Welling, "Attention-based Deep Multiple Instance Learning" (ICML 2018), eq. 8:
/// q0 = softmax_n( w^T tanh(V x_n) ). Cost: L D multiplications per instance.
template <BagScalar Scalar>
struct Attention {
    Matrix<Scalar> V;  ///< L x D
    Vector<Scalar> w;  ///< L

    /// q0 of a bag, N entries.
    Vector<Scalar> operator()(const MatrixView<Scalar>& bag) const { return softmax(scores(bag)); }

    /// w^T tanh(V x_n)
    Vector<Scalar> scores(const MatrixView<Scalar>& bag) const {
        validate(bag.rows());
        Vector<Scalar> scores(bag.cols());
        for (Index n = 0; n < bag.cols(); ++n) {
            scores[n] = w.dot((V * bag.matrix().col(n)).array().tanh().matrix());
        }
        return scores;
    }

    /// Returns the gradient of V and w, given dL/dscores; adds the bag's gradient to `dL_dbag`.
    Attention pull_back(const MatrixView<Scalar>& bag, const Vector<Scalar>& dL_dscores,
                        Eigen::Ref<Matrix<Scalar>> dL_dbag) const {
        Attention gradient{Matrix<Scalar>::Zero(V.rows(), V.cols()), Vector<Scalar>::Zero(w.size())};
        for (Index n = 0; n < bag.cols(); ++n) {
            const auto x = bag.matrix().col(n);
            const Vector<Scalar> h = (V * x).array().tanh();
            const Vector<Scalar> dL_dVx = dL_dscores[n] * w.array() * (1 - h.array().square());
            gradient.w += dL_dscores[n] * h;
            gradient.V += dL_dVx * x.transpose();
            dL_dbag.col(n) += V.transpose() * dL_dVx;
        }
        return gradient;
    }

    /// visit(name, array) for every parameter.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        visit("V", V);
        visit("w", w);
    }

    /// Throws InvalidArgument unless the shapes of V and w fit each other and bags with this number of features.
    void validate(Index features) const {
        detail::require_that(V.cols() == features, "columns of the attention's V", V.cols(),
                             detail::printed(features) + ", the number of features");
        detail::require_that(w.size() == V.rows(), "length of the attention's w", w.size(),
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

    /// q0 of a bag, N entries.
    Vector<Scalar> operator()(const MatrixView<Scalar>& bag) const { return softmax(scores(bag)); }

    /// w^T (tanh(V x_n) * sigmoid(U x_n))
    Vector<Scalar> scores(const MatrixView<Scalar>& bag) const {
        Attention<Scalar>{V, w}.validate(bag.rows());
        detail::require_that(U.rows() == V.rows() && U.cols() == V.cols(), "shape of the attention's U",
                             detail::shape_text(U.rows(), U.cols()),
                             detail::text(detail::shape_text(V.rows(), V.cols()), ", the shape of V"));
        Vector<Scalar> scores(bag.cols());
        for (Index n = 0; n < bag.cols(); ++n) {
            const auto x = bag.matrix().col(n);
            scores[n] = w.dot((V * x).array().tanh().matrix().cwiseProduct(gate(x)));
        }
        return scores;
    }

    /// Returns the gradient of V, U and w, given dL/dscores; adds the bag's gradient to `dL_dbag`.
    GatedAttention pull_back(const MatrixView<Scalar>& bag, const Vector<Scalar>& dL_dscores,
                             Eigen::Ref<Matrix<Scalar>> dL_dbag) const {
        const Matrix<Scalar> zero = Matrix<Scalar>::Zero(V.rows(), V.cols());
        GatedAttention gradient{zero, zero, Vector<Scalar>::Zero(w.size())};
        for (Index n = 0; n < bag.cols(); ++n) {
            const auto x = bag.matrix().col(n);
            const Eigen::Array<Scalar, Eigen::Dynamic, 1> h = (V * x).array().tanh();
            const Eigen::Array<Scalar, Eigen::Dynamic, 1> g = gate(x);
            const Vector<Scalar> dL_dVx = dL_dscores[n] * w.array() * g * (1 - h.square());
            const Vector<Scalar> dL_dUx = dL_dscores[n] * w.array() * h * g * (1 - g);
            gradient.w += (dL_dscores[n] * h * g).matrix();
            gradient.V += dL_dVx * x.transpose();
            gradient.U += dL_dUx * x.transpose();
            dL_dbag.col(n) += V.transpose() * dL_dVx + U.transpose() * dL_dUx;
        }
        return gradient;
    }

    /// visit(name, array) for every parameter.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        visit("V", V);
        visit("U", U);
        visit("w", w);
    }

private:
    template <class Instance>
    Vector<Scalar> gate(const Instance& x) const {
        return (1 + (-(U * x)).array().exp()).inverse();
    }
};

}  // namespace otpool
