// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/dense_kernel.hpp"
#include "otpool/kernel/pass_result.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/problem/mass_half_step.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// Newton's method on the semi-dual: the columns' potential is eliminated by its half step, and the concave dual is
/// maximised over the rows' potential f,
///
///     gradient   p exp(-f/alpha) - r
///     Hessian   -[diag(r + theta p exp(-f/alpha)) - P diag(k/c) P^T] / alpha0,
///
/// theta = alpha0/alpha of each row, k the columns' damping. Free rows stay at 0.
///
/// If the mass is fixed, its multiplier is one more unknown, which moves the potentials of all rows alike; it is a part
/// of them, as in MassHalfStep. Its gradient is m - sum r, and its part of the Hessian is that of such a move without the
/// rows' penalties.
///
/// A Sinkhorn step is block coordinate ascent on the same dual, so the two mix freely.
template <std::same_as<Real> Work = Real>
class SemidualNewton {
public:
    Buffer<Work> potential;  ///< Of the rows.
    Buffer<Work> penalty;    ///< The rows' potential / alpha.
    PassResult pass;         ///< The columns' potential and the plan's row mass.

    /// `log_mass`: of the plan, if the mass is fixed.
    SemidualNewton(DenseKernel<Work> kernel, const Side& rows, const Side& columns, std::optional<Work> log_mass = {})
        : kernel_(std::move(kernel)), rows_at_alpha0_(rows), columns_at_alpha0_(columns), log_mass_(log_mass) {
        for (Buffer<Work>* of_rows : {&potential, &penalty, &from_potential_, &from_penalty_, &direction_}) {
            of_rows->assign(kernel_.rows(), 0);
        }
        set_sides();
    }

    /// Continues at `factor` times alpha0, from the present potentials.
    void start_at(Work factor) {
        for (Work& f : potential) f *= factor_ / factor;
        multiplier_ *= factor_ / factor;
        factor_ = factor;
        kernel_.multiply_alpha0(factor);
        set_sides();
        kernel_.sweep(potential.data(), columns_, pass);
    }

    Work lowest_exponent() const { return kernel_.lowest(); }
    Work residual() const {
        return (std::max)(rows_.violation(pass.log_row_mass.data(), penalty.data()),
                          mass_violation(log_mass_, pass.log_row_mass));
    }
    /// lambda / alpha0, the part of every row's potential that fixes the mass.
    Work multiplier() const { return multiplier_; }
    Work attainable() const { return rounding(potential, pass); }

    /// potential <- damped (log prior - LSE over the columns)
    void sinkhorn_step() {
        Buffer<Work>& log_row_sum = pass.log_row_mass;
        for (Index i = 0; i < size(); ++i) log_row_sum[i] -= potential[i];
        half_step(log_row_sum.data());
        kernel_.sweep(potential.data(), columns_, pass);
    }

    /// The rows' half step, given their log sums over the columns.
    void half_step(const Work* log_row_sum) {
        if (log_mass_) {
            mass_half_step_(log_row_sum, potential.data(), penalty.data());
            multiplier_ = mass_half_step_.multiplier();
        } else {
            rows_.half_steps(0, size(), log_row_sum, potential.data(), penalty.data());
        }
    }

    /// Before the first Newton step, five of them pay off; fewer if the residual is small.
    void sinkhorn_steps() {
        sinkhorn_step();
        for (int i = 1; i < 5 && residual() > 0.01; ++i) sinkhorn_step();
    }

    /// Moves along Newton's direction to where the dual has lost half its slope; near the optimum, by all of it. (If
    /// parts of the plan hardly touch, the direction shifts them against each other by far too much, and the gradient
    /// is flat on both sides of a narrow dip. The slope's sign tells which side it is.)
    void newton_step() {
        if (rows_.is_free() && !log_mass_) return sinkhorn_step();  // which sets its potential to zero
        set_newton_direction();
        std::copy(potential.begin(), potential.end(), from_potential_.begin());
        std::copy(penalty.begin(), penalty.end(), from_penalty_.begin());
        from_multiplier_ = multiplier_;
        Work unit = -std::numeric_limits<Work>::infinity();
        for (Index i = 0; i < size(); ++i) {
            unit = (std::max)({unit, pass.log_row_mass[i], rows_.log_prior[i] - penalty[i]});
        }
        const Work from_slope = slope(unit);
        if (from_slope < 0) return sinkhorn_step();
        Work shorter = 0;
        const Work largest = largest_magnitude(direction_.data(), size()) + std::abs(multiplier_direction_);
        Work longer = (std::min)(1.0, longest_step / largest);
        move(longer);
        if (slope(unit) >= -0.5 * from_slope) return;
        for (int halving = 0; halving < 60; ++halving) {
            const Work length = (shorter + longer) / 2;
            move(length);
            const Work now = slope(unit);
            if (std::abs(now) <= 0.5 * from_slope) return;
            (now > 0 ? shorter : longer) = length;
        }
    }

private:
    using DenseMatrix = Matrix<Work>;

    /// In units of alpha0, like the potentials.
    static constexpr Work longest_step = 1e4;
    /// Entries of B up to this are lost in the Hessian's rounding.
    static constexpr Work negligible = 1e-17;

    Index size() const { return kernel_.rows(); }

    void set_sides() {
        rows_ = rows_at_alpha0_.with_weight_times(factor_);
        columns_ = columns_at_alpha0_.with_weight_times(factor_);
        if (log_mass_) mass_half_step_.set(rows_, *log_mass_);
    }

    /// Moves by `length` along the direction.
    void move(Work length) {
        multiplier_ = from_multiplier_ + length * multiplier_direction_;
        for (Index i = 0; i < size(); ++i) {
            potential[i] = from_potential_[i] + length * (direction_[i] + multiplier_direction_);
            const Stiffness& line = rows_.line(i);
            penalty[i] = from_penalty_[i] + (line.is_soft() ? line.ratio * length * direction_[i] : 0);
        }
        kernel_.sweep(potential.data(), columns_, pass);
    }

    /// d dual / d length = <direction, p exp(-f/alpha) - r>, and the multiplier's times m - sum r, in units of
    /// exp(unit). Zero if rounding leaves no digit of it: then only small rows still move, which the dual does not see.
    Work slope(Work unit) const {
        Work sum = 0;
        Work magnitude = 0;
        for (Index i = 0; i < size(); ++i) {
            const Work wanted = direction_[i] * std::exp((std::min)(rows_.log_prior[i] - penalty[i] - unit, 600.0));
            const Work present = direction_[i] * std::exp((std::min)(pass.log_row_mass[i] - unit, 600.0));
            sum += wanted - present;
            magnitude += std::abs(wanted) + std::abs(present);
        }
        if (log_mass_) {
            const Buffer<Work>& log_r = pass.log_row_mass;
            const Work log_present = log_sum_exp(log_r.data(), size());
            const Work wanted = multiplier_direction_ * std::exp((std::min)(*log_mass_ - unit, 600.0));
            const Work present = multiplier_direction_ * std::exp((std::min)(log_present - unit, 600.0));
            sum += wanted - present;
            magnitude += std::abs(wanted) + std::abs(present);
        }
        return std::abs(sum) <= attainable() * magnitude ? 0 : sum;
    }

    /// Solves Hessian step = -gradient in the balanced form, with B = P / sqrt(r c) and y = sqrt(r) step,
    ///     (diag(1 + theta p exp(-f/alpha) / r) - k B B^T) y = sqrt(r) (p exp(-f/alpha) / r - 1),
    /// where rows and columns count the same, whatever their mass.
    void set_newton_direction() {
        const Buffer<Work>& log_r = pass.log_row_mass;
        const Work highest_r = highest(log_r.data(), size());
        const Index unknowns = size() + (log_mass_ ? 1 : 0);
        Vector<Work> root_r(size());
        Vector<Work> right_side(unknowns);
        RealVector row(size());
        RealVector col(kernel_.cols());
        for (Index i = 0; i < size(); ++i) row[i] = potential[i] - log_r[i] / 2;
        for (Index k = 0; k < col.size(); ++k) col[k] = (pass.col_potential[k] - pass.log_col_sum[k]) / 2;
        balanced_plan_.resize(kernel_.lanes(), kernel_.cols());
        const Work pairs = kernel_.exponentials(row.data(), col.data(), negligible, balanced_plan_.data());
        hessian_.setZero(unknowns, unknowns);
        for (Index i = 0; i < size(); ++i) root_r[i] = std::exp((std::max)((log_r[i] - highest_r) / 2, -300.0));
        if (log_mass_) set_border(root_r, right_side);
        subtract_products(pairs);
        for (Index i = 0; i < size(); ++i) {
            const Work gradient = std::expm1((std::min)(rows_.log_prior[i] - penalty[i] - log_r[i], 100.0));
            right_side[i] = root_r[i] * gradient;
            hessian_(i, i) += 1 + (rows_.line(i).is_soft() ? rows_.line(i).ratio : 0) * (1 + gradient);
        }
        leave_out_free_rows(right_side);
        if (rows_.is_hard() && columns_.is_hard()) {
            // f + t, g - t give the same plan: fix the multiple of sqrt(r) in y, which this leaves open.
            hessian_.template selfadjointView<Eigen::Lower>().rankUpdate(root_r / root_r.norm());
        }
        std::fill(direction_.begin(), direction_.end(), Work(0));
        multiplier_direction_ = 0;
        for (Work ridge = 1e-15 * static_cast<Work>(size());; ridge *= 100) {
            for (Index i = 0; i < unknowns; ++i) hessian_(i, i) += ridge;
            cholesky_.compute(hessian_);
            if (cholesky_.info() == Eigen::Success) {
                cholesky_.solveInPlace(right_side);
                for (Index i = 0; i < size(); ++i) direction_[i] = right_side[i] / root_r[i];
                if (log_mass_) multiplier_direction_ = right_side[size()] / root_r.norm();
                return;
            }
            if (ridge > 1) return;  // no direction: only Sinkhorn's step moves
        }
    }

    /// Makes the step of free rows 0.
    void leave_out_free_rows(Vector<Work>& right_side) {
        if (!rows_.has_free_lines()) return;
        for (Index i = 0; i < size(); ++i) {
            if (!rows_.line(i).is_free()) continue;
            hessian_.row(i).setZero();
            hessian_.col(i).setZero();
            hessian_(i, i) = 1;
            right_side[i] = 0;
        }
    }

    /// The multiplier's line of the system: with e = sqrt(r) / |sqrt(r)|, the move of all rows alike,
    ///     (I - k B B^T) e = B diag(1 - k) B^T e,    right side |sqrt(r)| (m / sum r - 1).
    void set_border(const Vector<Work>& root_r, Vector<Work>& right_side) {
        const Index lanes = kernel_.lanes();
        const Work norm = root_r.norm();
        Buffer<Work> e, border, of_columns;
        e.assign(lanes, 0);
        border.resize(lanes);
        of_columns.resize(kernel_.cols());
        for (Index i = 0; i < size(); ++i) e[i] = root_r[i] / norm;
        multiply_transposed<Work>(balanced_plan_.data(), lanes, kernel_.cols(), e.data(), of_columns.data());
        for (Index k = 0; k < kernel_.cols(); ++k) of_columns[k] *= columns_.line(k).relaxation;
        multiply<Work>(balanced_plan_.data(), lanes, kernel_.cols(), of_columns.data(), border.data());
        for (Index i = 0; i < size(); ++i) {
            hessian_(size(), size()) += e[i] * border[i];
            hessian_(size(), i) = border[i];
        }
        const Buffer<Work>& log_r = pass.log_row_mass;
        const Work log_excess = *log_mass_ - log_sum_exp(log_r.data(), size());
        right_side[size()] = norm * std::expm1((std::min)(log_excess, 100.0));
    }

    /// Subtracts B diag(k) B^T from hessian_, its lower triangle. At small alpha0 most of B is zero; then column by column.
    void subtract_products(Work pairs) {
        if (20 * pairs > static_cast<Work>(size() * size() * kernel_.cols())) {
            const auto B = balanced_plan_.topRows(size());
            for (Index k = 0; columns_.differ() && k < kernel_.cols(); ++k)
                balanced_plan_.col(k) *= std::sqrt(columns_.line(k).damping);
            hessian_.topLeftCorner(size(), size())
                .template selfadjointView<Eigen::Lower>()
                .rankUpdate(B, columns_.differ() ? -1 : -columns_.common.damping);
            return;
        }
        present_.resize(static_cast<std::size_t>(kernel_.lanes()) + 1);
        for (Index k = 0; k < kernel_.cols(); ++k) {
            const Work* entries = balanced_plan_.data() + k * kernel_.lanes();
            std::size_t count = 0;
            for (Index first = 0; first < kernel_.lanes(); first += register_lanes) {
                if (highest(Lanes<Work>::load(entries + first)) == 0) continue;
                for (Index i = first; i < first + register_lanes; ++i) {
                    present_[count] = i;
                    count += entries[i] > 0 ? 1 : 0;
                }
            }
            for (std::size_t a = 0; a < count; ++a) {
                const Work scaled = columns_.line(k).damping * entries[present_[a]];
                Work* const of_column = hessian_.data() + present_[a] * hessian_.rows();
                for (std::size_t b = a; b < count; ++b) of_column[present_[b]] -= scaled * entries[present_[b]];
            }
        }
    }

    DenseKernel<Work> kernel_;
    Side rows_at_alpha0_, columns_at_alpha0_;
    std::optional<Work> log_mass_;
    MassHalfStep<Work> mass_half_step_;
    Work multiplier_ = 0, from_multiplier_ = 0, multiplier_direction_ = 0;
    Side rows_, columns_;  ///< at factor_ times alpha0
    Work factor_ = 1;
    Buffer<Work> from_potential_, from_penalty_, direction_;
    DenseMatrix balanced_plan_;
    DenseMatrix hessian_;
    Eigen::LLT<DenseMatrix> cholesky_;
    std::vector<Index> present_;
};

}  // namespace otpool::detail
