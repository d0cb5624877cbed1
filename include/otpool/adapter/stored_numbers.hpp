// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "otpool/adapter/dtype.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// A shape as Python prints it: (), (5,), (5, 3).
inline std::string printed_shape(const std::vector<std::int64_t>& shape) {
    std::string text = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

/// What numbers are read as.
template <class Scalar>
concept ReadScalar = BagScalar<Scalar> || std::same_as<Scalar, std::int64_t>;

/// Which numbers of a file a Scalar holds, for a message.
template <ReadScalar Scalar>
constexpr auto held_numbers =
    std::integral<Scalar> ? "up to 9223372036854775807" : "magnitudes up to 3.40282e+38 as float32";

/// The first number as it is stored, with its bytes in the other order if `reversed`.
template <class Stored, bool reversed>
Stored first_stored(const char* bytes) {
    std::array<char, sizeof(Stored)> item;
    std::memcpy(item.data(), bytes, item.size());
    if constexpr (reversed) std::reverse(item.begin(), item.end());
    return std::bit_cast<Stored>(item);
}

/// What StoredNumbers::convert() says.
template <class Stored, bool reversed, class Scalar>
Index convert_stored(const char* bytes, Index count, Scalar* to) {
    for (Index i = 0; i < count; ++i, bytes += sizeof(Stored)) {
        const auto stored = first_stored<Stored, reversed>(bytes);
        if constexpr (std::same_as<Scalar, float> && std::same_as<Stored, double>) {
            if (std::isfinite(stored) && std::abs(stored) > double{(std::numeric_limits<float>::max)()}) return i;
        }
        if constexpr (std::integral<Scalar> && std::integral<Stored>) {
            if (!std::in_range<Scalar>(stored)) return i;
        }
        if constexpr (std::integral<Scalar> && !std::integral<Stored>) {
            return i;
        } else {
            to[i] = static_cast<Scalar>(stored);
        }
    }
    return count;
}

/// How a file stores numbers: their type and the order of their bytes.
struct StoredNumbers {
    Dtype dtype = Dtype::float32;
    std::endian byte_order = std::endian::native;

    /// Bytes of one number.
    std::size_t size() const { return item_size(dtype); }

    /// Whether memory holds a Scalar by the same bytes.
    template <class Scalar>
    bool are() const {
        constexpr Dtype real = sizeof(Scalar) == 4 ? Dtype::float32 : Dtype::float64;
        return std::floating_point<Scalar> && dtype == real && byte_order == std::endian::native;
    }

    /// to[i] <- number i as a Scalar. Returns how many were converted: fewer than `count` if
    /// the next one is not an integer where those are wanted, or too large for a Scalar, which would make it infinite.
    template <ReadScalar Scalar>
    Index convert(const char* bytes, Index count, Scalar* to) const {
        return with_stored(dtype, [&](auto element) {
            using Stored = decltype(element);
            return byte_order == std::endian::native ? convert_stored<Stored, false>(bytes, count, to)
                                                     : convert_stored<Stored, true>(bytes, count, to);
        });
    }

    /// The first number, for a message.
    std::string printed_first(const char* bytes) const {
        return with_stored(dtype, [&](auto element) -> std::string {
            using Stored = decltype(element);
            const auto number = byte_order == std::endian::native ? first_stored<Stored, false>(bytes)
                                                                  : first_stored<Stored, true>(bytes);
            if constexpr (std::integral<Stored>) return std::to_string(number);
            return printed_real(static_cast<double>(number), 6);
        });
    }
};

}  // namespace otpool::detail
