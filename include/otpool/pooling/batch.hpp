// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// Calls work(b, inside, worker) for every bag b. Small bags run in parallel, each on one worker. Bags larger than one
/// worker's share of the batch run one after the other, and `inside` runs parts of their instances in parallel. If bags
/// throw, rethrows the exception of the first.
template <class Scalar, class Work>
void for_each_bag(const Bags<Scalar>& bags, const Execution& execution, const Work& work) {
    const Execution alone;
    if (execution.workers() == 1) {
        for (Index b = 0; b < bags.size(); ++b) work(b, alone, Index{0});
        return;
    }
    const Index share = bags.total_size() / execution.workers();
    std::vector<Index> small_bags;
    for (Index b = 0; b < bags.size(); ++b) {
        if (bags.bag_size(b) <= share) small_bags.push_back(b);
    }
    TaskErrors errors(bags.size());
    execution.for_each(static_cast<Index>(small_bags.size()), [&](Index i, Index worker) {
        const Index b = small_bags[static_cast<std::size_t>(i)];
        errors.keep(b, [&] { work(b, alone, worker); });
    });
    for (Index b = 0; b < bags.size(); ++b) {
        if (bags.bag_size(b) > share) errors.keep(b, [&] { work(b, execution, Index{0}); });
    }
    errors.rethrow_first();
}

/// One bag of a batch, to be pooled.
template <BagScalar Scalar>
struct BagTask {
    Index number;
    const Bag<Scalar>& bag;   ///< If the batch has indices, its memory is the next task's.
    const Execution& inside;  ///< Runs parts of the bag's instances.
    Index worker;             ///< The worker that pools the bag.
    Eigen::Ref<Vector<Scalar>> pooled;
};

/// Pools every bag of a batch to `rows` numbers: pool_one(task) sets task.pooled, and throws if an entry of the bag is not
/// finite. Throws
/// InvalidArgument that names bag, feature and instance if it does, or if a bag is empty and `empty_bag` is unset.
template <BagScalar Scalar>
Matrix<Scalar> pool_batch(Index rows, const Bags<Scalar>& bags, const std::optional<Scalar>& empty_bag,
                          const Execution& execution, const std::function<void(const BagTask<Scalar>&)>& pool_one) {
    for (Index b = 0; b < bags.size(); ++b) {
        require_that(empty_bag.has_value() || bags.bag_size(b) > 0, text("bag ", b), "empty",
                     "at least one instance, or a fill value for empty bags");
    }
    Matrix<Scalar> pooled(rows, bags.size());
    std::vector<BagMemory<Scalar>> memory(static_cast<std::size_t>(bags.indices() ? execution.workers() : 0));
    for_each_bag(bags, execution, [&](Index b, const Execution& inside, Index worker) {
        if (bags.bag_size(b) == 0) {
            std::fill_n(pooled.data() + b * pooled.rows(), pooled.rows(), *empty_bag);
            return;
        }
        const Bag<Scalar> bag = bags.indices() ? bags.in_memory(b, memory[static_cast<std::size_t>(worker)]) : bags[b];
        try {
            pool_one({b, bag, inside, worker, pooled.col(b)});
        } catch (const InvalidArgument& error) {
            require_finite(bag.instances, text("bag ", b));
            require_finite(bag.reward, text("reward of bag ", b));
            throw error.in("bag " + printed(b));
        }
    });
    return pooled;
}

/// The same to as many numbers as there are features.
template <BagScalar Scalar>
Matrix<Scalar> pool_batch(const Bags<Scalar>& bags, const std::optional<Scalar>& empty_bag, const Execution& execution,
                          const std::function<void(const BagTask<Scalar>&)>& pool_one) {
    return pool_batch(bags.features(), bags, empty_bag, execution, pool_one);
}

}  // namespace otpool::detail
