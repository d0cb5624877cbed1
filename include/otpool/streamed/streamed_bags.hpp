// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/streamed/column_source.hpp"
#include "otpool/streamed/stream_options.hpp"
#include "otpool/streamed/streamed.hpp"

namespace otpool {

/// A batch of bags that is read piece by piece: bag b is the columns [offsets[b], offsets[b + 1]) of the source. Bags are
/// pooled one after the other, with the result of Streamed, bit by bit. Small bags are read several at a time.
///
/// options.weights gets its instances by their place in the batch; options.progress tells of a bag at a time.
template <class S>
struct StreamedBags {
    static_assert(ColumnSource<S>, "otpool: a source has rows(), cols() and read(first, count, to)");

    S source;                               ///< D x sum N, column n is instance n of the batch.
    std::vector<std::int64_t> offsets;      ///< B + 1 non-decreasing entries from 0 to sum N.
    StreamOptions options = {};             ///< Of every bag.
    Vector<typename S::Scalar> prior = {};  ///< sum N entries that sum to 1 in every bag, or empty.
};

/// StreamedBags{source, offsets}
template <class S>
StreamedBags(S, std::vector<std::int64_t>) -> StreamedBags<S>;
/// The same with options.
template <class S>
StreamedBags(S, std::vector<std::int64_t>, StreamOptions) -> StreamedBags<S>;
/// The same with a prior.
template <class S, class Prior>
StreamedBags(S, std::vector<std::int64_t>, StreamOptions, const Prior&) -> StreamedBags<S>;

namespace detail {

/// The columns of neighbouring bags, read at once if they take little memory.
template <ColumnSource S>
class BagColumns {
public:
    using Scalar = typename S::Scalar;

    /// May hold `memory` bytes.
    BagColumns(const S& source, Index memory)
        : source_(source), most_(memory / (std::max<Index>(source.rows(), 1) * Index{sizeof(Scalar)})) {}

    /// Whether the columns are held after a call. `offsets`: the ends of the bags that follow.
    bool hold(Index first, Index end, std::span<const std::int64_t> offsets) {
        if (end - first > most_) return false;
        if (first >= first_ && end <= first_ + held_.cols()) return true;
        const auto last = std::partition_point(offsets.begin(), offsets.end(),
                                               [&](std::int64_t offset) { return offset - first <= most_; });
        first_ = first;
        held_.resize(source_.rows(), static_cast<Index>(*(last - 1)) - first);
        source_.read(first, held_.cols(), held_.data());
        return true;
    }

    /// A source of the held columns, and the place of a column in it.
    MatrixColumns<Scalar> held() const { return {held_}; }
    Index place(Index column) const { return column - first_; }

private:
    const S& source_;
    Index most_;
    Index first_ = 0;
    Matrix<Scalar> held_;
};

}  // namespace detail

/// What Pooling does with a streamed batch. Throws as Streamed says, with the number of the bag, and as Bags does.
template <BagScalar Scalar, class Solver, Regularizer R, class Readout, class Prior, class Reward, class Output,
          class S>
Matrix<Scalar> pool_streamed(const Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>& pooling,
                             const StreamedBags<S>& batch) {
    const Index rows = batch.source.rows();
    const Bags<Scalar> bags(Eigen::Map<const Matrix<Scalar>>(nullptr, rows, batch.source.cols()), batch.offsets, {},
                            batch.prior);
    for (Index b = 0; b < bags.size(); ++b) {
        detail::require_that(pooling.empty_bag.has_value() || bags.bag_size(b) > 0, detail::text("bag ", b), "empty",
                             "at least one instance, or a fill value for empty bags");
    }
    StreamOptions options = batch.options;
    detail::BagColumns<S> columns(batch.source, options.memory / 4);
    options.memory -= options.memory / 4;
    Matrix<Scalar> pooled(rows, bags.size());
    for (Index b = 0; b < bags.size(); ++b) {
        const auto place = static_cast<std::size_t>(b);
        const auto first = static_cast<Index>(batch.offsets[place]);
        const Index size = bags.bag_size(b);
        if (size == 0) {
            pooled.col(b).setConstant(*pooling.empty_bag);
            continue;
        }
        if (batch.options.weights) {
            options.weights = [&](Index n, std::span<const double> weights) {
                batch.options.weights(first + n, weights);
            };
        }
        const bool is_held = columns.hold(first, first + size, std::span(batch.offsets).subspan(place));
        const Vector<Scalar> prior = batch.prior.size() == 0 ? batch.prior : batch.prior.segment(first, size).eval();
        try {
            if (is_held) {
                pooled.col(b) =
                    detail::pool_columns(pooling, columns.held(), columns.place(first), size, prior, options).pooled;
            } else {
                pooled.col(b) = detail::pool_columns(pooling, batch.source, first, size, prior, options).pooled;
            }
        } catch (const InvalidArgument& error) {
            throw error.in("bag " + detail::printed(b));
        }
    }
    return pooled;
}

}  // namespace otpool
