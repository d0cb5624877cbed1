// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/optimum.hpp"
#include "otpool/gradient/reverse/optimum_system.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// What the plan of an optimum answers to: alpha0 R'(P) = X + f + g, so  dP = W (dX + df + dg - R'(P) dalpha0) / alpha0
/// with W = 1 / R''(P); and the conditions on its marginals. Their linear system, solved once for the cotangent, is
///
///     [ diag(W 1 + r alpha0/alpha1)   W                             ] [lambda]   [ (C W) 1   ]
///     [ W^T                           diag(W^T 1 + c alpha0/alpha2) ] [mu    ] = [ (C W)^T 1 ],   C = dL/dP,
///
/// and with H = W (C - lambda 1^T - 1 mu^T)
///
///     dL/dX = H / alpha0            dL/dalpha0 = -<H, R'(P)> / alpha0
///     dL/dlog p0 = r lambda         dL/dalpha1 = -<H 1, log(r/p0)> / alpha0         and so for q0, alpha2.
///
/// For Entropy W = P: the system of Cheng & Xu's problem; for Quadratic W is 1/2 on the support.
/// All of it relative to the plan's mass and, of a row, to the row's: it cancels, and may be beyond all numbers.
template <std::same_as<Real> Work = Real>
class OptimumGradient {
public:
    OptimumGradient(const Optimum& optimum, const PlanCotangent& cotangent)
        : optimum_(optimum),
          cotangent_(cotangent),
          inverse_alpha0_(std::isinf(optimum.alpha0) ? 0 : 1 / optimum.alpha0),
          features_(optimum.alpha1, optimum.alpha0),
          instances_(optimum.alpha2, optimum.alpha0) {
        const Index rows = cotangent.features();
        const Index cols = optimum.priors.log_q.size();
        for (RealVector* of_rows : {&log_plan_, &log_W_, &log_factor_, &value_, &H_, &term_, &log_r_, &relative_r_}) {
            of_rows->resize(rows);
        }
        for (RealVector* of_cols : {&log_c_, &relative_c_}) of_cols->resize(cols);
        read_marginals();
        set_up();
        system_.solve(lambda_, mu_);
    }

    template <BagScalar Scalar>
    void add_to(BagGradient<Scalar>& gradient) {
        const Priors& priors = optimum_.priors;
        RealVector row_sum = zeros(lambda_.size());  // H 1
        RealVector col_sum = zeros(mu_.size());      // H^T 1
        Real strength = 0;                           // <H, R'(P)>
        for_each_column([&](Index k, Index n) {
            set_H(k, n);
            Scalar* reward = gradient.reward.sum_of(n);
            for (Index d = 0; d < H_.size(); ++d) {
                row_sum[d] += H_[d];
                col_sum[k] += H_[d];
                if (log_W_[d] > nothing) strength += H_[d] * slope_of_regularizer(d, k);
                reward[d] += saturated<Scalar>(H_[d] * inverse_alpha0_);
            }
        });
        // At alpha0 = inf the reward drops out and the plan does not move.
        const Index last = gradient.alpha0.size() - 1;
        gradient.alpha0[last] -= saturated<Real>(strength * inverse_alpha0_);
        gradient.alpha1[last] -= of_alpha(features_, log_r_, priors.log_p.data(), row_sum);
        gradient.alpha2[last] -= of_alpha(instances_, log_c_, priors.log_q.data(), col_sum);

        RealVector log_p = of_prior(features_, relative_r_, system_.log_rows, lambda_);
        RealVector log_q = of_prior(instances_, relative_c_, system_.log_cols, mu_);
        if (optimum_.relative) {  // of the reward X + alpha0 log(p0 q0^T)
            for (Index d = 0; d < log_p.size(); ++d) log_p[d] += row_sum[d];
            for (Index k = 0; k < log_q.size(); ++k) log_q[k] += col_sum[k];
        }
        add_prior_gradients(priors, log_p, log_q, gradient);
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();
    /// Of masses relative to the plan's: none is less, so that what is divided by its root stays a number.
    static constexpr Real lightest = -600;

    static RealVector zeros(Index size) {
        RealVector numbers(size);
        std::fill(numbers.begin(), numbers.end(), 0);
        return numbers;
    }

    /// visit(k, n) of every active instance, with log P in log_plan_ and log(W / r) in log_W_.
    template <class Visit>
    void for_each_column(const Visit& visit) {
        const RealVector& scale = optimum_.log_plan.log_scale();
        optimum_.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            for (Index d = 0; d < scale.size(); ++d) log_plan_[d] = score[d] + scale[d];
            if (optimum_.quadratic) {
                set_quadratic_W(n);
            } else {
                cotangent_.log_weight(score.data(), log_W_.data());
            }
            visit(k, n);
        });
    }

    /// W is 1/2 where a Quadratic plan is not zero: X + f + g > 0. (BregmanAdmm's zeros are small numbers.)
    void set_quadratic_W(Index n) {
        optimum_.reward.copy_column(n, value_.data());
        const Real g = optimum_.instance_potential[n];
        for (Index d = 0; d < log_W_.size(); ++d) {
            const Real gain = value_[d] + optimum_.feature_potential[d] + g;
            const bool supported = log_plan_[d] > nothing && (inverse_alpha0_ == 0 || gain > 0);
            log_W_[d] = supported ? -log_2 - log_r_[d] : nothing;
        }
    }

    /// R'(P) of an element of a column.
    Real slope_of_regularizer(Index d, Index k) const {
        if (optimum_.quadratic) return 2 * std::exp(log_plan_[d]);
        return optimum_.relative ? log_plan_[d] - optimum_.priors.log_p[d] - optimum_.priors.log_q[k] : log_plan_[d];
    }

    /// term_ <- exp(log_W + relative_r - shift_d / 2 - shift / 2), 0 where W is.
    void set_term(const Real* shifts, Real shift) {
        for (Index d = 0; d < term_.size(); ++d) {
            term_[d] = log_W_[d] + relative_r_[d] - ((shifts != nullptr ? shifts[d] : 0) + shift) / 2;
        }
        exp_or_zero(term_.data(), term_.size(), term_.data());
    }

    /// H of a column.
    void set_H(Index k, Index n) {
        optimum_.values.copy_column(n, value_.data());
        cotangent_.column(value_.data(), log_W_.data(), H_.data());
        set_term(system_.log_rows.data(), 0);
        for (Index d = 0; d < H_.size(); ++d) H_[d] -= term_[d] * lambda_[d];
        set_term(nullptr, system_.log_cols[k]);
        for (Index d = 0; d < H_.size(); ++d) H_[d] -= term_[d] * mu_[k];
    }

    void read_marginals() {
        const Real level = std::clamp(optimum_.log_mass, lowest_exponent, -lowest_exponent);
        for (Index d = 0; d < log_r_.size(); ++d) {
            log_r_[d] = cotangent_.log_row_sum[d] + optimum_.log_plan.log_scale()[d];
            relative_r_[d] = std::min(std::max(log_r_[d] - level, lightest), 0.0);
        }
        optimum_.log_plan.for_each_column([&](Index k, Index, const RealVector& score) {
            for (Index d = 0; d < H_.size(); ++d) H_[d] = score[d] - cotangent_.log_row_sum[d] + relative_r_[d];
            relative_c_[k] = std::max(log_sum_exp(H_.data(), H_.size()), lightest);
            log_c_[k] = relative_c_[k] + level;
        });
    }

    /// The diagonals of the system, its right-hand sides and what couples them, all divided by the diagonals' roots.
    void set_up() {
        RealVector row_W = zeros(relative_r_.size());  // (W 1)_d / r_d
        RealVector col_W = zeros(relative_c_.size());  // (W^T 1)_n / c_n
        for_each_column([&](Index k, Index) {
            exp_or_zero(log_W_.data(), term_.size(), term_.data());
            for (Index d = 0; d < term_.size(); ++d) row_W[d] += term_[d];
            set_term(nullptr, 2 * relative_c_[k]);
            for (const Real term : term_) col_W[k] += term;
        });
        system_.log_rows = log_diagonal(row_W, features_, relative_r_);
        system_.log_cols = log_diagonal(col_W, instances_, relative_c_);
        system_.resize(features_.is_hard() && instances_.is_hard());
        lambda_ = zeros(row_W.size());
        mu_ = zeros(col_W.size());
        for_each_column([&](Index k, Index n) {
            optimum_.values.copy_column(n, value_.data());
            const auto column = [&](auto log_root) {
                for (Index d = 0; d < log_factor_.size(); ++d) log_factor_[d] = log_W_[d] - log_root(d) / 2;
                cotangent_.column(value_.data(), log_factor_.data(), term_.data());
            };
            column([&](Index d) { return system_.log_rows[d]; });
            for (Index d = 0; d < term_.size(); ++d) lambda_[d] += term_[d];
            column([&](Index) { return system_.log_cols[k]; });
            for (const Real term : term_) mu_[k] += term;
            for (Index d = 0; d < term_.size(); ++d) log_factor_[d] = log_W_[d] + relative_r_[d];
            system_.set_column(k, log_factor_.data());
        });
    }

    /// Of lines without curvature inf, which takes them out of the system.
    static RealVector log_diagonal(const RealVector& curvature, const Side& side, const RealVector& log_mass) {
        RealVector diagonal(curvature.size());
        for (Index i = 0; i < diagonal.size(); ++i) {
            diagonal[i] = std::log(curvature[i] + side.ratio) + log_mass[i];
            if (!(diagonal[i] > nothing)) diagonal[i] = -nothing;
        }
        return diagonal;
    }

    /// marginal * (lambda or mu), which are solved for times the root of their diagonal.
    static RealVector of_prior(const Side& side, const RealVector& log_marginal, const RealVector& log_diagonal,
                               const RealVector& multiplier) {
        RealVector derivative = zeros(multiplier.size());
        for (Index i = 0; i < (side.is_free() ? 0 : derivative.size()); ++i) {
            derivative[i] = std::exp(log_marginal[i] - log_diagonal[i] / 2) * multiplier[i];
        }
        return derivative;
    }

    Real of_alpha(const Side& side, const RealVector& log_marginal, const Real* log_prior,
                  const RealVector& sum) const {
        if (side.is_hard() || inverse_alpha0_ == 0) return 0;
        Real derivative = 0;
        for (Index i = 0; i < sum.size(); ++i) {
            const Real log_excess = log_marginal[i] - log_prior[i];
            if (std::isfinite(log_excess)) derivative += sum[i] * log_excess;
        }
        return saturated<Real>(derivative * inverse_alpha0_);
    }

    const Optimum& optimum_;
    const PlanCotangent& cotangent_;
    Real inverse_alpha0_;
    Side features_, instances_;
    RealVector log_r_, log_c_;
    RealVector relative_r_, relative_c_;  ///< log r and log c, relative to the plan's mass
    OptimumSystem<Work> system_;
    RealVector lambda_, mu_;  ///< times the roots of their diagonals
    RealVector log_plan_, log_W_;
    RealVector H_, value_, term_, log_factor_;  ///< Of a column, as the above.
};

}  // namespace otpool::detail
