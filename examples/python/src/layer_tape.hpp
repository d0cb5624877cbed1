// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include <otpool/core/bags.hpp>
#include <otpool/core/error.hpp>

#include "arrays.hpp"

// What the layers of otpool.torch share: a batch that keeps its tensors alive, and the tape of a pass.

namespace otpool_python {

/// q0 of every bag, of finite scores or -inf: their softmax. A score of -inf excludes the instance. Throws InvalidArgument
/// for NaN and +inf, and for a bag that excludes all instances.
template <BagScalar Scalar>
Vector<Scalar> prior_of_scores(const Vector<Scalar>& scores, const std::vector<std::int64_t>& offsets) {
    using otpool::detail::require_that;
    using otpool::detail::text;
    constexpr double infinity = std::numeric_limits<double>::infinity();
    Vector<Scalar> prior(scores.size());
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
        const Index first = offsets[b];
        const Index end = offsets[b + 1];
        double highest = -infinity;
        for (Index n = first; n < end; ++n) {
            const auto score = static_cast<double>(scores[n]);
            require_that(score < infinity, text("scores[", n, "]"), score, "a number, or -inf to exclude the instance");
            highest = (std::max)(highest, score);
        }
        require_that(first == end || std::isfinite(highest), text("bag ", b),
                     "without an instance that is not excluded", "at least one");
        double sum = 0;
        for (Index n = first; n < end; ++n) sum += std::exp(static_cast<double>(scores[n]) - highest);
        for (Index n = first; n < end; ++n) {
            prior[n] = static_cast<Scalar>(std::exp(static_cast<double>(scores[n]) - highest) / sum);
        }
    }
    return prior;
}

/// A ragged batch of tensors.
template <BagScalar Scalar>
struct LayerBatch {
    Rows<Scalar> x;                            ///< (sum N, D)
    Pointers ptr;                              ///< (B + 1)
    std::optional<Line<Scalar>> scores = {};   ///< (sum N): q0 is their softmax in every bag; none: uniform.
    std::optional<Rows<Scalar>> rewards = {};  ///< (sum N, K), of slots.

    /// The bags, which view the tensors. Throws InvalidArgument.
    otpool::Bags<Scalar> bags() const {
        const std::vector<std::int64_t> offsets = offsets_of(ptr);
        const Vector<Scalar> given = vector_of<Scalar>(scores);
        const otpool::Bags<Scalar> checked(view_of(x), offsets, view_of(rewards), given);
        if (!scores) return checked;
        return {view_of(x), offsets, view_of(rewards), prior_of_scores(given, offsets)};
    }
};

/// A layer's result, and the function that differentiates it.
template <BagScalar Scalar, class Gradients>
struct LayerTape {
    LayerBatch<Scalar> batch;  ///< Keeps the memory that `backward` reads.
    Matrix<Scalar> pooled;     ///< A column a bag.
    std::function<Gradients(const MatrixView<Scalar>& dL_dpooled)> backward;
};

}  // namespace otpool_python
