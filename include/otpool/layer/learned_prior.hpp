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
#include "otpool/pooling/own_prior.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// A prior that learns q0 = softmax(scores(bag)): Attention, GatedAttention, MeanMaxGate, Mixture. If a bag has its own
/// prior, the two multiply (own_prior.hpp).
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
    static constexpr bool by_place = true;  ///< See PriorByPlace.
    Vector<Scalar> logits;                  ///< M

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

/// softmax(scores(bag)) of a learned prior, by place if that is.
template <class Prior>
struct SoftmaxOfScores {
    static constexpr bool by_place = PriorByPlace<Prior>;
    const Prior& prior;

    template <class Scalar>
    Vector<Scalar> operator()(const MatrixView<Scalar>& bag) const {
        const Vector<Scalar> scores = prior.scores(bag);
        require_that(scores.size() == bag.cols(), "number of the prior's scores", scores.size(),
                     text(bag.cols(), ", the number of instances"));
        return softmax(scores);
    }
};

/// The bag's own prior; `given`, a problem's, if it has none.
template <class Scalar>
const Vector<Scalar>& own_prior(const Bag<Scalar>& bag, const Vector<Scalar>& given) {
    return bag.prior.size() > 0 ? bag.prior : given;
}

/// The batch with q0 = softmax(prior.scores(bag)), times the bag's own prior, or `given` if it has none, or 1 if that
/// is empty; unchanged if the prior does not learn.
template <class Scalar, class Prior>
Bags<Scalar> with_prior(const Bags<Scalar>& bags, const Prior& prior, const Vector<Scalar>& given,
                        const Execution& execution) {
    if constexpr (LearnedPrior<Prior, Scalar>) {
        const SoftmaxOfScores<Prior> softmax_of_scores{prior};
        const auto of_bag = [&](const Bag<Scalar>& bag) {
            require_finite(bag.instances, "bag");
            return prior_of(softmax_of_scores, bag.instances, own_prior(bag, given));
        };
        return bags.with_prior(of_bag, execution);
    } else {
        return bags;
    }
}

/// Returns the gradient of a prior from one bag, given dL/dlog q0, which equals dL/dscores; adds to dL/dbag.
template <class Scalar, class Prior>
Prior pull_back_prior(const Prior& prior, const Bag<Scalar>& bag, const Vector<Scalar>& given,
                      const Vector<Scalar>& log_q0, Eigen::Ref<Matrix<Scalar>> dL_dbag) {
    const ActiveInstances<Prior, Scalar> active(bag.instances, own_prior(bag, given));
    if (active.place.empty()) return prior.pull_back(active.instances, log_q0, dL_dbag);
    const Index count = active.instances.cols();
    Vector<Scalar> dL_dscores(count);
    Matrix<Scalar> dL_dactive = Matrix<Scalar>::Zero(dL_dbag.rows(), count);
    for (Index k = 0; k < count; ++k) dL_dscores[k] = log_q0[active.place_of(k)];
    Prior gradient = prior.pull_back(active.instances, dL_dscores, dL_dactive);
    for (Index k = 0; k < count; ++k) dL_dbag.col(active.place_of(k)) += dL_dactive.col(k);
    return gradient;
}

/// The gradient of a prior, given dL/dlog q0 of the batch (see ProblemGradient); adds the bags' gradient to `dL_dbags`.
/// `given` as in with_prior().
template <class Scalar, class Prior>
Prior pull_back_prior(const Bags<Scalar>& bags, const Prior& prior, const Vector<Scalar>& given,
                      const Vector<Scalar>& log_q0, Matrix<Scalar>& dL_dbags, const Execution& execution) {
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
                const Vector<Scalar> of_bag = log_q0.segment(first, size);
                add(of_groups[static_cast<std::size_t>(group)],
                    pull_back_prior<Scalar>(prior, bags[b], given, of_bag, dL_dbags.middleCols(first, size)));
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
