// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/reward_block.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// A D x N matrix, minus an anchor per feature and one per instance, in tiles of `lanes` instances by D features: the
/// lanes from d * lanes are feature d of the tile's instances. Sums over features are then sums of registers, for any
/// D. The matrix's layout and excluded instances matter only when a tile is filled. Copies of the last instance pad the
/// last tile.
template <BagScalar Work>
class InstanceTiles {
public:
    static constexpr Index lanes = register_lanes;

    /// Views the matrix. `anchor`: D numbers; those of the instances are 0. `workers`: how many use tiles at the same
    /// time.
    void set(const AnyView& matrix, const std::vector<Index>& active, const auto& anchor, Index workers = 1) {
        matrix_ = matrix;
        active_ = active;
        anchor_.assign(padded(rows()), 0);
        for (Index d = 0; d < rows(); ++d) anchor_[d] = static_cast<Work>(anchor[d]);
        instance_anchor_.resize(0);
        filled_ = false;
        kept_ = rows() * cols() <= kept_elements;
        readers_.resize(static_cast<std::size_t>(workers));
        tiles_.resize(size() * (kept_ ? count() : workers));
    }

    /// Changes the anchors: one per feature, and one per lane of all tiles.
    void set_anchors(const Buffer<Real>& of_features, const Buffer<Real>& of_instances) {
        for (Index d = 0; d < rows(); ++d) anchor_[d] = static_cast<Work>(of_features[d]);
        instance_anchor_.resize(of_instances.size());
        for (Index k = 0; k < of_instances.size(); ++k) instance_anchor_[k] = static_cast<Work>(of_instances[k]);
        filled_ = false;
    }

    Index rows() const { return matrix_.rows(); }
    Index cols() const { return static_cast<Index>(active_.size()); }
    Index count() const { return (cols() + lanes - 1) / lanes; }
    /// How many numbers a tile has.
    Index size() const { return lanes * rows(); }
    /// How many of a tile's lanes are instances.
    Index used(Index tile) const { return (std::min)(lanes, cols() - tile * lanes); }
    const AnyView& matrix() const { return matrix_; }
    const std::vector<Index>& active() const { return active_; }

    /// size() numbers, valid until the worker's next call.
    const Work* tile(Index tile, Index worker = 0) {
        Work* const first = tiles_.data() + (kept_ ? tile : worker) * size();
        if (!filled_) {
            const Index* instances = active_.data() + tile * lanes;
            auto& reader = readers_[static_cast<std::size_t>(worker)];
            reader.transpose(matrix_, instances, used(tile), anchor_.data(), first);
            if (instance_anchor_.size() > 0) subtract(instance_anchor_.data() + tile * lanes, first);
        }
        return first;
    }

    /// Call this after a pass over all tiles: if tiles are kept, they need not be filled again.
    void all_filled() { filled_ = kept_; }

    /// Adds `factor` times a tile to its columns of a D x N matrix.
    template <BagScalar Scalar>
    void add_to(Scalar* matrix, Index tile, const Work* from, Real factor) const {
        for (Index first = 0; first < rows(); first += block) {
            const Index end = (std::min)(first + block, rows());
            for (Index lane = 0; lane < used(tile); ++lane) {
                Scalar* out = matrix + active_[static_cast<std::size_t>(tile * lanes + lane)] * rows();
                for (Index d = first; d < end; ++d) {
                    out[d] += static_cast<Scalar>(factor * static_cast<Real>(from[d * lanes + lane]));
                }
            }
        }
    }

private:
    void subtract(const Work* of_lanes, Work* numbers) const {
        const Lanes<Work> anchor = Lanes<Work>::load(of_lanes);
        for (Index at = 0; at < size(); at += lanes) (Lanes<Work>::load(numbers + at) - anchor).store(numbers + at);
    }

    static constexpr Index block = 64;  ///< Features whose lanes stay in the first-level cache.
    /// Matrices up to this size are copied once, larger ones at every read: memory costs more than copying.
    static constexpr Index kept_elements = Index{1} << 20;

    AnyView matrix_;
    std::vector<Index> active_;
    Buffer<Work> anchor_;
    Buffer<Work> instance_anchor_;  ///< Of every lane; empty if they are zero.
    bool kept_ = false;
    bool filled_ = false;
    std::vector<RewardBlock<Work>> readers_;  ///< One per worker.
    Buffer<Work> tiles_;
};

}  // namespace otpool::detail
