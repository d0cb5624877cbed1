// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// log P_dn = score_dn + log_scale_d on the active instances, P_dn = 0 elsewhere. Columns are computed on request.
///
/// The scores alone say how a feature weighs its instances, even a feature without mass (log_scale = -inf).
class LogPlan {
public:
    /// Writes the scores of the k-th active instance, one per feature, to `score`. Thread-safe.
    using Column = std::function<void(Index k, Real* score)>;

    LogPlan() = default;
    LogPlan(Column column, RealVector log_scale, std::vector<Index> active)
        : column_(std::move(column)), log_scale_(std::move(log_scale)), active_(std::move(active)) {}

    const std::vector<Index>& active() const { return active_; }
    const RealVector& log_scale() const { return log_scale_; }
    Index features() const { return log_scale_.size(); }
    /// The scores of the k-th active instance.
    void column(Index k, Real* score) const { column_(k, score); }

    /// visit(k, n, scores) for every active instance n in order; the next column overwrites the scores.
    template <class Visit>
    void for_each_column(const Visit& visit) const {
        RealVector score(features());
        for (std::size_t k = 0; k < active_.size(); ++k) {
            column_(static_cast<Index>(k), score.data());
            visit(static_cast<Index>(k), active_[k], static_cast<const RealVector&>(score));
        }
    }
    /// The same with log P instead of the scores.
    template <class Visit>
    void for_each_log_column(const Visit& visit) const {
        RealVector log_column(features());
        for_each_column([&](Index k, Index n, const RealVector& score) {
            for (Index d = 0; d < features(); ++d) log_column[d] = score[d] + log_scale_[d];
            visit(k, n, static_cast<const RealVector&>(log_column));
        });
    }

    /// max_k score_dk
    RealVector top() const {
        RealVector top(features());
        std::fill(top.begin(), top.end(), -std::numeric_limits<Real>::infinity());
        for_each_column([&](Index, Index, const RealVector& score) {
            for (Index d = 0; d < features(); ++d) top[d] = (std::max)(top[d], score[d]);
        });
        return top;
    }

private:
    Column column_;
    RealVector log_scale_;
    std::vector<Index> active_;
};

}  // namespace otpool::detail
