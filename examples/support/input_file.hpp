#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <istream>
#include <memory>
#include <string>
#include <utility>

#include <otpool/adapter/file_error.hpp>
#include <otpool/adapter/npy_header.hpp>

#include "file_error.hpp"

namespace support {

/// Bytes that are read once, from the first to the last, and how many there are.
struct ByteStream {
    std::unique_ptr<std::istream> stream;
    std::uintmax_t size = 0;
};

/// Opens a regular file; `allowed` says what it should be. Throws FileError.
inline ByteStream open_file(const std::filesystem::path& path, const std::string& allowed) {
    otpool::detail::require_regular_file<FileError>(path, allowed);
    auto stream = std::make_unique<std::ifstream>(path, std::ios::binary);
    if (!*stream) throw FileError(path, "input", std::strerror(errno), allowed + " that can be read");
    return {std::move(stream), std::filesystem::file_size(path)};
}

using otpool::detail::read_bytes;

}  // namespace support
