// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/simd/exponential.hpp"

namespace otpool::detail {

/// sign(gap) (1 - decay): by how much Z moves, in units of rho, where gap = log T - log S and decay = exp(-|gap|).
template <class Lanes>
Lanes dual_step(const Lanes& gap, const Lanes& decay) {
    Lanes step = 1 - decay;
    for (Index i = 0; i < Lanes::SizeAtCompileTime; ++i) step[i] = std::copysign(step[i], gap[i]);
    return step;
}

/// The duals Z that the steps of AdmmSweep start from, computed from the reward and the steps' gaps, a tile at a time:
/// where a step's slopes, rows and columns are known, what it does to Z takes one exp an element. That may cost less
/// than memory does, but grows with the number of steps; so the Z of some of them are stored.
template <BagScalar Scalar, BagScalar Work>
class AdmmDuals {
public:
    using Tiling = InstanceTiles<Scalar, Work>;
    using Tiles = typename Tiling::Tiles;
    using Tile = typename Tiling::Tile;
    using Lanes = typename Tiling::Lanes;
    static constexpr Index lanes = Tiling::lanes;

    /// log2 T - log2 S of a step: slope x_dn + row_d + col_n + dual_slope z_dn. Z and rho are in units of the first
    /// step's rho.
    struct Gap {
        Work slope = 0;
        Vector<Work> row;
        Buffer<Work> col;
        Work dual_slope = -1;
        Work rho = 1;

        /// log T - log S but for z, given what both have of x, of the features and of the instances.
        void set(Real slope_of_x, const auto& of_rows, const auto& of_cols, Real of_rho) {
            slope = static_cast<Work>(slope_of_x * log2_e);
            row = (of_rows * log2_e).template cast<Work>();
            col = (of_cols * log2_e).template cast<Work>();
            dual_slope = static_cast<Work>(-log2_e / of_rho);
            rho = static_cast<Work>(of_rho);
        }

        auto tile_of_col(Index tile) const { return col.template segment<lanes>(tile * lanes).array(); }
    };

    /// What is stored: the Z that step `first`, counted from 0, starts from, and that of every so many steps from there
    /// on. All that are stored may be kept, or the last alone.
    struct Storage {
        std::size_t first = 1;
        std::size_t every = 1;
        bool all = false;

        /// So many gaps, those of the steps just before, say the Z of the present step.
        std::size_t gaps() const { return std::max(first, every); }
    };

    /// Before the first step, which starts from Z = 0.
    void start(Index rows, Index tiles, const Storage& storage) {
        rows_ = rows;
        size_ = lanes * rows * tiles;
        storage_ = storage;
        zero_.setZero(lanes, rows);
    }

    /// Begins step k, counted from 0.
    void begin_step(std::size_t k) {
        if (!is_stored(k)) return;
        if (stored_.size() <= place(k)) stored_.resize(place(k) + 1);
        Vector<Work>& memory = stored_[place(k)];
        if (memory.size() < size_) memory.resize(size_);
    }

    /// The Z that step k starts from: in `scratch`, or where it is stored; it is stored now, if it is to be. Of the
    /// gaps of the steps before, that of step j is gaps[j % gaps.size()].
    Tile of_present_step(std::size_t k, const std::vector<Gap>& gaps, Index tile, Tile x, Tiles& scratch) {
        return compute(stored_before(k), k, gaps, tile, x, is_stored(k) ? stored(k, tile) : scratch.data());
    }

    /// The same of any step, where all that is stored is kept.
    Tile of_step(std::size_t k, const std::vector<Gap>& gaps, Index tile, Tile x, Tiles& scratch) const {
        return compute(is_stored(k) ? k : stored_before(k), k, gaps, tile, x, scratch.data());
    }

private:
    bool is_stored(std::size_t k) const { return k >= storage_.first && (k - storage_.first) % storage_.every == 0; }
    /// The last step before k whose Z is stored, or 0.
    std::size_t stored_before(std::size_t k) const {
        return k <= storage_.first ? 0 : k - 1 - (k - 1 - storage_.first) % storage_.every;
    }
    std::size_t place(std::size_t k) const { return storage_.all ? (k - storage_.first) / storage_.every : 0; }

    Work* stored(std::size_t k, Index tile) { return stored_[place(k)].data() + tile * lanes * rows_; }
    const Work* stored(std::size_t k, Index tile) const { return stored_[place(k)].data() + tile * lanes * rows_; }

    /// In `memory`, if there is anything to do.
    Tile compute(std::size_t from, std::size_t to, const std::vector<Gap>& gaps, Index tile, Tile x,
                 Work* memory) const {
        const Work* z = from == 0 ? zero_.data() : stored(from, tile);
        for (std::size_t k = from; k < to; ++k, z = memory) move(gaps[k % gaps.size()], tile, x, z, memory);
        return {z, lanes, rows_};
    }

    /// z <- before + rho sign(gap) (1 - exp(-|gap|))
    static void move(const Gap& step, Index tile, Tile x, const Work* before, Work* z) {
        // Copies, lest they be read again for every element, as a compiler cannot know that z is elsewhere.
        const Work slope = step.slope;
        const Work dual_slope = step.dual_slope;
        const Work rho = step.rho;
        const Work* row = step.row.data();
        const Lanes col = step.tile_of_col(tile);
        for (Index d = 0; d < x.cols(); ++d) {
            const Lanes old = Eigen::Map<const Lanes, Eigen::AlignedMax>(before + d * lanes);
            const Lanes gap = multiply_add(x.col(d), slope, multiply_add(old, dual_slope, row[d] + col));
            const Lanes decay = bounded_exp2(negative_magnitude(gap));
            Eigen::Map<Lanes, Eigen::AlignedMax>(z + d * lanes) = multiply_add(dual_step(gap, decay), rho, old);
        }
    }

    Index rows_ = 0;
    Index size_ = 0;  ///< Of a Z.
    Storage storage_;
    Tiles zero_;
    std::vector<Vector<Work>> stored_;
};

}  // namespace otpool::detail
