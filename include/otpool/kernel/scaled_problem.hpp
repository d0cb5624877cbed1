// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// No exponent is below it: far under what any exp() resolves, and far from the overflow of double.
inline constexpr Real lowest_exponent = -1e100;

/// What alpha KL(marginal | prior) means in units of alpha0.
struct ScaledMarginal {
    Real alpha = 0;
    Real ratio = 0;       ///< alpha0 / alpha: 0 when hard, inf when free.
    Real damping = 0;     ///< alpha / (alpha + alpha0): 1 when hard, 0 when free.
    Real relaxation = 0;  ///< 1 - damping.
    Buffer<Real> log_prior;
    /// The part of the reward that belongs to this side alone, over alpha0; the kernel potential of a zero potential.
    Buffer<Real> anchor;

    ScaledMarginal() = default;
    ScaledMarginal(Real alpha_, Real alpha0) { set(alpha_, alpha0); }

    void set(Real alpha_, Real alpha0) {
        alpha = alpha_;
        // Hard takes precedence over alpha0 = inf, and free over alpha0 = 0.
        ratio = std::isinf(alpha) ? 0 : alpha == 0 ? std::numeric_limits<Real>::infinity() : alpha0 / alpha;
        set_damping();
    }

    bool is_hard() const { return ratio == 0; }
    bool is_free() const { return damping == 0; }
    bool is_soft() const { return !is_hard() && !is_free(); }

    /// The same side of the problem with alpha0 multiplied by `factor`.
    ScaledMarginal with_alpha0_times(Real factor) const {
        ScaledMarginal other = *this;
        other.ratio *= factor;
        other.anchor /= factor;
        other.set_damping();
        return other;
    }

    /// Kernel potential that meets this side's optimality condition, given LSE over the other side.
    Real half_step(Index i, Real log_sum_exp) const {
        return damping * (log_prior[i] - log_sum_exp) + relaxation * anchor[i];
    }
    /// potential / alpha at that half step; computed apart, as potential = kernel potential - anchor cancels.
    Real penalty(Index i, Real log_sum_exp) const { return relaxation * (log_prior[i] - log_sum_exp - anchor[i]); }
    /// Both of [first, first + count), of which each array has `count` entries. Plain pointers are what compilers make
    /// vectors of, here and in other loops over what there is one of a feature or an instance.
    void half_steps(Index first, Index count, const Real* log_sum_exp, Real* potential, Real* penalty) const {
        const Real* log_priors = log_prior.data() + first;
        const Real* anchors = anchor.data() + first;
        for (Index i = 0; i < count; ++i) {
            const Real excess = log_priors[i] - log_sum_exp[i];
            potential[i] = damping * excess + relaxation * anchors[i];
            penalty[i] = relaxation * (excess - anchors[i]);
        }
    }

private:
    void set_damping() {
        damping = 1 / (1 + ratio);
        relaxation = std::isinf(ratio) ? 1 : ratio / (1 + ratio);
    }
};

/// The exponents z_dk = (x_dk - row_shift_d - col_shift_k) / alpha0 of the kernel, computed a column at a time from
/// the reward in place.
template <BagScalar Scalar>
struct ScaledReward {
    MatrixView<Scalar> reward;
    std::vector<Index> active;  ///< The instances of prior > 0; every loop over instances k runs over these.
    bool shifts_rows = true;    ///< Whether row_shift is each feature's highest reward, else col_shift each instance's.
    Buffer<Real> row_shift;
    Buffer<Real> col_shift;
    Real inverse_alpha0 = 0;
    /// No reward of an active instance is below or above, if they have been looked at.
    Real lowest = -std::numeric_limits<Real>::infinity();
    Real highest = std::numeric_limits<Real>::infinity();

    Index rows() const { return reward.rows(); }
    Index cols() const { return static_cast<Index>(active.size()); }
    bool looked_at() const { return highest < std::numeric_limits<Real>::infinity(); }
    Index instance(Index k) const { return active[static_cast<std::size_t>(k)]; }

    void column(Index k, RealVector& out) const {
        out = ((reward.col(instance(k)) - row_shift).array() - col_shift[k]) * inverse_alpha0;
        out = out.cwiseMax(lowest_exponent);
    }
};

/// A UOT problem in units of alpha0, the form in which Sinkhorn and Newton solve it:
///
///     log P_dk = z_dk + feature_potential_d + instance_potential_k + mass_shift,   z <= 0
///
/// The potentials here are "kernel potentials", f/alpha0 + anchor. Taking each feature's largest reward out of the
/// kernel (or each instance's, where the features are free and only instances compare features) leaves differences of
/// rewards, so shifted rewards lose no digits. Taking the largest of all out of the problem changes the free mass by
/// a known factor: the plan with reward X + c has exp(c / (alpha0 + alpha1 + alpha2)) times the mass.
///
/// Where the first pass was a glance (FirstPass), the largest rewards are those of a few instances, and z may be above
/// 0; nothing else changes.
template <BagScalar Scalar>
struct ScaledProblem {
    ScaledReward<Scalar> kernel;
    ScaledMarginal features;
    ScaledMarginal instances;
    Real offset = 0;      ///< max_dk x_dk
    Real mass_shift = 0;  ///< offset / (alpha0 + alpha1 + alpha2)
    Index all_instances = 0;

    /// What a hard side's potential has to take of the offset, as its mass is given: the features' if both are hard.
    Real offset_of_features() const { return offset; }
    Real offset_of_instances() const { return features.is_hard() ? 0 : offset; }

    /// A feature and an instance whose reward is the largest of all. Cost: O(D + N).
    std::pair<Index, Index> highest() const {
        Index d = 0;
        if (!kernel.shifts_rows) {
            Index k = 0;
            kernel.col_shift.maxCoeff(&k);
            kernel.reward.col(kernel.instance(k)).maxCoeff(&d);
            return {d, kernel.instance(k)};
        }
        kernel.row_shift.maxCoeff(&d);
        return {d, *std::find_if(kernel.active.begin(), kernel.active.end(),
                                 [&](Index n) { return static_cast<Real>(kernel.reward(d, n)) >= offset; })};
    }

    ScaledProblem() = default;
    template <Regularizer R>
    explicit ScaledProblem(const UotProblem<Scalar, R>& problem) {
        set(problem, FirstPass<Scalar>(problem));
    }

    template <Regularizer R>
    void set(const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass) {
        const Real alpha0 = problem.alpha0;
        features.set(problem.features.alpha, alpha0);
        instances.set(problem.instances.alpha, alpha0);
        all_instances = problem.reward.cols();
        features.log_prior = pass.priors.log_p;
        instances.log_prior = pass.priors.log_q;
        kernel.active = pass.priors.active;
        kernel.reward = problem.reward;
        kernel.inverse_alpha0 = std::min(1 / alpha0, std::numeric_limits<Real>::max());
        kernel.row_shift.resize(kernel.rows());
        kernel.row_shift.setZero();
        kernel.col_shift.resize(kernel.cols());
        kernel.col_shift.setZero();
        features.anchor = kernel.row_shift;
        instances.anchor = kernel.col_shift;
        const auto set_anchor = [&](ScaledMarginal& side, const auto& highest) {
            offset = highest.maxCoeff();
            side.anchor = ((highest.array() - offset) * kernel.inverse_alpha0).max(lowest_exponent);
        };
        kernel.shifts_rows = features.alpha > 0 || instances.alpha == 0;
        if (kernel.shifts_rows) {
            for (Index d = 0; d < kernel.rows(); ++d) kernel.row_shift[d] = static_cast<Real>(pass.range.highest[d]);
            set_anchor(features, kernel.row_shift);
        } else {
            for (Index k = 0; k < kernel.cols(); ++k) {
                kernel.col_shift[k] = problem.reward.col(kernel.instance(k)).maxCoeff();
            }
            set_anchor(instances, kernel.col_shift);
        }
        const Real infinity = std::numeric_limits<Real>::infinity();
        kernel.lowest = pass.range.of_all ? static_cast<Real>(pass.range.lowest) : -infinity;
        kernel.highest = pass.range.of_all ? offset : infinity;
        if constexpr (std::same_as<R, RelativeEntropy>) {
            features.anchor += features.log_prior;
            instances.anchor += instances.log_prior;
        }
        const Real stiffness = alpha0 + features.alpha + instances.alpha;
        mass_shift = stiffness > 0 ? std::clamp(offset / stiffness, lowest_exponent, -lowest_exponent) : 0;
    }
};

/// log sum_i exp(a_i), without overflow.
template <class Number>
Number log_sum_exp(const Number* a, Index size) {
    using Lanes = Eigen::Array<Number, register_lanes, 1>;
    const Number top = Eigen::Map<const Vector<Number>>(a, size).maxCoeff();
    Lanes sums = Lanes::Zero();
    Index i = 0;
    for (; i + register_lanes <= size; i += register_lanes) {
        sums += bounded_exp(Eigen::Map<const Lanes>(a + i) - top);
    }
    Number sum = sums.sum();
    for (; i < size; ++i) sum += std::exp(a[i] - top);
    return top + std::log(sum);
}
/// Of a vector in memory.
template <class Numbers>
auto log_sum_exp(const Numbers& a) {
    static_assert(int(Numbers::InnerStrideAtCompileTime) == 1);
    return log_sum_exp(a.data(), a.size());
}

/// log sum_k exp(a_dk) of every row, without overflow.
inline RealVector log_row_sums(const RealMatrix& a) {
    const RealVector top = a.rowwise().maxCoeff();
    RealVector sum = RealVector::Zero(a.rows());
    for (Index k = 0; k < a.cols(); ++k) sum.array() += bounded_exp((a.col(k) - top).array());
    return top.array() + sum.array().log();
}

}  // namespace otpool::detail
