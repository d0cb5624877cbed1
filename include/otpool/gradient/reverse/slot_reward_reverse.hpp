// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <algorithm>
#include <cmath>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/slot_gradient.hpp"
#include "otpool/slots/slot_rewards.hpp"

// The reverse of a reward of slots, given the bag, S and H = dL/dS (both K x N): adds to gradient.prototypes and
// gradient.bias, and to dL/d(bag). H is 0 for excluded instances, whose numbers may be anything.

namespace otpool::detail {

/// visit(first, block) for blocks of instances [first, first + columns), with zeros for excluded ones.
template <BagScalar Scalar, class Visit>
void for_each_block(const MatrixView<Scalar>& instances, const Vector<Scalar>& prior, const Visit& visit) {
    constexpr Index most = 128;
    Matrix<Scalar> block;
    for (Index first = 0; first < instances.cols(); first += most) {
        block = instances.matrix().middleCols(first, (std::min)(most, instances.cols() - first));
        for (Index i = 0; i < block.cols() && prior.size() > 0; ++i) {
            if (prior[first + i] == 0) block.col(i).setZero();
        }
        visit(first, block);
    }
}

/// The reverse of weights_kn ||w_k - x_n||^2: adds to of_w, sets of_x. Both are taken relative to the mean prototype, so
/// that no digits are lost far from the origin.
template <BagScalar Scalar>
void pull_back_squared_distances(const Matrix<Scalar>& w, Matrix<Scalar> x, const Matrix<Scalar>& weights,
                                 Matrix<Scalar>& of_w, Matrix<Scalar>& of_x) {
    const Vector<Scalar> origin = w.rowwise().mean();
    const Matrix<Scalar> from_origin = w.colwise() - origin;
    x.colwise() -= origin;
    const Vector<Scalar> of_cols = weights.colwise().sum();
    const Vector<Scalar> of_rows = weights.rowwise().sum();
    of_x = x * of_cols.asDiagonal();
    of_x.noalias() -= from_origin * weights;
    of_x *= 2;
    of_w += 2 * (from_origin * of_rows.asDiagonal());
    of_w.noalias() -= 2 * x * weights.transpose();
}

/// A reward that the bag gives, or a function of one's own: its derivative is dL/dS.
template <class Reward, BagScalar Scalar>
void pull_back_reward(const Reward&, const MatrixView<Scalar>&, const Vector<Scalar>&, const Matrix<Scalar>& /*S*/,
                      const Matrix<Scalar>& /*H*/, SlotGradient<Scalar>&, Eigen::Ref<Matrix<Scalar>>) {}

/// s_kn = <w_k, x_n> + b_k
template <BagScalar Scalar>
void pull_back_reward(const DotProduct<Scalar>& reward, const MatrixView<Scalar>& instances,
                      const Vector<Scalar>& prior, const Matrix<Scalar>& /*S*/, const Matrix<Scalar>& H,
                      SlotGradient<Scalar>& gradient, Eigen::Ref<Matrix<Scalar>> of_instances) {
    gradient.bias += H.rowwise().sum();
    of_instances.noalias() += reward.prototypes * H;
    for_each_block(instances, prior, [&](Index first, const Matrix<Scalar>& x) {
        gradient.prototypes.noalias() += x * H.middleCols(first, x.cols()).transpose();
    });
}

/// s_kn = -||w_k - x_n||^2
template <BagScalar Scalar>
void pull_back_reward(const SquaredDistance<Scalar>& reward, const MatrixView<Scalar>& instances,
                      const Vector<Scalar>& prior, const Matrix<Scalar>& /*S*/, const Matrix<Scalar>& H,
                      SlotGradient<Scalar>& gradient, Eigen::Ref<Matrix<Scalar>> of_instances) {
    Matrix<Scalar> of_x;
    for_each_block(instances, prior, [&](Index first, const Matrix<Scalar>& x) {
        const Matrix<Scalar> weights = -H.middleCols(first, x.cols());
        pull_back_squared_distances(reward.prototypes, x, weights, gradient.prototypes, of_x);
        of_instances.middleCols(first, x.cols()) += of_x;
    });
}

/// s_kn = -||w'_k - x'_n||^power / M with vectors less their smallest entries, and M a constant.
template <BagScalar Scalar>
void pull_back_reward(const RelativeDistance<Scalar>& reward, const MatrixView<Scalar>& instances,
                      const Vector<Scalar>& prior, const Matrix<Scalar>& S, const Matrix<Scalar>& H,
                      SlotGradient<Scalar>& gradient, Eigen::Ref<Matrix<Scalar>> of_instances) {
    const auto less_minimum = [](auto matrix) {
        matrix.rowwise() -= matrix.colwise().minCoeff().eval();
        return matrix;
    };
    // The derivative with respect to a vector, given that with respect to it less its smallest entry.
    const auto pull_back_minimum = [](const Matrix<Scalar>& vectors, Matrix<Scalar>& of) {
        for (Index i = 0; i < vectors.cols(); ++i) {
            Index lowest = 0;
            vectors.col(i).minCoeff(&lowest);
            of(lowest, i) -= of.col(i).sum();
        }
    };
    const Matrix<Scalar> w = less_minimum(reward.prototypes);
    Index slot = 0;
    Index instance = 0;
    if (S.minCoeff(&slot, &instance) == 0) return;  // all distances are 0
    const Vector<Scalar> farthest = less_minimum(Matrix<Scalar>(instances.matrix().col(instance)));
    const Scalar square = (w.col(slot) - farthest).squaredNorm();  // M^(2 / power)
    const auto weight = [&](Scalar s, Scalar h) {
        if (reward.power == 2) return -h / square;
        return s == 0 ? Scalar(0) : h / (2 * s * square);  // at distance 0 there is no derivative
    };
    Matrix<Scalar> of_w = Matrix<Scalar>::Zero(w.rows(), w.cols());
    Matrix<Scalar> of_x;
    for_each_block(instances, prior, [&](Index first, const Matrix<Scalar>& x) {
        const auto part = [&](const Matrix<Scalar>& matrix) { return matrix.middleCols(first, x.cols()); };
        const Matrix<Scalar> weights = part(S).binaryExpr(part(H), weight);
        pull_back_squared_distances(w, less_minimum(x), weights, of_w, of_x);
        pull_back_minimum(x, of_x);
        of_instances.middleCols(first, x.cols()) += of_x;
    });
    pull_back_minimum(reward.prototypes, of_w);
    gradient.prototypes += of_w;
}

}  // namespace otpool::detail
