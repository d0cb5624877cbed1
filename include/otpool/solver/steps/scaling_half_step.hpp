// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// A half step in scalings, the exp() of one in potentials:  u_i = a_i s_i^-damping, given the sums s over the other
/// side, where log a_i = damping log_prior_i + (1 - damping) (anchor_i - F_i) and the kernel has absorbed F.
template <BagScalar Work>
class ScalingHalfStep {
public:
    /// Views both; the potentials are in units of log 2. Call follow_absorbed() before the first half step.
    void set(const Side& side, const Buffer<Work>& absorbed) {
        side_ = &side;
        absorbed_ = &absorbed;
        for (Buffer<Work>* one_each : {&damping_, &log_factor_, &log_sum_, &log_scaling_})
            one_each->resize(absorbed.size());
        damping_.assign(absorbed.size(), static_cast<Work>(side.common.damping * log2_e));
        for (Index i = 0; side.differ() && i < side.size(); ++i)
            damping_[i] = static_cast<Work>(side.line(i).damping * log2_e);
    }

    /// Reads the absorbed potentials of [first, first + count).
    void follow_absorbed(Index first, Index count) {
        const Real* log_prior = side_->log_prior.data() + first;
        const Real* anchor = side_->anchor.data() + first;
        const Work* F = absorbed_->data() + first;
        Work* log_factor = log_factor_.data() + first;
        for (Index i = 0; i < count; ++i) {
            const Stiffness& line = side_->line(first + i);
            const Real log_a = line.damping * log_prior[i] + line.relaxation * anchor[i];
            log_factor[i] = static_cast<Work>(log_a * log2_e - line.relaxation * static_cast<Real>(F[i]));
        }
    }

    /// scaling_i <- a_i s_i^-damping for i in [first, first + count). Both arrays have `count` entries, and do not
    /// overlap. Returns whether it is in range.
    bool operator()(Index first, Index count, const Work* sum, Work* scaling) {
        L low(Work(0));
        L high(Work(0));
        const Work* dampings = damping_.data() + first;
        const Work* factors = log_factor_.data() + first;
        Work* log_sums = log_sum_.data() + first;
        Work* log_scalings = log_scaling_.data() + first;
        for_each_lanes(count, [&](Index i, Index lanes) {
            const L log_sum = log_of_normal(load_some(sum + i, lanes, Work(1)));
            const L damped = load_some(dampings + i, lanes, Work(0)) * log_sum;
            const L log_scaling = load_some(factors + i, lanes, Work(0)) - damped;
            low = lower(low, log_scaling);
            high = higher(high, log_scaling);
            store_some(log_sum, log_sums + i, lanes);
            store_some(log_scaling, log_scalings + i, lanes);
            store_some(bounded_exp2(log_scaling), scaling + i, lanes);
        });
        return lowest(low) >= smallest_log_scaling && highest(high) <= largest_log_scaling;
    }

    /// scaling <- that of the side's anchors, which are potentials of 0, before the first half step. Returns whether it is
    /// in range.
    bool start(Work* scaling) {
        const Index size = side_->size();
        for (Index i = 0; i < size; ++i)
            log_scaling_[i] = static_cast<Work>(side_->anchor[i] * log2_e - static_cast<Real>((*absorbed_)[i]));
        std::copy_n(log_scaling_.data(), size, scaling);
        if (!within(scaling, size, smallest_log_scaling, largest_log_scaling)) return false;
        for_each_lanes(size, [&](Index i, Index lanes) {
            store_some(bounded_exp2(load_some(scaling + i, lanes, Work(0))), scaling + i, lanes);
        });
        return true;
    }

    /// to_i <- log s_i - F_i, with the last sums s.
    void log_sums(Index first, Index count, Real* to) const {
        for (Index i = first; i < first + count; ++i) {
            to[i] = static_cast<Real>(log_sum_[i]) - static_cast<Real>((*absorbed_)[i]) * log_2;
        }
    }

    /// to_i <- the kernel potential after the last half step, of all lines.
    void potentials(Real* to) const {
        for (Index i = 0; i < side_->size(); ++i) {
            to[i] = (static_cast<Real>(log_scaling_[i]) + static_cast<Real>((*absorbed_)[i])) * log_2;
        }
    }

    /// In units of log 2.
    const Buffer<Work>& log_scaling() const { return log_scaling_; }

private:
    using Range = ExponentialRange<Work>;
    using L = Lanes<Work>;

    static constexpr auto largest_log_scaling = static_cast<Work>(Real(Range::largest_log_scaling) * log2_e);
    static constexpr auto smallest_log_scaling = static_cast<Work>(Real(Range::least_log_scaling) * log2_e);

    const Side* side_ = nullptr;
    const Buffer<Work>* absorbed_ = nullptr;
    Buffer<Work> damping_;                             ///< times log2 e
    Buffer<Work> log_factor_, log_sum_, log_scaling_;  ///< In units of log 2, except the sums.
};

}  // namespace otpool::detail
