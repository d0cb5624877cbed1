// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

/// What a column of dL/dX is computed from.
template <BagScalar Scalar>
struct RewardGradientColumn {
    using L = Lanes<Scalar>;

    Scalar slope, offset;
    Index size;
    const Scalar* Y = nullptr;
    const Scalar* W = nullptr;  ///< May be null.
    const Scalar* x = nullptr;

    /// to <- slope Y + W + before, which may be null; returns <Y, x - offset>. `seen` becomes NaN if any number stored
    /// is NaN or infinite.
    Scalar add_to(Scalar* to, const Scalar* before, L& seen) const {
        const RewardGradientColumn own = *this;  // copies, which stay in registers
        const L lowest_x(std::numeric_limits<Scalar>::lowest() + (std::max)(own.offset, Scalar(0)));
        L moment(Scalar(0));
        L nothing = seen;
        for_each_lanes(size, [&](Index d, Index count) {
            const auto or_zero = [d, count](const Scalar* from) {
                return from == nullptr ? L(Scalar(0)) : load_some(from + d, count, Scalar(0));
            };
            fetch_ahead(to + d);
            const L y = load_some(own.Y + d, count, Scalar(0));
            const L sum = multiply_add(y, L(own.slope), or_zero(before) + or_zero(own.W));
            store_some(sum, to + d, count);
            nothing = multiply_add(sum, L(Scalar(0)), nothing);
            const L reward = higher(load_some(own.x + d, count, own.offset), lowest_x);  // Y is 0 at -inf
            moment = multiply_add(y, reward - L(own.offset), moment);
        });
        seen = nothing;
        return sum(moment);
    }
};

}  // namespace otpool::detail
