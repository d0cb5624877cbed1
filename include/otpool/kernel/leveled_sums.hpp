// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/instance_tiles.hpp"

namespace otpool::detail {

/// Sums over tiles of instances, a number a feature, of weights and of weights times values, in units of exp(level),
/// which rises where a tile is far above it. Within some tiles in Work, lane by lane, of all in double.
template <BagScalar Scalar, BagScalar Work>
class LeveledSums {
public:
    using Tiles = typename InstanceTiles<Scalar, Work>::Tiles;

    Tiles weight_lanes, value_lanes;  ///< What is still to be added, of the tiles since begin_tile() has last done so.

    /// To zero. `values`: whether there are any.
    void start(Index rows, bool values) {
        weight_.setZero(rows);
        weight_lanes.setZero(InstanceTiles<Scalar, Work>::lanes, rows);
        has_values_ = values;
        value_.setZero(rows);
        if (values) value_lanes.setZero(InstanceTiles<Scalar, Work>::lanes, rows);
        level_ = std::numeric_limits<Real>::lowest();
        tiles_ = 0;
    }

    /// The level for a tile of weights up to exp(top).
    Real begin_tile(Real top) {
        const bool rises = top > level_ + 20;
        if (tiles_ > 0 && (rises || tiles_ % summed_tiles == 0)) add_up();
        if (rises) raise_level(top);
        ++tiles_;
        return level_;
    }

    void add_up() {
        add_up_lanes(weight_lanes, weight_);
        if (has_values_) add_up_lanes(value_lanes, value_);
    }

    /// Into the first one, in order.
    static LeveledSums& add_up(std::vector<LeveledSums>& parts) {
        LeveledSums& all = parts.front();
        Real level = all.level_;
        for (const LeveledSums& part : parts) level = std::max(level, part.level_);
        for (LeveledSums& part : parts) {
            part.raise_level(level);
            if (&part == &all) continue;
            all.weight_ += part.weight_;
            all.value_ += part.value_;
        }
        return all;
    }

    Real level() const { return level_; }
    const RealVector& weight() const { return weight_; }
    const RealVector& value() const { return value_; }

private:
    void raise_level(Real level) {
        const Real factor = std::exp(level_ - level);
        weight_ *= factor;
        value_ *= factor;
        level_ = level;
    }

    RealVector weight_, value_;
    bool has_values_ = false;
    Real level_ = 0;
    Index tiles_ = 0;
};

}  // namespace otpool::detail
