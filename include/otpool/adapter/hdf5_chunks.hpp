// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "otpool/adapter/hdf5_file.hpp"

namespace otpool::detail {

/// How a dataset is cut into chunks.
struct Hdf5Chunks {
    std::array<::hsize_t, 3> sizes{};
    std::size_t row_axis, column_axis;  ///< Of the shape; equal for (N,).
    ::hsize_t down = 1, across = 1;

    Hdf5Chunks(const std::vector<std::int64_t>& shape, const Hdf5Handle& creation)
        : row_axis(shape.size() == 3 ? 1 : 0), column_axis(shape.size() - 1) {
        H5Pget_chunk(creation.id(), static_cast<int>(shape.size()), sizes.data());
        std::replace(sizes.begin(), sizes.end(), ::hsize_t{0}, ::hsize_t{1});
        const auto count = [&](std::size_t axis) {
            return (static_cast<::hsize_t>(shape[axis]) + sizes[axis] - 1) / sizes[axis];
        };
        down = count(row_axis);
        if (column_axis != row_axis) across = count(column_axis);
    }

    /// How many numbers one has.
    ::hsize_t numbers() const {
        ::hsize_t all = 1;
        for (std::size_t axis = 0; axis <= column_axis; ++axis) all *= sizes[axis];
        return all;
    }
    ::hsize_t columns() const { return column_axis == row_axis ? 1 : sizes[column_axis]; }
    ::hsize_t number(const ::hsize_t* at) const {
        return at[row_axis] / sizes[row_axis] * across + (at[column_axis] / sizes[column_axis]) % across;
    }
    std::array<::hsize_t, 3> begin(::hsize_t number) const {
        std::array<::hsize_t, 3> at{};
        at[column_axis] = number % across * sizes[column_axis];
        at[row_axis] = number / across * sizes[row_axis];
        return at;
    }
};

/// Whether each_chunk() finds any number of chunks.
constexpr bool finds_all_chunks = H5_VERSION_GE(1, 14, 0);

/// Reads the bytes of the chunk at this index as they are stored, where each_chunk() does not find all. False if HDF5 refuses.
inline bool read_raw_chunk(const Hdf5Handle& dataset, const ::hsize_t* at, char* to) {
#if H5_VERSION_GE(1, 14, 0)
    static_cast<void>(dataset), static_cast<void>(at), static_cast<void>(to);
    return false;  // HDF5 2 has another function
#else
    std::uint32_t mask = 0;
    return H5Dread_chunk(dataset.id(), H5P_DEFAULT, at, &mask, to) >= 0;
#endif
}

/// Calls place(first index, address) for all chunks, or for none if that would take long.
template <class Place>
void each_chunk(const Hdf5Handle& dataset, [[maybe_unused]] const Hdf5Chunks& chunks, const Place& place) {
#if H5_VERSION_GE(1, 14, 0)
    const auto visit = [](const ::hsize_t* at, unsigned, ::haddr_t address, ::hsize_t, void* to) {
        (*static_cast<const Place*>(to))(at, address);
        return 0;
    };
    H5Dchunk_iter(dataset.id(), H5P_DEFAULT, visit, const_cast<Place*>(&place));
#else
    constexpr ::hsize_t few = 2048;  // these versions go through all chunks to find one
    const ::hsize_t count = chunks.down * chunks.across;
    for (::hsize_t number = 0; number < count && count <= few; ++number) {
        const std::array<::hsize_t, 3> at = chunks.begin(number);
        unsigned mask = 0;
        ::haddr_t address = HADDR_UNDEF;
        ::hsize_t bytes = 0;
        if (H5Dget_chunk_info_by_coord(dataset.id(), at.data(), &mask, &address, &bytes) < 0) return;
        place(at.data(), address);
    }
#endif
}

}  // namespace otpool::detail
