// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <istream>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "otpool/adapter/dtype.hpp"
#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/stored_numbers.hpp"

// The header of .npy files, which are not trusted. FileError is the exception that is thrown, made of the file and the three
// parts of a message.

namespace otpool::detail {

constexpr std::string_view npy_magic = "\x93NUMPY";

/// The next `count` bytes, or as many as there are.
inline std::string read_bytes(std::istream& stream, std::uintmax_t count) {
    std::string bytes(static_cast<std::size_t>(count), '\0');
    stream.read(bytes.data(), static_cast<std::streamsize>(count));
    bytes.resize(static_cast<std::size_t>(stream.gcount()));
    return bytes;
}

/// What stands before the data of a .npy file; see numpy.lib.format for the three versions.
struct NpyHeader {
    StoredNumbers numbers;
    bool fortran_order = false;
    std::vector<std::int64_t> shape;
    std::uintmax_t size = 0;  ///< Bytes before the data.
};

/// Reads the header's text, a Python dictionary of exactly three keys in any order.
template <class FileError>
class NpyHeaderParser {
public:
    NpyHeaderParser(const std::filesystem::path& file, Elements elements, std::string_view text)
        : file_(file), elements_(elements), text_(text) {}

    NpyHeader parse() {
        expect('{');
        while (!take('}')) {
            entry();
            if (!take(',')) {
                expect('}');
                break;
            }
        }
        skip_spaces();
        if (at_ < text_.size()) refuse("header", "nothing after the dictionary");
        if (!dtype_ || !fortran_order_ || !shape_) {
            const std::string missing = !dtype_ ? "descr" : !fortran_order_ ? "fortran_order" : "shape";
            throw FileError(file_, missing, "no such key", "a header with 'descr', 'fortran_order' and 'shape'");
        }
        return {{*dtype_, byte_order_}, *fortran_order_, *shape_, 0};
    }

private:
    void entry() {
        const std::size_t start = at_;
        const std::string_view key = string("header", "a key in quotes");
        expect(':');
        skip_spaces();
        if (key == "descr" && !dtype_) {
            dtype();
        } else if (key == "fortran_order" && !fortran_order_) {
            fortran_order_ = boolean();
        } else if (key == "shape" && !shape_) {
            shape();
        } else {
            at_ = start;
            skip_spaces();
            refuse("header", "'descr', 'fortran_order' and 'shape', once each");
        }
    }

    void dtype() {
        const std::size_t start = at_;
        if (start < text_.size() && text_[start] == '[') refuse("descr", to_string(elements_) + ", not records");
        const std::string_view name = string("descr", to_string(elements_));
        const std::string_view code = name.substr(name.find_first_of("<>|=") == 0 ? 1 : 0);
        const auto known =
            std::find_if(dtype_names.begin(), dtype_names.end(), [&](const auto& entry) { return entry.code == code; });
        const bool has_order =
            name.starts_with('<') || name.starts_with('>') || (name == "|" + std::string(code) && code.ends_with('1'));
        if (known == dtype_names.end() || !has_order) {
            const std::string meaning = known == dtype_names.end() ? describe_unread_type(code) : "no byte order";
            throw FileError(file_, "descr", "'" + printable(name, 48) + "' (" + meaning + ")", to_string(elements_));
        }
        dtype_ = known->dtype;
        byte_order_ = name[0] == '>' ? std::endian::big : std::endian::little;
    }

    bool boolean() {
        for (const std::string_view word : {"True", "False"}) {
            if (text_.substr(at_, word.size()) == word) {
                at_ += word.size();
                return word == "True";
            }
        }
        refuse("fortran_order", "True or False");
    }

    void shape() {
        constexpr auto allowed = "a tuple of sizes from 0 to 9223372036854775807";
        const std::size_t start = at_;
        std::vector<std::int64_t> sizes;
        bool tuple = take('(');
        bool comma = true;
        while (tuple && !take(')')) {
            const auto size = comma ? integer() : std::nullopt;
            tuple = size.has_value();
            if (tuple) sizes.push_back(*size);
            comma = take(',');
        }
        // (5) is a number in parentheses to Python, not a tuple.
        if (!tuple || (sizes.size() == 1 && !comma)) {
            at_ = start;
            const std::size_t end = text_.find(')', start);
            refuse("shape", allowed, end == npos ? end : end + 1);
        }
        shape_ = sizes;
    }

    std::optional<std::int64_t> integer() {
        skip_spaces();
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
        if (error != std::errc() || value < 0) return std::nullopt;
        at_ = static_cast<std::size_t>(end - text_.data());
        take('L');  // Python 2 wrote its long integers so
        return value;
    }

    // No name that is allowed here contains an escape, so backslashes need no meaning.
    std::string_view string(const std::string& field, const std::string& allowed) {
        skip_spaces();
        const char quote = at_ < text_.size() ? text_[at_] : '\0';
        const std::size_t end = quote == '\'' || quote == '"' ? text_.find(quote, at_ + 1) : npos;
        if (end == npos) refuse(field, allowed);
        const std::string_view content = text_.substr(at_ + 1, end - at_ - 1);
        at_ = end + 1;
        return content;
    }

    void skip_spaces() { at_ = (std::min)(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

    bool take(char wanted) {
        skip_spaces();
        if (at_ == text_.size() || text_[at_] != wanted) return false;
        ++at_;
        return true;
    }

    void expect(char wanted) {
        if (!take(wanted)) refuse("header", std::string("'") + wanted + "' at byte " + std::to_string(at_));
    }

    [[noreturn]] void refuse(const std::string& field, const std::string& allowed, std::size_t end = npos) const {
        const std::string_view rest = text_.substr(at_, end == npos ? end : end - at_);
        throw FileError(file_, field, rest.empty() ? "the end of the header" : printable(rest, 48), allowed);
    }

    static constexpr std::size_t npos = std::string_view::npos;

    const std::filesystem::path& file_;
    Elements elements_;
    std::string_view text_;
    std::size_t at_ = 0;
    std::optional<Dtype> dtype_;
    std::endian byte_order_ = std::endian::little;
    std::optional<bool> fortran_order_;
    std::optional<std::vector<std::int64_t>> shape_;
};

/// Reads the two bytes of the version; returns how many bytes hold the header's length in it.
template <class FileError>
std::size_t read_npy_version(const std::filesystem::path& file, std::istream& stream) {
    const std::string version = read_bytes(stream, 2);
    if (version.size() < 2) throw FileError(file, "version", "the end of the file", "1.0, 2.0 or 3.0");
    const int major = static_cast<unsigned char>(version[0]);
    const int minor = static_cast<unsigned char>(version[1]);
    if (major < 1 || major > 3 || minor != 0) {
        throw FileError(file, "version", std::to_string(major) + "." + std::to_string(minor), "1.0, 2.0 or 3.0");
    }
    return major == 1 ? 2 : 4;
}

/// Reads version and header of a file of `file_size` bytes, from a stream after the magic, which it leaves at the
/// first byte of the data. Allocates no more than the file can fill. Throws FileError, also for
/// elements that are not allowed.
template <class FileError>
NpyHeader read_npy_header(const std::filesystem::path& file, std::istream& stream, std::uintmax_t file_size,
                          Elements elements) {
    const std::size_t length_bytes = read_npy_version<FileError>(file, stream);
    const std::string length_field = read_bytes(stream, length_bytes);
    if (length_field.size() < length_bytes) {
        throw FileError(file, "header length", "the end of the file", std::to_string(length_bytes) + " bytes");
    }
    std::uintmax_t length = 0;
    for (std::size_t i = length_bytes; i-- > 0;) {
        length = length << 8 | static_cast<unsigned char>(length_field[i]);
    }
    const std::uintmax_t before = npy_magic.size() + 2 + length_bytes;
    const std::uintmax_t left = file_size - (std::min)(file_size, before);
    if (length > left) {
        throw FileError(file, "header length", std::to_string(length) + " bytes",
                        "at most the " + std::to_string(left) + " bytes that follow");
    }
    NpyHeader header = NpyHeaderParser<FileError>(file, elements, read_bytes(stream, length)).parse();
    header.size = before + length;
    return header;
}

/// Bytes of data that the header announces. Throws FileError where no memory could hold them.
template <class FileError>
std::uintmax_t data_size(const std::filesystem::path& file, const NpyHeader& header) {
    // As in NumPy a size of 0 elsewhere does not excuse an absurd one: other arrays have that length too.
    auto left =
        static_cast<std::uintmax_t>((std::numeric_limits<std::int64_t>::max)()) / item_size(header.numbers.dtype);
    std::uintmax_t count = 1;
    for (const std::int64_t size : header.shape) {
        if (size > 0) left /= static_cast<std::uintmax_t>(size);
        if (left == 0) {
            throw FileError(file, "shape", printed_shape(header.shape), "at most 9223372036854775807 bytes of data");
        }
        count *= static_cast<std::uintmax_t>(size);
    }
    return count * item_size(header.numbers.dtype);
}

}  // namespace otpool::detail
