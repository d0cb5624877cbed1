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
class TiledRows {
public:
    int file = -1;
    Index row_length = 0;
    Index tile_rows = 1, tile_cols = 1;
    std::vector<std::uint64_t> tiles;  ///< Where each begins in the file, one row of tiles after the other.

    Index tiles_across() const { return (row_length + tile_cols - 1) / tile_cols; }

    /// to <- the bytes of rows [first, first + count), of numbers of `size` bytes. Throws FileError, with the name and the row.
    void fill(const std::filesystem::path& name, Index size, char* to, Index first, Index count) const {
        if (tiles_across() == 1) return fill_rows(name, size, to, first, count);
        for (const Index end = first + count; first < end;) {
            const Index rows = (std::min)(end - first, tile_rows - first % tile_rows);
            for (Index tile = 0; tile < tiles_across(); ++tile) {
                fill_tile(name, size, to + tile * tile_cols * size, first, rows, tile);
            }
            to += rows * row_length * size;
            first += rows;
        }
    }

private:
    std::uint64_t begin_of(Index row, Index tile, Index size) const {
        return tiles[static_cast<std::size_t>(row / tile_rows * tiles_across() + tile)] +
               static_cast<std::uint64_t>(row % tile_rows * tile_cols * size);
    }

    /// Of tiles as wide as the rows: rows that follow each other in the file are read at once.
    void fill_rows(const std::filesystem::path& name, Index size, char* to, Index first, Index count) const {
        const Index length = row_length * size;
        for (Index row = first; row < first + count;) {
            const std::uint64_t begin = begin_of(row, 0, size);
            Index rows = 1;
            while (row + rows < first + count &&
                   begin_of(row + rows, 0, size) == begin + static_cast<std::uint64_t>(rows * length)) {
                ++rows;
            }
            const std::ptrdiff_t got = read_at(file, to, static_cast<std::size_t>(rows * length), begin);
            if (got < rows * length) throw unreadable_row(name, row + (std::max<Index>)(got, 0) / length, got);
            to += rows * length;
            row += rows;
        }
    }

    /// Rows of one tile, which is not as wide as they are.
    void fill_tile(const std::filesystem::path& name, Index size, char* to, Index first, Index rows, Index tile) const {
        const Index stored = tile_cols * size;
        const Index used = (std::min)(tile_cols, row_length - tile * tile_cols) * size;
        std::vector<char> part(static_cast<std::size_t>((rows - 1) * stored + used));
        const std::ptrdiff_t got = read_at(file, part.data(), part.size(), begin_of(first, tile, size));
        if (got < std::ssize(part)) throw unreadable_row(name, first + (std::max<Index>)(got, 0) / stored, got);
        for (Index row = 0; row < rows; ++row) {
            std::copy_n(part.data() + row * stored, used, to + row * row_length * size);
        }
    }
};

}  // namespace otpool::detail
