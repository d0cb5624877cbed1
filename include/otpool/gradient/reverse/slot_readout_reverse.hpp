// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <algorithm>
#include <utility>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/gradient/reverse/slot_reward_reverse.hpp"
#include "otpool/gradient/slot_gradient.hpp"
#include "otpool/slots/slot_readouts.hpp"

namespace otpool::detail {

/// The JointSlots in a readout, or null if it is of conditional means.
inline const JointSlots* joint_part(const ConditionalSlots&) { return nullptr; }
inline const JointSlots* joint_part(const JointSlots& readout) { return &readout; }
template <class Readout>
const JointSlots* joint_part(const ResidualSlots<Readout>& readout) {
    return joint_part(readout.readout);
}

/// c, D x K; zeros if the readout has no centres.
template <class Readout>
RealMatrix centres_of(const Readout& readout, Index features, Index slots) {
    if constexpr (requires { readout.centres; }) {
        return readout.centres;
    } else {
        return RealMatrix::Zero(features, slots);
    }
}

/// A_kn = <G_k, v_n - b_k>, K x N, and rows of zeros up to `rows`. Relative to the mean of all b_k, so that no digits of
/// shifted instances are lost.
template <BagScalar Scalar>
Matrix<Scalar> values_of_slots(const MatrixView<Scalar>& instances, const Vector<Scalar>& prior, Index rows,
                               const Matrix<Scalar>& G, const RealMatrix& base) {
    const RealVector mean = base.rowwise().mean();
    const Vector<Scalar> origin = mean.template cast<Scalar>();
    Vector<Scalar> of_base(G.cols());
    for (Index k = 0; k < G.cols(); ++k) {
        const RealVector from_origin = base.col(k) - origin.template cast<Real>();
        of_base[k] = static_cast<Scalar>(G.col(k).template cast<Real>().dot(from_origin));
    }
    Matrix<Scalar> values = Matrix<Scalar>::Zero(rows, instances.cols());
    for_each_block(instances, prior, [&](Index first, const Matrix<Scalar>& block) {
        const Matrix<Scalar> from_origin = block.colwise() - origin;
        auto part = values.block(0, first, G.cols(), block.cols());
        part.noalias() = G.transpose() * from_origin;
        part.colwise() -= of_base;
    });
    return values;
}

/// The reverse of a readout of slots. With G = dL/dY (D x K), the derivative with respect to the plan is that of an
/// ordinary pooling of K x N values,
///
///     A_kn = <G_k, v_n - b_k>,   P dL/dP = slope_k A_kn w_kn,   dL/dv_n = sum_k G_k slope_k w_kn,   w = P / r
///
/// with slope 1 and b_k = m_k for conditional means, slope s r_k and b_k = c_k for joint ones. So dL/dV is G times the
/// derivative with respect to A. A dummy slot, the last row, has slope 0.
///
/// `mean`, `mass`: m and r of the slots; `rows`: K, or K + 1 with a dummy slot; `active`: how many instances are not
/// excluded. Adds the derivatives with respect to centres and scale to `gradient`. Cost: a product of K x D and D x N.
template <class Readout, BagScalar Scalar>
PlanGradient pull_back_slots(const Readout& readout, const RealMatrix& mean, const RealVector& mass,
                             const MatrixView<Scalar>& instances, const Vector<Scalar>& prior, Index active, Index rows,
                             const Matrix<Scalar>& G, SlotGradient<Scalar>& gradient) {
    const Index slots = G.cols();
    const RealMatrix of_pooled = G.template cast<Real>();
    const JointSlots* const joint = joint_part(readout);
    const RealMatrix base = joint != nullptr ? centres_of(readout, G.rows(), slots) : mean;
    RealVector slope = RealVector::Zero(rows);
    RealVector mean_value = RealVector::Zero(rows);  // of A
    slope.head(slots).setOnes();
    for (Index k = 0; k < slots && joint != nullptr; ++k) {
        // A larger mass saturates y as well; the limit leaves room for the derivatives to be numbers.
        const Real most = (std::min)(mass[k], 1e150);
        slope[k] = joint->factor(active) * most;
        mean_value[k] = of_pooled.col(k).dot(mean.col(k) - base.col(k));
        gradient.scale += JointSlots{1, joint->times_instances}.factor(active) * most * mean_value[k];
    }
    if constexpr (requires { readout.centres; }) gradient.centres = -of_pooled * slope.head(slots).asDiagonal();
    const MatrixView<Scalar> values(values_of_slots(instances, prior, rows, G, base));
    return {std::move(slope), RealVector::Zero(rows), values, std::move(mean_value)};
}

}  // namespace otpool::detail
