// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"

// Rewards of slots: functions of a bag (D x N) and its prior that return S, K x N. A column whose prior is 0 does not
// count: it may hold anything, and no other column depends on it. slots() is K.

namespace otpool {

namespace detail {

template <BagScalar Scalar>
void require_prototypes(const Matrix<Scalar>& prototypes, Index features) {
    require_that(prototypes.cols() > 0, "number of prototypes", prototypes.cols(), "at least 1");
    require_that(prototypes.rows() == features, "features of the prototypes", prototypes.rows(),
                 text(features, ", those of the instances"));
}

/// ||w_k - x_n||^2, K x N. By differences, which lose no digits far from the origin. Cost: 3 K N D flops.
template <BagScalar Scalar>
Matrix<Scalar> squared_distances(const Matrix<Scalar>& prototypes, const MatrixView<Scalar>& instances) {
    Matrix<Scalar> distance(prototypes.cols(), instances.cols());
    for (Index n = 0; n < instances.cols(); ++n) {
        const Vector<Scalar> x = instances.matrix().col(n);
        for (Index k = 0; k < distance.rows(); ++k) distance(k, n) = (prototypes.col(k) - x).squaredNorm();
    }
    return distance;
}

}  // namespace detail

/// The reward that comes with the bag, K x N.
struct GivenReward {
    /// Throws InvalidArgument, as below.
    Index slots() const { return refuse(); }
    /// Throws InvalidArgument: it is only called for a bag without a reward.
    template <BagScalar Scalar>
    Matrix<Scalar> operator()(const MatrixView<Scalar>& /*instances*/, const Vector<Scalar>& /*prior*/) const {
        refuse();
        return {};
    }

private:
    static Index refuse() {
        throw InvalidArgument("reward of the bag", "empty", "K x N numbers, one per slot and instance");
    }
};

/// s_kn = <w_k, x_n> + b_k
template <BagScalar Scalar>
struct DotProduct {
    Matrix<Scalar> prototypes;  ///< W, D x K
    Vector<Scalar> bias = {};   ///< b, K entries; empty means 0.

    Index slots() const { return prototypes.cols(); }  ///< K

    /// S. Cost: one matrix product.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& /*prior*/) const {
        detail::require_prototypes(prototypes, instances.rows());
        detail::require_that(bias.size() == 0 || bias.size() == prototypes.cols(), "length of the bias", bias.size(),
                             detail::text(prototypes.cols(), ", the number of prototypes"));
        Matrix<Scalar> reward = prototypes.transpose() * instances.matrix();
        if (bias.size() > 0) reward.colwise() += bias;
        return reward;
    }
};

/// s_kn = -||w_k - x_n||^2
template <BagScalar Scalar>
struct SquaredDistance {
    Matrix<Scalar> prototypes;  ///< W, D x K

    Index slots() const { return prototypes.cols(); }  ///< K

    /// S. Cost: 3 K N D flops.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& /*prior*/) const {
        detail::require_prototypes(prototypes, instances.rows());
        return -detail::squared_distances(prototypes, instances);
    }
};

/// s_kn = -m_kn / max m, where m_kn = ||w_k - x_n||^power, power 1 or 2, and every w_k and x_n is first taken less its own
/// smallest entry. The reward of MOTCat (power 2; Xu & Chen, arXiv 2306.08330) and OTSurv (power 1). The largest
/// distance counts as a constant, without a gradient.
template <BagScalar Scalar>
struct RelativeDistance {
    Matrix<Scalar> prototypes;  ///< W, D x K
    int power = 2;              ///< 1 or 2

    Index slots() const { return prototypes.cols(); }  ///< K

    /// S. Cost: 3 K N D flops.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& prior) const {
        detail::require_prototypes(prototypes, instances.rows());
        detail::require_that(power == 1 || power == 2, "power", power, "1 or 2");
        const auto less_minimum = [](auto matrix) {
            matrix.rowwise() -= matrix.colwise().minCoeff().eval();
            return matrix;
        };
        const Matrix<Scalar> x = less_minimum(Matrix<Scalar>(instances.matrix()));
        Matrix<Scalar> distance = detail::squared_distances(less_minimum(prototypes), MatrixView<Scalar>(x));
        if (power == 1) distance = distance.cwiseSqrt();
        Scalar largest = 0;
        for (Index n = 0; n < distance.cols(); ++n) {
            if (prior.size() == 0 || prior[n] > 0) largest = (std::max)(largest, distance.col(n).maxCoeff());
        }
        if (largest > 0) distance /= -largest;
        return distance;
    }
};

}  // namespace otpool
