// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <string>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool {

/// A parameter, or its gradient, as an optimiser sees it: a name and numbers in a row. Views the parameter's memory.
template <BagScalar Scalar>
struct NamedArray {
    std::string name;
    Eigen::Map<Vector<Scalar>> values;
};

/// What an optimiser steps: the arrays that for_each_array(visit) of a layer names. The gradient of a layer has the
/// same arrays in the same order.
template <BagScalar Scalar, class LayerOrGradient>
std::vector<NamedArray<Scalar>> named_arrays(LayerOrGradient& of) {
    std::vector<NamedArray<Scalar>> arrays;
    of.for_each_array([&](const std::string& name, auto& values) {
        arrays.push_back({name, Eigen::Map<Vector<Scalar>>(values.data(), values.size())});
    });
    return arrays;
}

}  // namespace otpool
