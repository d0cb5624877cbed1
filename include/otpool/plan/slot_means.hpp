// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/slot_sums.hpp"

namespace otpool::detail {

/// What the first rows of a plan (slots) draw from values of D' rows: their conditional means and their masses.
template <std::same_as<Real> Work = Real>
struct SlotMeans {
    Matrix<Work> mean;  ///< D' x K: sum_n P_kn v_n / r_k
    Vector<Work> mass;  ///< r_k = sum_n P_kn

    /// Of the first `slots` rows. Products are in the values' scalar, which for floats differs from double by at most 1e-5
    /// of the values' spread: differences from a reference are multiplied, 128 instances at a time, and their sums are
    /// added up in double. Cost: one pass over the plan, one exp per element, and 2 K N D' flops in products of matrices.
    /// Memory: blocks of 128 instances, and D' x K numbers for each part of a large bag.
    /// Throws InvalidArgument if a value is not finite.
    template <BagScalar Scalar>
    SlotMeans(const LogPlan& plan, Index slots, const MatrixView<Scalar>& values, const Execution& execution) {
        if (set<Scalar>(plan, slots, values, execution, 1)) return;
        if (!set<Real>(plan, slots, values, execution, 0x1p-64)) require_finite(values, plan.active());
    }

private:
    template <BagScalar Scalar>
    static void require_finite(const MatrixView<Scalar>& values, const std::vector<Index>& active) {
        for (const Index n : active) {
            for (Index d = 0; d < values.rows(); ++d) {
                require_that(std::isfinite(values(d, n)), text("value at feature ", d, ", instance ", n), values(d, n),
                             "finite numbers");
            }
        }
    }

    /// Returns whether no product has overflowed.
    template <BagScalar Number, BagScalar Scalar>
    bool set(const LogPlan& plan, Index slots, const MatrixView<Scalar>& values, const Execution& execution,
             Real unit) {
        constexpr Index smallest_part = 1024;  // a part's sums take as long to add as a few of its instances
        const CentredValues<Number, Scalar> centred(values, plan.active(), unit);
        const InstanceParts parts(slots + values.rows(), static_cast<Index>(plan.active().size()), smallest_part);
        std::vector<SlotSums<Number>> sums(static_cast<std::size_t>(parts.count()), {slots, values.rows()});
        execution.for_each(parts.count(), [&](Index p, Index) {
            typename SlotSums<Number>::template Block<Scalar> block(plan.features(), slots, values.rows(),
                                                                    (std::min)(SlotSums<Number>::most, parts.size(p)));
            sums[static_cast<std::size_t>(p)].add(plan, centred, parts.first(p), parts.end(p), block);
        });
        for (std::size_t p = 1; p < sums.size(); ++p) sums[0].add(sums[p]);
        if (!sums[0].finite()) return false;
        mean = sums[0].mean();
        mean.colwise() += centred.reference().template cast<Real>();
        mean /= unit;
        mass.resize(slots);
        for (Index k = 0; k < slots; ++k) mass[k] = std::exp(sums[0].log_weight(k) + plan.log_scale()[k]);
        return true;
    }
};

}  // namespace otpool::detail
