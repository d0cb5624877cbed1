// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <otpool/core/bags.hpp>
#include <otpool/core/execution.hpp>

#include "arrays.hpp"
#include "settings.hpp"
#include "threads.hpp"

namespace otpool_python {

/// q0 <- q0 over its sum, in each bag where the sum is a number above 0. (The library refuses others, by name.)
template <BagScalar Scalar>
void normalize(Vector<Scalar>& q0, const std::vector<std::int64_t>& offsets) {
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
        if (offsets[b] < 0 || offsets[b] >= offsets[b + 1] || offsets[b + 1] > q0.size()) continue;
        auto of_bag = q0.segment(offsets[b], offsets[b + 1] - offsets[b]);
        const double sum = of_bag.template cast<double>().sum();
        if (sum > 0 && std::isfinite(sum)) of_bag = (of_bag.template cast<double>() / sum).template cast<Scalar>();
    }
}

/// What every pooling of a batch takes.
template <BagScalar Scalar>
struct Batch {
    otpool::Bags<Scalar> bags;
    std::optional<Scalar> empty_bag;
    otpool::Execution execution;

    /// `options` has the attributes q0, empty_bag and threads; `normalized`: q0 are weights of any sum.
    Batch(const Rows<Scalar>& x, const Pointers& ptr, const std::optional<Rows<Scalar>>& reward, nb::handle options,
          bool normalized = true)
        : bags(view_of(x), offsets_of(ptr), view_of(reward), prior_of(options, ptr, normalized)),
          execution(otpool_python::execution(attribute<int>(options, "threads"))) {
        const auto fill = attribute<std::optional<double>>(options, "empty_bag");
        if (fill) empty_bag = static_cast<Scalar>(*fill);
    }

    /// The pooled vectors, D x B, found without the GIL.
    Matrix<Scalar> pooled_by(auto pooling) const {
        pooling.empty_bag = empty_bag;
        pooling.execution = execution;
        return without_gil([&] { return pooling(bags); });
    }

private:
    static Vector<Scalar> prior_of(nb::handle options, const Pointers& ptr, bool normalized) {
        auto q0 = numbers_of<Scalar>(options.attr("q0"), "q0");
        if (normalized) normalize(q0, offsets_of(ptr));
        return q0;
    }
};

}  // namespace otpool_python
