// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <functional>
#include <limits>

#include "otpool/closed_form/wright_omega.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/plan/marginal_line.hpp"

namespace otpool::detail {

/// One line (row or column) of a Quadratic plan, given the other side's potentials, in units of 2 alpha0:
///
///     P_i = max(0, x_i + potential),   log(sum P / prior) = -potential / alpha
///
/// x_i is the reward plus the other potential. For a hard line this is the projection onto the simplex of Held, Wolfe &
/// Crowder (1974), known as sparsemax. Entries and mass have relative precision, however small the mass is: they are
/// computed from the gaps max x - x_i, never from the potential.
template <std::same_as<Real> Work = Real>
struct QuadraticLine {
    Work log_mass = -std::numeric_limits<Work>::infinity();  ///< log sum P, -inf without entries.
    Work potential = 0;
    Work excess = 0;   ///< max x + potential: the largest entry.
    Work support = 0;  ///< Number of entries > 0.
    Work error = 0;    ///< What rounding may have added to log_mass.

    /// gap_i = max x - x_i >= 0; an infinite one has no mass. Reorders the gaps. Cost: O(size + support log size).
    QuadraticLine(Work* gap, Index size, Work highest, const MarginalLine& line) {
        const auto is_finite = [](Work g) { return g <= (std::numeric_limits<Work>::max)(); };
        if (std::none_of(gap, gap + size, is_finite) || (line.is_free() && !(highest > 0))) return;
        // The largest entry is at most what it would be alone. A gap beyond has no entry; most gaps are.
        support = 1;
        set_share(highest, line);
        const Work most = (1 + Work(1e-9)) * share_;
        Work* const end = std::partition(gap, gap + size, [&](Work g) { return is_finite(g) && !(g > most); });
        // If the support is the `count` smallest gaps, sum P = count * excess - (sum of those gaps). The support grows
        // while the mass at its next breakpoint is too small.
        std::make_heap(gap, end, std::greater<>());
        Work gaps = 0;
        Index count = 0;
        for (Work* last = end; last != gap; --last) {
            const Work next = gap[0];
            const Work mass = static_cast<Work>(count) * next - gaps;
            if (count > 0 && is_enough(mass, next, highest, line)) break;
            gaps += next;
            std::pop_heap(gap, last, std::greater<>());
            ++count;
        }
        support = static_cast<Work>(count);
        base_ = gaps / support;
        set_share(highest, line);
        excess = base_ + share_;
    }

    /// P_i, given its gap.
    Work entry(Work gap) const { return (std::max)(Work(0), base_ - gap + share_); }

    /// log P_i, -inf outside the support; right also where P_i underflows.
    Work log_entry(Work gap) const {
        if (support > 0 && gap == 0 && base_ == 0) return log_mass - std::log(support);  // all of the support is alike
        const Work size = entry(gap);
        return size > 0 ? std::log(size) : -std::numeric_limits<Work>::infinity();
    }

private:
    /// Whether a mass is at least what the line asks for at this excess.
    static bool is_enough(Work mass, Work excess, Work highest, const MarginalLine& line) {
        if (line.is_free()) return excess >= highest;
        const Work above = std::log(mass) - line.log_prior;
        return line.is_hard() ? above >= 0 : line.alpha * above >= highest - excess;
    }

    /// Sets the mass, each entry's share of it and the potential.
    void set_share(Work highest, const MarginalLine& line) {
        if (line.is_free()) {
            share_ = highest - base_;
            log_mass = std::log(support) + std::log(share_);  // the product may overflow
            return;
        }
        if (line.is_hard()) {
            log_mass = line.log_prior;
            share_ = std::exp(log_mass) / support;
            potential = (base_ - highest) + share_;
            return;
        }
        // w = share / alpha:  log(support alpha w) = log prior + (highest - base) / alpha - w
        const Work alpha = line.alpha;
        const Work log_unit = std::log(support) + std::log(alpha);
        const Work x = std::clamp(line.log_prior + (highest - base_) / alpha - log_unit, lowest_exponent, Work(1e300));
        const Work w = wright_omega(x);
        if (x < 1) {  // w may underflow
            log_mass = x - w + log_unit;
            share_ = std::exp(log_mass) / support;
        } else {
            share_ = x < 1e17 ? alpha * w : alpha * (line.log_prior - log_unit) + (highest - base_);  // w = x
            log_mass = std::log(support) + std::log(share_);
        }
        // Two formulas for the potential: the one that loses fewer digits counts. Without mass, there is one.
        const bool has_mass = x > lowest_exponent;
        const Work from_mass = -alpha * (log_mass - line.log_prior);
        const Work from_excess = (base_ - highest) + share_;
        const Work digits_of_mass = alpha * (std::max)({Work(1), std::abs(log_mass), std::abs(line.log_prior)});
        const Work digits_of_excess = (std::max)(std::abs(highest), base_ + share_);
        potential = has_mass && digits_of_mass < digits_of_excess ? from_mass : from_excess;
        error = has_mass ? std::abs(from_mass - from_excess) / (alpha + share_) : 0;
    }

    Work base_ = 0;   ///< The mean gap of the support.
    Work share_ = 0;  ///< mass / support
};

}  // namespace otpool::detail
