// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"

namespace otpool {

/// What a layer's backward pass returns.
template <BagScalar Scalar, class Parameters>
struct LayerGradient {
    Matrix<Scalar> instances;  ///< dL/d(bags), D x sum N
    Parameters parameters;     ///< dL/d(parameters)

    /// visit(name, array) for every array of `parameters`.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        parameters.for_each_array(visit);
    }
};

}  // namespace otpool
