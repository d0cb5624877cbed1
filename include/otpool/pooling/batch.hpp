// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <optional>
#include <string>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// Pools every bag of a batch by `pool_one`, which pools one and throws if an entry of it is not finite. Throws, naming
/// bag, feature and instance, if it does, or a bag is empty without a fill value for it.
template <class Scalar, class PoolOne>
Matrix<Scalar> pool_batch(const Bags<Scalar>& bags, const std::optional<Scalar>& empty_bag, const PoolOne& pool_one) {
    for (Index b = 0; b < bags.size(); ++b) {
        require(empty_bag.has_value() || bags.bag_size(b) > 0, text("bag ", b), "empty",
                "at least one instance, or a fill value for empty bags");
    }
    Matrix<Scalar> pooled(bags.features(), bags.size());
    for (Index b = 0; b < bags.size(); ++b) {
        if (bags.bag_size(b) == 0) {
            pooled.col(b).setConstant(*empty_bag);
            continue;
        }
        const Bag<Scalar> bag = bags[b];
        try {
            pooled.col(b) = pool_one(bag);
        } catch (const InvalidArgument& error) {
            require_finite(bag.instances, text("bag ", b));
            require_finite(bag.reward, text("reward of bag ", b));
            throw error.in("bag " + printed(b));
        }
    }
    return pooled;
}

}  // namespace otpool::detail
