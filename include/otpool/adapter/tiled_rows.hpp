// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/stored_numbers.hpp"
#include "otpool/core/matrix.hpp"

// Reads rows of numbers from open files by pread, which several threads may do at once.

namespace otpool::detail {

/// A shape as Python prints it: (), (5,), (5, 3).
inline std::string printed_shape(const std::vector<std::int64_t>& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

/// Throws InvalidArgument unless columns [first, first + count) are some of `cols`.
inline void require_columns(Index first, Index count, Index cols) {
    require_that(first >= 0 && count >= 0 && first <= cols - count, "range of columns",
                 text(first, " to ", first + count), text("within 0 to ", cols));
}

/// Reads `bytes` bytes at `offset`. Returns how many there are before the end of the file, or -1 with errno.
inline std::ptrdiff_t read_at(int file, char* to, std::size_t bytes, std::uint64_t offset) {
    std::size_t done = 0;
    while (done < bytes) {
        const ::ssize_t got = ::pread(file, to + done, bytes - done, static_cast<::off_t>(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        done += static_cast<std::size_t>(got);
    }
    return static_cast<std::ptrdiff_t>(done);
}

/// What is thrown for bytes that cannot be read.
inline FileError unreadable_row(const std::filesystem::path& name, Index row, std::ptrdiff_t got) {
    return {name, "row " + std::to_string(row), got < 0 ? std::strerror(errno) : "cut off while it is read",
            "a file that stays as it was opened"};
}

/// Rows are read in blocks of so many bytes, or one by one if they are longer.
constexpr Index block_bytes = 1 << 18;

/// to <- rows [first, first + count), whose bytes come from fill(bytes, first, count).
template <class Scalar, class Fill>
void read_rows(const std::filesystem::path& name, const StoredNumbers& numbers, Index row_length, Index first,
               Index count, Scalar* to, const Fill& fill) {
    if (count == 0 || row_length == 0) return;
    if (numbers.are<Scalar>()) return fill(reinterpret_cast<char*>(to), first, count);
    const Index row_bytes = row_length * static_cast<Index>(numbers.size());
    const Index block = std::clamp<Index>(block_bytes / row_bytes, 1, count);
    std::vector<char> bytes(static_cast<std::size_t>(block * row_bytes));
    for (const Index end = first + count; first < end; first += block) {
        const Index rows = (std::min)(block, end - first);
        fill(bytes.data(), first, rows);
        const Index converted = numbers.convert(bytes.data(), rows * row_length, to);
        if (converted < rows * row_length) {
            const char* const at = bytes.data() + converted * static_cast<Index>(numbers.size());
            throw FileError(name, "row " + std::to_string(first + converted / row_length), numbers.printed_first(at),
                            held_numbers<Scalar>);
        }
        to += rows * row_length;
    }
}

/// Rows of a file that stores them in tiles of equal shape, each row after row: a contiguous array is one tile.
struct TiledRows {
    int file = -1;
    Index row_length = 0;
    Index tile_rows = 1, tile_cols = 1;
    std::vector<std::uint64_t> tiles;  ///< Where each begins in the file, one row of tiles after the other.

    Index tiles_across() const { return (row_length + tile_cols - 1) / tile_cols; }

    /// to <- the bytes of rows [first, first + count), of numbers of `size` bytes. Pieces that follow each other in the file
    /// are read at once. Throws FileError, with the name and the row.
    void fill(const std::filesystem::path& name, Index size, char* to, Index first, Index count) const {
        std::uint64_t begin = 0;
        Index length = 0;
        const char* const start = to;
        const auto read = [&] {
            const std::ptrdiff_t got = read_at(file, to, static_cast<std::size_t>(length), begin);
            if (got < length) {
                throw unreadable_row(name, first + (to - start + (std::max<Index>)(got, 0)) / (row_length * size), got);
            }
            to += length;
        };
        for (Index row = first; row < first + count; ++row) {
            for (Index tile = 0; tile < tiles_across(); ++tile) {
                const Index in_tile = row % tile_rows * tile_cols * size;
                const std::uint64_t at = tiles[static_cast<std::size_t>(row / tile_rows * tiles_across() + tile)] +
                                         static_cast<std::uint64_t>(in_tile);
                const Index bytes = (std::min)(tile_cols, row_length - tile * tile_cols) * size;
                if (length > 0 && at == begin + static_cast<std::uint64_t>(length)) {
                    length += bytes;
                    continue;
                }
                if (length > 0) read();
                begin = at;
                length = bytes;
            }
        }
        read();
    }
};

}  // namespace otpool::detail
