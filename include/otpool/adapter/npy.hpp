// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/npy_header.hpp"
#include "otpool/adapter/tiled_rows.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

namespace detail {

/// An open .npy file, and where its rows are.
class NpyRows {
public:
    explicit NpyRows(const std::filesystem::path& in) : path(in) {
        constexpr auto allowed = "a .npy file";
        require_regular_file(path, allowed);
        const auto size = std::filesystem::file_size(path);
        std::ifstream stream(path, std::ios::binary);
        const std::string magic = read_bytes(stream, npy_magic.size());
        if (magic != npy_magic)
            throw FileError(path, "format", "a file that begins with '" + printable(magic) + "'", allowed);
        const auto header = read_npy_header<FileError>(path, stream, size, Elements::numbers);
        check_size(header, size);
        numbers = header.numbers;
        take_shape(header);
        layout.file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (layout.file < 0) throw FileError(path, "input", std::strerror(errno), "a .npy file that can be read");
#ifdef POSIX_FADV_SEQUENTIAL
        ::posix_fadvise(layout.file, 0, 0, POSIX_FADV_SEQUENTIAL);  // reads further ahead
#endif
    }
    NpyRows(const NpyRows&) = delete;
    NpyRows& operator=(const NpyRows&) = delete;
    ~NpyRows() {
        if (layout.file >= 0) ::close(layout.file);
    }

    std::filesystem::path path;
    StoredNumbers numbers;
    Index rows = 0;
    TiledRows layout;

private:
    void check_size(const NpyHeader& header, std::uintmax_t size) const {
        const std::uintmax_t needed = data_size<FileError>(path, header);
        if (size - header.size == needed) return;
        throw FileError(path, "data", std::to_string(size - header.size) + " bytes",
                        "the " + std::to_string(needed) + " bytes of shape " + printed_shape(header.shape) + " of " +
                            to_string(header.numbers.dtype));
    }

    void take_shape(const NpyHeader& header) {
        std::vector<std::int64_t> shape = header.shape;
        if (shape.size() == 3 && shape[0] == 1) shape.erase(shape.begin());
        if (shape == std::vector<std::int64_t>{0}) shape.push_back(0);
        if (shape.size() != 2) throw FileError(path, "shape", printed_shape(header.shape), "(N, D) or (1, N, D)");
        rows = shape[0];
        layout.row_length = shape[1];
        if (rows == 0 || layout.row_length == 0) return;
        // In Fortran order every column of the file is a tile of its own.
        layout.tile_rows = rows;
        layout.tile_cols = header.fortran_order ? 1 : layout.row_length;
        for (Index tile = 0; tile < layout.tiles_across(); ++tile) {
            const auto before = static_cast<std::uint64_t>(tile * rows) * numbers.size();
            layout.tiles.push_back(static_cast<std::uint64_t>(header.size) + before);
        }
    }
};

}  // namespace detail

/// The columns of a bag in a .npy file, a ColumnSource: an array of shape (N, D) or (1, N, D) of any real numbers is D x N,
/// read as Scalar. (0,) is a bag without instances and features. Needs POSIX.
///
/// Reads by pread, from several threads at once, and maps no memory: a file that shrinks is an error, not the end of the
/// program. Of an array in Fortran order, D places of the file are read for each block of rows, which is slower.
///
/// A copy shares the open file. Calls are const and thread-safe.
template <BagScalar Number>
class NpyColumns {
public:
    using Scalar = Number;  ///< The type in which columns are read.

    /// Opens a file. Throws FileError if it is no .npy file of numbers of such a shape, exactly as long as its header says.
    explicit NpyColumns(const std::filesystem::path& file) : data_(std::make_shared<const detail::NpyRows>(file)) {}

    Index rows() const { return data_->layout.row_length; }  ///< D
    Index cols() const { return data_->rows; }               ///< N
    /// The type of the numbers in the file.
    Dtype dtype() const { return data_->numbers.dtype; }

    /// to <- columns [first, first + count): rows() * count numbers, column after column. Throws FileError if the file was
    /// changed, or has a number that is too large for a float. Its message has the row of the file: column n is row n there.
    void read(Index first, Index count, Scalar* to) const {
        const detail::NpyRows& data = *data_;
        detail::require_columns(first, count, cols());
        detail::read_rows(data.path, data.numbers, rows(), first, count, to, [&](char* bytes, Index begin, Index rows) {
            data.layout.fill(data.path, static_cast<Index>(data.numbers.size()), bytes, begin, rows);
        });
    }

private:
    std::shared_ptr<const detail::NpyRows> data_;
};

}  // namespace otpool
