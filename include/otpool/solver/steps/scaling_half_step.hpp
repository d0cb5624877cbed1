// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/extremes.hpp"
#include "otpool/simd/logarithm.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// A half step in scalings, exp(half step of potentials):  u_i = a_i s_i^-damping, given the sums s over the other
/// side, where log a_i = damping log_prior_i + (1 - damping) (anchor_i - F_i), F the potentials that the kernel has
/// absorbed.
template <BagScalar Scalar>
class ScalingHalfStep {
public:
    /// Views both; the potentials are in units of log 2, and to be followed before the first half step.
    void set(const ScaledMarginal& side, const Buffer<Scalar>& absorbed) {
        side_ = &side;
        absorbed_ = &absorbed;
        for (Buffer<Scalar>* one_each : {&log_factor_, &log_sum_, &log_scaling_}) one_each->resize(absorbed.size());
    }

    /// What has been absorbed of i in [first, first + count).
    void follow_absorbed(Index first, Index count) {
        const Real* log_prior = side_->log_prior.data() + first;
        const Real* anchor = side_->anchor.data() + first;
        const Scalar* F = absorbed_->data() + first;
        Scalar* log_factor = log_factor_.data() + first;
        for (Index i = 0; i < count; ++i) {
            const Real log_a = side_->damping * log_prior[i] + side_->relaxation * anchor[i];
            log_factor[i] = static_cast<Scalar>(log_a * log2_e - side_->relaxation * static_cast<Real>(F[i]));
        }
    }

    /// scaling_i <- a_i s_i^-damping of i in [first, first + count), of which both arrays, apart from each other, have
    /// `count` entries. Whether it is in range.
    bool operator()(Index first, Index count, const Scalar* sum, Scalar* scaling) {
        const auto damping = static_cast<Scalar>(side_->damping * log2_e);
        Lanes lowest = Lanes::Zero();
        Lanes highest = Lanes::Zero();
        const auto scale_lanes = [&](const Scalar* sums, const Scalar* factors, Scalar* log_sums, Scalar* log_scalings,
                                     Scalar* scalings) {
            const Lanes log_sum = log_of_normal(LanesAt(sums));
            const Lanes log_scaling = LanesAt(factors) - damping * log_sum;
            lowest = lowest.min(log_scaling);
            highest = highest.max(log_scaling);
            Eigen::Map<Lanes>(log_sums, register_lanes) = log_sum;
            Eigen::Map<Lanes>(log_scalings, register_lanes) = log_scaling;
            Eigen::Map<Lanes>(scalings, register_lanes) = bounded_exp2(log_scaling);
        };
        const Scalar* factors = log_factor_.data() + first;
        Scalar* log_sums = log_sum_.data() + first;
        Scalar* log_scalings = log_scaling_.data() + first;
        if (count >= register_lanes) {
            for (Index next = 0; next < count; next += register_lanes) {
                const Index i = std::min(next, count - register_lanes);  // of the last register, some once more
                scale_lanes(sum + i, factors + i, log_sums + i, log_scalings + i, scaling + i);
            }
        } else {
            std::array<Lanes, 5> lanes = {Lanes::Ones(), Lanes::Zero()};
            std::copy_n(sum, count, lanes[0].data());
            std::copy_n(factors, count, lanes[1].data());
            scale_lanes(lanes[0].data(), lanes[1].data(), lanes[2].data(), lanes[3].data(), lanes[4].data());
            std::copy_n(lanes[2].data(), count, log_sums);
            std::copy_n(lanes[3].data(), count, log_scalings);
            std::copy_n(lanes[4].data(), count, scaling);
        }
        return lowest_of(lowest) >= smallest_log_scaling && highest_of(highest) <= largest_log_scaling;
    }

    /// to_i <- log s_i - F_i, of the last sums.
    void log_sums(Index first, Index count, Real* to) const {
        for (Index i = first; i < first + count; ++i) {
            to[i] = static_cast<Real>(log_sum_[i]) - static_cast<Real>((*absorbed_)[i]) * log_2;
        }
    }

    /// In units of log 2.
    const Buffer<Scalar>& log_scaling() const { return log_scaling_; }

private:
    using Range = ExponentialRange<Scalar>;
    using Lanes = Eigen::Array<Scalar, register_lanes, 1>;
    using LanesAt = Eigen::Map<const Lanes>;

    static constexpr auto largest_log_scaling = static_cast<Scalar>(Range::largest_log_scaling * log2_e);
    static constexpr auto smallest_log_scaling = static_cast<Scalar>(Range::least_log_scaling * log2_e);

    const ScaledMarginal* side_ = nullptr;
    const Buffer<Scalar>* absorbed_ = nullptr;
    Buffer<Scalar> log_factor_, log_sum_, log_scaling_;  ///< All but the sums in units of log 2.
};

}  // namespace otpool::detail
