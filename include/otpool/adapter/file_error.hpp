// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "otpool/core/error.hpp"

namespace otpool {

namespace detail {

/// Untrusted text, made safe for a message: at most `longest` bytes, those that are not printable ASCII as \xNN.
inline std::string printable(std::string_view text, std::size_t longest = 64) {
    constexpr std::string_view hex = "0123456789abcdef";
    std::string shown;
    for (const char c : text.substr(0, longest)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte < 0x7f) {
            shown += c;
        } else {
            shown += {'\\', 'x', hex[byte >> 4U], hex[byte & 15U]};
        }
    }
    return shown + (text.size() > longest ? "..." : "");
}

}  // namespace detail

/// A file that cannot be read or used. The message is one line and reads "<file>: <field> is <found>; allowed:
/// <allowed>".
class FileError : public Error {
public:
    /// Takes the parts of the message.
    FileError(const std::filesystem::path& file, const std::string& field, const std::string& found,
              const std::string& allowed)
        : Error(detail::printable(file.string(), 4096) + ": " + field + " is " + found + "; allowed: " + allowed) {}
};

namespace detail {

/// Throws Error unless there is a regular file; `allowed` says what it should be.
template <class Error = FileError>
void require_regular_file(const std::filesystem::path& path, const std::string& allowed) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (!exists(status)) throw Error(path, "input", error.message(), allowed);
    if (is_regular_file(status)) return;
    throw Error(path, "input", is_directory(status) ? "a directory" : "a device or pipe", allowed);
}

}  // namespace detail
}  // namespace otpool
