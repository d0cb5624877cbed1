// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/alphas.hpp"
#include "otpool/problem/penalties.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// alpha / (alpha + weight), the part of its excess that a half step removes: 1 if hard, 0 if free.
inline Real damping(Real alpha, Real weight) {
    return std::isinf(alpha) ? 1 : alpha == 0 ? 0 : alpha / (alpha + weight);
}

/// The reverse of damping(): adds dL/dalpha to `of_alpha`, returns dL/dweight.
inline Real pull_back_damping(Real of_damping, Real alpha, Real weight, Real& of_alpha) {
    if (std::isinf(alpha)) return 0;
    const Real sum = alpha + weight;
    of_alpha += of_damping * (weight / sum) / sum;
    return -of_damping * (alpha / sum) / sum;
}

/// The reverse of weight / alpha, the ratio of a Stiffness, likewise. A free line has none.
inline Real pull_back_ratio(Real of_ratio, Real alpha, Real weight, Real& of_alpha) {
    if (std::isinf(alpha) || alpha == 0) return 0;
    of_alpha -= of_ratio * (weight / alpha) / alpha;
    return of_ratio / alpha;
}

/// A line has no mass to speak of below exp(log_no_mass) times the heaviest one's: doubles do not see it in any sum.
inline constexpr Real log_no_mass = -700;

/// How a line is held to its prior, relative to a strength `weight`: alpha0, or rho and more in Bregman ADMM.
struct Stiffness {
    Real alpha = 0;
    Real ratio = 0;       ///< weight / alpha: 0 when hard, inf when free.
    Real damping = 0;     ///< alpha / (alpha + weight): 1 when hard, 0 when free.
    Real relaxation = 0;  ///< 1 - damping.

    Stiffness() = default;
    Stiffness(Real alpha_, Real weight) : alpha(alpha_) {
        // Hard takes precedence over weight = inf, and free over weight = 0. Soft lines stay soft.
        const Real least = weight > 0 ? (std::numeric_limits<Real>::min)() : 0;
        set_ratio(std::isinf(alpha) ? 0
                  : alpha == 0      ? std::numeric_limits<Real>::infinity()
                                    : (std::max)(weight / alpha, least));
    }

    void set_ratio(Real ratio_) {
        ratio = ratio_;
        damping = 1 / (1 + ratio);
        relaxation = std::isinf(ratio) ? 1 : ratio / (1 + ratio);
    }
    bool is_hard() const { return ratio == 0; }
    bool is_free() const { return damping == 0; }
    bool is_soft() const { return !is_hard() && !is_free(); }

    /// The half step of KullbackLeibler, given excess = log prior - log sum: see Side::half_steps().
    void half_step(Real excess, Real anchor, Real& potential, Real& penalty) const {
        potential = damping * excess + relaxation * anchor;
        penalty = relaxation * (excess - anchor);
    }
};

/// One side of the plan: its lines (features or instances) and their penalty.
///
/// A line's kernel potential is f / weight + anchor; the anchor is the part of the reward that depends on the line
/// alone.
struct Side {
    Stiffness common;            ///< Of all lines; NaN if they differ.
    std::vector<Stiffness> own;  ///< Of each line, if they differ.
    Buffer<Real> log_prior;
    Buffer<Real> anchor;
    Real kept_sum = 1;  ///< Priors::kept_sum_of_p or q.
    AnyPenalty kind;    ///< Which penalty.

    Side() = default;
    Side(const Alphas& alphas, Real weight) { set(alphas, weight); }

    void set(const Alphas& alphas, Real weight) {
        own.clear();
        common = Stiffness(alphas.differ() ? std::numeric_limits<Real>::quiet_NaN() : alphas.common(), weight);
        for (Index i = 0; i < alphas.size(); ++i) own.emplace_back(alphas[i], weight);
    }

    bool differ() const { return !own.empty(); }
    const Stiffness& line(Index i) const { return differ() ? own[static_cast<std::size_t>(i)] : common; }

    /// body(line_of), where line_of(i) is line(i): for loops over lines, which then look once whether lines differ.
    void with_lines(const auto& body) const {
        if (differ()) {
            body([&](Index i) -> const Stiffness& { return own[static_cast<std::size_t>(i)]; });
        } else {
            body([common = common](Index) -> const Stiffness& { return common; });  // a copy, which no store changes
        }
    }

    /// Whether all lines are.
    bool is_hard() const {
        return all([](const Stiffness& line) { return line.is_hard(); });
    }
    bool is_free() const {
        return all([](const Stiffness& line) { return line.is_free(); });
    }
    bool has_no_penalty() const {
        return all([](const Stiffness& line) { return line.alpha == 0; });
    }
    /// Whether some line is free.
    bool has_free_lines() const {
        return !all([](const Stiffness& line) { return !line.is_free(); });
    }
    /// Whether some line is soft, and its alpha so many times the weight that ratios lose it.
    bool has_lost_lines() const {
        return !all([](const Stiffness& line) { return !(line.is_soft() && line.ratio < 1e-100); });
    }
    /// Whether some line is soft.
    bool has_soft_lines() const {
        return !all([](const Stiffness& line) { return !line.is_soft(); });
    }
    /// Whether the penalty acts as KullbackLeibler; others differ from it only on soft lines.
    bool is_kullback_leibler() const { return kind.is_kullback_leibler() || !has_soft_lines(); }
    Index size() const { return log_prior.size(); }

    /// The same side with `factor` times the weight.
    Side with_weight_times(Real factor) const {
        Side other = *this;
        other.common.set_ratio(common.ratio * factor);
        for (Stiffness& line : other.own) line.set_ratio(line.ratio * factor);
        for (Real& a : other.anchor) a /= factor;
        return other;
    }

    /// The half step of lines [first, first + count): kernel potentials that meet their optimality condition, given
    /// the log sum of each line over the other side; and penalties f / alpha. These are computed separately, as
    /// potential - anchor cancels. Every array has `count` entries.
    void half_steps(Index first, Index count, const Real* log_sum, Real* potential, Real* penalty) const {
        const Real* log_priors = log_prior.data() + first;
        const Real* anchors = anchor.data() + first;
        if (!kind.is_kullback_leibler()) {
            for (Index i = 0; i < count; ++i) half_step_of_kind(first + i, log_sum[i], potential[i], penalty[i]);
            return;
        }
        with_lines([&](const auto& line_of) {
            for (Index i = 0; i < count; ++i) {
                line_of(first + i).half_step(log_priors[i] - log_sum[i], anchors[i], potential[i], penalty[i]);
            }
        });
    }

    /// The largest violation of the optimality condition: |log(marginal / prior) + f / alpha| for KullbackLeibler; for
    /// another penalty, how far a half step would move f / weight. 0 for a free line, infinity if one is NaN. A line
    /// that has no mass to speak of, and should have none, does not count: its potential may have no digits left.
    Real violation(const Real* log_marginal, const Real* penalty) const {
        if (!kind.is_kullback_leibler() || differ()) return violation_by_lines(log_marginal, penalty);
        if (is_free()) return 0;
        using L = Lanes<Real>;
        const L least(highest(log_marginal, size()) + log_no_mass);
        L negative(0);  // -|excess|
        L zero(0);      // or NaN, if an excess is infinite or NaN
        for_each_lanes(size(), [&](Index i, Index count) {
            const auto load = [&](const Real* from) { return load_some(from + i, count, Real(0)); };
            const L marginal = load(log_marginal);
            const L wanted = load(log_prior.data()) - load(penalty);
            negative = lower(negative, negative_magnitude(higher(marginal, least) - higher(wanted, least)));
            zero = multiply_add(marginal - wanted, L(0), zero);
        });
        return sum(zero) == 0 ? 0 - lowest(negative) : std::numeric_limits<Real>::infinity();
    }

private:
    bool all(const auto& holds) const { return differ() ? std::all_of(own.begin(), own.end(), holds) : holds(common); }

    /// The half step of one line whose penalty may be another than KullbackLeibler.
    void half_step_of_kind(Index i, Real log_sum, Real& potential, Real& penalty) const {
        const Stiffness& of_line = line(i);
        const Real excess = log_prior[i] - log_sum;
        if (of_line.is_soft()) {
            const Real f = kind.half_step(excess - anchor[i], 1 / of_line.ratio);
            potential = f + anchor[i];
            penalty = of_line.ratio * f;
        } else {
            of_line.half_step(excess, anchor[i], potential, penalty);
        }
    }

    /// violation(), line by line.
    Real violation_by_lines(const Real* log_marginal, const Real* penalty) const {
        const Real least = highest(log_marginal, size()) + log_no_mass;
        Real largest = 0;
        for (Index i = 0; i < size(); ++i) {
            const Stiffness& of_line = line(i);
            if (of_line.is_free()) continue;
            Real off = log_marginal[i] - (log_prior[i] - penalty[i]);
            if (!kind.is_kullback_leibler() && of_line.is_soft()) {
                const Real f = penalty[i] / of_line.ratio;
                off = kind.half_step(f - (log_marginal[i] - log_prior[i]), 1 / of_line.ratio) - f;
            } else if ((std::max)(log_marginal[i], log_prior[i] - penalty[i]) < least) {
                off *= 0;  // NaN stays
            }
            if (!std::isfinite(off)) return std::numeric_limits<Real>::infinity();
            largest = (std::max)(largest, std::abs(off));
        }
        return largest;
    }
};

}  // namespace otpool::detail
