#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include <otpool/core/error.hpp>

namespace support {

/// What a user sees of a file that cannot be read or written, always one line:
/// "bag.npy: shape: found (3,), allowed (rows, columns)".
struct FileError : otpool::Error {
    FileError(const std::filesystem::path& file, const std::string& field, const std::string& found,
              const std::string& allowed)
        : otpool::Error(one_line(file.string() + ": " + field + ": found " + found + ", allowed " + allowed)) {}

private:
    // A file name may contain line breaks and terminal escapes.
    static std::string one_line(std::string text) {
        for (char& c : text) {
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
        }
        return text;
    }
};

/// Bytes of unknown origin made fit for a message: everything but printable ASCII as \xNN, and not too many.
inline std::string printable(std::string_view bytes) {
    constexpr std::size_t longest = 48;
    constexpr std::string_view hex = "0123456789abcdef";
    std::string text;
    for (const char c : bytes.substr(0, longest)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte < 0x7f) {
            text += c;
        } else {
            text += {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
        }
    }
    return text + (bytes.size() > longest ? "..." : "");
}

}  // namespace support
