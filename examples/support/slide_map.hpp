#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iomanip>
#include <map>
#include <numeric>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "canvas.hpp"
#include "color_map.hpp"

namespace support {

/// A slide's patches at their places, in the colours of their weights.
struct SlideMap {
    std::string title;
    Eigen::Matrix2Xd coordinates;  ///< Of every patch's top left corner, x to the right and y down: 2 x N, N > 0.
    Eigen::VectorXd weights;       ///< N, >= 0
};

namespace detail {

/// How far neighbours are from each other: the median distance from a patch to the next one in its column, or row.
inline double patch_step(const Eigen::Matrix2Xd& coordinates) {
    for (const Eigen::Index along : {1, 0}) {
        std::map<double, std::vector<double>> lines;
        for (const auto& at : coordinates.colwise()) lines[at[1 - along]].push_back(at[along]);
        std::vector<double> steps;
        for (auto& [place, line] : lines) {
            std::sort(line.begin(), line.end());
            for (std::size_t i = 1; i < line.size(); ++i) {
                if (line[i] > line[i - 1]) steps.push_back(line[i] - line[i - 1]);
            }
        }
        if (steps.empty()) continue;
        const auto middle = steps.begin() + std::ssize(steps) / 2;
        std::nth_element(steps.begin(), middle, steps.end());
        return *middle;
    }
    return 1;
}

/// The fewest patches that hold half of the weight.
inline Eigen::Index half_of_weight(const Eigen::VectorXd& weights) {
    std::vector<double> sorted(weights.begin(), weights.end());
    std::sort(sorted.rbegin(), sorted.rend());
    const double half = weights.sum() / 2;
    double sum = 0;
    Eigen::Index count = 0;
    while (count < weights.size() && sum < half) sum += sorted[static_cast<std::size_t>(count++)];
    return count;
}

}  // namespace detail

/// Draws the map as a PNG image. The colours go from 0 to the largest weight; where patches overlap, the heavier is on top.
/// Throws std::runtime_error if memory is short.
inline void write_png(std::ostream& stream, const SlideMap& map) {
    constexpr double margin = 30, title = 40, color_bar = 110, longest = 1000, largest_patch = 24;
    const double step = detail::patch_step(map.coordinates);
    const Eigen::Vector2d begin = map.coordinates.rowwise().minCoeff();
    const Eigen::Vector2d size = (map.coordinates.rowwise().maxCoeff() - begin).array() + step;
    const double scale = std::min(largest_patch / step, longest / size.maxCoeff());
    const double height = std::max(std::ceil(size[1] * scale), 120.0);
    const double width = std::max(std::ceil(size[0] * scale), 200.0);
    Canvas canvas(static_cast<int>(2 * margin + width + color_bar), static_cast<int>(2 * margin + title + height));
    canvas.text(margin, margin, map.title, {.size = 18, .bold = true, .fit = width + color_bar});
    const Eigen::Index half = detail::half_of_weight(map.weights);
    canvas.text(margin, margin + 22,
                std::to_string(map.weights.size()) + " patches; half of the weight is on " + std::to_string(half),
                {.size = 12, .fit = width + color_bar});

    const double high = map.weights.maxCoeff();
    std::vector<Eigen::Index> order(static_cast<std::size_t>(map.weights.size()));
    std::iota(order.begin(), order.end(), Eigen::Index{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](Eigen::Index a, Eigen::Index b) { return map.weights[a] < map.weights[b]; });
    for (const Eigen::Index n : order) {
        // Whole pixels, so that neighbours meet without a seam.
        const Eigen::Vector2d from = ((map.coordinates.col(n) - begin) * scale).array().floor();
        const Eigen::Vector2d to =
            (((map.coordinates.col(n) - begin).array() + step) * scale).floor().max(from.array() + 1);
        canvas.rectangle(margin + from[0], margin + title + from[1], to[0] - from[0], to[1] - from[1],
                         viridis(high > 0 ? map.weights[n] / high : 0));
    }

    constexpr double bar = 14;
    const double x = margin + width + 24, top = margin + title, long_bar = std::min(height, 240.0);
    canvas.matrix(x, top, bar, long_bar, Eigen::VectorXd::LinSpaced(256, 1, 0), 0, 1);
    canvas.frame(x, top, bar, long_bar, color(0x999999));
    const auto number = [](double value) { return (std::ostringstream() << std::setprecision(2) << value).str(); };
    canvas.text(x + bar + 6, top + 5, number(high), {.size = 12, .fit = color_bar - bar - 30});
    canvas.text(x + bar + 6, top + long_bar - 5, "0", {.size = 12});
    canvas.write_png(stream);
}

}  // namespace support
