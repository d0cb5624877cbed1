#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <otpool/adapter/dtype.hpp>

#include "array.hpp"

// Arrays in HDF5 files. Without HDF5 there are none: such a file is then refused like one of another format.

#ifdef POOL_HAS_HDF5

#include <otpool/adapter/hdf5.hpp>

namespace pool {

/// Whether a file that begins so is an HDF5 file, and can be read.
inline bool is_hdf5(std::string_view first) { return first.starts_with("\x89HDF\r\n\x1a\n"); }

/// The names of the datasets in the root of a file. Throws otpool::FileError.
inline std::vector<std::string> hdf5_arrays(const std::filesystem::path& file) {
    const otpool::detail::Hdf5Lock lock;
    return otpool::detail::hdf5_datasets(otpool::detail::open_hdf5(file));
}

/// Opens the dataset that is named, else the one called `usual_name`, which for instances is that of features. Throws
/// otpool::FileError.
inline Array open_hdf5_array(const std::filesystem::path& file, const std::string& name, const std::string& usual_name,
                             otpool::Elements elements) {
    const bool of_features = name.empty() && usual_name == "X";
    return Hdf5Array(file, of_features || !name.empty() ? name : usual_name, elements);
}

}  // namespace pool

#else

namespace pool {

inline bool is_hdf5(std::string_view) { return false; }
inline std::vector<std::string> hdf5_arrays(const std::filesystem::path&) { return {}; }
inline Array open_hdf5_array(const std::filesystem::path& file, const std::string&, const std::string&,
                             otpool::Elements elements) {
    return support::NpyFile(file, elements);
}

}  // namespace pool

#endif
