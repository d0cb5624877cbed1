#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <otpool/adapter/npy.hpp>
#include <otpool/core/matrix.hpp>

#include "arrays.hpp"
#include "instance_files.hpp"

#ifdef POOL_HAS_HDF5
#include <otpool/adapter/hdf5.hpp>
#endif

namespace pool {

/// The instances of one bag as columns that are read piece by piece, from the files that have them: a ColumnSource.
template <otpool::BagScalar Number>
class BagColumns {
public:
    using Scalar = Number;

    /// Instances [first, first + count) of all. Opens their files. Throws FileError.
    BagColumns(const InstanceFiles& input, Index first, Index count) : rows_(input.features()), cols_(count) {
        for (std::size_t f = input.file_of(first); f < input.size() && input.begins()[f] < first + count; ++f) {
            const Index begin = std::max<Index>(first, input.begins()[f]);
            const Index end = std::min<Index>(first + count, input.begins()[f + 1]);
            if (begin < end) pieces_.push_back({open(input.place(f)), begin - input.begins()[f], begin - first});
        }
    }

    Index rows() const { return rows_; }
    Index cols() const { return cols_; }

    /// to <- columns [first, first + count)
    void read(Index first, Index count, Scalar* to) const {
        for (std::size_t i = 0; i < pieces_.size() && count > 0; ++i) {
            const Index end = i + 1 < pieces_.size() ? pieces_[i + 1].first : cols_;
            if (end <= first) continue;
            const Index here = std::min(count, end - first);
            const Index in_file = pieces_[i].row + first - pieces_[i].first;
            std::visit([&](const auto& file) { file.read(in_file, here, to); }, pieces_[i].file);
            first += here;
            count -= here;
            to += here * rows_;
        }
    }

private:
#ifdef POOL_HAS_HDF5
    using Columns = std::variant<otpool::NpyColumns<Scalar>, otpool::Hdf5Columns<Scalar>>;
#else
    using Columns = std::variant<otpool::NpyColumns<Scalar>>;
#endif

    static Columns open(const ArrayPlace& place) {
        switch (place.format()) {
#ifdef POOL_HAS_HDF5
            case ArrayPlace::Format::hdf5: return otpool::Hdf5Columns<Scalar>(place.file, place.name);
#endif
            case ArrayPlace::Format::npy: return otpool::NpyColumns<Scalar>(place.file);
            default:
                throw FileError(place.file, "format", "a .npz archive larger than --memory",
                                "a .npy or .h5 file, which can be read piece by piece");
        }
    }

    /// A part of the bag in one file.
    struct Piece {
        Columns file;
        Index row = 0;    ///< Where it begins in the file,
        Index first = 0;  ///< and in the bag.
    };

    Index rows_, cols_;
    std::vector<Piece> pieces_;
};

}  // namespace pool
