#pragma once

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

namespace tests {

/// The bytes of a .npy file put together by hand.
inline std::string npy(const std::string& dictionary, const std::string& data, char version = 1) {
    std::string bytes = "\x93NUMPY";
    bytes += {version, '\0'};
    const std::size_t length_bytes = version == 1 ? 2 : 4;
    for (std::size_t i = 0; i < length_bytes; ++i) bytes += static_cast<char>(dictionary.size() >> (8 * i) & 255);
    return bytes + dictionary + data;
}

inline std::string dictionary(const std::string& descr, bool fortran_order, const std::string& shape) {
    return "{'descr': '" + descr + "', 'fortran_order': " + (fortran_order ? "True" : "False") + ", 'shape': " + shape +
           ", }\n";
}

/// The bytes of `values` in the given order.
template <class Scalar>
std::string data_of(const std::vector<Scalar>& values, std::endian order = std::endian::little) {
    std::string data;
    for (const Scalar& value : values) {
        std::string item(sizeof value, '\0');
        std::memcpy(item.data(), &value, sizeof value);
        if (order != std::endian::native) std::reverse(item.begin(), item.end());
        data += item;
    }
    return data;
}

}  // namespace tests
