// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <fcntl.h>
#include <hdf5.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/hdf5_chunks.hpp"
#include "otpool/adapter/hdf5_file.hpp"
#include "otpool/adapter/tiled_rows.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// An open dataset, and where its rows are.
class Hdf5Rows {
public:
    /// Without a name: `features`, or the only matrix of floats. Throws FileError.
    Hdf5Rows(const std::filesystem::path& in, const std::string& given_name) {
        const Hdf5Lock lock;
        open_.file = open_hdf5(in);
        take_descriptor(in);
        name = given_name.empty() ? usual_name(in) : given_name;
        path = in.string() + ":" + name;
        open_.dataset = {H5Dopen2(open_.file.id(), name.c_str(), H5P_DEFAULT), H5Dclose};
        if (!open_.dataset.is_open()) throw FileError(in, "dataset '" + printable(name) + "'", "not there", datasets());
        open_.type = {H5Dget_type(open_.dataset.id()), H5Tclose};
        const auto stored = hdf5_numbers(open_.type);
        if (!stored) {
            throw FileError(path, "type", hdf5_type_name(open_.type),
                            "float16, float32, float64, or integers of 8 to 64 bits");
        }
        numbers = *stored;
        take_shape();
        const Hdf5Handle creation(H5Dget_create_plist(open_.dataset.id()), H5Pclose);
        check_filters(creation);
        find_tiles(creation);
        if (layout.tiles.empty()) keep_chunks(creation);
    }

    /// bytes <- rows [first, first + count) as they are stored. Thread-safe.
    void fill(char* bytes, Index first, Index count) const {
        if (!layout.tiles.empty()) return layout.fill(path, static_cast<Index>(numbers.size()), bytes, first, count);
        const Hdf5Lock lock;
        if (whole_chunks_) {
            read_chunks(*whole_chunks_, bytes, first, count);
        } else {
            read_by_hdf5(bytes, first, count);
        }
        // Behind the end of a file HDF5 finds zeros.
        if (file_size() < size_) throw unreadable(first, count, "cut off while it is read");
    }

    std::filesystem::path path;  ///< FILE:NAME, for messages.
    std::string name;
    std::vector<std::int64_t> shape;
    StoredNumbers numbers;
    Index rows = 0;
    TiledRows layout;  ///< Without tiles if only HDF5 can read the data.

private:
    static constexpr auto shapes = "(N, D), (1, N, D) or (N,)";

    /// `features`, or the only dataset of floats that is a matrix. Throws FileError.
    std::string usual_name(const std::filesystem::path& in) const {
        const std::vector<std::string> names = hdf5_datasets(open_.file);
        if (std::find(names.begin(), names.end(), "features") != names.end()) return "features";
        std::vector<std::string> matrices;
        for (const std::string& candidate : names) {
            const Hdf5Handle dataset(H5Dopen2(open_.file.id(), candidate.c_str(), H5P_DEFAULT), H5Dclose);
            const Hdf5Handle type(H5Dget_type(dataset.id()), H5Tclose);
            const std::vector<std::int64_t> sizes = hdf5_shape(dataset);
            const bool is_matrix = sizes.size() == 2 || (sizes.size() == 3 && sizes[0] == 1);
            if (is_matrix && H5Tget_class(type.id()) == H5T_FLOAT) matrices.push_back(candidate);
        }
        if (matrices.size() == 1) return matrices[0];
        const std::string found =
            matrices.empty() ? "not there, nor a matrix of floats" : "not there, and several others are";
        throw FileError(in, "dataset 'features'", found, datasets());
    }

    /// What a user may name.
    std::string datasets() const {
        std::string text;
        for (const std::string& one : hdf5_datasets(open_.file)) text += (text.empty() ? "" : ", ") + printable(one);
        return text.empty() ? "a file with datasets" : "FILE:NAME with one of " + text.substr(0, 400);
    }

    /// As columns have it: a row of the file is a column.
    void take_shape() {
        shape = hdf5_shape(open_.dataset);
        const std::size_t n = shape.size();
        if (n == 0 || n > 3 || (n == 3 && shape[0] != 1)) throw FileError(path, "shape", printed_shape(shape), shapes);
        rows = shape[n == 3 ? 1 : 0];
        layout.row_length = n > 1 ? shape[n - 1] : rows > 0 ? 1 : 0;
        const Index most = (std::numeric_limits<Index>::max)() / static_cast<Index>(sizeof(double));
        if (layout.row_length > 0 && rows > most / layout.row_length) {
            throw FileError(path, "shape", printed_shape(shape), "fewer numbers than memory could hold");
        }
    }

    void take_descriptor(const std::filesystem::path& in) {
        void* descriptor = nullptr;
        if (H5Fget_vfd_handle(open_.file.id(), H5P_DEFAULT, &descriptor) < 0) {
            throw FileError(in, "input", hdf5_message(), "a file that can be read");
        }
        layout.file = *static_cast<const int*>(descriptor);
        size_ = file_size();
#ifdef POSIX_FADV_SEQUENTIAL
        ::posix_fadvise(layout.file, 0, 0, POSIX_FADV_SEQUENTIAL);  // reads further ahead
#endif
    }

    std::uint64_t file_size() const {
        struct ::stat status {};
        return ::fstat(layout.file, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
    }

    void check_filters(const Hdf5Handle& creation) const {
        for (int i = 0; i < H5Pget_nfilters(creation.id()); ++i) {
            unsigned flags = 0, info = 0;
            std::size_t values = 0;
            std::array<char, 64> word{};
            const ::H5Z_filter_t filter = H5Pget_filter2(creation.id(), static_cast<unsigned>(i), &flags, &values,
                                                         nullptr, word.size() - 1, word.data(), &info);
            if ((flags & H5Z_FLAG_OPTIONAL) != 0 || H5Zfilter_avail(filter) > 0) continue;
            throw FileError(path, "compression",
                            "filter " + std::to_string(filter) + " (" + printable(word.data()) + ")",
                            "gzip, or another filter that HDF5 has or finds in HDF5_PLUGIN_PATH");
        }
    }

    /// Finds where pread can read the rows, if it can.
    void find_tiles(const Hdf5Handle& creation) {
        if (rows == 0 || layout.row_length == 0) return;
        const Hdf5Handle of_file(H5Fget_create_plist(open_.file.id()), H5Pclose);
        ::hsize_t before = 0;
        H5Pget_userblock(of_file.id(), &before);
        const bool plain =
            before == 0 && H5Pget_nfilters(creation.id()) == 0 && H5Pget_external_count(creation.id()) == 0;
        if (!plain) return;
        const ::H5D_layout_t kind = H5Pget_layout(creation.id());
        if (kind == H5D_CONTIGUOUS) find_contiguous();
        if (kind == H5D_CHUNKED) find_chunks(Hdf5Chunks(shape, creation));
        check_end();
    }

    void find_contiguous() {
        layout.tile_rows = rows;
        layout.tile_cols = layout.row_length;
        const ::haddr_t begin = H5Dget_offset(open_.dataset.id());
        if (begin != HADDR_UNDEF) layout.tiles = {begin};
    }

    void read_by_hdf5(char* to, Index first, Index count) const {
        const std::size_t dimensions = shape.size();
        const std::size_t of_rows = dimensions == 3 ? 1 : 0;
        std::vector<::hsize_t> begin(dimensions, 0), sizes(shape.begin(), shape.end());
        begin[of_rows] = static_cast<::hsize_t>(first);
        sizes[of_rows] = static_cast<::hsize_t>(count);
        const Hdf5Handle from(H5Dget_space(open_.dataset.id()), H5Sclose);
        const Hdf5Handle memory(H5Screate_simple(static_cast<int>(dimensions), sizes.data(), nullptr), H5Sclose);
        H5Sselect_hyperslab(from.id(), H5S_SELECT_SET, begin.data(), nullptr, sizes.data(), nullptr);
        // As stored: HDF5 would be slow to convert.
        if (H5Dread(open_.dataset.id(), open_.type.id(), memory.id(), from.id(), H5P_DEFAULT, to) < 0) {
            throw unreadable(first, count, "refused by HDF5: " + hdf5_message());
        }
    }

    /// What fill() does where chunks are plain numbers, but at unknown places: faster than H5Dread where they are small.
    void read_chunks(const Hdf5Chunks& chunks, char* to, Index first, Index count) const {
        const auto size = static_cast<Index>(numbers.size());
        std::vector<char> chunk(static_cast<std::size_t>(chunks.numbers()) * numbers.size());
        for (const Index end = first + count; first < end;) {
            const Index in_chunk = first % layout.tile_rows;
            const Index n = (std::min)(end - first, layout.tile_rows - in_chunk);
            for (Index tile = 0; tile < layout.tiles_across(); ++tile) {
                read_chunk(
                    chunks.begin(static_cast<::hsize_t>(first / layout.tile_rows * layout.tiles_across() + tile)),
                    chunk, first, n);
                const Index stored = layout.tile_cols * size;
                const Index used = (std::min)(layout.tile_cols, layout.row_length - tile * layout.tile_cols) * size;
                for (Index row = 0; row < n; ++row) {
                    std::copy_n(chunk.data() + (in_chunk + row) * stored, used,
                                to + (row * layout.row_length + tile * layout.tile_cols) * size);
                }
            }
            to += n * layout.row_length * size;
            first += n;
        }
    }

    /// chunk <- all bytes of the one at this index, which has the rows [first, first + count).
    void read_chunk(const std::array<::hsize_t, 3>& at, std::vector<char>& chunk, Index first, Index count) const {
        ::hsize_t stored = 0;
        const bool is_there = H5Dget_chunk_storage_size(open_.dataset.id(), at.data(), &stored) >= 0;
        if (is_there && stored != chunk.size()) {
            throw unreadable(first, count, "a chunk of " + std::to_string(stored) + " bytes");
        }
        if (!is_there || !read_raw_chunk(open_.dataset, at.data(), chunk.data())) {
            throw unreadable(first, count, "refused by HDF5: " + hdf5_message());
        }
    }

    FileError unreadable(Index first, Index count, const std::string& found) const {
        return {path, "data of rows " + std::to_string(first) + " to " + std::to_string(first + count - 1), found,
                "a whole file that stays as it was opened"};
    }

    void find_chunks(const Hdf5Chunks& chunks) {
        layout.tile_rows = static_cast<Index>(chunks.sizes[chunks.row_axis]);
        layout.tile_cols = static_cast<Index>(chunks.columns());
        const Hdf5Handle space(H5Dget_space(open_.dataset.id()), H5Sclose);
        ::hsize_t written = 0;
        // Numbers that were never written have a value that only HDF5 knows.
        if (H5Dget_num_chunks(open_.dataset.id(), space.id(), &written) < 0 || written != chunks.down * chunks.across)
            return;
        std::vector<std::uint64_t> tiles(written, HADDR_UNDEF);
        each_chunk(open_.dataset, chunks, [&](const ::hsize_t* at, ::haddr_t address) {
            const ::hsize_t number = chunks.number(at);
            if (number < written) tiles[number] = address;
        });
        if (std::find(tiles.begin(), tiles.end(), HADDR_UNDEF) == tiles.end()) {
            layout.tiles = std::move(tiles);
        } else if (!finds_all_chunks) {
            whole_chunks_ = chunks;
        }
    }

    /// Lets HDF5 keep a row of chunks, so that it takes none of them apart twice. The usual cache is 1 MiB.
    void keep_chunks(const Hdf5Handle& creation) {
        if (H5Pget_layout(creation.id()) != H5D_CHUNKED) return;
        const Hdf5Chunks chunks(shape, creation);
        const ::hsize_t bytes = chunks.numbers() * chunks.across * numbers.size();
        constexpr std::size_t usual = 1 << 20, slots = 521;
        const Hdf5Handle access(H5Pcreate(H5P_DATASET_ACCESS), H5Pclose);
        H5Pset_chunk_cache(access.id(), slots, (std::max)(usual, static_cast<std::size_t>(bytes)), 1);
        open_.dataset = {};  // one that is open keeps its cache
        open_.dataset = {H5Dopen2(open_.file.id(), name.c_str(), access.id()), H5Dclose};
    }

    /// Refuses a file that ends before its data does.
    void check_end() const {
        if (layout.tiles.empty()) return;
        const std::uint64_t bytes = static_cast<std::uint64_t>(layout.tile_rows) *
                                    static_cast<std::uint64_t>(layout.tile_cols) * numbers.size();
        const std::uint64_t last = *std::max_element(layout.tiles.begin(), layout.tiles.end());
        if (bytes <= size_ && last <= size_ - bytes) return;
        throw FileError(path, "data", "cut off: the file has " + std::to_string(size_) + " bytes", "a whole file");
    }

    /// Closes what is open under the lock, also where the constructor throws.
    struct Open {
        Hdf5Handle file, dataset, type;

        Open() = default;
        Open(const Open&) = delete;
        Open& operator=(const Open&) = delete;
        ~Open() {
            const Hdf5Lock lock;
            type = {};
            dataset = {};
            file = {};
        }
    };
    Open open_;
    std::uint64_t size_ = 0;  ///< Of the file.
    std::optional<Hdf5Chunks> whole_chunks_;
};

}  // namespace otpool::detail
