#pragma once

#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "support/catch.hpp"

namespace tests {

/// Columns [first, first + count) of a source; checks that it writes no more.
template <class Scalar>
std::vector<Scalar> read_columns(const auto& source, otpool::Index first, otpool::Index count) {
    std::vector<Scalar> values(static_cast<std::size_t>(source.rows() * count) + 1, Scalar(-7));
    source.read(first, count, values.data());
    CHECK(values.back() == Scalar(-7));
    values.pop_back();
    return values;
}

}  // namespace tests
