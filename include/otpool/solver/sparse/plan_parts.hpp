// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// The rows and columns that a plan's entries connect, directly or through others.
struct PlanPart {
    std::vector<Index> rows, cols;
};

/// The connected parts of a plan, a column after the other. A line without entries is a part by itself. Cost: one pass
/// over the plan (union-find, with the lower line as the root).
template <std::same_as<Real> Work = Real>
std::vector<PlanPart> connected_parts(const std::vector<Work>& plan, Index rows, Index cols) {
    std::vector<Index> parent(static_cast<std::size_t>(rows + cols));  // rows first
    std::iota(parent.begin(), parent.end(), Index{0});
    const auto root_of = [&](Index line) {
        while (parent[static_cast<std::size_t>(line)] != line) {
            Index& above = parent[static_cast<std::size_t>(line)];
            above = parent[static_cast<std::size_t>(above)];
            line = above;
        }
        return line;
    };
    for (Index k = 0; k < cols; ++k) {
        for (Index i = 0; i < rows; ++i) {
            if (!(plan[static_cast<std::size_t>(k * rows + i)] > 0)) continue;
            const auto [low, high] = std::minmax({root_of(i), root_of(rows + k)});
            parent[static_cast<std::size_t>(high)] = low;
        }
    }
    std::vector<PlanPart> parts;
    std::vector<std::size_t> part_of(parent.size());
    for (Index line = 0; line < rows + cols; ++line) {
        const Index root = root_of(line);
        if (root == line) {
            part_of[static_cast<std::size_t>(line)] = parts.size();
            parts.emplace_back();
        }
        PlanPart& part = parts[part_of[static_cast<std::size_t>(root)]];
        line < rows ? part.rows.push_back(line) : part.cols.push_back(line - rows);
    }
    return parts;
}

}  // namespace otpool::detail
