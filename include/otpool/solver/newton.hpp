// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <utility>

#include "otpool/closed_form/entropic.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/dense_kernel.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/solver/steps/scaling.hpp"

namespace otpool {

namespace detail {

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
    using RealVector = typename Kernel::RealVector;
    using RealMatrix = typename Kernel::RealMatrix;

public:
    Buffer<Real> potential;  ///< Of the rows.
    Buffer<Real> penalty;    ///< The rows' potential / alpha.
    Sweep sweep;             ///< The columns' potential and the plan's row marginal.

    SemidualNewton(Kernel kernel, ScaledMarginal rows, ScaledMarginal columns)
        : kernel_(std::move(kernel)), rows_at_alpha0_(std::move(rows)), columns_at_alpha0_(std::move(columns)) {
        potential = RealVector::Zero(kernel_.rows());
        penalty = potential;
    }

    /// Goes on at a multiple of alpha0, from the potentials as they are.
    void start_at(Real factor) {
        potential *= factor_ / factor;
        factor_ = factor;
        kernel_.multiply_alpha0(factor);
        rows_ = rows_at_alpha0_.with_alpha0_times(factor);
        columns_ = columns_at_alpha0_.with_alpha0_times(factor);
        kernel_.sweep(potential, columns_, sweep);
    }

    Real lowest_exponent() const { return kernel_.lowest(); }

    Real residual() const { return marginal_residual(rows_, sweep.log_row_mass, penalty); }

    Real attainable() const { return rounding(potential, sweep.col_potential); }

    /// potential <- damped (log prior - LSE over the columns)
    void sinkhorn_step() {
        const RealVector log_row_sum = sweep.log_row_mass - potential;
        for (Index i = 0; i < potential.size(); ++i) {
            potential[i] = rows_.half_step(i, log_row_sum[i]);
            penalty[i] = rows_.penalty(i, log_row_sum[i]);
        }
        kernel_.sweep(potential, columns_, sweep);
    }

    /// Five of them are worth their time before the first Newton step; fewer where it is a small one anyway.
    void sinkhorn_steps() {
        sinkhorn_step();
        for (int i = 1; i < 5 && residual() > 0.01; ++i) sinkhorn_step();
    }

    /// Moves along Newton's direction, to where the dual has lost half its slope: by all of it near the optimum.
    /// (Where parts of the plan hardly touch, the direction shifts them against each other by far more than it takes,
    /// and the gradient is flat on both sides of a narrow dip. The slope's sign tells on which side one is.)
    void newton_step() {
        if (rows_.is_free()) return sinkhorn_step();  // which is where its potential, zero, is found
        const RealVector direction = newton_direction();
        const RealVector from_potential = potential;
        const RealVector from_penalty = penalty;
        const Real unit = std::max(sweep.log_row_mass.maxCoeff(), (rows_.log_prior - penalty).maxCoeff());
        const auto move = [&](Real length) {
            potential = from_potential + length * direction;
            penalty = from_penalty;
            if (rows_.is_soft()) penalty += rows_.ratio * length * direction;
            kernel_.sweep(potential, columns_, sweep);
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
    /// Entries of B that the Hessian's rounding hides.
    static constexpr Real negligible = 1e-17;

    /// Solves Hessian step = -gradient in the balanced form, with B = P / sqrt(r c) and y = sqrt(r) step,
    ///     (diag(1 + theta p exp(-f/alpha) / r) - k B B^T) y = sqrt(r) (p exp(-f/alpha) / r - 1),
    /// where rows and columns of any mass count the same.
    RealVector newton_direction() {
        const Index size = kernel_.rows();
        const Buffer<Real>& log_r = sweep.log_row_mass;
        const RealVector gradient = (rows_.log_prior - penalty - log_r).cwiseMin(100.0).array().expm1();
        const RealVector root_r = ((log_r.array() - log_r.maxCoeff()) / 2).max(-300.0).exp();

        const Real pairs = kernel_.exponentials(potential - log_r / 2, (sweep.col_potential - sweep.log_col_sum) / 2,
                                                negligible, balanced_plan_);
        subtract_products(pairs);
        hessian_.diagonal().array() += 1 + (rows_.is_soft() ? rows_.ratio : 0) * (1 + gradient.array());
        if (rows_.is_hard() && columns_.is_hard()) {
            // f + t, g - t is the same plan: hold the multiple of sqrt(r) in y that this leaves open.
            hessian_.template selfadjointView<Eigen::Lower>().rankUpdate(root_r / root_r.norm());
        }
        const RealVector right_side = root_r.array() * gradient.array();
        for (Real ridge = 1e-15 * static_cast<Real>(size);; ridge *= 100) {
            hessian_.diagonal().array() += ridge;
            cholesky_.compute(hessian_);
            if (cholesky_.info() == Eigen::Success) return cholesky_.solve(right_side).array() / root_r.array();
            if (ridge > 1) return RealVector::Zero(size);  // no direction: the step will be Sinkhorn's
        }
    }

    /// hessian_ <- -k B B^T, below the diagonal and on it. At small alpha0 most of B is zero, then column by column.
    void subtract_products(Real pairs) {
        const Index size = kernel_.rows();
        hessian_.setZero(size, size);
        if (20 * pairs > static_cast<Real>(size * size * kernel_.cols())) {
            hessian_.template selfadjointView<Eigen::Lower>().rankUpdate(balanced_plan_.topRows(size),
                                                                         -columns_.damping);
            return;
        }
        present_.resize(balanced_plan_.rows() + 1);
        for (Index k = 0; k < kernel_.cols(); ++k) {
            const auto entries = balanced_plan_.col(k);
            Index count = 0;
            for (Index first = 0; first < entries.size(); first += register_lanes) {
                if (entries.template segment<register_lanes>(first).maxCoeff() == 0) continue;
                for (Index i = first; i < first + register_lanes; ++i) {
                    present_[count] = i;
                    count += entries[i] > 0 ? 1 : 0;
                }
            }
            for (Index a = 0; a < count; ++a) {
                const Real scaled = columns_.damping * entries[present_[a]];
                for (Index b = a; b < count; ++b) {
                    hessian_(present_[b], present_[a]) -= scaled * entries[present_[b]];
                }
            }
        }
    }

    Kernel kernel_;
    ScaledMarginal rows_at_alpha0_, columns_at_alpha0_;
    ScaledMarginal rows_, columns_;  ///< at factor_ times alpha0
    Real factor_ = 1;
    RealMatrix balanced_plan_;
    RealMatrix hessian_;
    Eigen::LLT<RealMatrix> cholesky_;
    Vector<Index> present_;
};

}  // namespace detail

/// Newton's method on the semi-dual, for entropic problems with alpha0 > 0: one side's potential is eliminated in
/// closed form, the equations of the other, the smaller one, are solved by Newton steps with a line search. Where
/// alpha0 is far below the reward's spread, it is reached from larger values (continuation), a few steps each.
///
/// An iteration is a Newton step, whatever the value of alpha0 it is taken at. With m = min(D, N), M = max(D, N) it
/// costs m^3/3 flops, three exps an element and M m^2 flops more, or far fewer where alpha0 is so small that most of
/// the plan is zero; memory is two m x M and two m x m matrices. After Sinkhorn's cold start it needs tens of steps
/// where Sinkhorn needs thousands. Semi-dual: Cuturi & Peyre, "Semidual Regularized Optimal Transport", SIAM Review 60
/// (2018); sparsity: Tang et al., "Accelerating Sinkhorn Algorithm with Sparse Newton Iterations" (2024).
struct Newton {
    Options options = {};

    /// Throws InvalidArgument for a problem that is not well formed, UnsupportedProblem for alpha0 = 0 where no
    /// closed form applies. Thread-safe.
    template <BagScalar Scalar, EntropicRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const;

private:
    /// Exponents within this range need no continuation.
    static constexpr Real easy_range = 10;
    /// The residual at which the continuation goes on to a smaller alpha0.
    static constexpr Real good_start = 0.1;

    template <class Scalar, class R>
    static Solution<Scalar, R> finish(const UotProblem<Scalar, R>& problem, const detail::ScaledProblem<Scalar>& scaled,
                                      const detail::SemidualNewton<detail::DenseKernel<Scalar>>& newton,
                                      bool features_are_rows, detail::Iterations& iterations) {
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

template <BagScalar Scalar, EntropicRegularizer R>
Solution<Scalar, R> Newton::solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) const {
    Workspace own;
    Workspace& workspace = run.workspace != nullptr ? *run.workspace : own;
    const detail::FirstPass<Scalar>& pass = detail::first_pass(options, problem, run, workspace);
    const double tolerance = detail::tolerance_or_default<Scalar>(options);
    if (options.closed_forms && detail::has_closed_form(problem))
        return detail::closed_form(problem, pass, tolerance, run, workspace);
    detail::require_positive_alpha0("Newton", problem);

    detail::ScaledProblem<Scalar> scaled;
    scaled.set(problem, pass);
    const bool features_are_rows = scaled.kernel.rows() <= scaled.kernel.cols();
    const detail::ScaledMarginal& rows = features_are_rows ? scaled.features : scaled.instances;
    const detail::ScaledMarginal& columns = features_are_rows ? scaled.instances : scaled.features;
    detail::SemidualNewton newton(detail::DenseKernel(scaled.kernel, features_are_rows), rows, columns);
    detail::Iterations iterations(options, tolerance, 200, run.observer);
    Real factor = std::max(1.0, -newton.lowest_exponent() / easy_range);
    if (run.warm_start != nullptr) {
        factor = 1;
        detail::Scaling<Scalar, Real> scaling(scaled, detail::starting_instance_potential(scaled, run));
        scaling.update_features();
        const detail::ScaledPotential start = features_are_rows ? scaling.features() : scaling.instances();
        newton.potential = start.kernel;
        newton.penalty = start.penalty;
    }
    while (true) {
        newton.start_at(factor);
        newton.sinkhorn_steps();
        while (iterations.again() && (factor == 1 || newton.residual() > good_start)) {
            newton.newton_step();
            newton.sinkhorn_step();
            if (factor == 1) {
                iterations.record(newton.residual(), newton.attainable());
            } else {
                iterations.record_on_the_way(newton.residual());
            }
        }
        if (factor == 1) return finish(problem, scaled, newton, features_are_rows, iterations);
        factor = std::max(1.0, factor / 4);
    }
}

}  // namespace otpool
