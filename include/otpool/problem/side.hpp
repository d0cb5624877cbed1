// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
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

/// A line has no mass to speak of below exp(log_no_mass) times the heaviest one's: doubles do not see it in any sum.
inline constexpr Real log_no_mass = -700;

/// One side of the plan: its lines (features or instances) and their penalty, relative to a strength `weight`: alpha0,
/// or rho and more in Bregman ADMM.
///
/// A line's kernel potential is f / weight + anchor; the anchor is the part of the reward that depends on the line
/// alone.
struct Side {
    Real alpha = 0;
    Real ratio = 0;       ///< weight / alpha: 0 when hard, inf when free.
    Real damping = 0;     ///< alpha / (alpha + weight): 1 when hard, 0 when free.
    Real relaxation = 0;  ///< 1 - damping.
    Buffer<Real> log_prior;
    Buffer<Real> anchor;
    Real kept_sum = 1;  ///< Priors::kept_sum_of_p or q.
    AnyPenalty kind;    ///< Which penalty.

    Side() = default;
    Side(Real alpha_, Real weight) { set(alpha_, weight); }

    void set(Real alpha_, Real weight) {
        alpha = alpha_;
        // Hard takes precedence over weight = inf, and free over weight = 0.
        ratio = std::isinf(alpha) ? 0 : alpha == 0 ? std::numeric_limits<Real>::infinity() : weight / alpha;
        set_damping();
    }

    bool is_hard() const { return ratio == 0; }
    bool is_free() const { return damping == 0; }
    bool is_soft() const { return !is_hard() && !is_free(); }
    /// Whether the penalty acts as KullbackLeibler; others differ from it only on a soft side.
    bool is_kullback_leibler() const { return kind.is_kullback_leibler() || !is_soft(); }
    Index size() const { return log_prior.size(); }

    /// The same side with `factor` times the weight.
    Side with_weight_times(Real factor) const {
        Side other = *this;
        other.ratio *= factor;
        for (Real& a : other.anchor) a /= factor;
        other.set_damping();
        return other;
    }

    /// The half step of lines [first, first + count): kernel potentials that meet their optimality condition, given
    /// the log sum of each line over the other side; and penalties f / alpha. These are computed separately, as
    /// potential - anchor cancels. Every array has `count` entries.
    void half_steps(Index first, Index count, const Real* log_sum, Real* potential, Real* penalty) const {
        const Real* log_priors = log_prior.data() + first;
        const Real* anchors = anchor.data() + first;
        if (!is_kullback_leibler()) {
            for (Index i = 0; i < count; ++i) {
                const Real f = kind.half_step(log_priors[i] - log_sum[i] - anchors[i], 1 / ratio);
                potential[i] = f + anchors[i];
                penalty[i] = ratio * f;
            }
            return;
        }
        for (Index i = 0; i < count; ++i) {
            const Real excess = log_priors[i] - log_sum[i];
            potential[i] = damping * excess + relaxation * anchors[i];
            penalty[i] = relaxation * (excess - anchors[i]);
        }
    }

    /// The largest violation of the optimality condition: |log(marginal / prior) + f / alpha| for KullbackLeibler; for
    /// another penalty, how far a half step would move f / weight. 0 for a free side, infinity if one is NaN. A line
    /// that has no mass to speak of, and should have none, does not count: its potential may have no digits left.
    Real violation(const Real* log_marginal, const Real* penalty) const {
        if (!is_kullback_leibler()) return length_of_half_step(log_marginal, penalty);
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
    Real length_of_half_step(const Real* log_marginal, const Real* penalty) const {
        Real largest = 0;
        for (Index i = 0; i < size(); ++i) {
            const Real f = penalty[i] / ratio;
            const Real length = std::abs(kind.half_step(f - (log_marginal[i] - log_prior[i]), 1 / ratio) - f);
            largest = length > largest || length != length ? length : largest;
        }
        return largest;
    }

    void set_damping() {
        damping = 1 / (1 + ratio);
        relaxation = std::isinf(ratio) ? 1 : ratio / (1 + ratio);
    }
};

}  // namespace otpool::detail
