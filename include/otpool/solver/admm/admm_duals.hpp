// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/lanes.hpp"
#include "otpool/solver/admm/admm_step.hpp"

namespace otpool::detail {

/// sign(gap) (1 - decay): the change of Z in units of rho, where gap = log T - log S and decay = exp(-|gap|).
template <class L>
EIGEN_ALWAYS_INLINE L dual_change(const L& gap, const L& decay) {
    return copy_sign(L(1) - decay, gap);
}

/// The dual Z before each step of AdmmSweep, a tile of instances (InstanceTiles) at a time, computed from the reward
/// and the steps' gaps: once a step's slopes, rows and columns are known, its change of Z takes one exp per element.
/// That may cost less than memory, but grows with the number of steps; so some Z are stored.
template <BagScalar Work>
class AdmmDuals {
public:
    using L = Lanes<Work>;
    static constexpr Index lanes = register_lanes;

    /// log2 T - log2 S of a step: slope x_dn + row_d + col_n + dual_slope z_dn. Z and rho are in units of the first
    /// step's rho.
    struct Gap {
        Work slope = 0;
        Buffer<Work> row, col;
        Work dual_slope = -1;
        Work rho = 1;

        void set(const LogPlane& transport, const LogPlane& smooth, Index rows, Index cols, Real of_rho) {
            slope = static_cast<Work>((transport.slope - smooth.slope) * log2_e);
            set_difference(transport.row, smooth.row, rows, row);
            set_difference(transport.col, smooth.col, cols, col);
            dual_slope = static_cast<Work>(-log2_e / of_rho);
            rho = static_cast<Work>(of_rho);
        }

        L of_cols(Index tile) const { return L::load(col.data() + tile * lanes); }

    private:
        static void set_difference(const Real* a, const Real* b, Index size, Buffer<Work>& to) {
            to.resize(size);
            for (Index i = 0; i < size; ++i) to[i] = static_cast<Work>((a[i] - b[i]) * log2_e);
        }
    };

    /// Which Z are stored: that before step `first`, counted from 0, and from there on every `every`-th. `all` keeps
    /// all of them, not only the last.
    struct Storage {
        std::size_t first = 1;
        std::size_t every = 1;
        bool all = false;

        /// How many of the latest steps' gaps the present Z needs.
        std::size_t gaps() const { return (std::max)(first, every); }
    };

    /// Z before the first step: slope x_dn + row_d + col_n; zero if row is empty. col is padded to whole tiles.
    struct Start {
        Work slope = 0;
        Buffer<Work> row, col;

        bool is_zero() const { return row.size() == 0; }
    };

    /// Call before the first step.
    void start(Index rows, Index tiles, const Storage& storage, const Start& first_dual = {}) {
        rows_ = rows;
        size_ = lanes * rows * tiles;
        storage_ = storage;
        start_ = first_dual;
        zero_.assign(lanes * rows, 0);
    }

    /// Begins step k, counted from 0.
    void begin_step(std::size_t k) {
        if (!is_stored(k)) return;
        if (stored_.size() <= place(k)) stored_.resize(place(k) + 1);
        Buffer<Work>& memory = stored_[place(k)];
        if (memory.size() < size_) memory.resize(size_);
    }

    /// The Z before step k, in `scratch` or in storage (Storage says which). The gap of an earlier step j is
    /// gaps[j % gaps.size()].
    const Work* of_present_step(std::size_t k, const std::vector<Gap>& gaps, Index tile, const Work* x, Work* scratch) {
        return compute(stored_before(k), k, gaps, tile, x, is_stored(k) ? stored(k, tile) : scratch);
    }

    /// The same for any step, if all stored Z are kept.
    const Work* of_step(std::size_t k, const std::vector<Gap>& gaps, Index tile, const Work* x, Work* scratch) const {
        return compute(is_stored(k) ? k : stored_before(k), k, gaps, tile, x, scratch);
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

    /// In `memory`, if anything is computed.
    const Work* compute(std::size_t from, std::size_t to, const std::vector<Gap>& gaps, Index tile, const Work* x,
                        Work* memory) const {
        const Work* z = from == 0 ? first_dual(tile, x, memory) : stored(from, tile);
        for (std::size_t k = from; k < to; ++k, z = memory) move(gaps[k % gaps.size()], tile, x, z, memory);
        return z;
    }

    const Work* first_dual(Index tile, const Work* x, Work* memory) const {
        if (start_.is_zero()) return zero_.data();
        const L col = L::load(start_.col.data() + tile * lanes);
        for (Index d = 0; d < rows_; ++d) {
            multiply_add(L::load(x + d * lanes), L(start_.slope), L(start_.row[d]) + col).store(memory + d * lanes);
        }
        return memory;
    }

    /// z <- before + rho sign(gap) (1 - exp(-|gap|))
    void move(const Gap& step, Index tile, const Work* x, const Work* before, Work* z) const {
        const L slope(step.slope);  // copies, as compilers cannot know that z is elsewhere
        const L dual_slope(step.dual_slope);
        const L rho(step.rho);
        const Work* row = step.row.data();
        const L col = step.of_cols(tile);
        for (Index d = 0; d < rows_; ++d) {
            const L old = L::load(before + d * lanes);
            const L gap = multiply_add(L::load(x + d * lanes), slope, multiply_add(old, dual_slope, L(row[d]) + col));
            const L decay = bounded_exp2(negative_magnitude(gap));
            multiply_add(dual_change(gap, decay), rho, old).store(z + d * lanes);
        }
    }

    Index rows_ = 0;
    Index size_ = 0;  ///< Numbers in a Z.
    Storage storage_;
    Start start_;
    Buffer<Work> zero_;  ///< A tile of zeros.
    std::vector<Buffer<Work>> stored_;
};

}  // namespace otpool::detail
