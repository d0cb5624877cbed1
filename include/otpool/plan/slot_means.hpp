// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/log_plan.hpp"

namespace otpool::detail {

/// What the first rows of a plan (slots) draw from values of D' rows: their conditional means and their masses.
template <std::same_as<Real> Work = Real>
struct SlotMeans {
    Matrix<Work> mean;  ///< D' x K: sum_n P_kn v_n / r_k
    Vector<Work> mass;  ///< r_k = sum_n P_kn

    /// Of the first `slots` rows. Cost: two passes over the plan, one exp per entry, 2 K N D' flops in products of
    /// matrices. Memory: blocks of 128 instances, and D' x K numbers for each part of a large bag.
    SlotMeans(const LogPlan& plan, Index slots, const AnyView& values, const Execution& execution) {
        const auto cols = static_cast<Index>(plan.active().size());
        const Vector<Work> top = plan.top().head(slots);
        const InstanceParts parts(slots + values.rows(), cols);
        std::vector<Sums> sums(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index p, Index) {
            sums[static_cast<std::size_t>(p)].add(plan, top, values, parts.first(p), parts.end(p));
        });
        for (std::size_t p = 1; p < sums.size(); ++p) {
            sums[0].values += sums[p].values;
            sums[0].weight += sums[p].weight;
        }
        mean = sums[0].values * sums[0].weight.cwiseInverse().asDiagonal();
        mass.resize(slots);
        for (Index k = 0; k < slots; ++k) {
            mass[k] = std::exp(std::log(sums[0].weight[k]) + top[k] + plan.log_scale()[k]);
        }
    }

private:
    /// sum_n w_kn v_n (D' x K) and sum_n w_kn, w_kn = exp(score_kn - top_k).
    struct Sums {
        Matrix<Work> values;
        Vector<Work> weight;

        void add(const LogPlan& plan, const Vector<Work>& top, const AnyView& of, Index first, Index end) {
            constexpr Index most = 128;
            const Index slots = top.size();
            values.setZero(of.rows(), slots);
            weight.setZero(slots);
            Vector<Work> score(plan.features());
            Matrix<Work> weights(slots, most);
            Matrix<Work> block(of.rows(), most);
            for (Index begin = first; begin < end; begin += most) {
                const Index count = (std::min)(most, end - begin);
                for (Index i = 0; i < count; ++i) {
                    plan.column(begin + i, score.data());
                    weights.col(i) = (score.head(slots) - top).array().exp();
                    of.copy_column(plan.active()[static_cast<std::size_t>(begin + i)], block.data() + i * of.rows());
                }
                values.noalias() += block.leftCols(count) * weights.leftCols(count).transpose();
                weight += weights.leftCols(count).rowwise().sum();
            }
        }
    };
};

}  // namespace otpool::detail
