#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <string>
#include <type_traits>
#include <vector>

#include "support/temporary_directory.hpp"

namespace tests {

/// The lowest byte first.
template <class Number>
std::string little_endian_bytes(Number number) {
    std::string bytes;
    for (std::size_t i = 0; i < sizeof number; ++i) bytes += static_cast<char>(number >> (8 * i) & 255U);
    return bytes;
}

template <class Scalar>
std::string bytes_of(const std::vector<Scalar>& values) {
    using Bits = std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint64_t>;
    std::string bytes;
    for (const Scalar value : values) bytes += little_endian_bytes(std::bit_cast<Bits>(value));
    return bytes;
}

/// The bytes of a .safetensors file put together by hand.
inline std::string safetensors(const std::string& header, const std::string& data) {
    return little_endian_bytes(std::uint64_t{header.size()}) + header + data;
}

/// A file put together tensor by tensor.
class SafetensorsWriter {
public:
    /// `shape` as the header has it: "[2, 3]".
    template <class Scalar>
    SafetensorsWriter& add(const std::string& name, const std::string& shape, const std::vector<Scalar>& values) {
        const std::string begin = std::to_string(data_.size());
        data_ += bytes_of(values);
        header_ += (header_.empty() ? "" : ",") + ("\"" + name) + R"(":{"dtype":")" +
                   (sizeof(Scalar) == 4 ? "F32" : "F64") + R"(","shape":)" + shape + R"(,"data_offsets":[)" + begin +
                   "," + std::to_string(data_.size()) + "]}";
        return *this;
    }

    std::string bytes() const { return safetensors("{" + header_ + "}", data_); }

private:
    std::string header_;
    std::string data_;
};

}  // namespace tests
