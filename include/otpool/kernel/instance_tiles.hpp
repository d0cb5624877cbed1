// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// A D x N matrix in tiles of `lanes` instances by D features, relative to an anchor a feature: column d of a tile is
/// feature d of its instances. Sums over features then are sums of vectors, whatever D is, and the matrix's layout and
/// excluded instances matter only where a tile is filled. Where the instances end within a tile, the last is repeated.
template <BagScalar Scalar, BagScalar Work>
class InstanceTiles {
public:
    /// Instances to a tile: a vector of floats at AVX-512's width, and a multiple of any other.
    static constexpr Index lanes = 16;
    using Lanes = Eigen::Array<Work, lanes, 1>;
    using Tiles = Eigen::Array<Work, lanes, Eigen::Dynamic>;
    /// Local copies of these, as of what else there is one of a tile, are what compilers keep in registers.
    using Tile = Eigen::Map<const Tiles, Eigen::AlignedMax>;
    using MutableTile = Eigen::Map<Tiles, Eigen::AlignedMax>;

    /// `workers`: that ask for tiles at the same time.
    void set(const MatrixView<Scalar>& matrix, const std::vector<Index>& active, const auto& anchor,
             Index workers = 1) {
        matrix_ = matrix;
        active_ = active;
        anchor_ = anchor;
        filled_ = false;
        kept_ = rows() * cols() <= kept_elements;
        tiles_.resize(lanes * rows() * (kept_ ? count() : workers));
    }

    Index rows() const { return matrix_.rows(); }
    Index cols() const { return static_cast<Index>(active_.size()); }
    Index count() const { return (cols() + lanes - 1) / lanes; }
    const MatrixView<Scalar>& matrix() const { return matrix_; }
    const std::vector<Index>& active() const { return active_; }

    /// Valid until the worker's next call.
    Tile tile(Index tile, Index worker = 0) {
        Work* const first = tiles_.data() + (kept_ ? tile : worker) * lanes * rows();
        if (!filled_) fill(tile, first);
        return {first, lanes, rows()};
    }

    /// To be called when all tiles have been asked for once: they need not be filled again, if they are kept.
    void all_filled() { filled_ = kept_; }

    /// Adds `factor` times a tile to the columns of a D x N matrix that it stands for.
    template <class Matrix, class From>
    void add_to(Matrix& matrix, Index tile, const From& from, Real factor) const {
        for (Index first = 0; first < rows(); first += block) {
            const Index end = std::min(first + block, rows());
            for (Index lane = 0; lane < std::min(lanes, cols() - tile * lanes); ++lane) {
                Scalar* out = matrix.col(active_[static_cast<std::size_t>(tile * lanes + lane)]).data();
                for (Index d = first; d < end; ++d) {
                    out[d] += static_cast<Scalar>(factor * static_cast<Real>(from(lane, d)));
                }
            }
        }
    }

private:
    static constexpr Index block = 64;  ///< Features whose lanes stay in the first-level cache.
    /// Matrices up to this size are copied once, larger ones whenever they are read: memory costs more than the
    /// copying.
    static constexpr Index kept_elements = Index{1} << 20;

    Index instance(Index tile, Index lane) const {
        return active_[static_cast<std::size_t>(std::min(tile * lanes + lane, cols() - 1))];
    }

    /// Blocks that are as wide as a register are transposed in registers, where columns can be read so; the rest is
    /// gathered, a row after the other.
    void fill(Index tile, Work* out) const {
        Index whole = 0;
        if constexpr (std::same_as<Scalar, Work>) {
            if (matrix_.has_contiguous_cols()) {
                whole = rows() / packet_size<Scalar> * packet_size<Scalar>;
                std::array<const Scalar*, lanes> columns;
                for (std::size_t lane = 0; lane < lanes; ++lane) {
                    columns[lane] = matrix_.contiguous_col(instance(tile, static_cast<Index>(lane)), nullptr).data();
                }
                transpose_differences<Scalar>(columns, anchor_.data(), whole, out, lanes);
            }
        }
        const Index count = std::min(lanes, cols() - tile * lanes);
        Eigen::Array<Scalar, lanes, 1> row;
        for (Index d = whole; d < rows(); ++d) {
            copy_row(matrix_, d, active_.data() + tile * lanes, count, row.data());
            row.tail(lanes - count).setConstant(row[count - 1]);
            Eigen::Map<Lanes, Eigen::AlignedMax>(out + d * lanes) =
                row.template cast<Work>() - static_cast<Work>(anchor_[d]);
        }
    }

    MatrixView<Scalar> matrix_;
    std::vector<Index> active_;
    Vector<Scalar> anchor_;
    bool kept_ = false;
    bool filled_ = false;
    Buffer<Work> tiles_;
};

/// Sums over instances, a number a feature: so many tiles are summed in Work, lane by lane, before they are added to
/// sums in double.
inline constexpr Index summed_tiles = 32;

/// Adds the lanes' sums to those in double, and begins them anew.
template <class Tiles>
void add_up_lanes(Tiles& lane_sums, RealVector& sums) {
    for (Index d = 0; d < sums.size(); ++d) sums[d] += static_cast<Real>(lane_sums.col(d).sum());
    lane_sums.setZero();
}

}  // namespace otpool::detail
