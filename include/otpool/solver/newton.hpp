// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <utility>

#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/exponential_solution.hpp"
#include "otpool/solver/iterations.hpp"
#include "otpool/solver/limits.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/scaling.hpp"
#include "otpool/solver/solution.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/sweep.hpp"

namespace otpool {

namespace detail {

/// The kernel as a matrix, with alpha0 multiplied by `factor`.
struct DenseKernel {
    const RealMatrix& exponents;
    Real factor = 1;

    Index rows() const { return exponents.rows(); }
    Index cols() const { return exponents.cols(); }
    void column(Index k, RealVector& out) const { out = exponents.col(k) / factor; }
};

/// Newton's method on the semi-dual: the columns' potential is eliminated by its half step, and the concave dual is
/// maximised over the rows' potential f,
///
///     gradient   p exp(-f/alpha) - r
///     Hessian   -[diag(r + theta p exp(-f/alpha)) - k P diag(1/c) P^T] / alpha0,
///
/// theta = alpha0/alpha, k the columns' damping.
///
/// A step of Sinkhorn's is one of block coordinate ascent on the same dual, so the two mix freely.
template <class Kernel>
class SemidualNewton {
public:
    RealVector potential;  ///< Of the rows.
    RealVector penalty;    ///< The rows' potential / alpha.
    Sweep sweep;           ///< The columns' potential and the plan's row marginal.

    SemidualNewton(Kernel kernel, ScaledMarginal rows, ScaledMarginal columns)
        : kernel_(std::move(kernel)), rows_(std::move(rows)), columns_(std::move(columns)) {}

    void start(const RealVector& row_potential, const RealVector& row_penalty) {
        potential = row_potential;
        penalty = row_penalty;
        sweep(kernel_, potential, columns_);
    }

    Real residual() const { return marginal_residual(rows_, sweep.log_row_mass, penalty); }

    Real attainable() const { return rounding(potential, sweep.col_potential); }

    /// potential <- damped (log prior - LSE over the columns)
    void sinkhorn_step() {
        const RealVector log_row_sum = sweep.log_row_mass - potential;
        for (Index i = 0; i < potential.size(); ++i) {
            potential[i] = rows_.half_step(i, log_row_sum[i]);
            penalty[i] = rows_.penalty(i, log_row_sum[i]);
        }
        sweep(kernel_, potential, columns_);
    }

    /// Moves along Newton's direction, to where the dual has lost half its slope: by all of it near the optimum.
    /// (Where parts of the plan hardly touch, the direction shifts them against each other by far more than it takes,
    /// and the gradient is flat on both sides of a narrow dip. The slope's sign tells on which side one is.)
    void newton_step() {
        const RealVector direction = newton_direction();
        const RealVector from_potential = potential;
        const RealVector from_penalty = penalty;
        const Real unit = std::max(sweep.log_row_mass.maxCoeff(), (rows_.log_prior - penalty).maxCoeff());
        const auto move = [&](Real length) {
            potential = from_potential + length * direction;
            penalty = from_penalty;
            if (rows_.is_soft()) penalty += rows_.ratio * length * direction;
            sweep(kernel_, potential, columns_);
        };
        // d dual / d length = <direction, p exp(-f/alpha) - r>, zero where rounding leaves no digit of it: then it is
        // the small rows that are still moving, which the dual does not see.
        const auto slope = [&]() -> Real {
            const auto scaled_exp = [&](const auto& log_mass) { return (log_mass.array() - unit).min(600.0).exp(); };
            const Eigen::ArrayXd wanted = direction.array() * scaled_exp(rows_.log_prior - penalty);
            const Eigen::ArrayXd present = direction.array() * scaled_exp(sweep.log_row_mass);
            const Real noise = attainable() * (wanted.abs() + present.abs()).sum();
            const Real sum = (wanted - present).sum();
            return std::abs(sum) <= noise ? 0 : sum;
        };
        const Real from_slope = slope();
        if (from_slope < 0) return sinkhorn_step();
        Real shorter = 0;
        Real longer = std::min(1.0, longest_step / direction.cwiseAbs().maxCoeff());
        move(longer);
        if (slope() >= -0.5 * from_slope) return;
        for (int halving = 0; halving < 60; ++halving) {
            const Real length = (shorter + longer) / 2;
            move(length);
            const Real now = slope();
            if (std::abs(now) <= 0.5 * from_slope) return;
            (now > 0 ? shorter : longer) = length;
        }
    }

private:
    /// In units of alpha0, as the potentials are.
    static constexpr Real longest_step = 1e4;

    /// Solves Hessian step = -gradient in the balanced form, with B = P / sqrt(r c) and y = sqrt(r) step,
    ///     (diag(1 + theta p exp(-f/alpha) / r) - k B B^T) y = sqrt(r) (p exp(-f/alpha) / r - 1),
    /// where rows and columns of any mass count the same.
    RealVector newton_direction() {
        const Index size = kernel_.rows();
        const RealVector& log_r = sweep.log_row_mass;
        const RealVector gradient = (rows_.log_prior - penalty - log_r).cwiseMin(100.0).array().expm1();
        const RealVector root_r = ((log_r.array() - log_r.maxCoeff()) / 2).max(-300.0).exp();

        balanced_plan_.resize(size, kernel_.cols());
        RealVector exponents(size);
        for (Index k = 0; k < kernel_.cols(); ++k) {
            kernel_.column(k, exponents);
            const Real shift = (sweep.col_potential[k] - sweep.log_col_sum[k]) / 2;
            balanced_plan_.col(k) = (exponents + potential - log_r / 2).array() + shift;
        }
        balanced_plan_ = balanced_plan_.array().exp();

        RealMatrix hessian = RealMatrix::Zero(size, size);
        hessian.selfadjointView<Eigen::Lower>().rankUpdate(balanced_plan_, -columns_.damping);
        hessian.diagonal().array() += 1 + (rows_.is_soft() ? rows_.ratio : 0) * (1 + gradient.array());
        if (rows_.is_hard() && columns_.is_hard()) {
            // f + t, g - t is the same plan: hold the multiple of sqrt(r) in y that this leaves open.
            hessian.selfadjointView<Eigen::Lower>().rankUpdate(root_r / root_r.norm());
        }
        const RealVector right_side = root_r.array() * gradient.array();
        for (Real ridge = 1e-15 * static_cast<Real>(size);; ridge *= 100) {
            hessian.diagonal().array() += ridge;
            const Eigen::LLT<RealMatrix> factor(hessian);
            if (factor.info() == Eigen::Success) return factor.solve(right_side).array() / root_r.array();
            if (ridge > 1) return RealVector::Zero(size);  // no direction: the step will be Sinkhorn's
        }
    }

    Kernel kernel_;
    ScaledMarginal rows_;
    ScaledMarginal columns_;
    RealMatrix balanced_plan_;
};

}  // namespace detail

/// Newton's method on the semi-dual, for entropic problems with alpha0 > 0: one side's potential is eliminated in
/// closed form, the equations of the other, the smaller one, are solved by Newton steps with a line search. Where
/// alpha0 is far below the reward's spread, it is reached from larger values (continuation), a few steps each.
///
/// An iteration is a Newton step, whatever the value of alpha0 it is taken at. With m = min(D, N), M = max(D, N) it
/// costs M m^2 + m^3/3 flops and two to three exps an element; memory is two m x M and one m x m matrices. After
/// Sinkhorn's cold start it needs tens of steps where Sinkhorn needs thousands. Semi-dual: Cuturi & Peyre, "Semidual
/// Regularized Optimal Transport", SIAM Review 60 (2018).
struct Newton {
    Options options = {};

    /// Throws InvalidArgument for a problem that is not well formed, UnsupportedProblem for alpha0 = 0 where no
    /// closed form applies. Thread-safe.
    template <BagScalar Scalar, EntropicRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        const double tolerance = detail::validated_tolerance(options, problem, run);
        if (options.closed_forms && detail::has_closed_form(problem))
            return detail::closed_form(problem, tolerance, run);
        detail::require_positive_alpha0("Newton", problem);

        const detail::ScaledProblem<Scalar> scaled(problem);
        const bool features_are_rows = scaled.kernel.rows() <= scaled.kernel.cols();
        const detail::ScaledMarginal& rows = features_are_rows ? scaled.features : scaled.instances;
        const detail::ScaledMarginal& columns = features_are_rows ? scaled.instances : scaled.features;
        const RealMatrix exponents = dense_kernel(scaled.kernel, features_are_rows);

        detail::Iterations iterations(options, tolerance, 200, run.observer);
        Real factor = std::max(1.0, -exponents.minCoeff() / easy_range);
        RealVector potential = RealVector::Zero(rows.anchor.size());
        RealVector penalty = RealVector::Zero(rows.anchor.size());
        if (run.warm_start != nullptr) {
            factor = 1;
            detail::Scaling<Scalar> scaling(scaled, detail::starting_instance_potential(scaled, run));
            scaling.update_features();
            const detail::ScaledPotential start = features_are_rows ? scaling.features() : scaling.instances();
            potential = start.kernel;
            penalty = start.penalty;
        }
        while (true) {
            detail::SemidualNewton newton(detail::DenseKernel{exponents, factor}, rows.with_alpha0_times(factor),
                                          columns.with_alpha0_times(factor));
            newton.start(potential / factor, penalty);
            for (int i = 0; i < 5; ++i) newton.sinkhorn_step();
            while (iterations.again() && (factor == 1 || newton.residual() > good_start)) {
                newton.newton_step();
                newton.sinkhorn_step();
                if (factor == 1) {
                    iterations.record(newton.residual(), newton.attainable());
                } else {
                    iterations.record_on_the_way(newton.residual());
                }
            }
            potential = newton.potential * factor;
            penalty = newton.penalty;
            if (factor == 1) return finish(problem, scaled, newton, features_are_rows, iterations);
            factor = std::max(1.0, factor / 4);
        }
    }

private:
    /// Exponents within this range need no continuation.
    static constexpr Real easy_range = 10;
    /// The residual at which the continuation goes on to a smaller alpha0.
    static constexpr Real good_start = 0.1;

    template <class Scalar>
    static RealMatrix dense_kernel(const detail::ScaledReward<Scalar>& kernel, bool features_are_rows) {
        RealMatrix exponents(features_are_rows ? kernel.rows() : kernel.cols(),
                             features_are_rows ? kernel.cols() : kernel.rows());
        RealVector column(kernel.rows());
        for (Index k = 0; k < kernel.cols(); ++k) {
            kernel.column(k, column);
            if (features_are_rows) {
                exponents.col(k) = column;
            } else {
                exponents.row(k) = column;
            }
        }
        return exponents;
    }

    template <class Scalar, class R>
    static Solution<Scalar, R> finish(const UotProblem<Scalar, R>& problem, const detail::ScaledProblem<Scalar>& scaled,
                                      const detail::SemidualNewton<detail::DenseKernel>& newton, bool features_are_rows,
                                      detail::Iterations& iterations) {
        const detail::ScaledPotential rows{newton.potential, newton.penalty};
        const detail::ScaledPotential columns{newton.sweep.col_potential, newton.sweep.col_penalty};
        Solution<Scalar, R> solution = detail::exponential_solution(problem, scaled, features_are_rows ? rows : columns,
                                                                    features_are_rows ? columns : rows,
                                                                    detail::log_sum_exp(newton.sweep.log_row_mass));
        iterations.settle(newton.residual(), newton.attainable());  // they may have run out on the way
        iterations.report(solution);
        detail::check_promise(solution, scaled, newton.attainable(), iterations.tolerance());
        return solution;
    }
};

}  // namespace otpool
