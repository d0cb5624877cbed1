#pragma once

#include <algorithm>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"

// Buffers as vectors of Eigen, and back.

namespace tests {

inline Eigen::Map<const otpool::RealVector> vector_of(const otpool::detail::Buffer<double>& buffer) {
    return {buffer.data(), buffer.size()};
}

inline otpool::detail::Buffer<double> buffer_of(const otpool::RealVector& vector) {
    otpool::detail::Buffer<double> buffer;
    buffer.resize(vector.size());
    std::copy(vector.begin(), vector.end(), buffer.begin());
    return buffer;
}

}  // namespace tests
