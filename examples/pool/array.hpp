#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <otpool/core/matrix.hpp>

#include "../support/file_error.hpp"
#include "../support/npy.hpp"

#ifdef POOL_HAS_HDF5
#include <otpool/adapter/hdf5.hpp>
#endif

namespace pool {

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;
using support::FileError;

#ifdef POOL_HAS_HDF5
/// A dataset that was checked. It is open only while something is read.
class Hdf5Array {
public:
    /// Without a name the one of features. Throws otpool::FileError.
    Hdf5Array(const std::filesystem::path& file, const std::string& name, otpool::Elements elements) : file_(file) {
        const otpool::Hdf5Dataset dataset(file, name);
        path_ = dataset.path();
        name_ = dataset.name();
        dtype_ = dataset.dtype();
        shape_ = dataset.shape();
        if (contains(elements, dtype_)) return;
        throw otpool::FileError(path_, "type", to_string(dtype_), to_string(elements));
    }

    const std::filesystem::path& path() const { return path_; }
    otpool::Dtype dtype() const { return dtype_; }
    const std::vector<std::int64_t>& shape() const { return shape_; }

    /// All numbers, in their order. Throws otpool::FileError.
    template <class Scalar>
    void read(Scalar* to) const {
        const otpool::Hdf5Dataset dataset(file_, name_);
        if (dataset.shape() != shape_) {
            throw otpool::FileError(path_, "shape", "changed", "a file that stays as it was opened");
        }
        dataset.read(0, dataset.cols(), to);
    }

private:
    std::filesystem::path file_, path_;
    std::string name_;
    otpool::Dtype dtype_{};
    std::vector<std::int64_t> shape_;
};

#endif

/// An array in a file of any format that is read. Opened and checked; its numbers are read when they are asked for. Every
/// function throws FileError or otpool::FileError.
class Array {
public:
    Array(support::NpyFile array) : array_(std::move(array)) {}
#ifdef POOL_HAS_HDF5
    Array(Hdf5Array array) : array_(std::move(array)) {}
#endif

    const std::filesystem::path& path() const {
        return std::visit(
            [](const auto& array) -> const auto& { return array.path(); }, array_);
    }
    otpool::Dtype dtype() const {
        return std::visit([](const auto& array) { return array.dtype(); }, array_);
    }
    const std::vector<std::int64_t>& shape() const {
        return std::visit(
            [](const auto& array) -> const auto& { return array.shape(); }, array_);
    }

    /// Rows and columns of a 2-D array, or of one of shape (1, rows, columns).
    std::array<Index, 2> matrix_shape() const {
        const auto& sizes = shape();
        if (sizes.size() == 2) return {sizes[0], sizes[1]};
        if (sizes.size() == 3 && sizes[0] == 1) return {sizes[1], sizes[2]};
        throw FileError(path(), "shape", support::to_string(sizes), "(rows, columns) or (1, rows, columns)");
    }

    /// to <- an (R, C) array as a C x R matrix: an (N, D) array of instances becomes D x N, one column an instance.
    template <class Scalar>
    void read_matrix(Scalar* to) const {
        matrix_shape();
        std::visit([to](const auto& array) { array.read(to); }, array_);
    }

    template <class Scalar>
    Matrix<Scalar> matrix() const {
        const auto [rows, columns] = matrix_shape();
        Matrix<Scalar> values(columns, rows);
        read_matrix(values.data());
        return values;
    }

    /// A 1-D array.
    template <class Scalar>
    Vector<Scalar> vector() const {
        if (shape().size() != 1) throw FileError(path(), "shape", support::to_string(shape()), "(length,)");
        Vector<Scalar> values(shape()[0]);
        std::visit([&values](const auto& array) { array.read(values.data()); }, array_);
        return values;
    }

private:
#ifdef POOL_HAS_HDF5
    std::variant<support::NpyFile, Hdf5Array> array_;
#else
    std::variant<support::NpyFile> array_;
#endif
};

}  // namespace pool
