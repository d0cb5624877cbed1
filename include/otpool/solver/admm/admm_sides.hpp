// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// One side of the plan, features or instances, in Bregman ADMM, in units of rho.
struct AdmmSide {
    Side side;             ///< Its penalty alpha / rho, relative to `weight`.
    Real weight = 1;       ///< Of the divergence between the copies, plus the regulariser's on its side.
    Buffer<Real> shift;    ///< What the half step adds to each line's logarithms: k (log prior - log sum).
    Buffer<Real> penalty;  ///< potential / alpha of a soft side, without the constant.
    Real constant = 0;     ///< Added to the potential of a hard side, or the penalty of a soft one.

    void set_prior(const auto& log_prior, const AnyPenalty& kind) {
        side.kind = kind;
        side.log_prior.resize(log_prior.size());
        std::copy(log_prior.begin(), log_prior.end(), side.log_prior.begin());
        for (Buffer<Real>* each : {&side.anchor, &shift, &penalty}) each->assign(log_prior.size(), 0);
    }
    void set(const Alphas& alphas, Real weight_) {
        weight = weight_;
        side.set(alphas, weight);
    }

    /// Whether all lines are, with one alpha for all of them.
    bool is_hard() const { return std::isinf(side.common.alpha); }
    bool is_soft() const { return side.common.alpha > 0 && !is_hard(); }
    Index size() const { return side.size(); }

    /// shift <- k (log prior - log sum), k = alpha / (alpha + weight), given the log sums of its lines in its copy.
    void half_step(const Real* log_sum) { side.half_steps(0, size(), log_sum, shift.data(), penalty.data()); }

    /// In units of rho.
    Real potential(Index i) const {
        const Real alpha = side.line(i).alpha;
        if (std::isinf(alpha)) return weight * shift[i] + constant;
        return alpha > 0 ? alpha * (penalty[i] + constant) : 0;
    }
    /// potential(i) - weight shift_i, the same for all lines but for rounding.
    Real potential_of_constant() const { return is_hard() ? constant : is_soft() ? side.common.alpha * constant : 0; }
    Real largest_potential() const {
        Real largest = 0;
        for (Index i = 0; i < size(); ++i) largest = (std::max)(largest, std::abs(potential(i)));
        return largest;
    }
    /// sum_i exp(log_mass_i) potential_i, where masses sum to 1.
    Real mean_potential(const Real* log_mass) const {
        Real mean = 0;
        for (Index i = 0; i < size(); ++i) mean += std::exp(log_mass[i]) * potential(i);
        return mean;
    }

    /// Sets a soft side's constant so that log(marginal / prior) + potential / alpha has mean zero, where S has the
    /// marginal exp(log_mass), and the plan is exp(log_scale) S.
    void center(const Real* log_mass, Real log_scale) {
        constant = 0;
        if (!is_soft()) return;
        const Real total = log_sum_exp(log_mass, size());
        Real mean = 0;
        for (Index i = 0; i < size(); ++i) {
            mean += std::exp(log_mass[i] - total) * (log_mass[i] - side.log_prior[i] + penalty[i]);
        }
        constant = -mean - log_scale;
    }

    /// The largest violation of its optimality condition by exp(log_scale) S, where S has the marginal exp(log_mass).
    Real violation(const Real* log_mass, Real log_scale) const {
        std::vector<Real> log_marginal(log_mass, log_mass + size());
        for (Real& m : log_marginal) m += log_scale + (is_soft() ? constant : 0);
        return side.violation(log_marginal.data(), penalty.data());
    }
};

/// What Bregman ADMM's steps need of a problem, beside its reward: both sides, the regulariser's strength and the mass,
/// in units of rho; alpha0 = inf is the limit rho = alpha0 -> inf. Reads potentials and mass off S.
struct AdmmSides {
    AdmmSide features, instances;
    bool entropic = true;
    Real alpha0 = 0;
    Real alpha1 = 0, alpha2 = 0;  ///< Not read if lines of a side differ.
    Real rho = 1;
    Real inverse_rho = 1;  ///< 0 if alpha0 is infinite.
    Real strength = 0;     ///< alpha0 / rho
    /// Whether the copies are kept at mass 1, which keeps the iteration stable; a plan with free mass differs from that
    /// by a known factor.
    bool unit_mass = true;
    Real log_hard_mass = 0;  ///< log of the mass that a hard side gives to the plan; 0 if none is hard.
    Real offset = 0;         ///< Taken off every reward.
    Real log_scale = 0;      ///< The plan is exp(log_scale) S.

    /// Call before half steps.
    void set_priors(const Inspection& problem) {
        features.set_prior(problem.priors.log_p, problem.feature_penalty);
        instances.set_prior(problem.priors.log_q, problem.instance_penalty);
    }

    void set_parameters(const Inspection& problem, Real rho_) {
        entropic = problem.regularizer.separable == nullptr;
        alpha0 = problem.alpha0;
        alpha1 = problem.alpha1.common();
        alpha2 = problem.alpha2.common();
        rho = rho_;
        inverse_rho = std::isinf(alpha0) ? 0 : 1 / rho;
        strength = !std::isinf(alpha0) ? alpha0 / rho : entropic ? 1 : 1 / problem.regularizer.curvature(1);
        const auto in_rho = [&](Alphas alphas) {
            alphas.transform([&](Real alpha) { return std::isinf(alpha) ? alpha : alpha * inverse_rho; });
            return alphas;
        };
        features.set(in_rho(problem.alpha1), entropic ? 1 + strength : 1);
        instances.set(in_rho(problem.alpha2), 1);
        const RealVector& log_p = problem.priors.log_p;
        const Buffer<Real>& log_q = problem.priors.log_q;
        log_hard_mass = features.is_hard()    ? log_sum_exp(log_p.data(), log_p.size())
                        : instances.is_hard() ? log_sum_exp(log_q.data(), log_q.size())
                                              : 0;
        // With alphas for each line the factor is not known. R'(m S) follows from R'(S) with entropy alone.
        const bool has_unit_mass = (features.is_hard() || instances.is_hard()) && std::abs(log_hard_mass) < 1e-12;
        const bool has_factor = problem.is_kullback_leibler() && !problem.has_own_alphas();
        unit_mass = has_factor && (entropic || alpha0 == 0 || has_unit_mass);
        offset = unit_mass ? problem.highest_of_all() : 0;
    }

    /// Reads the potentials' constants and the free mass off S, given the logarithms of its marginals and the mean of
    /// alpha0 R'(S) - X under it.
    void read(const Real* log_r, const Real* log_c, Real mean_excess) {
        log_scale = features.constant = instances.constant = 0;
        if (!unit_mass) return;
        log_scale = log_hard_mass;
        features.center(log_r, log_scale);
        instances.center(log_c, log_scale);
        // The multiplier of the plan's mass: the mean of  alpha0 R'(P) - X - f - g  under it.
        const Real of_scale = entropic ? strength * log_scale : 0;
        const Real lambda = mean_excess + of_scale - features.mean_potential(log_r) - instances.mean_potential(log_c);
        const Real in_rho = strength + features.side.common.alpha + instances.side.common.alpha;
        if (features.is_hard()) {
            features.constant = lambda;
        } else if (instances.is_hard()) {
            instances.constant = lambda;
        } else if (in_rho > 0) {
            log_scale = -lambda / in_rho;
            features.constant -= log_scale;
            instances.constant -= log_scale;
        }
    }

    Real violation(const Real* log_r, const Real* log_c) const {
        return (std::max)(features.violation(log_r, log_scale), instances.violation(log_c, log_scale));
    }

    /// The rounding error of sums of potentials.
    Real rounding() const {
        return 4 * std::numeric_limits<Real>::epsilon() *
               (std::max)(features.largest_potential(), instances.largest_potential());
    }
    /// The residual that rounding of the potentials alone can leave.
    Real attainable() const { return !entropic || strength == 0 ? 0 : rounding() / strength; }

    /// With the reward as given, the plan is exp(log_factor()) S.
    Real log_factor() const { return log_scale + log_growth(offset, alpha0, alpha1, alpha2); }

    /// Potentials and mass; the caller adds outcome and plan.
    SolvedPlan solution(const Inspection& problem, const Real* log_r, const Real* log_c) const {
        SolvedPlan found;
        const bool is_float = problem.reward.is_float();
        const Real shift = log_factor() - log_scale;
        // A soft side that alpha0 keeps from its prior (alpha0 = inf, or next to it): the marginal gives its potential.
        const auto in_reward_units = [&](const AdmmSide& of, Index i, Real alpha, Real log_mass, bool takes_offset) {
            const Real log_excess = log_scale + log_mass - of.side.log_prior[i];
            const bool is_kept = inverse_rho == 0 || of.side.line(i).is_free();
            if (is_kept && alpha > 0 && std::isfinite(alpha)) return saturated(-alpha * log_excess, is_float);
            const Real scaled = of.potential(i) == 0 ? 0 : of.potential(i) * rho;
            return saturated(scaled - (shift == 0 ? 0 : alpha * shift) - (takes_offset ? offset : 0), is_float);
        };
        found.feature_potential.resize(features.size());
        for (Index d = 0; d < features.size(); ++d) {
            found.feature_potential[d] = in_reward_units(features, d, problem.alpha1[d], log_r[d], features.is_hard());
        }
        found.instance_potential = on_all_instances(problem.reward.cols(), problem.priors.active, [&](Index k) {
            return in_reward_units(instances, k, problem.alpha2[k], log_c[k],
                                   instances.is_hard() && !features.is_hard());
        });
        found.log_mass = log_sum_exp(log_r, features.size()) + log_factor();
        return found;
    }
};

}  // namespace otpool::detail
