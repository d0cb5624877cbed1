// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"

// Rewards of slots: functions of a bag (D x N) and its prior that return S, K x N. A column whose prior is 0 does not
// count: it may hold anything, and no other column depends on it. slots() is K. A reward may also take an Execution, which
// runs parts of the bag; the result has the same bits with any.

namespace otpool {

namespace detail {

template <BagScalar Scalar>
void require_prototypes(const Matrix<Scalar>& prototypes, Index features) {
    require_that(prototypes.cols() > 0, "number of prototypes", prototypes.cols(), "at least 1");
    require_that(prototypes.rows() == features, "features of the prototypes", prototypes.rows(),
                 text(features, ", those of the instances"));
}

/// Instances in memory without gaps within a column.
template <BagScalar Scalar>
using ContiguousColumns = Eigen::Map<const Matrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// reward <- visit(first, X) for blocks X of instances, D x count, which run over cores. Products of Eigen then need no
/// copy of the bag.
template <BagScalar Scalar, class Visit>
void for_each_block(const MatrixView<Scalar>& instances, Index slots, const Execution& execution, const Visit& visit) {
    const InstanceParts parts(instances.rows() + slots, instances.cols(), 128);
    execution.for_each(parts.count(), [&](Index p, Index) {
        const MatrixView<Scalar> part = instances.middle_cols(parts.first(p), parts.size(p));
        if (part.has_contiguous_cols()) {
            const Eigen::OuterStride<> stride(part.col_stride());
            return visit(parts.first(p), ContiguousColumns<Scalar>(part.data(), part.rows(), part.cols(), stride));
        }
        const Matrix<Scalar> copy = part.matrix();
        const Eigen::OuterStride<> stride(copy.rows());
        visit(parts.first(p), ContiguousColumns<Scalar>(copy.data(), copy.rows(), copy.cols(), stride));
    });
}

/// ||w_k - x_n||^2, K x N, where before(column) may first change every w_k and x_n. Computed as
///
///     ||w - c||^2 - 2 <w - c, x - c> + ||x - c||^2,   c the mean of the prototypes
///
/// by one product of matrices, so that digits do not depend on the distance from the origin; and by differences of w and
/// x where that is below 1/8 of the sum of the two squares, so that small distances keep their digits. Cost: 2 K N D flops,
/// and 3 D for each small distance.
template <BagScalar Scalar, class Before>
Matrix<Scalar> squared_distances(Matrix<Scalar> prototypes, const MatrixView<Scalar>& instances,
                                 const Execution& execution, const Before& before) {
    for (Index k = 0; k < prototypes.cols(); ++k) before(prototypes.col(k));
    const Vector<Scalar> centre = prototypes.template cast<Real>().rowwise().mean().template cast<Scalar>();
    const Matrix<Scalar> centred = prototypes.colwise() - centre;
    const Vector<Scalar> of_slots = centred.colwise().squaredNorm();
    Matrix<Scalar> distance(prototypes.cols(), instances.cols());
    for_each_block(instances, distance.rows(), execution, [&](Index first, const ContiguousColumns<Scalar>& block) {
        Vector<Scalar> x(block.rows());
        Matrix<Scalar> x_centred(block.rows(), block.cols());
        for (Index i = 0; i < block.cols(); ++i) {
            x = block.col(i);
            before(x);
            x_centred.col(i) = x - centre;
        }
        auto of_block = distance.middleCols(first, block.cols());
        of_block.noalias() = centred.transpose() * x_centred;
        Vector<Scalar> squares(of_slots.size());
        for (Index i = 0; i < block.cols(); ++i) {
            auto of_column = of_block.col(i);
            squares = of_slots.array() + x_centred.col(i).squaredNorm();
            of_column = squares - 2 * of_column;
            if ((8 * of_column - squares).minCoeff() >= 0) continue;
            x = block.col(i);
            before(x);
            for (Index k = 0; k < of_column.size(); ++k) {
                if (8 * of_column[k] < squares[k]) of_column[k] = (prototypes.col(k) - x).squaredNorm();
            }
        }
    });
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
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& /*prior*/,
                              const Execution& execution = {}) const {
        detail::require_prototypes(prototypes, instances.rows());
        detail::require_that(bias.size() == 0 || bias.size() == prototypes.cols(), "length of the bias", bias.size(),
                             detail::text(prototypes.cols(), ", the number of prototypes"));
        Matrix<Scalar> reward(prototypes.cols(), instances.cols());
        using Block = detail::ContiguousColumns<Scalar>;
        detail::for_each_block(instances, reward.rows(), execution, [&](Index first, const Block& x) {
            auto of_block = reward.middleCols(first, x.cols());
            of_block.noalias() = prototypes.transpose() * x;
            if (bias.size() > 0) of_block.colwise() += bias;
        });
        return reward;
    }
};

/// s_kn = -||w_k - x_n||^2
template <BagScalar Scalar>
struct SquaredDistance {
    Matrix<Scalar> prototypes;  ///< W, D x K

    Index slots() const { return prototypes.cols(); }  ///< K

    /// S. Each squared distance has a relative error of at most 1e-5 in float and 1e-13 in double, wherever the origin is.
    /// Cost: one matrix product, and 3 D flops for each distance that is small against ||w_k - c|| and ||x_n - c||, c the
    /// mean of the prototypes.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& /*prior*/,
                              const Execution& execution = {}) const {
        detail::require_prototypes(prototypes, instances.rows());
        return -detail::squared_distances(prototypes, instances, execution, [](auto&& /*column*/) {});
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

    /// S. Cost and digits: as SquaredDistance.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& prior,
                              const Execution& execution = {}) const {
        detail::require_prototypes(prototypes, instances.rows());
        detail::require_that(power == 1 || power == 2, "power", power, "1 or 2");
        Matrix<Scalar> distance = detail::squared_distances(prototypes, instances, execution,
                                                            [](auto&& column) { column.array() -= column.minCoeff(); });
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
