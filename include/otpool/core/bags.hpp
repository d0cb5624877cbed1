// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// One bag: D x N instances, and optionally a reward and a prior of its own.
template <BagScalar Scalar>
struct Bag {
    MatrixView<Scalar> instances;    ///< D x N, column n is instance n.
    MatrixView<Scalar> reward = {};  ///< D x N; if empty, the pooling computes it from the instances.
    Vector<Scalar> prior = {};       ///< q0, N entries >= 0 that sum to 1; if empty, the pooling's prior.
};

namespace detail {

template <class Scalar>
void require_reward_shape(const MatrixView<Scalar>& reward, const MatrixView<Scalar>& instances) {
    const auto shape = [](const auto& m) { return shape_text(m.rows(), m.cols()); };
    require_that(reward.empty() || (reward.rows() == instances.rows() && reward.cols() == instances.cols()),
                 "shape of reward", shape(reward), text(shape(instances), ", the shape of the instances"));
}

}  // namespace detail

/// A ragged batch: the instances of all bags side by side, like `x` and `ptr` of PyTorch Geometric.
///
/// Bag b is columns [offsets[b], offsets[b + 1]). The batch views instances and reward, which must outlive it.
template <BagScalar Scalar>
class Bags {
public:
    /// instances: D x sum N. offsets: B + 1 non-decreasing entries from 0 to sum N. reward: D x sum N, or empty.
    /// prior: sum N entries that sum to 1 in every bag, or empty. Throws InvalidArgument for wrong offsets or shapes.
    Bags(MatrixView<Scalar> instances, std::vector<std::int64_t> offsets, MatrixView<Scalar> reward = {},
         Vector<Scalar> prior = {})
        : instances_(std::move(instances)),
          reward_(std::move(reward)),
          prior_(std::move(prior)),
          offsets_(std::move(offsets)) {
        validate();
    }
    /// Likewise with offsets of another type of integers, which are copied.
    template <class Offset>
    Bags(MatrixView<Scalar> instances, const std::vector<Offset>& offsets, MatrixView<Scalar> reward = {},
         Vector<Scalar> prior = {})
        : Bags(std::move(instances), std::vector<std::int64_t>(offsets.begin(), offsets.end()), std::move(reward),
               std::move(prior)) {
        static_assert(std::integral<Offset>, "otpool: the offsets of bags are integers");
    }

    Index size() const { return static_cast<Index>(offsets_.size()) - 1; }  ///< B, the number of bags
    Index features() const { return instances_.rows(); }                    ///< D
    Index bag_size(Index b) const { return end(b) - first_instance(b); }    ///< N of bag b
    /// The column where bag b begins.
    Index first_instance(Index b) const { return offsets_[static_cast<std::size_t>(b)]; }
    const MatrixView<Scalar>& instances() const { return instances_; }  ///< D x sum N

    /// Bag b, which views the instances.
    Bag<Scalar> operator[](Index b) const {
        Bag<Scalar> bag{.instances = instances_.middle_cols(first_instance(b), bag_size(b))};
        if (!reward_.empty()) bag.reward = reward_.middle_cols(first_instance(b), bag_size(b));
        if (prior_.size() > 0) bag.prior = prior_.segment(first_instance(b), bag_size(b));
        return bag;
    }

    /// The same batch with the prior prior_of(bag) for every bag.
    template <class PriorOf>
    Bags with_prior(const PriorOf& prior_of, const Execution& execution = {}) const {
        Bags other = *this;
        other.prior_.resize(instances_.cols());
        execution.for_each(size(), [&](Index b, Index) {
            other.prior_.segment(first_instance(b), bag_size(b)) = prior_of((*this)[b]);
        });
        return other;
    }

private:
    Index end(Index b) const { return offsets_[static_cast<std::size_t>(b) + 1]; }

    void validate() const {
        using detail::require_that;
        using detail::text;
        require_that(!offsets_.empty(), "offsets", "empty", "B + 1 entries for B bags");
        require_that(offsets_.front() == 0, "offsets[0]", offsets_.front(), "0");
        for (std::size_t b = 1; b < offsets_.size(); ++b) {
            require_that(offsets_[b] >= offsets_[b - 1], text("offsets[", b, "]"), offsets_[b],
                         text("at least offsets[", b - 1, "] = ", offsets_[b - 1]));
        }
        require_that(offsets_.back() == instances_.cols(), text("offsets[", offsets_.size() - 1, "]"), offsets_.back(),
                     text("the number of instances, ", instances_.cols()));
        detail::require_reward_shape(reward_, instances_);
        require_that(prior_.size() == 0 || prior_.size() == instances_.cols(), "length of the instance prior",
                     prior_.size(), text(instances_.cols(), ", the number of instances"));
    }

    MatrixView<Scalar> instances_;
    MatrixView<Scalar> reward_;
    Vector<Scalar> prior_;
    std::vector<std::int64_t> offsets_;
};

/// Bags of an Eigen expression have its scalar.
template <class Derived, class... Rest>
Bags(const Eigen::DenseBase<Derived>&, std::vector<std::int64_t>, const Rest&...) -> Bags<typename Derived::Scalar>;
template <class Derived, class Offset, class... Rest>
Bags(const Eigen::DenseBase<Derived>&, const std::vector<Offset>&, const Rest&...) -> Bags<typename Derived::Scalar>;

}  // namespace otpool
