// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/hdf5_rows.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// A dataset of an HDF5 file: (N, D) or (1, N, D), such as the features of a slide's patches, or (N,). Needs the C library
/// of HDF5, 1.10.5 or later, and POSIX.
///
/// The numbers are float16, float32, float64 or integers of 8 to 64 bits, with either byte order.
///
/// Data without compression is read by pread, in several threads at once. Compressed data is read by HDF5, in one thread at
/// a time. So are more than 2048 chunks before HDF5 1.14, which takes long to say where they are. HDF5's library is not safe
/// for threads: this class calls it under a lock. A program that calls it at the same time itself needs a library that is
/// built for threads.
///
/// A copy shares the open file. Calls are const and thread-safe.
class Hdf5Dataset {
public:
    /// Opens a dataset; without a name `features`, else the only dataset of floats of shape (N, D) or (1, N, D). Throws
    /// FileError for a file that is cut off or locked, for other types and shapes, and for a compression that HDF5 lacks.
    explicit Hdf5Dataset(const std::filesystem::path& file, const std::string& name = "")
        : data_(std::make_shared<const detail::Hdf5Rows>(file, name)) {}

    /// FILE:NAME.
    const std::filesystem::path& path() const { return data_->path; }
    /// The name in the file.
    const std::string& name() const { return data_->name; }
    /// The sizes in the file.
    const std::vector<std::int64_t>& shape() const { return data_->shape; }
    /// The type of the numbers in the file.
    Dtype dtype() const { return data_->numbers.dtype; }
    /// D; of shape (N,) it is 1, and of (0,), as some write a slide without patches, 0.
    Index rows() const { return data_->layout.row_length; }
    /// N.
    Index cols() const { return data_->rows; }

    /// to <- columns [first, first + count): rows() * count numbers, column after column, as float, double or, if they are
    /// integers, std::int64_t. Throws FileError if the file is damaged or was changed, or has a number that the type does
    /// not hold. Its message has the row of the file: column n is row n there.
    template <detail::ReadScalar Scalar>
    void read(Index first, Index count, Scalar* to) const {
        detail::require_columns(first, count, cols());
        detail::read_rows(path(), data_->numbers, rows(), first, count, to,
                          [&](char* bytes, Index begin, Index rows) { data_->fill(bytes, begin, rows); });
    }

private:
    std::shared_ptr<const detail::Hdf5Rows> data_;
};

/// The columns of a bag in an HDF5 file, a ColumnSource: what an Hdf5Dataset of shape (N, D) or (1, N, D) has, as Scalar.
/// Calls are const and thread-safe.
template <BagScalar Number>
class Hdf5Columns {
public:
    using Scalar = Number;  ///< The type in which columns are read.

    /// Opens a dataset, by default the one that Hdf5Dataset takes. Throws FileError.
    explicit Hdf5Columns(const std::filesystem::path& file, const std::string& name = "") : dataset_(file, name) {
        if (dataset_.shape().size() == 1 && dataset_.cols() > 0) {
            throw FileError(dataset_.path(), "shape", detail::printed_shape(dataset_.shape()), "(N, D) or (1, N, D)");
        }
    }

    Index rows() const { return dataset_.rows(); }  ///< D
    Index cols() const { return dataset_.cols(); }  ///< N
    /// to <- columns [first, first + count), as Hdf5Dataset::read().
    void read(Index first, Index count, Scalar* to) const { dataset_.read(first, count, to); }
    /// What is read.
    const Hdf5Dataset& dataset() const { return dataset_; }

private:
    Hdf5Dataset dataset_;
};

}  // namespace otpool
