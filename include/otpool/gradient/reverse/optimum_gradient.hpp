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
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The gradient of an optimum with alpha0 > 0, by the implicit function theorem. Its plan satisfies
/// alpha0 R'(P) = X + f + g, so  dP = W (dX + df + dg - R'(P) dalpha0) / alpha0  with W = 1 / R''(P); and the
/// conditions on its marginals. Their linear system, solved once for C = dL/dP, is
///
///     [ diag(W 1 + r alpha0/alpha1)   W                             ] [lambda]   [ (C W) 1   ]
///     [ W^T                           diag(W^T 1 + c alpha0/alpha2) ] [mu    ] = [ (C W)^T 1 ]
///
/// (an alpha of each line or one for all; a free line, alpha = 0, leaves the system with a multiplier of 0),
/// and with H = W (C - lambda 1^T - 1 mu^T)
///
///     dL/dX = H / alpha0            dL/dalpha0 = -<H, R'(P)> / alpha0
///     dL/dlog p0 = r lambda         dL/dalpha1_d = -(H 1)_d log(r_d/p0_d) / alpha0  and so for q0, alpha2.
///
/// A fixed mass, sum P = m (entropic regularisers: W = P), adds the row and column (r, c) with m in the corner, the sum of
/// C W on the right and nu to the multipliers: H = W (C - lambda 1^T - 1 mu^T - nu), dL/dlog m = m nu.
///
/// For Entropy W = P, the system of Cheng & Xu's problem; for Quadratic W is 1/2 on the support. Everything is computed
/// relative to the plan's mass, and every row relative to the row's: masses cancel, and may be too large for numbers.
template <std::same_as<Real> Work = Real>
class OptimumGradient {
public:
    /// Views both.
    OptimumGradient(const Optimum& optimum, const PlanGradient& of_plan)
        : optimum_(optimum),
          of_plan_(of_plan),
          inverse_alpha0_(std::isinf(optimum.alpha0) ? 0 : 1 / optimum.alpha0),
          features_(optimum.alpha1, optimum.alpha0),
          instances_(optimum.alpha2, optimum.alpha0) {
        log_r_ = relative_r_ = log_rows_ = lambda_ = RealVector::Zero(rows());
        log_plan_ = log_W_ = value_ = term_ = H_ = lambda_;
        log_c_ = relative_c_ = log_cols_ = mu_ = RealVector::Zero(cols());
        read_marginals();
        set_diagonals();
        set_system();
        system_.solve(features_.is_hard() && instances_.is_hard(), log_rows_, log_cols_, lambda_, mu_);
        if (optimum.mass) hold_mass();
    }

    template <BagScalar Scalar>
    void add_to(BagGradient<Scalar>& gradient) {
        RealVector row_sum = RealVector::Zero(rows());  // H 1
        RealVector col_sum(cols());                     // H^T 1
        Real strength = 0;                              // <H, R'(P)>
        for_each_column([&](Index k, Index n) {
            set_H(k, n);
            row_sum += H_;
            col_sum[k] = H_.sum();
            Scalar* const of_reward = gradient.reward.sum(n);
            for (Index d = 0; d < rows(); ++d) {
                if (log_W_[d] > nothing) strength += H_[d] * derivative(d, k);
                of_reward[d] += saturated<Scalar>(H_[d] * inverse_alpha0_);
            }
        });
        // At alpha0 = inf the reward drops out and the plan does not move.
        const Index last = gradient.alpha0.size() - 1;
        gradient.alpha0[last] -= saturated<Real>(strength * inverse_alpha0_);
        for (Index d = 0; d < rows(); ++d) {
            of_line(gradient.alphas1, gradient.alpha1[last], d) +=
                alpha_derivative(features_.line(d), log_r_[d] - optimum_.priors.log_p[d], row_sum[d]);
        }
        for (Index k = 0; k < cols(); ++k) {
            of_line(gradient.alphas2, gradient.alpha2[last], optimum_.instance(k)) +=
                alpha_derivative(instances_.line(k), log_c_[k] - optimum_.priors.log_q[k], col_sum[k]);
        }
        RealVector log_p = prior_derivative(features_, relative_r_, log_rows_, lambda_);
        RealVector log_q = prior_derivative(instances_, relative_c_, log_cols_, mu_);
        // An entropic regulariser is Entropy with reward X + alpha0 prior_weight log(p0 q0^T).
        log_p += optimum_.regularizer.prior_weight * row_sum;
        log_q += optimum_.regularizer.prior_weight * col_sum;
        add_prior_gradients(optimum_.priors, log_p, log_q, gradient);
        if (optimum_.mass) gradient.mass += nu_ / *optimum_.mass;
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();
    /// Lowest log mass relative to the plan's; what is divided by its root is still a number.
    static constexpr Real lightest = -600;

    Index rows() const { return optimum_.rows(); }
    Index cols() const { return optimum_.cols(); }

    /// visit(k, n) of every active instance n, with log P in log_plan_ and log(W / r) in log_W_.
    template <class Visit>
    void for_each_column(const Visit& visit) {
        const RealVector& scale = optimum_.log_plan.log_scale();
        optimum_.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            log_plan_ = score + scale;
            if (is_separable()) {
                optimum_.reward.copy_column(n, value_.data());
                for (Index d = 0; d < rows(); ++d) {
                    const Real curvature = optimum_.regularizer.curvature(std::exp(log_plan_[d]));
                    const Real log_r = of_plan_.log_row_sum[d] + scale[d];
                    log_W_[d] = in_support(d, n) && curvature > 0 ? -std::log(curvature) - log_r : nothing;
                }
            } else {
                of_plan_.log_weights(score.data(), log_W_.data());
            }
            visit(k, n);
        });
    }

    bool is_separable() const { return optimum_.regularizer.separable != nullptr; }
    /// Whether an entry of a separable regulariser's plan is not zero, by its potentials: BregmanAdmm's zeros are small
    /// numbers.
    bool in_support(Index d, Index n) const {
        if (!(log_plan_[d] > nothing)) return false;
        const Real slack = value_[d] + optimum_.feature_potential[d] + optimum_.instance_potential[n];
        return inverse_alpha0_ == 0 || optimum_.regularizer.entry_at(slack * inverse_alpha0_) > 0;
    }

    /// R'(P) of an entry of the present column.
    Real derivative(Index d, Index k) const {
        if (is_separable()) return optimum_.regularizer.derivative(std::exp(log_plan_[d]));
        return log_plan_[d] - optimum_.regularizer.prior_weight * (optimum_.priors.log_p[d] + optimum_.priors.log_q[k]);
    }

    void read_marginals() {
        const Real level = std::clamp(Real(optimum_.log_mass), lowest_exponent, -lowest_exponent);
        for (Index d = 0; d < rows(); ++d) {
            log_r_[d] = of_plan_.log_row_sum[d] + optimum_.log_plan.log_scale()[d];
            relative_r_[d] = (std::min)((std::max)(log_r_[d] - level, lightest), Real(0));
        }
        optimum_.log_plan.for_each_column([&](Index k, Index, const RealVector& score) {
            of_plan_.log_weights(score.data(), term_.data());
            for (Index d = 0; d < rows(); ++d) term_[d] += relative_r_[d];
            relative_c_[k] = (std::max)(log_sum_exp(term_.data(), rows()), lightest);
            log_c_[k] = relative_c_[k] + level;
        });
    }

    /// Logarithms of the system's diagonals. A line with 0 on the diagonal gets inf, which takes it out of the system.
    void set_diagonals() {
        RealVector row_W = RealVector::Zero(rows());  // (W 1)_d / r_d
        RealVector col_W(cols());                     // (W^T 1)_n / c_n
        for_each_column([&](Index k, Index) {
            row_W += exponentials([&](Index d) { return log_W_[d]; });
            col_W[k] = exponentials([&](Index d) { return log_W_[d] + relative_r_[d] - relative_c_[k]; }).sum();
        });
        const auto set = [](const RealVector& curvature, const Side& side, const RealVector& mass, RealVector& out) {
            for (Index i = 0; i < out.size(); ++i) {
                const Real diagonal = std::log(curvature[i] + side.line(i).ratio) + mass[i];
                out[i] = diagonal > nothing ? diagonal : -nothing;
            }
        };
        set(row_W, features_, relative_r_, log_rows_);
        set(col_W, instances_, relative_c_, log_cols_);
    }

    /// The matrix and right-hand sides, divided by the diagonals' roots.
    void set_system() {
        system_.K.resize(rows(), cols());
        for_each_column([&](Index k, Index n) {
            const RealVector& K =
                exponentials([&](Index d) { return log_W_[d] + relative_r_[d] - (log_rows_[d] + log_cols_[k]) / 2; });
            std::copy(K.begin(), K.end(), system_.K.data() + k * rows());
            of_plan_.values.copy_column(n, value_.data());
            lambda_ += times_derivative([&](Index d) { return log_W_[d] - log_rows_[d] / 2; });
            mu_[k] = times_derivative([&](Index d) { return log_W_[d] - log_cols_[k] / 2; }).sum();
        });
    }

    /// The system of a fixed mass, given the solution without it: one more unknown nu, whose row and column are (r, c).
    void hold_mass() {
        const auto border = [](const RealVector& mass, const RealVector& diagonal) {
            return RealVector((mass - diagonal / 2).unaryExpr([](Real exponent) { return std::exp(exponent); }));
        };
        const RealVector r = border(relative_r_, log_rows_);
        const RealVector c = border(relative_c_, log_cols_);
        RealVector of_rows = r;
        RealVector of_cols = c;
        system_.solve(false, log_rows_, log_cols_, of_rows, of_cols);
        const Real sum = (of_plan_.slope.cwiseProduct(of_plan_.mean) - of_plan_.offset).sum();  // <P, C>
        nu_ = (sum - r.dot(lambda_) - c.dot(mu_)) / (1 - r.dot(of_rows) - c.dot(of_cols));
        lambda_ -= nu_ * of_rows;
        mu_ -= nu_ * of_cols;
    }

    /// H of the present column.
    void set_H(Index k, Index n) {
        of_plan_.values.copy_column(n, value_.data());
        H_ = times_derivative([&](Index d) { return log_W_[d]; });
        subtract([&](Index d) { return log_rows_[d]; }, [&](Index d) { return lambda_[d]; });
        subtract([&](Index) { return log_cols_[k]; }, [&](Index) { return mu_[k]; });
        if (nu_ != 0) subtract([](Index) { return Real(0); }, [&](Index) { return nu_; });
    }
    /// H_ -= W x, where x is a multiplier over the root of its diagonal.
    void subtract(const auto& log_diagonal, const auto& multiplier) {
        exponentials([&](Index d) { return log_W_[d] + relative_r_[d] - log_diagonal(d) / 2; });
        for (Index d = 0; d < rows(); ++d) H_[d] -= term_[d] == 0 ? 0 : term_[d] * multiplier(d);
    }

    /// Returns exp(exponent(d)) for every entry of the present column; or that times r_d dL/dP.
    const RealVector& exponentials(const auto& exponent) {
        for (Index d = 0; d < rows(); ++d) term_[d] = exponent(d);
        exp_or_zero(term_.data(), rows(), term_.data());
        return term_;
    }
    const RealVector& times_derivative(const auto& exponent) {
        for (Index d = 0; d < rows(); ++d) term_[d] = exponent(d);
        of_plan_.column(value_.data(), term_.data(), term_.data());
        return term_;
    }

    /// mass * (lambda or mu), given the logarithms of masses and diagonals.
    static RealVector prior_derivative(const Side& side, const RealVector& log_mass, const RealVector& log_diagonal,
                                       const RealVector& multiplier) {
        RealVector derivative(multiplier.size());
        for (Index i = 0; i < derivative.size(); ++i) {
            derivative[i] = side.line(i).is_free() ? 0 : std::exp(log_mass[i] - log_diagonal[i] / 2) * multiplier[i];
        }
        return derivative;
    }

    /// Of a line's alpha, given log(r/p0) and H 1.
    Real alpha_derivative(const Stiffness& line, Real log_excess, Real sum) const {
        if (line.is_hard() || inverse_alpha0_ == 0 || !std::isfinite(log_excess)) return 0;
        return saturated<Real>(-sum * log_excess * inverse_alpha0_);
    }

    const Optimum& optimum_;
    const PlanGradient& of_plan_;
    Real inverse_alpha0_;
    Side features_, instances_;
    RealVector log_r_, log_c_;
    RealVector relative_r_, relative_c_;  ///< log r and log c, relative to the plan's mass.
    RealVector log_rows_, log_cols_;      ///< Logarithms of the system's diagonals.
    OptimumSystem<Work> system_;
    RealVector lambda_, mu_;                          ///< Times the roots of their diagonals.
    Real nu_ = 0;                                     ///< Of a fixed mass.
    RealVector log_plan_, log_W_, value_, term_, H_;  ///< Of the present column.
};

}  // namespace otpool::detail
