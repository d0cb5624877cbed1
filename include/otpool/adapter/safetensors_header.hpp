// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "otpool/adapter/file_error.hpp"

namespace otpool::detail {

/// The number that `bytes` hold, lowest byte first.
template <std::unsigned_integral Number>
Number little_endian(const char* bytes) {
    Number number = 0;
    for (std::size_t i = sizeof(Number); i-- > 0;) {
        number = static_cast<Number>(number << 8U) | static_cast<unsigned char>(bytes[i]);
    }
    return number;
}

/// Sizes as text, [2, 3], as PyTorch and the header write them.
inline std::string printed(const std::vector<std::uint64_t>& sizes) {
    std::string text;
    for (const std::uint64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
    return printable("[" + text + "]");
}

/// What the header of a .safetensors file says about a tensor.
struct SafetensorsTensor {
    std::string dtype;
    std::vector<std::uint64_t> shape;
    std::uint64_t begin = 0, end = 0;  ///< Its bytes [begin, end), counted from the header's end.
};

/// Reads and checks the header's text. Every function throws FileError.
class SafetensorsHeader {
public:
    /// `data_size`: the number of bytes after the header.
    SafetensorsHeader(const std::filesystem::path& file, std::string_view text, std::uintmax_t data_size)
        : file_(file) {
        const Json header = parse(text);
        if (!header.is_object()) refuse("header", shown(header), "an object");
        for (const auto& [name, value] : header.items()) {
            if (name == "__metadata__") {
                check_metadata(value);
            } else {
                tensors_[name] = tensor(printable(name), value, data_size);
            }
        }
        check_that_they_fill(data_size);
    }

    const std::map<std::string, SafetensorsTensor>& tensors() const { return tensors_; }

private:
    using Json = nlohmann::json;

    [[noreturn]] void refuse(const std::string& field, const std::string& found, const std::string& allowed) const {
        throw FileError(file_, field, found, allowed);
    }

    /// Refuses equal keys, of which the parser would keep the last, and deep nesting, which could take any memory.
    Json parse(std::string_view text) const {
        constexpr int deepest = 3;  // header, tensor, shape
        std::vector<std::set<std::string>> keys(deepest + 1);
        const auto look = [&](int depth, Json::parse_event_t event, const Json& parsed) {
            using Event = Json::parse_event_t;
            const auto level = static_cast<std::size_t>(depth);
            if (event == Event::object_start || event == Event::array_start) {
                if (depth >= deepest) refuse("header", "more than 3 levels deep", "a tensor's shape at the deepest");
                keys[level + 1].clear();
            }
            if (event == Event::key && !keys[level].insert(parsed.get<std::string>()).second) {
                refuse("header", "a text with " + shown(parsed) + " twice", "every key once");
            }
            return true;
        };
        try {
            return Json::parse(text, look);
        } catch (const Json::parse_error& error) {
            refuse("header", "no JSON from byte " + std::to_string(error.byte) + " on", "an object in JSON");
        } catch (const Json::out_of_range&) {
            refuse("header", "a text with a number that double does not hold", "whole numbers");
        }
    }

    void check_metadata(const Json& value) const {
        const auto is_text = [](const Json& entry) { return entry.is_string(); };
        if (!value.is_object() || !std::all_of(value.begin(), value.end(), is_text)) {
            refuse("__metadata__", shown(value), "an object of strings");
        }
    }

    SafetensorsTensor tensor(const std::string& name, const Json& value, std::uintmax_t data_size) const {
        if (!value.is_object()) refuse(name, shown(value), "an object with dtype, shape and data_offsets");
        const Json& dtype = member(name, value, "dtype");
        if (!dtype.is_string()) refuse("dtype of " + name, shown(dtype), "a string");
        const Json& offsets = member(name, value, "data_offsets");
        const std::string two = "two whole numbers, the first not above the second";
        if (!is_array_of_sizes(offsets) || offsets.size() != 2 || offsets[0] > offsets[1]) {
            refuse("data_offsets of " + name, shown(offsets), two);
        }
        const Json& shape = member(name, value, "shape");
        if (!is_array_of_sizes(shape)) refuse("shape of " + name, shown(shape), "an array of whole numbers");
        SafetensorsTensor result{.dtype = dtype.get<std::string>(),
                                 .shape = shape.get<std::vector<std::uint64_t>>(),
                                 .begin = offsets[0].get<std::uint64_t>(),
                                 .end = offsets[1].get<std::uint64_t>()};
        if (result.end > data_size) {
            refuse("data_offsets of " + name, shown(offsets),
                   "up to the " + std::to_string(data_size) + " bytes that follow the header");
        }
        check_size(name, result);
        return result;
    }

    const Json& member(const std::string& name, const Json& value, const char* key) const {
        const auto found = value.find(key);
        if (found == value.end()) {
            refuse(std::string(key) + " of " + name, "not there", "dtype, shape and data_offsets");
        }
        return *found;
    }

    /// The parser gives other types to fractions, to negative numbers and to numbers beyond 64 bits.
    static bool is_array_of_sizes(const Json& value) {
        const auto is_size = [](const Json& entry) { return entry.is_number_unsigned(); };
        return value.is_array() && std::all_of(value.begin(), value.end(), is_size);
    }

    /// Bytes per element; 0 if unknown here.
    static std::uint64_t item_size(const std::string& dtype) {
        return dtype == "F64" ? 8 : dtype == "F32" ? 4 : dtype == "F16" || dtype == "BF16" ? 2 : 0;
    }

    void check_size(const std::string& name, const SafetensorsTensor& tensor) const {
        constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();
        std::uint64_t bytes = item_size(tensor.dtype);
        if (bytes == 0) return;
        for (const std::uint64_t size : tensor.shape) {
            if (size > largest || (size > 0 && bytes > largest / size)) {
                refuse("shape of " + name, printed(tensor.shape), "up to 9223372036854775807 bytes");
            }
            bytes *= size;
        }
        const std::uint64_t found = tensor.end - tensor.begin;
        if (found != bytes) {
            refuse("data of " + name, std::to_string(found) + " bytes",
                   "the " + std::to_string(bytes) + " of shape " + printed(tensor.shape) + " of " + tensor.dtype);
        }
    }

    void check_that_they_fill(std::uintmax_t data_size) const {
        std::vector<std::pair<std::uint64_t, std::uint64_t>> parts;
        for (const auto& [name, tensor] : tensors_) parts.emplace_back(tensor.begin, tensor.end);
        std::sort(parts.begin(), parts.end());
        std::uint64_t filled = 0;
        for (const auto& [begin, end] : parts) {
            if (begin != filled) {
                refuse("data",
                       (begin < filled ? "in two tensors at byte " : "in no tensor from byte ") +
                           std::to_string((std::min)(begin, filled)) + " on",
                       "bytes of one tensor each");
            }
            filled = end;
        }
        if (filled != data_size) {
            refuse("data", std::to_string(data_size) + " bytes",
                   "the " + std::to_string(filled) + " that the header describes");
        }
    }

    /// The JSON as text. It has at most three levels: parse() checks this.
    static std::string shown(const Json& value) {
        return printable(value.dump(-1, ' ', true, Json::error_handler_t::replace));
    }

    const std::filesystem::path& file_;
    std::map<std::string, SafetensorsTensor> tensors_;
};

}  // namespace otpool::detail
