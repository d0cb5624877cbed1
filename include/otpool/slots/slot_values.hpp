// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"

// Values of slots: functions of a bag (D x N) and its prior that return V, D' x N, a column per instance. rows(D) is D'. A
// column whose prior is 0 does not count: it may hold anything, and no other column depends on it.

namespace otpool {

/// V = X: slots pool the instances. Costs nothing.
struct InstancesAsValues {
    /// D
    Index rows(Index features) const { return features; }
    /// X
    template <BagScalar Scalar>
    MatrixView<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& /*prior*/) const {
        return instances;
    }
};

}  // namespace otpool
