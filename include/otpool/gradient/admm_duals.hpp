// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/exponential.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/solver/admm_sweep.hpp"
#include "otpool/solver/instance_tiles.hpp"

namespace otpool::detail {

/// The duals Z that the steps of AdmmSweep start from, computed again from the reward, a tile at a time: where a step's
/// slopes, rows and columns are known, what it does to Z takes one exp an element. That costs less than memory does, but
/// grows with the number of steps; so the Z of some of them are kept.
template <BagScalar Scalar, BagScalar Work>
class AdmmDuals {
public:
    using Tiling = InstanceTiles<Scalar, Work>;
    using Tiles = typename Tiling::Tiles;
    using Tile = typename Tiling::Tile;
    using Lanes = typename Tiling::Lanes;
    static constexpr Index lanes = Tiling::lanes;
    /// Steps between those whose Z is kept: 7 exps an element and step at most, 0.9 ns in float. Reading a matrix of floats from
    /// memory, which may be three times a step then, takes 0.3.
    static constexpr int kept_every = 8;

    /// log T - log S of a step: slope x_dn + row_d + col_n - z_dn.
    struct Gap {
        Work slope;
        Vector<Work> row, col;
        Work ratio;  ///< Its rho over the next step's, Z being in units of rho.

        auto tile_of_col(Index tile) const { return col.template segment<lanes>(tile * lanes).array(); }
    };

    /// `kept`: what AdmmSweep has kept of every kept_every-th step.
    AdmmDuals(const std::vector<SweptStep>& steps, const std::vector<Real>& ratios, const std::vector<Tiles>& kept)
        : kept_(kept) {
        gaps_.reserve(steps.size());
        for (std::size_t k = 0; k + 1 < steps.size(); ++k) {
            const SweptStep& step = steps[k];
            gaps_.push_back({static_cast<Work>(step.transport_slope - step.smooth_slope),
                             (step.transport_row - step.smooth_row).template cast<Work>(),
                             (step.transport_col - step.smooth_col).template cast<Work>(),
                             static_cast<Work>(ratios[k])});
        }
    }

    const Gap& gap(std::size_t k) const { return gaps_[k]; }

    /// The Z that step k starts from, in units of its rho.
    void compute(std::size_t k, Index tile, const Tile& x, Tiles& z) const {
        const Index rows = x.cols();
        const std::size_t kept = std::min(k / kept_every, kept_.size());
        if (kept > 0) {
            z = kept_[kept - 1].middleCols(tile * rows, rows);
        } else {
            z.setZero(lanes, rows);
        }
        for (std::size_t j = kept * kept_every; j < k; ++j) {
            const Gap& step = gaps_[j];
            const Lanes col = step.tile_of_col(tile);
            for (Index d = 0; d < rows; ++d) {
                const Lanes gap = step.slope * x.col(d) + step.row[d] + col - z.col(d);
                z.col(d) = step.ratio * (z.col(d) + dual_step(gap, Lanes(bounded_exp(-gap.abs()))));
            }
        }
    }

private:
    std::vector<Gap> gaps_;
    const std::vector<Tiles>& kept_;
};

}  // namespace otpool::detail
