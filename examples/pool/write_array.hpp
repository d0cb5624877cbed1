#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "../support/file_error.hpp"
#include "../support/npy.hpp"
#include "../support/output_files.hpp"
#include "arrays.hpp"

#ifdef POOL_HAS_HDF5
#include "../support/hdf5_image.hpp"
#endif

// Outputs are .npy files or, if their names end so, HDF5 files.

namespace pool {

/// Whether an output is to be an HDF5 file. Throws FileError if it cannot be.
inline bool is_hdf5_output(const std::filesystem::path& name) {
    if (name.extension() != ".h5" && name.extension() != ".hdf5") return false;
#ifndef POOL_HAS_HDF5
    throw FileError(name, "output", "an HDF5 file",
                    "a .npy file, for this program was built without HDF5 (Debian: libhdf5-dev)");
#endif
    return true;
}

/// A matrix, column after column, as an array of this shape; in an HDF5 file it is called `name`, and beside it is a copy of
/// the dataset that `beside` names, if any.
template <class Values>
void write_array(support::OutputFile& file, [[maybe_unused]] const std::string& name, const Values& values,
                 const std::vector<std::int64_t>& shape,
                 [[maybe_unused]] const std::optional<ArrayPlace>& beside = {}) {
#ifdef POOL_HAS_HDF5
    if (is_hdf5_output(file.name())) {
        support::Hdf5Image image;
        image.add(name, shape, values.data());
        if (beside) image.copy(beside->file, beside->name);
        const std::vector<char> bytes = image.bytes();
        file.stream().write(bytes.data(), std::ssize(bytes));
        return;
    }
#endif
    support::write_npy(file.stream(), values, shape);
}

/// A D x N matrix as an (N, D) array.
template <class Values>
void write_array(support::OutputFile& file, const std::string& name, const Values& values) {
    write_array(file, name, values, {values.cols(), values.rows()});
}

}  // namespace pool
