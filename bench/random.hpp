// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

#include "otpool/core/matrix.hpp"

namespace bench {

/// Gives the same numbers for the same seed with every compiler and standard library: the C++ standard fixes the engine's
/// bits, but not those of its distributions.
class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    /// In (0, 1).
    double uniform() { return (static_cast<double>(engine_() >> 11) + 0.5) * 0x1p-53; }

    double uniform(double low, double high) { return low + (high - low) * uniform(); }

    /// The logarithm is uniform.
    double log_uniform(double low, double high) { return std::exp(uniform(std::log(low), std::log(high))); }

    /// Mean 0, standard deviation 1 (Box & Muller).
    double normal() {
        const double radius = std::sqrt(-2 * std::log(uniform()));
        return radius * std::cos(2 * std::numbers::pi * uniform());
    }

    template <class Scalar>
    otpool::Matrix<Scalar> normal_matrix(otpool::Index rows, otpool::Index cols) {
        otpool::Matrix<Scalar> matrix(rows, cols);
        for (Scalar& entry : matrix.reshaped()) entry = static_cast<Scalar>(normal());
        return matrix;
    }

private:
    std::mt19937_64 engine_;
};

}  // namespace bench
