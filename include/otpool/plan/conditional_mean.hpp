// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <numbers>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// unit sum_n P_dn v_dn / sum_n P_dn
template <class Plan>
RealVector conditional_mean(const Plan& plan, const AnyView& values, Real unit) {
    const Index rows = plan.features();
    const RealVector top = plan.top();
    std::vector<Real> weight(static_cast<std::size_t>(rows), 0);
    RealVector sum(rows);
    std::fill(sum.begin(), sum.end(), 0);
    Buffer<Real> of_column;
    Buffer<Real> value;
    of_column.resize(rows);
    value.resize(rows);
    plan.for_each_column([&](Index, Index n, const RealVector& score) {
        values.copy_column(n, value.data());
        for_each_lanes(rows, [&](Index d, Index count) {
            using L = Lanes<Real>;
            const L exponent = load_some(score.data() + d, count, Real(0)) - load_some(top.data() + d, count, Real(0));
            // negligible weights become 0
            store_some(exp2_or_zero(exponent * L(std::numbers::log2e)), of_column.data() + d, count);
        });
        for (Index d = 0; d < rows; ++d) {
            weight[static_cast<std::size_t>(d)] += of_column[d];
            sum[d] += of_column[d] * (unit * value[d]);
        }
    });
    for (Index d = 0; d < rows; ++d) sum[d] /= weight[static_cast<std::size_t>(d)];
    return sum;
}

/// sum_n P_dn v_dn / sum_n P_dn, for any mass. Cost: one exp per element, two passes over the plan, one over the
/// values; twice that if sums of the values leave the range of double.
template <class Plan>
RealVector conditional_mean(const Plan& plan, const AnyView& values) {
    RealVector mean = conditional_mean(plan, values, 1);
    if (all_finite(mean.data(), mean.size())) return mean;
    constexpr Real unit = 0x1p-64;
    mean = conditional_mean(plan, values, unit);
    for (Real& y : mean) y /= unit;
    return mean;
}

}  // namespace otpool::detail
