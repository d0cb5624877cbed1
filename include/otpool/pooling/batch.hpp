// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <optional>
#include <string>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// Throws, naming bag, feature and instance, if a bag is empty without a fill value for it, or has an entry that is
/// not finite.
template <class Scalar>
void validate(const Bags<Scalar>& bags, bool empty_allowed) {
    for (Index b = 0; b < bags.size(); ++b) {
        const std::string bag = "bag " + printed(b);
        require(empty_allowed || bags.bag_size(b) > 0, bag, "empty",
                "at least one instance, or a fill value for empty bags");
        require_finite(bags[b].instances, bag);
        require_finite(bags[b].reward, "reward of " + bag);
    }
}

/// Pools every bag of a batch by `pooling`, which pools one.
template <class Scalar, class PoolOne>
Matrix<Scalar> pool_batch(const Bags<Scalar>& bags, const std::optional<Scalar>& empty_bag, const PoolOne& pool_one) {
    validate(bags, empty_bag.has_value());
    Matrix<Scalar> pooled(bags.features(), bags.size());
    for (Index b = 0; b < bags.size(); ++b) {
        if (bags.bag_size(b) == 0) {
            pooled.col(b).setConstant(*empty_bag);
            continue;
        }
        try {
            pooled.col(b) = pool_one(bags[b]);
        } catch (const InvalidArgument& error) {
            throw error.in("bag " + printed(b));
        }
    }
    return pooled;
}

}  // namespace otpool::detail
