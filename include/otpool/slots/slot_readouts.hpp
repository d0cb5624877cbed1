// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"

// Readouts of slots. With m_k = sum_n P_kn v_n / r_k (D' entries) and r_k = sum_n P_kn, column k of the result is
// readout(k, m_k, r_k, N), where N is the number of instances that are not excluded.

namespace otpool {

/// y_k = m_k, the conditional mean. A slot without mass pools where its vanishing mass would be.
struct ConditionalSlots {
    /// y_k
    RealVector operator()(Index /*slot*/, const Eigen::Ref<const RealVector>& mean, Real /*mass*/, Index /*N*/) const {
        return mean;
    }
};

/// y_k = s sum_n P_kn v_n
struct JointSlots {
    double scale = 1;              ///< s
    bool times_instances = false;  ///< Whether s is multiplied by N.

    /// s N^times_instances
    Real factor(Index instances) const { return times_instances ? scale * static_cast<Real>(instances) : scale; }
    /// y_k
    RealVector operator()(Index /*slot*/, const Eigen::Ref<const RealVector>& mean, Real mass, Index instances) const {
        return factor(instances) * mass * mean;
    }
};

/// Another readout less a centre: y_k = m_k - c_k of ConditionalSlots, y_k = s r_k (m_k - c_k) of JointSlots.
template <class Readout>
struct ResidualSlots {
    RealMatrix centres;    ///< C, D' x K
    Readout readout = {};  ///< ConditionalSlots or JointSlots.

    /// y_k
    RealVector operator()(Index slot, const Eigen::Ref<const RealVector>& mean, Real mass, Index instances) const {
        detail::require_that(centres.rows() == mean.size() && slot < centres.cols(), "shape of the centres",
                             detail::shape_text(centres.rows(), centres.cols()),
                             detail::text(mean.size(), " rows and a column per slot"));
        return readout(slot, mean - centres.col(slot), mass, instances);
    }
};

namespace detail {

/// pooled, D' x K, <- the readout of K slots with these means (D' x K) and masses, of so many instances.
template <BagScalar Scalar>
void read_slots(const auto& readout, const RealMatrix& mean, const RealVector& mass, Index instances, Scalar* pooled) {
    for (Index k = 0; k < mean.cols(); ++k) {
        const RealVector y = readout(k, mean.col(k), mass[k], instances);
        for (const Real number : y) *pooled++ = saturated<Scalar>(number);
    }
}

}  // namespace detail
}  // namespace otpool
