#pragma once

#include <hdf5.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace tests {

/// float16 in HDF5's terms.
inline hid_t hdf5_half(std::endian order) {
    const hid_t type = H5Tcopy(order == std::endian::little ? H5T_IEEE_F32LE : H5T_IEEE_F32BE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

/// A dataset to be written, and how.
struct Hdf5Written {
    std::string name = "features";
    std::vector<hsize_t> shape = {};
    std::vector<hsize_t> chunk = {};  ///< Empty: contiguous. Else it may grow.
    int gzip = 0;                     ///< The level, 0: not compressed.
    bool shuffle = false;
    bool compact = false;
    bool is_written = true;
    bool latest = false;  ///< In the newest format of the library.
    hsize_t user_block = 0;
};

/// Adds a dataset of a type to a file, which is made if there is none. `memory` is the type of `values`; HDF5 converts.
inline void write_hdf5(const std::filesystem::path& path, const Hdf5Written& how, hid_t type, hid_t memory,
                       const void* values) {
    const auto check = [](auto result) {
        if (result < 0) throw std::runtime_error("HDF5 cannot write what a test needs");
        return result;
    };
    const hid_t access = check(H5Pcreate(H5P_FILE_ACCESS));
    if (how.latest) check(H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST));
    const hid_t creation = check(H5Pcreate(H5P_FILE_CREATE));
    check(H5Pset_userblock(creation, how.user_block));
    const hid_t file = check(std::filesystem::exists(path) ? H5Fopen(path.c_str(), H5F_ACC_RDWR, access)
                                                           : H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation, access));
    const auto dimensions = static_cast<int>(how.shape.size());
    const std::vector<hsize_t> unlimited(how.shape.size(), H5S_UNLIMITED);
    const hid_t space =
        check(H5Screate_simple(dimensions, how.shape.data(), how.chunk.empty() ? nullptr : unlimited.data()));
    const hid_t layout = check(H5Pcreate(H5P_DATASET_CREATE));
    if (!how.chunk.empty()) check(H5Pset_chunk(layout, dimensions, how.chunk.data()));
    if (how.compact) check(H5Pset_layout(layout, H5D_COMPACT));
    if (how.shuffle) check(H5Pset_shuffle(layout));
    if (how.gzip > 0) check(H5Pset_deflate(layout, static_cast<unsigned>(how.gzip)));
    const hid_t dataset = check(H5Dcreate2(file, how.name.c_str(), type, space, H5P_DEFAULT, layout, H5P_DEFAULT));
    if (how.is_written) check(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values));
    check(H5Dclose(dataset));
    check(H5Pclose(layout));
    check(H5Sclose(space));
    check(H5Fclose(file));
    check(H5Pclose(creation));
    check(H5Pclose(access));
}

/// The type of numbers in memory.
template <class Scalar>
hid_t hdf5_native() {
    if constexpr (std::is_floating_point_v<Scalar>) {
        return sizeof(Scalar) == 4 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
    } else {
        return H5T_NATIVE_INT64;
    }
}

/// The same of numbers as they are in memory.
template <class Scalar>
void write_hdf5(const std::filesystem::path& path, const Hdf5Written& how, const std::vector<Scalar>& values) {
    write_hdf5(path, how, hdf5_native<Scalar>(), hdf5_native<Scalar>(), values.data());
}

}  // namespace tests
