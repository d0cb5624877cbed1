// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/balancing_shift.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The total mass of a side's lines as a function of t: sum_i exp(term_i - slope_i t), slope_i >= 0.
template <std::same_as<Real> Work = Real>
class LineMasses {
public:
    /// term_of(i) and slope_of(i) for line i of `count`; `alike`: whether all slopes are slope_of(0).
    void set(Index count, bool alike, const auto& term_of, const auto& slope_of) {
        alike_ = alike;
        count_ = count;
        term_.resize(count);
        slope_.resize(alike ? 1 : count);
        for (Index i = 0; i < count; ++i) term_[i] = term_of(i);
        for (Index i = 0; i < slope_.size(); ++i) slope_[i] = slope_of(i);
        if (!alike) return;
        log_sum_ = log_sum_exp(term_.data(), count);
    }

    /// The same of `count` lines of one slope, given log_sum = LSE_i(term_i).
    void set_alike(Index count, Work log_sum, Work slope) {
        alike_ = true;
        count_ = count;
        slope_.assign(1, slope);
        log_sum_ = log_sum;
    }

    /// Cost: an exp per line; none if all are alike.
    AskedMass at(Work t) const {
        if (alike_) {
            // No less than the mean magnitude of the terms by mass. A line without mass is of no matter.
            const Work size = 1 + std::abs(log_sum_) + std::log(static_cast<Work>(count_));
            return {log_sum_ - slope_[0] * t, slope_[0], size + std::abs(slope_[0] * t)};
        }
        Work top = term_[0] - slope_[0] * t;
        for (Index i = 1; i < term_.size(); ++i) top = (std::max)(top, term_[i] - slope_[i] * t);
        AskedMass asked;
        Work sum = 0;
        for (Index i = 0; i < term_.size(); ++i) {
            const Work slope = slope_[i];
            const Work mass = std::exp(term_[i] - slope * t - top);
            sum += mass;
            asked.slope += mass * slope;
            asked.size += mass * (1 + std::abs(term_[i]) + std::abs(slope * t));
        }
        return {top + std::log(sum), asked.slope / sum, asked.size / sum};
    }

private:
    bool alike_ = false;
    Index count_ = 0;
    Buffer<Work> term_, slope_;
    Work log_sum_ = 0;
};

/// A mass that does not depend on t.
struct ConstantMass {
    Real log = 0;  ///< Its logarithm.

    AskedMass at(Real /*t*/) const { return {log, 0, 1 + std::abs(log)}; }
};

}  // namespace otpool::detail
