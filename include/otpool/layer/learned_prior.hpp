// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/layer/named_array.hpp"
#include "otpool/pooling/instance_prior.hpp"

namespace otpool {

/// A prior that learns q0 = softmax(scores(bag)): Attention, GatedAttention, MeanMaxGate, Mixture.
/// pull_back(bag, dL/dscores, dL/dbag) adds to dL/dbag and returns the gradient of the prior's parameters;
/// for_each_array(visit) calls visit(name, array) for every parameter.
template <class Prior, class Scalar>
concept LearnedPrior = requires(Prior prior, const MatrixView<Scalar>& bag, const Vector<Scalar>& dL_dscores,
                                Eigen::Ref<Matrix<Scalar>> dL_dbag) {
    { prior.scores(bag) } -> std::convertible_to<Vector<Scalar>>;
    { prior.pull_back(bag, dL_dscores, dL_dbag) } -> std::same_as<Prior>;
    prior.for_each_array([](const std::string&, auto&) {});
};

/// q0 = softmax(logits), the same for all bags, which have M instances each. It weighs the inner layers of a
/// TwoLevelLayer.
template <BagScalar Scalar>
struct Mixture {
    Vector<Scalar> logits;  ///< M

    /// The logits. Throws InvalidArgument unless the bag has M instances.
    Vector<Scalar> scores(const MatrixView<Scalar>& bag) const {
        detail::require_that(logits.size() == bag.cols(), "length of the mixture's logits", logits.size(),
                             detail::printed(bag.cols()) + ", the number of instances");
        return logits;
    }
    /// q0, M entries.
    Vector<Scalar> operator()(const MatrixView<Scalar>& bag) const { return softmax(scores(bag)); }

    /// Returns the gradient of the logits, given dL/dscores; adds nothing to the bag's gradient.
    Mixture pull_back(const MatrixView<Scalar>&, const Vector<Scalar>& dL_dscores, Eigen::Ref<Matrix<Scalar>>) const {
        return {dL_dscores};
    }

    /// visit(name, array) for every parameter.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        visit("logits", logits);
    }
};

namespace detail {

/// The batch with q0 = softmax(prior.scores(bag)); unchanged if the prior does not learn.
template <class Scalar, class Prior>
Bags<Scalar> with_prior(const Bags<Scalar>& bags, const Prior& prior, const Execution& execution) {
    if constexpr (LearnedPrior<Prior, Scalar>) {
        return bags.with_prior([&](const Bag<Scalar>& bag) { return softmax(prior.scores(bag.instances)); }, execution);
    } else {
        return bags;
    }
}

/// The gradient of a prior, given dL/dlog q0 of the batch, which equals dL/dscores (see ProblemGradient); adds the
/// bags' gradient to `dL_dbags`.
template <class Scalar, class Prior>
Prior pull_back_prior(const Bags<Scalar>& bags, const Prior& prior, const Vector<Scalar>& log_q0,
                      Matrix<Scalar>& dL_dbags, const Execution& execution) {
    if constexpr (LearnedPrior<Prior, Scalar>) {
        const auto add = [](std::optional<Prior>& sum, Prior&& part) {
            if (!sum) {
                sum = std::move(part);
                return;
            }
            auto to = named_arrays<Scalar>(*sum);
            const auto from = named_arrays<Scalar>(part);
            for (std::size_t i = 0; i < to.size(); ++i) to[i].values += from[i].values;
        };
        // A prior may have many parameters: one sum of their gradients per group of bags, not one per bag.
        const Index groups = std::min<Index>(bags.size(), 16);
        std::vector<std::optional<Prior>> of_groups(static_cast<std::size_t>(groups));
        execution.for_each(groups, [&](Index group, Index) {
            for (Index b = bags.size() * group / groups; b < bags.size() * (group + 1) / groups; ++b) {
                const Index first = bags.first_instance(b);
                const Index size = bags.bag_size(b);
                add(of_groups[static_cast<std::size_t>(group)],
                    prior.pull_back(bags[b].instances, log_q0.segment(first, size), dL_dbags.middleCols(first, size)));
            }
        });
        std::optional<Prior> gradient;
        for (auto& of_group : of_groups) add(gradient, std::move(*of_group));
        return gradient.value_or(Prior{});
    } else {
        return {};
    }
}

}  // namespace detail
}  // namespace otpool
