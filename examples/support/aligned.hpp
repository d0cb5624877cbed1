#pragma once

#include <algorithm>
#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

namespace support {

/// How many characters of UTF-8 there are: bytes, but for those that continue one.
inline std::size_t characters(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// Every column as wide as its widest cell, and two spaces from the next.
inline void print_aligned(std::ostream& stream, const std::vector<std::vector<std::string>>& lines) {
    std::vector<std::size_t> widths(lines.front().size());
    for (const auto& line : lines) {
        for (std::size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], characters(line[c]));
    }
    for (const auto& line : lines) {
        std::string text;
        for (std::size_t c = 0; c < line.size(); ++c) {
            text += line[c] + std::string(widths[c] + 2 - characters(line[c]), ' ');
        }
        stream << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
    }
}

}  // namespace support
