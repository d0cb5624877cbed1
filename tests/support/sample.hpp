#pragma once

#include <cstdint>
#include <limits>

#ifndef OTPOOL_TEST_EVERY
#define OTPOOL_TEST_EVERY 1
#endif

namespace tests {

/// Whether to take a problem of many alike: all of them; or, where each takes ten times as long, as under a sanitizer or on
/// an emulated processor, one in OTPOOL_TEST_EVERY. Number 0 is always taken. The others are those whose multiples of the
/// golden ratio have the smallest fractions: they are spread evenly, and share no factor with the lengths of nested loops.
inline bool in_sample(std::uint64_t number) {
    constexpr std::uint64_t golden_ratio = 0x9e3779b97f4a7c15;  // its fraction, times 2^64
    return number * golden_ratio <= std::numeric_limits<std::uint64_t>::max() / OTPOOL_TEST_EVERY;
}

}  // namespace tests
