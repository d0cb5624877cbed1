// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <string>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool {

/// A parameter or its gradient, as an optimiser sees it: a name and a vector. Views the parameter's memory.
template <BagScalar Scalar>
struct NamedArray {
    std::string name;                   ///< Such as "alpha0" or "prior.V".
    Eigen::Map<Vector<Scalar>> values;  ///< The entries; a matrix is column by column.
};

/// All parameters of a layer, for an optimiser to step. The layer's gradient has the same arrays in the same order.
template <BagScalar Scalar, class LayerOrGradient>
std::vector<NamedArray<Scalar>> named_arrays(LayerOrGradient& of) {
    std::vector<NamedArray<Scalar>> arrays;
    of.for_each_array([&](const std::string& name, auto& values) {
        arrays.push_back({name, Eigen::Map<Vector<Scalar>>(values.data(), values.size())});
    });
    return arrays;
}

}  // namespace otpool
