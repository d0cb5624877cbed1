#pragma once

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"

namespace tests {

/// A buffer of the same numbers.
inline otpool::detail::Buffer<double> buffer_of(const otpool::RealVector& vector) {
    otpool::detail::Buffer<double> buffer;
    buffer = vector;
    return buffer;
}

}  // namespace tests
