// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <optional>
#include <tuple>

#include "otpool/core/bags.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/batch.hpp"

namespace otpool {

/// A pooling of poolings: M inner poolings turn a bag into a bag of M instances, which the outer one pools.
///
///     y = outer([inner_1(bag), ..., inner_M(bag)])
template <BagScalar Scalar, class Outer, class... Inner>
struct TwoLevelPooling {
    Outer outer;                           ///< Pools the M vectors.
    std::tuple<Inner...> inner;            ///< Each pools the bag to one vector.
    std::optional<Scalar> empty_bag = {};  ///< Fills an empty bag's pooled vector; if unset, an empty bag is an error.
    Execution execution = {};              ///< Runs the bags of a batch; Sequential by default.

    /// Pools one bag.
    Vector<Scalar> operator()(const Bag<Scalar>& bag) const {
        Matrix<Scalar> pooled(bag.instances.rows(), static_cast<Index>(sizeof...(Inner)));
        std::apply(
            [&](const auto&... pooling) {
                Index m = 0;
                ((pooled.col(m++) = pooling(bag)), ...);
            },
            inner);
        return outer(MatrixView<Scalar>(pooled));
    }
    /// Pools one bag without its own reward or prior.
    Vector<Scalar> operator()(const MatrixView<Scalar>& instances) const { return (*this)(Bag<Scalar>{instances}); }

    /// Pools a batch of B bags: D x B.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        return detail::pool_batch<Scalar>(bags, empty_bag, execution, [&](const detail::BagTask<Scalar>& task) {
            Eigen::Ref<Vector<Scalar>> pooled = task.pooled;
            pooled = (*this)(task.bag);
        });
    }
};

}  // namespace otpool
