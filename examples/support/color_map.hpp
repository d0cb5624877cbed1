#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace support {

struct Color {
    double red = 0, green = 0, blue = 0;  ///< each in [0, 1]
};

constexpr Color color(std::uint32_t rgb) {
    return {static_cast<double>(rgb >> 16 & 255) / 255, static_cast<double>(rgb >> 8 & 255) / 255,
            static_cast<double>(rgb & 255) / 255};
}

/// The perceptually uniform map viridis at `value` in [0, 1]; values outside take the end colours. By S. van
/// der Walt and N. Smith for Matplotlib, given to the public domain (CC0). The eye can't tell the full table
/// from nine of its colours with straight lines between.
inline Color viridis(double value) {
    constexpr std::array anchors = {color(0x440154), color(0x472d7b), color(0x3b528b), color(0x2c728e), color(0x21918c),
                                    color(0x28ae80), color(0x5ec962), color(0xaddc30), color(0xfde725)};
    const double position = std::clamp(value, 0.0, 1.0) * static_cast<double>(anchors.size() - 1);
    const std::size_t below = std::min(static_cast<std::size_t>(position), anchors.size() - 2);
    const double part = position - static_cast<double>(below);
    const auto mix = [part](double from, double to) { return from + part * (to - from); };
    const Color& low = anchors[below];
    const Color& high = anchors[below + 1];
    return {mix(low.red, high.red), mix(low.green, high.green), mix(low.blue, high.blue)};
}

}  // namespace support
