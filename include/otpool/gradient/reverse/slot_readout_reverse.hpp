// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <algorithm>
#include <optional>
#include <utility>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/gradient/reverse/slot_reward_reverse.hpp"
#include "otpool/gradient/slot_gradient.hpp"
#include "otpool/pooling/slot_readouts.hpp"

namespace otpool::detail {

/// s of y_k = s r_k (m_k - c_k) over this many instances; none of y_k = m_k - c_k.
inline std::optional<Real> joint_scale(const ConditionalSlots&, Index) { return {}; }
inline std::optional<Real> joint_scale(const JointSlots& readout, Index instances) { return readout.factor(instances); }
template <class Readout>
std::optional<Real> joint_scale(const ResidualSlots<Readout>& readout, Index instances) {
    return joint_scale(readout.readout, instances);
}

inline bool is_times_instances(const ConditionalSlots&) { return false; }
inline bool is_times_instances(const JointSlots& readout) { return readout.times_instances; }
template <class Readout>
bool is_times_instances(const ResidualSlots<Readout>& readout) {
    return is_times_instances(readout.readout);
}

/// c, D x K; zeros if the readout has no centres.
template <class Readout>
RealMatrix centres_of(const Readout& readout, Index rows, Index slots) {
    if constexpr (requires { readout.centres; }) return readout.centres;
    return RealMatrix::Zero(rows, slots);
}

/// The reverse of a readout of slots. With G = dL/dY (D x K), the derivative with respect to the plan is that of an ordinary
/// pooling of K x N values
///
///     A_kn = <G_k, v_n - b_k>,   P dL/dP = slope_k A_kn w_kn,   dL/dv_n = sum_k G_k slope_k w_kn,   w = P / r,
///
/// slope 1 and b_k = m_k for conditional means, slope s r_k and b_k = c_k for joint ones. A dummy slot, the last row, has
/// slope 0.
template <BagScalar Scalar>
struct SlotReadoutReverse {
    Matrix<Scalar> values;  ///< A, K x N, and a row of zeros for a dummy slot.
    PlanGradient of_plan;   ///< Views A.

    /// `rows`: K, or K + 1 with a dummy slot; `active`: how many instances are not excluded. Adds the derivatives with
    /// respect to the readout's own parameters to `gradient`. Cost: a product of K x D and D x N.
    template <class Readout>
    SlotReadoutReverse(const Readout& readout, const RealMatrix& mean, const RealVector& mass,
                       const MatrixView<Scalar>& instances, const Vector<Scalar>& prior, Index active, Index rows,
                       const Matrix<Scalar>& G, SlotGradient<Scalar>& gradient) {
        const Index slots = G.cols();
        const std::optional<Real> scale = joint_scale(readout, active);
        const RealMatrix of_pooled = G.template cast<Real>();
        const RealMatrix centres = centres_of(readout, G.rows(), slots);
        const RealMatrix& base = scale ? centres : mean;
        RealVector slope = RealVector::Zero(rows);
        RealVector value_mean = RealVector::Zero(rows);  // of A
        for (Index k = 0; k < slots; ++k) {
            // A larger mass saturates y as well; the limit leaves room for the derivatives to be numbers.
            const Real most = (std::min)(mass[k], 1e150);
            slope[k] = scale ? *scale * most : 1;
            value_mean[k] = of_pooled.col(k).dot(mean.col(k) - base.col(k));
            if (scale) {
                gradient.scale += JointSlots{1, is_times_instances(readout)}.factor(active) * most * value_mean[k];
            }
        }
        if constexpr (requires { readout.centres; }) {
            gradient.centres = -of_pooled * slope.head(slots).asDiagonal();
        }
        set_values(instances, prior, rows, G, base);
        of_plan = {std::move(slope), RealVector::Zero(rows), MatrixView<Scalar>(values), std::move(value_mean)};
    }

private:
    /// values <- A. Relative to the mean of all b_k, which loses no digits of shifted instances.
    void set_values(const MatrixView<Scalar>& instances, const Vector<Scalar>& prior, Index rows,
                    const Matrix<Scalar>& G, const RealMatrix& base) {
        const RealVector origin = base.rowwise().mean();
        const Vector<Scalar> shift = origin.template cast<Scalar>();
        Vector<Scalar> of_base(G.cols());
        for (Index k = 0; k < G.cols(); ++k) {
            of_base[k] =
                static_cast<Scalar>(G.col(k).template cast<Real>().dot(base.col(k) - shift.template cast<Real>()));
        }
        values.setZero(rows, instances.cols());
        for_each_block(instances, prior, [&](Index first, const Matrix<Scalar>& block) {
            auto part = values.block(0, first, G.cols(), block.cols());
            const Matrix<Scalar> shifted = block.colwise() - shift;
            part.noalias() = G.transpose() * shifted;
            part.colwise() -= of_base;
        });
    }
};

}  // namespace otpool::detail
