// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <optional>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/balancing_shift.hpp"
#include "otpool/problem/line_masses.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// |log(sum P / m)| of a plan whose row masses have these logarithms; 0 if the mass is free.
inline Real mass_violation(const std::optional<Real>& log_mass, const Buffer<Real>& log_row_mass) {
    return log_mass ? std::abs(log_sum_exp(log_row_mass.data(), log_row_mass.size()) - *log_mass) : 0;
}

/// The half step of a side together with the multiplier lambda of the constraint sum P = m: the maximum of the dual over
/// both,
///
///     f <- k (a0 (log p - LSE((X + g)/a0)) - lambda),   k = a/(a + a0), and the lines sum to m
///
/// lambda is a part of the side's kernel potentials, (f + lambda)/alpha0 + anchor. So kernels and the other side's half
/// step are those of a problem without the constraint, and lambda depends on the other side's potentials alone. It is
/// as if the side's anchors were higher by lambda / alpha0.
template <std::same_as<Real> Work = Real>
class MassHalfStep {
public:
    /// Copies the side. Some of its lines are not hard, and hard ones have less than the mass.
    void set(const Side& side, Work log_mass) {
        side_ = side;
        anchor_ = side.anchor;
        log_mass_ = log_mass;
        multiplier_ = 0;
    }

    /// lambda / alpha0
    Work multiplier() const { return multiplier_; }
    void move_multiplier(Work step) { multiplier_ += step; }

    /// As Side::half_steps() for all lines, with the multiplier. Cost: some ten exps per line, one if all are alike; a
    /// hundred with a penalty other than KullbackLeibler.
    void operator()(const Work* log_sum, Work* potential, Work* penalty) {
        const Work t =
            side_.is_kullback_leibler()
                ? balancing_shift<Work>(known_masses(log_sum), ConstantMass{log_mass_})
                : balancing_shift<Work>(MassesByHalfSteps{*this, log_sum, potential, penalty}, ConstantMass{log_mass_});
        half_steps(-t, log_sum, potential, penalty);
    }

private:
    /// The masses of lines with KullbackLeibler, where lambda / alpha0 is -t.
    const LineMasses<Work>& known_masses(const Work* log_sum) {
        // Line i has the mass exp(potential + log_sum) = exp(k log p + (1 - k)(anchor + lambda/a0 + log_sum)).
        masses_.set(
            side_.size(), !side_.differ(),
            [&](Index i) {
                const Stiffness& line = side_.line(i);
                return line.damping * side_.log_prior[i] + line.relaxation * (anchor_[i] + log_sum[i]);
            },
            [&](Index i) { return side_.line(i).relaxation; });
        return masses_;
    }

    /// The same with any penalty, by half steps; their slope by a difference.
    struct MassesByHalfSteps {
        MassHalfStep& step;
        const Work* log_sum;
        Work* potential;
        Work* penalty;

        AskedMass at(Work t) const {
            const Work change = 1e-6 * (1 + std::abs(t));
            const Work further = log_mass_at(t + change);
            const Work present = log_mass_at(t);
            Work largest = 0;
            for (Index i = 0; i < step.side_.size(); ++i)
                largest = (std::max)(largest, std::abs(potential[i]) + std::abs(log_sum[i]));
            return {present, (std::max)(Work(0), (present - further) / change), 1 + largest};
        }
        Work log_mass_at(Work t) const {
            step.half_steps(-t, log_sum, potential, penalty);
            step.line_mass_.resize(step.side_.size());
            for (Index i = 0; i < step.side_.size(); ++i) step.line_mass_[i] = potential[i] + log_sum[i];
            return log_sum_exp(step.line_mass_.data(), step.side_.size());
        }
    };

    void half_steps(Work multiplier, const Work* log_sum, Work* potential, Work* penalty) {
        multiplier_ = multiplier;
        for (Index i = 0; i < anchor_.size(); ++i) side_.anchor[i] = anchor_[i] + multiplier;
        side_.half_steps(0, side_.size(), log_sum, potential, penalty);
    }

    Side side_;  ///< Its anchors have the multiplier.
    Buffer<Work> anchor_;
    Buffer<Work> line_mass_;
    Work log_mass_ = 0;
    Work multiplier_ = 0;
    LineMasses<Work> masses_;
};

}  // namespace otpool::detail
