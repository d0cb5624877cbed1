// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <utility>

#include "otpool/core/bags.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/problem_gradient.hpp"

namespace otpool {

/// What a layer's backward pass returns. A bag's own reward is not differentiated.
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

namespace detail {

/// dL/d(bags), side by side: bags with a reward of their own are only the values.
template <BagScalar Scalar>
Matrix<Scalar> of_instances(ProblemGradient<Scalar>& of) {
    return std::move(of.values.size() > 0 ? of.values : of.reward);
}

/// dL/d(instances), from that of the bags side by side. If bags have indices, an instance's is the sum over its places.
template <BagScalar Scalar>
Matrix<Scalar> of_columns(const Bags<Scalar>& bags, Matrix<Scalar>&& of_bags) {
    if (!bags.indices()) return std::move(of_bags);
    Matrix<Scalar> sums = Matrix<Scalar>::Zero(bags.features(), bags.instances().cols());
    Index place = 0;
    for (const Index n : *bags.indices()) sums.col(n) += of_bags.col(place++);
    return sums;
}

}  // namespace detail
}  // namespace otpool
