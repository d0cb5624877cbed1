#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "../support/generator.hpp"

namespace reproduce {

using support::Generator;

/// A bag in which each feature is large in a few neighbouring instances of its own, with noise.
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
