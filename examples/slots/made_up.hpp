#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/generator.hpp"

namespace slots {

using otpool::Index;
using Matrix = otpool::Matrix<double>;
using Vector = otpool::Vector<double>;

/// Bags side by side, D x sum N, and where each begins.
struct Data {
    Matrix instances;
    std::vector<std::int64_t> offsets = {0};
    /// The group of every instance, -1 for those without one; empty where groups are not known.
    std::vector<Index> groups = {};

    otpool::Bags<double> bags() const { return {instances, offsets}; }
};

/// Bags of points in the plane: five round groups, of which every bag has 2 to 20 points each, and as many as a third again
/// that are scattered anywhere. In a bag, a group's points are side by side.
inline Data made_up(Index bags, std::uint64_t seed) {
    constexpr Index groups = 5;
    support::Generator random(seed);
    const double turn = 4 * std::acos(0.0) / static_cast<double>(groups);
    Data data;
    std::vector<Vector> points;
    const auto add = [&](const Vector& point, Index group) {
        points.push_back(point);
        data.groups.push_back(group);
    };
    for (Index b = 0; b < bags; ++b) {
        Index in_groups = 0;
        for (Index g = 0; g < groups; ++g) {
            const double angle = turn * static_cast<double>(g) + 0.3;
            const Vector centre{{4 * std::cos(angle), 4 * std::sin(angle)}};
            const Index count = random.integer(2, 20);
            for (Index i = 0; i < count; ++i) add(centre + 0.6 * random.normal(2, 1).col(0), g);
            in_groups += count;
        }
        for (Index i = 0; i < in_groups / 3; ++i) {
            const double x = random.uniform(), y = random.uniform();  // in this order, with every compiler
            add(Vector{{14 * x - 7, 14 * y - 7}}, -1);
        }
        data.offsets.push_back(static_cast<std::int64_t>(points.size()));
    }
    data.instances.resize(2, static_cast<Index>(points.size()));
    for (Index n = 0; n < data.instances.cols(); ++n) data.instances.col(n) = points[static_cast<std::size_t>(n)];
    return data;
}

}  // namespace slots
