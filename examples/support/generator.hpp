#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <random>

namespace support {

/// Random numbers that are the same with every standard library, which std::normal_distribution's are not.
class Generator {
public:
    explicit Generator(std::uint64_t seed) : bits_(seed) {}

    /// In [0, 1), of 53 random bits.
    double uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }

    /// In [low, high].
    Eigen::Index integer(Eigen::Index low, Eigen::Index high) {
        return low + static_cast<Eigen::Index>(uniform() * static_cast<double>(high - low + 1));
    }

    /// Mean 0, variance 1 and close to normal: twelve uniform numbers, added up.
    double normal() {
        double sum = -6;
        for (int i = 0; i < 12; ++i) sum += uniform();
        return sum;
    }

    Eigen::MatrixXd normal(Eigen::Index rows, Eigen::Index columns) {
        return Eigen::MatrixXd::NullaryExpr(rows, columns, [this] { return normal(); });
    }

private:
    std::mt19937_64 bits_;
};

}  // namespace support
