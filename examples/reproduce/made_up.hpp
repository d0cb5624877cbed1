#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>

namespace reproduce {

/// Random numbers that are the same with every standard library, which std::normal_distribution's are not.
class Generator {
public:
    explicit Generator(std::uint64_t seed) : bits_(seed) {}

    /// In [0, 1), of 53 random bits.
    double uniform() { return static_cast<double>(bits_() >> 11) * 0x1p-53; }

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

/// A bag of which every feature answers to a few neighbouring instances of its own, and to noise.
inline Eigen::MatrixXd made_up_bag(Eigen::Index features, Eigen::Index instances) {
    Eigen::MatrixXd bag = 0.6 * Generator(1).normal(features, instances);
    const auto place = [](Eigen::Index i, Eigen::Index count) {
        return (static_cast<double>(i) + 0.5) / static_cast<double>(count);
    };
    for (Eigen::Index n = 0; n < instances; ++n) {
        for (Eigen::Index d = 0; d < features; ++d) {
            bag(d, n) += 2 * std::max(0.0, 1 - 3 * std::abs(place(n, instances) - place(d, features)));
        }
    }
    return bag;
}

}  // namespace reproduce
