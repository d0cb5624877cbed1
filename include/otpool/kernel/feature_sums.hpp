// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// Sum this many tiles of instances in Work, lane by lane, then add to sums in double.
inline constexpr Index summed_tiles = 32;

/// register_lanes sums per feature, over tiles of instances (InstanceTiles).
template <BagScalar Work>
class LaneSums {
public:
    void start(Index rows) { lanes_.assign(rows * register_lanes, 0); }
    /// The lanes of feature d are those from d * register_lanes.
    Work* data() { return lanes_.data(); }

    /// Adds each feature's lanes to `sums`, and sets them to zero.
    void move_to(Buffer<Real>& sums) {
        Work* of_feature = lanes_.data();
        for (Index d = 0; d < sums.size(); ++d, of_feature += register_lanes) {
            sums[d] += static_cast<Real>(sum(Lanes<Work>::load(of_feature)));
            Lanes<Work>(Work(0)).store(of_feature);
        }
    }

private:
    Buffer<Work> lanes_;
};

/// Per feature, sums over instances of weights and of weights times values, in units of exp(level). The level rises if
/// a tile is far above it. Some tiles are summed in Work, all in double.
template <BagScalar Work>
class FeatureSums {
public:
    LaneSums<Work> weight_lanes, value_lanes;  ///< Tiles that are not added up yet.

    /// Sets sums to zero. `values`: whether there are any.
    void start(Index rows, bool values) {
        has_values_ = values;
        for (Buffer<Real>* sums : {&weight_, &value_}) sums->assign(rows, 0);
        weight_lanes.start(rows);
        if (values) value_lanes.start(rows);
        level_ = std::numeric_limits<Real>::lowest();
        tiles_ = 0;
    }

    /// Returns the level for a tile with weights up to exp(top).
    Real begin_tile(Real top) {
        const bool rises = top > level_ + 20;
        if (tiles_ > 0 && (rises || tiles_ % summed_tiles == 0)) add_up();
        if (rises) raise_level(top);
        ++tiles_;
        return level_;
    }

    void add_up() {
        weight_lanes.move_to(weight_);
        if (has_values_) value_lanes.move_to(value_);
    }

    /// Adds up the parts, in order, into the first.
    static FeatureSums& add_up(std::vector<FeatureSums>& parts) {
        FeatureSums& all = parts.front();
        Real level = all.level_;
        for (const FeatureSums& part : parts) level = (std::max)(level, part.level_);
        for (FeatureSums& part : parts) {
            part.raise_level(level);
            if (&part == &all) continue;
            for (Index d = 0; d < all.weight_.size(); ++d) {
                all.weight_[d] += part.weight_[d];
                all.value_[d] += part.value_[d];
            }
        }
        return all;
    }

    Real level() const { return level_; }
    const Buffer<Real>& weight() const { return weight_; }
    const Buffer<Real>& value() const { return value_; }

private:
    void raise_level(Real level) {
        const Real factor = std::exp(level_ - level);
        for (Real& sum : weight_) sum *= factor;
        for (Real& sum : value_) sum *= factor;
        level_ = level;
    }

    Buffer<Real> weight_, value_;
    bool has_values_ = false;
    Real level_ = 0;
    Index tiles_ = 0;
};

}  // namespace otpool::detail
