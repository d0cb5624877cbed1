// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/coupling.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/winners_gradient.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

namespace detail {

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
template <class Scalar, class R>
class OptimumGradient {
public:
    OptimumGradient(const Solution<Scalar, R>& solution, const PlanCotangent& cotangent)
        : solution_(solution),
          cotangent_(cotangent),
          alpha0_(solution.problem.alpha0),
          inverse_alpha0_(std::isinf(alpha0_) ? 0 : 1 / alpha0_),
          priors_(solution.problem),
          features_(solution.problem.features.alpha, alpha0_),
          instances_(solution.problem.instances.alpha, alpha0_) {
        read_marginals();
        set_up();
        coupling_.solve(lambda_, mu_);
    }

    void add_to(BagGradient<Scalar>& gradient) {
        const UotProblem<Scalar, R>& problem = solution_.problem;
        RealVector row_sum = RealVector::Zero(lambda_.size());  // H 1
        RealVector col_sum(mu_.size());                         // H^T 1
        Real strength = 0;                                      // <H, R'(P)>
        for_each_column([&](Index k, Index n, const RealVector& log_plan, const RealVector& log_W) {
            const RealVector H = cotangent_.column(problem.pooled_values().col(n), log_W).array() -
                                 multiplied(log_W + relative_r_ - coupling_.log_rows / 2, lambda_) -
                                 multiplied((log_W + relative_r_).array() - coupling_.log_cols[k] / 2,
                                            RealVector::Constant(lambda_.size(), mu_[k]));
            row_sum += H;
            col_sum[k] = H.sum();
            strength += (log_W.array() > nothing).select(H.array() * derivative(log_plan, k), 0.0).sum();
            gradient.reward.sum().col(n) += saturated<Scalar>(RealVector(H * inverse_alpha0_));
        });
        // At alpha0 = inf the reward drops out and the plan does not move.
        const Index last = gradient.alpha0.size() - 1;
        gradient.alpha0[last] -= saturated<Real>(strength * inverse_alpha0_);
        gradient.alpha1[last] -= alpha_derivative(features_, log_r_ - priors_.log_p, row_sum);
        gradient.alpha2[last] -= alpha_derivative(instances_, log_c_ - priors_.log_q, col_sum);

        RealVector log_p = prior_derivative(features_, relative_r_ - coupling_.log_rows / 2, lambda_);
        RealVector log_q = prior_derivative(instances_, relative_c_ - coupling_.log_cols / 2, mu_);
        if constexpr (std::same_as<R, RelativeEntropy>) {  // of the reward X + alpha0 log(p0 q0^T)
            log_p += row_sum;
            log_q += col_sum;
        }
        add_prior_gradients(priors_, log_p, log_q, gradient);
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();
    /// Of masses relative to the plan's: none is less, so that what is divided by its root stays a number.
    static constexpr Real lightest = -600;

    /// exp(log_factor) multiplier, 0 where the factor is 0.
    template <class LogFactor>
    static Eigen::ArrayXd multiplied(const LogFactor& log_factor, const RealVector& multiplier) {
        return (log_factor.array() > nothing).select(log_factor.array().exp() * multiplier.array(), 0.0);
    }

    /// Visits log P and log(W / r) of every active instance.
    template <class Visit>
    void for_each_column(const Visit& visit) const {
        const RealVector& scale = solution_.log_plan.log_scale();
        RealVector log_plan;
        RealVector log_W;
        solution_.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            log_plan = score + scale;
            if constexpr (std::same_as<R, Quadratic>) {
                log_W = support(n, log_plan).select(-std::log(2.0) - (cotangent_.log_row_sum + scale).array(), nothing);
            } else {
                log_W = cotangent_.log_weight(score);
            }
            visit(k, n, log_plan, log_W);
        });
    }

    /// Where a Quadratic plan is not zero: X + f + g > 0. (BregmanAdmm's zeros are small numbers.)
    Eigen::Array<bool, Eigen::Dynamic, 1> support(Index n, const RealVector& log_plan) const {
        if (inverse_alpha0_ == 0) return log_plan.array() > nothing;
        const RealVector f = solution_.feature_potential.template cast<Real>();
        const Real g = static_cast<Real>(solution_.instance_potential[n]);
        return log_plan.array() > nothing && (solution_.problem.reward.col(n) + f).array() + g > 0;
    }

    /// R'(P) of a column.
    Eigen::ArrayXd derivative(const RealVector& log_plan, Index k) const {
        if constexpr (std::same_as<R, Quadratic>) return 2 * log_plan.array().exp();
        if constexpr (std::same_as<R, RelativeEntropy>) {
            return (log_plan - priors_.log_p).array() - priors_.log_q[k];
        }
        return log_plan.array();
    }

    void read_marginals() {
        const Real level = std::clamp(solution_.log_mass, lowest_exponent, -lowest_exponent);
        log_r_ = cotangent_.log_row_sum + solution_.log_plan.log_scale();
        relative_r_ = (log_r_.array() - level).max(lightest).min(0);
        relative_c_.resize(priors_.log_q.size());
        solution_.log_plan.for_each_column([&](Index k, Index, const RealVector& score) {
            const RealVector column = cotangent_.log_weight(score) + relative_r_;
            relative_c_[k] = column.maxCoeff() == nothing ? lightest : std::max(log_sum_exp(column), lightest);
        });
        log_c_ = relative_c_.array() + level;
    }

    /// The diagonals of the system, its right-hand sides and its coupling, all divided by the diagonals' roots.
    void set_up() {
        RealVector row_W = RealVector::Zero(relative_r_.size());  // (W 1)_d / r_d
        RealVector col_W = RealVector::Zero(relative_c_.size());  // (W^T 1)_n / c_n
        for_each_column([&](Index k, Index, const RealVector&, const RealVector& log_W) {
            row_W += multiplied(log_W, RealVector::Ones(row_W.size())).matrix();
            col_W[k] = multiplied((log_W + relative_r_).array() - relative_c_[k], RealVector::Ones(row_W.size())).sum();
        });
        const auto log_diagonal = [](const RealVector& curvature, const ScaledMarginal& side, const RealVector& mass) {
            RealVector diagonal = (curvature.array() + side.ratio).log() + mass.array();
            return RealVector(
                (diagonal.array() > nothing).select(diagonal, -nothing));  // nothing there: not in the system
        };
        coupling_.log_rows = log_diagonal(row_W, features_, relative_r_);
        coupling_.log_cols = log_diagonal(col_W, instances_, relative_c_);
        coupling_.resize(features_.is_hard() && instances_.is_hard());
        lambda_ = RealVector::Zero(row_W.size());
        mu_.resize(col_W.size());
        for_each_column([&](Index k, Index n, const RealVector&, const RealVector& log_W) {
            const auto values = solution_.problem.pooled_values().col(n);
            coupling_.set_column(k, log_W + relative_r_);
            lambda_ += cotangent_.column(values, log_W - coupling_.log_rows / 2);
            mu_[k] = cotangent_.column(values, log_W.array() - coupling_.log_cols[k] / 2).sum();
        });
    }

    /// marginal * (lambda or mu), which are solved for times the root of their diagonal.
    static RealVector prior_derivative(const ScaledMarginal& side, const RealVector& log_factor,
                                       const RealVector& multiplier) {
        if (side.is_free()) return RealVector::Zero(multiplier.size());
        return log_factor.array().exp() * multiplier.array();
    }

    /// `log_excess`: log(marginal / prior)
    Real alpha_derivative(const ScaledMarginal& side, const RealVector& log_excess, const RealVector& sum) const {
        if (side.is_hard() || inverse_alpha0_ == 0) return 0;
        Real derivative = 0;
        for (Index i = 0; i < sum.size(); ++i) {
            if (std::isfinite(log_excess[i])) derivative += sum[i] * log_excess[i];
        }
        return saturated<Real>(derivative * inverse_alpha0_);
    }

    const Solution<Scalar, R>& solution_;
    const PlanCotangent& cotangent_;
    Real alpha0_;
    Real inverse_alpha0_;
    Priors priors_;
    ScaledMarginal features_, instances_;
    RealVector log_r_, log_c_;
    RealVector relative_r_, relative_c_;  ///< log r and log c, relative to the plan's mass
    Coupling coupling_;
    RealVector lambda_, mu_;  ///< times the roots of their diagonals
};

/// Adds dL/d(problem) of a solution taken for the optimum.
template <class Readout, class Scalar, class R>
void add_gradient_of_optimum(const Readout& readout, const Solution<Scalar, R>& solution, const Vector<Scalar>& dL_dy,
                             BagGradient<Scalar>& gradient) {
    const PlanCotangent cotangent = pull_back(readout, solution, dL_dy.template cast<Real>(), gradient);
    if (solution.problem.alpha0 > 0) {
        OptimumGradient<Scalar, R>(solution, cotangent).add_to(gradient);
    } else {
        WinnersGradient<Scalar, R>(solution, cotangent).add_to(gradient);
    }
    gradient.saturate();
}

}  // namespace detail

/// Gradient mode: differentiates the optimum that `solver` finds, by the implicit function theorem; whatever solver it
/// is, and however many iterations it took. Closed forms have closed gradients here, too.
///
/// Choices where there is no derivative: at alpha0 = 0 the winners stay the winners, and ties share as the plan does
/// (max pooling routes to them); at alpha0 = inf the reward does not matter; where an alpha is infinite its derivative
/// is 0.
///
/// Cost beside the solver's: with m = min(D, N), M = max(D, N), M m^2 + m^3/3 flops up to m = 1000, conjugate gradients
/// of 4 D N flops a step above, and about ten exps an element; memory is one D x N matrix of double, and one m x m.
template <class Solver>
struct Implicit {
    Solver solver = {};
    /// Whether to differentiate a solution that did not converge as if it had, instead of refusing it.
    bool accept_unconverged = false;

    template <BagScalar Scalar, Regularizer R>
    struct Tape {
        Solution<Scalar, R> solution;
    };

    /// `workspace`: memory to work in, which the next solve may use again.
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool /*pooled_only*/ = false) const {
        return {solver.solve(problem)};
    }
    template <BagScalar Scalar, Regularizer R>
    Tape<Scalar, R> solve(const UotProblem<Scalar, R>& problem, bool /*pooled_only*/, Workspace& workspace) const {
        return {solver.solve(problem, {.workspace = &workspace})};
    }

    /// dL/d(problem), given the tape of its solution and dL/dy of its readout. Throws InvalidArgument for a solution
    /// that has not converged, UnsupportedProblem at alpha0 = 0 without a closed form, where the plan is a vertex.
    template <class Readout, BagScalar Scalar, Regularizer R>
    ProblemGradient<Scalar> backward(const Readout& readout, const Tape<Scalar, R>& tape,
                                     const Vector<Scalar>& dL_dy) const {
        return detail::gradient_of(*this, readout, tape, dL_dy);
    }

    /// How many alphas and rhos the gradient has entries for.
    Index parameters() const { return 1; }

    /// The same, added to a bag's part of a batch's gradient.
    template <class Readout, BagScalar Scalar, Regularizer R>
    void add_gradient(const Readout& readout, const Tape<Scalar, R>& tape, const Vector<Scalar>& dL_dy,
                      detail::BagGradient<Scalar>& gradient, Workspace& /*workspace*/) const {
        const Solution<Scalar, R>& solution = tape.solution;
        const bool solved = solution.converged() || solution.status == Status::mass_out_of_range;
        detail::require(solved || accept_unconverged, "status of the solution", name(solution.status),
                        "converged, or any with accept_unconverged");
        detail::add_gradient_of_optimum(readout, solution, dL_dy, gradient);
    }
};

}  // namespace otpool
