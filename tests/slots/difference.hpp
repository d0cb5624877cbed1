#pragma once

#include "otpool/core/matrix.hpp"
#include "support/catch.hpp"

namespace tests {

/// The largest difference of two matrices, over the largest entry.
double difference(const auto& found, const otpool::Matrix<double>& expected) {
    REQUIRE(found.rows() == expected.rows());
    REQUIRE(found.cols() == expected.cols());
    return (found.template cast<double>() - expected).cwiseAbs().maxCoeff() / (1e-3 + expected.cwiseAbs().maxCoeff());
}

}  // namespace tests
