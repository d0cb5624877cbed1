// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// One bag: D x N instances, and optionally a reward and a prior of its own.
template <BagScalar Scalar>
struct Bag {
    MatrixView<Scalar> instances;  ///< D x N, column n is instance n.
    /// D x N, or K x N for a pooling to K slots; if empty, the pooling computes it from the instances.
    MatrixView<Scalar> reward = {};
    /// q0, N entries >= 0 that sum to 1, or empty. A prior that a pooling computes is multiplied by it; 0 excludes.
    Vector<Scalar> prior = {};
};

namespace detail {

/// Memory for the numbers of one bag after the other.
template <BagScalar Scalar>
struct BagMemory {
    Buffer<Scalar> instances, reward;
};

template <class Scalar>
void require_reward_shape(const MatrixView<Scalar>& reward, const MatrixView<Scalar>& instances) {
    const auto shape = [](const auto& m) { return shape_text(m.rows(), m.cols()); };
    require_that(reward.empty() || (reward.rows() == instances.rows() && reward.cols() == instances.cols()),
                 "shape of reward", shape(reward), text(shape(instances), ", the shape of the instances"));
}

}  // namespace detail

/// A ragged batch: the instances of all bags side by side, like `x` and `ptr` of PyTorch Geometric.
///
/// Bag b is columns [offsets[b], offsets[b + 1]). If the instances of a bag are not side by side, of_indices() takes a
/// list of columns: bag b is then the columns indices[offsets[b]], ..., indices[offsets[b + 1] - 1]. The batch views
/// instances and reward, which must outlive it.
template <BagScalar Scalar>
class Bags {
public:
    /// instances: D x sum N. offsets: B + 1 non-decreasing entries from 0 to sum N. reward: D (of slots K) x sum N, or empty.
    /// prior: sum N entries that sum to 1 in every bag, or empty. Throws InvalidArgument for wrong offsets or shapes.
    Bags(MatrixView<Scalar> instances, std::vector<std::int64_t> offsets, MatrixView<Scalar> reward = {},
         Vector<Scalar> prior = {})
        : instances_(std::move(instances)),
          reward_(std::move(reward)),
          prior_(std::move(prior)),
          offsets_(std::move(offsets)) {
        validate(instances_.cols(), "instances");
    }

    /// Bags whose instances are anywhere in `instances`, D x M. indices: the columns of all bags, one bag after the other,
    /// sum N entries in [0, M); a column may be in several bags, or in none. offsets: B + 1 non-decreasing entries from 0
    /// to sum N. reward: D x M, or empty. prior: sum N entries, one per index. Throws InvalidArgument.
    ///
    /// A pooling copies one bag at a time, each worker in its own memory, and never the whole batch. A layer's forward()
    /// copies all bags, for backward(); dL/d(bags) is D x M.
    static Bags of_indices(MatrixView<Scalar> instances, std::vector<std::int64_t> indices,
                           std::vector<std::int64_t> offsets, MatrixView<Scalar> reward = {},
                           Vector<Scalar> prior = {}) {
        Bags bags;
        bags.instances_ = std::move(instances);
        bags.reward_ = std::move(reward);
        bags.prior_ = std::move(prior);
        bags.offsets_ = std::move(offsets);
        for (std::size_t i = 0; i < indices.size(); ++i) {
            detail::require_that(indices[i] >= 0 && indices[i] < bags.instances_.cols(),
                                 detail::text("indices[", i, "]"), indices[i],
                                 detail::text("0 to ", bags.instances_.cols() - 1, ", a column of the instances"));
        }
        bags.validate(static_cast<Index>(indices.size()), "indices");
        bags.indices_ = std::move(indices);
        return bags;
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
    Index total_size() const { return offsets_.back(); }                    ///< sum N
    /// Where bag b begins: a column, or a place in the list of indices.
    Index first_instance(Index b) const { return offsets_[static_cast<std::size_t>(b)]; }
    const MatrixView<Scalar>& instances() const { return instances_; }  ///< D x sum N, or D x M: see of_indices().
    const MatrixView<Scalar>& reward() const { return reward_; }        ///< As many columns, or empty.
    /// The columns of all bags; unset if they are side by side.
    const std::optional<std::vector<std::int64_t>>& indices() const { return indices_; }

    /// Bag b. Views the instances, or has a copy of those that a list of indices names.
    Bag<Scalar> operator[](Index b) const {
        return bag(b, [&](const MatrixView<Scalar>& from) -> MatrixView<Scalar> {
            Matrix<Scalar> copy(from.rows(), bag_size(b));
            gather(from, b, copy.data());
            return copy.size() == 0 ? from.middle_cols(0, 0) : MatrixView<Scalar>(std::move(copy));
        });
    }
    /// The same, but copies into `memory`, which must outlive the bag.
    Bag<Scalar> in_memory(Index b, detail::BagMemory<Scalar>& memory) const {
        detail::Buffer<Scalar>* next = &memory.instances;
        return bag(b, [&](const MatrixView<Scalar>& from) -> MatrixView<Scalar> {
            detail::Buffer<Scalar>& to = *std::exchange(next, &memory.reward);
            to.resize(from.rows() * bag_size(b));
            gather(from, b, to.data());
            return Eigen::Map<const Matrix<Scalar>>(to.data(), from.rows(), bag_size(b));
        });
    }

    /// The same batch with the prior prior_of(bag) for every bag. Throws InvalidArgument, with the number of the bag, if
    /// prior_of does, or if the prior has not the length of the bag.
    template <class PriorOf>
    Bags with_prior(const PriorOf& prior_of, const Execution& execution = {}) const {
        Bags other = *this;
        other.prior_.resize(total_size());
        execution.for_each(size(), [&](Index b, Index) {
            try {
                const Vector<Scalar> prior = prior_of((*this)[b]);
                detail::require_that(prior.size() == bag_size(b), "length of the prior", prior.size(),
                                     detail::text(bag_size(b), ", the number of instances"));
                other.prior_.segment(first_instance(b), bag_size(b)) = prior;
            } catch (const InvalidArgument& error) {
                throw error.in("bag " + detail::printed(b));
            }
        });
        return other;
    }

private:
    Bags() = default;

    /// Bag b, whose matrices are copy(matrix) if its instances are not side by side.
    template <class Copy>
    Bag<Scalar> bag(Index b, const Copy& copy) const {
        const Index first = first_instance(b);
        const Index count = bag_size(b);
        const auto cut = [&](const MatrixView<Scalar>& from) {
            return indices_ ? copy(from) : from.middle_cols(first, count);
        };
        Bag<Scalar> bag{.instances = cut(instances_)};
        if (!reward_.empty()) bag.reward = cut(reward_);
        if (prior_.size() > 0) bag.prior = prior_.segment(first, count);
        return bag;
    }

    /// to <- the columns of bag b, D x N.
    void gather(const MatrixView<Scalar>& from, Index b, Scalar* to) const {
        for (Index i = first_instance(b); i < end(b); ++i, to += from.rows()) {
            const Index n = (*indices_)[static_cast<std::size_t>(i)];
            const Scalar* const column = from.contiguous_col(n, to);
            if (column != to) std::copy_n(column, from.rows(), to);
        }
    }

    Index end(Index b) const { return offsets_[static_cast<std::size_t>(b) + 1]; }

    void validate(Index listed, const char* of_what) const {
        using detail::require_that;
        using detail::text;
        require_that(!offsets_.empty(), "offsets", "empty", "B + 1 entries for B bags");
        require_that(offsets_.front() == 0, "offsets[0]", offsets_.front(), "0");
        for (std::size_t b = 1; b < offsets_.size(); ++b) {
            require_that(offsets_[b] >= offsets_[b - 1], text("offsets[", b, "]"), offsets_[b],
                         text("at least offsets[", b - 1, "] = ", offsets_[b - 1]));
        }
        require_that(offsets_.back() == listed, text("offsets[", offsets_.size() - 1, "]"), offsets_.back(),
                     text("the number of ", of_what, ", ", listed));
        require_that(reward_.empty() || reward_.cols() == instances_.cols(), "columns of the reward", reward_.cols(),
                     text(instances_.cols(), ", those of the instances"));
        require_that(prior_.size() == 0 || prior_.size() == listed, "length of the instance prior", prior_.size(),
                     text(listed, ", the number of ", of_what));
    }

    MatrixView<Scalar> instances_;
    MatrixView<Scalar> reward_;
    Vector<Scalar> prior_;
    std::vector<std::int64_t> offsets_;
    std::optional<std::vector<std::int64_t>> indices_;
};

/// Bags of an Eigen expression have its scalar.
template <class Derived, class... Rest>
Bags(const Eigen::DenseBase<Derived>&, std::vector<std::int64_t>, const Rest&...) -> Bags<typename Derived::Scalar>;
/// Likewise with offsets of another type.
template <class Derived, class Offset, class... Rest>
Bags(const Eigen::DenseBase<Derived>&, const std::vector<Offset>&, const Rest&...) -> Bags<typename Derived::Scalar>;

}  // namespace otpool
