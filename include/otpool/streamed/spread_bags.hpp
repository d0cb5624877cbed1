// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/streamed/rank_errors.hpp"
#include "otpool/streamed/ranks.hpp"

namespace otpool {

/// Some bags of a batch: those from `first` to before `end`.
struct BagRange {
    Index first = 0;  ///< The first one,
    Index end = 0;    ///< and the one after the last.
};

/// The bags that a rank pools, of so many ranks: neighbouring ones, with about as many instances for all ranks as the bags
/// allow. Bag b has the instances from offsets[b] to before offsets[b + 1].
inline BagRange bags_of_rank(std::span<const std::int64_t> offsets, Index rank, Index size) {
    const auto bags = static_cast<Index>(offsets.size()) - 1;
    const auto border = [&](Index r) -> Index {
        if (r == size) return bags;
        // The first bag whose middle is not before the rank's share.
        const auto share = static_cast<double>(offsets.back()) * static_cast<double>(r) / static_cast<double>(size);
        Index b = 0;
        Index count = r == 0 ? 0 : bags;
        while (count > 0) {
            const Index half = count / 2;
            const auto at = static_cast<std::size_t>(b + half);
            if (static_cast<double>(offsets[at] + offsets[at + 1]) / 2 < share) {
                b += half + 1;
                count -= half + 1;
            } else {
                count = half;
            }
        }
        return b;
    };
    return {border(rank), border(rank + 1)};
}

/// The columns of all ranks side by side, in the order of ranks. `cols`: how many each has. All ranks call it.
template <BagScalar Scalar>
Matrix<Scalar> gather_columns(const AnyRanks& ranks, const Matrix<Scalar>& own, std::span<const Index> cols) {
    const Index rows = own.rows();
    std::vector<Index> counts;
    for (const Index of_rank : cols) counts.push_back(rows * of_rank);
    const std::vector<double> numbers(own.data(), own.data() + own.size());
    std::vector<double> all(static_cast<std::size_t>(std::accumulate(counts.begin(), counts.end(), Index{0})));
    ranks.gather(numbers, counts, all);
    Matrix<Scalar> gathered(rows, std::accumulate(cols.begin(), cols.end(), Index{0}));
    std::transform(all.begin(), all.end(), gathered.data(), [](double x) { return static_cast<Scalar>(x); });
    return gathered;
}

/// Pools a batch that is spread over ranks by bags: D x B, the same on all ranks.
///
///     pool_spread<float>(ranks, offsets, [&](Index first, Index end) { return pool(bags from first to before end); });
///
/// pool_some(first, end) pools this rank's bags, D x (end - first), D also where there are none. If it throws, all ranks
/// throw, as on_every_rank() says.
template <BagScalar Scalar>
Matrix<Scalar> pool_spread(const AnyRanks& ranks, std::span<const std::int64_t> offsets, const auto& pool_some) {
    detail::require_that(!offsets.empty(), "number of offsets", 0, "at least 1");
    Matrix<Scalar> own;
    on_every_rank(ranks, [&] {
        const BagRange range = bags_of_rank(offsets, ranks.rank(), ranks.size());
        own = pool_some(range.first, range.end);
        detail::require_that(own.cols() == range.end - range.first, "number of pooled vectors", own.cols(),
                             range.end - range.first);
    });
    std::vector<Index> cols;
    for (Index r = 0; r < ranks.size(); ++r) {
        const BagRange range = bags_of_rank(offsets, r, ranks.size());
        cols.push_back(range.end - range.first);
    }
    return gather_columns(ranks, own, cols);
}

}  // namespace otpool
