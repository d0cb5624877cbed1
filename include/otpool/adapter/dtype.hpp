// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "otpool/core/compiler.hpp"

namespace otpool {

/// The element types that are read.
enum class Dtype { boolean, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, float32, float64 };

/// An element of float16 as it is stored (IEEE 754 binary16).
struct Float16 {
    std::uint16_t bits = 0;  ///< Sign, 5 bits of exponent, 10 of fraction.

    /// Exact, and without branches, so that a loop over many is vectorised.
    explicit operator float() const {
        const std::uint32_t magnitude = std::uint32_t{bits & 0x7fffU} << 13U;  // where float has exponent and fraction
        constexpr std::uint32_t exponent_shift = (127U - 15U) << 23U;
        constexpr std::uint32_t first_normal = (127U - 14U) << 23U;
        const std::uint32_t normal = magnitude + exponent_shift;
        const std::uint32_t not_finite = magnitude | 0x7f800000U;
        // Below 2^-14 there is no leading 1: put one there, and take it away.
        const auto small = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude + first_normal) -
                                                        std::bit_cast<float>(first_normal));
        const std::uint32_t converted = magnitude < (1U << 23U)     ? small
                                        : magnitude >= (31U << 23U) ? not_finite
                                                                    : normal;
        return std::bit_cast<float>(converted | std::uint32_t{bits & 0x8000U} << 16U);
    }
    /// Exact.
    explicit operator double() const { return static_cast<float>(*this); }
};

/// An element of bool as it is stored: a byte, which a damaged file may fill with more than 0 and 1.
struct Boolean {
    std::uint8_t byte = 0;  ///< 0 is false.

    /// 0 or 1.
    explicit operator double() const { return byte != 0 ? 1 : 0; }
    /// 0 or 1.
    explicit operator float() const { return byte != 0 ? 1 : 0; }
};

/// Returns use(an element of this type as it is stored).
template <class Use>
decltype(auto) with_stored(Dtype dtype, const Use& use) {
    switch (dtype) {
        case Dtype::boolean: return use(Boolean());
        case Dtype::int8: return use(std::int8_t());
        case Dtype::int16: return use(std::int16_t());
        case Dtype::int32: return use(std::int32_t());
        case Dtype::int64: return use(std::int64_t());
        case Dtype::uint8: return use(std::uint8_t());
        case Dtype::uint16: return use(std::uint16_t());
        case Dtype::uint32: return use(std::uint32_t());
        case Dtype::uint64: return use(std::uint64_t());
        case Dtype::float16: return use(Float16());
        case Dtype::float32: return use(float());
        case Dtype::float64: break;
    }
    return use(double());
}

/// Bytes of one element.
inline std::size_t item_size(Dtype dtype) {
    return with_stored(dtype, [](auto element) { return sizeof element; });
}

namespace detail {

struct DtypeName {
    Dtype dtype;
    std::string_view name;  ///< NumPy's name of it.
    std::string_view code;  ///< Its name in .npy files, without the byte order.
};
constexpr std::array<DtypeName, 12> dtype_names = {{{Dtype::boolean, "bool", "b1"},
                                                    {Dtype::int8, "int8", "i1"},
                                                    {Dtype::int16, "int16", "i2"},
                                                    {Dtype::int32, "int32", "i4"},
                                                    {Dtype::int64, "int64", "i8"},
                                                    {Dtype::uint8, "uint8", "u1"},
                                                    {Dtype::uint16, "uint16", "u2"},
                                                    {Dtype::uint32, "uint32", "u4"},
                                                    {Dtype::uint64, "uint64", "u8"},
                                                    {Dtype::float16, "float16", "f2"},
                                                    {Dtype::float32, "float32", "f4"},
                                                    {Dtype::float64, "float64", "f8"}}};

}  // namespace detail

/// NumPy's name of a type.
inline std::string to_string(Dtype dtype) {
    return std::string(std::find_if(detail::dtype_names.begin(), detail::dtype_names.end(), [&](const auto& entry) {
                           return entry.dtype == dtype;
                       })->name);
}

/// The type to compute in: float32 if it holds all numbers of `dtype` exactly, else float64.
constexpr Dtype computed_in(Dtype dtype) {
    switch (dtype) {
        case Dtype::int32:
        case Dtype::int64:
        case Dtype::uint32:
        case Dtype::uint64:
        case Dtype::float64: return Dtype::float64;
        default: return Dtype::float32;
    }
}

/// Which elements an array may have.
enum class Elements { numbers, integers };

/// Their names.
inline std::string to_string(Elements elements) {
    constexpr auto integers = "int8 to int64 or uint8 to uint64";
    return elements == Elements::integers ? integers : std::string("float16, float32, float64, bool, ") + integers;
}

/// Whether elements of this type are among them.
inline bool contains(Elements elements, Dtype dtype) {
    return elements == Elements::numbers || (dtype >= Dtype::int8 && dtype <= Dtype::uint64);
}

/// What the elements of a type that is not read are, by NumPy's code of the type without its byte order.
inline std::string describe_unread_type(std::string_view code) {
    switch (code.empty() ? '\0' : code[0]) {
        case 'c': return "complex numbers";
        case 'f': return "long double";
        case 'O': return "Python objects";
        case 'S':
        case 'a':
        case 'U': return "text";
        case 'm':
        case 'M': return "dates or times";
        case 'V': return "raw bytes, as of bfloat16";
        default: return "not a type of NumPy";
    }
}

}  // namespace otpool
