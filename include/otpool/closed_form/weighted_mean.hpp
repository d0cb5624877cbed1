// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/reference_values.hpp"
#include "otpool/kernel/reward_block.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

/// A weighted mean of the values, in one pass over reward and values:
///
///     y_d = sum_k w_dk v_dk / sum_k w_dk,   w_dk = 2^(slope (x_dk - top_d)),  top_d the highest reward of feature d;
///                                           w_dk = instance_weight_k if slope = 0
template <BagScalar Work>
class WeightedMean {
public:
    Work slope = 0;
    Buffer<Work> top;              ///< One per feature, padded to whole registers; not read if slope = 0.
    Buffer<Work> instance_weight;  ///< One per active instance; read only if slope = 0.

    /// mean <- y. Parts of the instances may run in parallel.
    void operator()(const Inspection& problem, const Execution& execution, RealVector& mean) {
        const Index rows = problem.features();
        const auto& active = problem.priors.active;
        const AnyView& values = problem.pooled_values();
        const InstanceParts parts(rows, problem.active_instances(), block_cols);
        if (problem.values.empty()) {
            reference_.set(problem.highest);
        } else {
            reference_.set(values, problem.reward, active);
        }
        parts_.resize(static_cast<std::size_t>(parts.count()));
        execution.for_each(parts.count(), [&](Index p, Index) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            part.start(rows);
            for (Index first = parts.first(p); first < parts.end(p); first += block_cols) {
                const Index count = (std::min)(block_cols, parts.end(p) - first);
                add_block(problem, values, active.data() + first, first, count, part);
            }
        });
        mean.resize(rows);
        for (Index d = 0; d < rows; ++d) {
            Real weight = 0;
            Real weighted = 0;
            for (const Part& part : parts_) {
                weight += part.weight[d];
                weighted += part.weighted[d];
            }
            mean[d] = weighted / weight + static_cast<Real>(reference_.numbers()[d]);
        }
    }

private:
    using L = Lanes<Work>;

    /// Sum this many columns in Work, then add to double totals.
    static constexpr Index block_cols = 64;

    struct Part {
        Buffer<Real> weight, weighted;
        Buffer<Work> block_weight, block_weighted;
        RewardBlock<Work> rewards, values;

        void start(Index rows) {
            for (Buffer<Real>* sums : {&weight, &weighted}) sums->assign(rows, 0);
            for (Buffer<Work>* sums : {&block_weight, &block_weighted}) sums->resize(padded(rows));
        }
    };

    void add_block(const Inspection& problem, const AnyView& values, const Index* instances, Index first, Index count,
                   Part& part) const {
        for (Buffer<Work>* sums : {&part.block_weight, &part.block_weighted}) {
            std::fill(sums->begin(), sums->end(), Work(0));
        }
        const bool by_instance = 2 * problem.features() < register_lanes && count >= register_lanes;
        const auto items = [&](RewardBlock<Work>& block, const AnyView& matrix) {
            return by_instance ? block.of_instances(matrix, instances, count)
                               : block.of_features(matrix, instances, count, true);
        };
        const Work* const* v = items(part.values, values);
        const Work* const* x = problem.values.empty() || slope == 0 ? v : items(part.rewards, problem.reward);
        if (by_instance) {
            add_by_instance(x, v, problem.features(), first, count, part);
        } else {
            add_by_feature(x, v, first, count, part);
        }
        for (Index d = 0; d < problem.features(); ++d) {
            part.weight[d] += static_cast<Real>(part.block_weight[d]);
            part.weighted[d] += static_cast<Real>(part.block_weighted[d]);
        }
    }

    L power(const Work* x, const L& tops) const { return exp2_or_zero((L::load(x) - tops) * L(slope)); }

    void add_by_feature(const Work* const* x, const Work* const* v, Index first, Index count, Part& part) const {
        const bool depends_on_reward = slope != 0;
        for (Index k = 0; k < count; ++k) {
            const L of_instance(depends_on_reward ? Work(1) : instance_weight[first + k]);
            Work* weights = part.block_weight.data();
            Work* weighted = part.block_weighted.data();
            for (Index d = 0; d < part.block_weight.size(); d += register_lanes) {
                fetch_ahead(v[k] + d);
                const L w = depends_on_reward ? power(x[k] + d, L::load(top.data() + d)) : of_instance;
                const L excess = L::load(v[k] + d) - L::load(reference_.numbers().data() + d);
                (L::load(weights + d) + w).store(weights + d);
                multiply_add(w, excess, L::load(weighted + d)).store(weighted + d);
            }
        }
    }

    void add_by_instance(const Work* const* x, const Work* const* v, Index rows, Index first, Index count,
                         Part& part) const {
        for (Index d = 0; d < rows; ++d) {
            L weights(Work(0));
            L weighted(Work(0));
            const L reference(reference_.numbers()[d]);
            for_each_lanes(count, [&](Index k, Index lanes) {
                const L of_lanes = slope != 0 ? power(x[d] + k, L(top[d]))
                                              : load_some(instance_weight.data() + first + k, lanes, Work(0));
                const L w = first_lanes(of_lanes, lanes, Work(0));
                weights += w;
                weighted = multiply_add(w, L::load(v[d] + k) - reference, weighted);
            });
            part.block_weight[d] = sum(weights);
            part.block_weighted[d] = sum(weighted);
        }
    }

    ReferenceValues<Work> reference_;
    std::vector<Part> parts_;
};

}  // namespace otpool::detail
