// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_sides.hpp"
#include "otpool/solver/admm/admm_step.hpp"

namespace otpool::detail {

/// What AdmmSweep keeps per feature and per instance, in double, and what a step does to it. With x the reward minus an
/// anchor of its feature and one of its instance,
///
///     log S_dn = smooth.slope x_dn + smooth.row_d + smooth.col_n
///     log T_dn = transport.slope x_dn + transport.row_d + transport.col_n - Z_dn / rho
///     X_dn / rho = x_dn / rho + reward_row_d + reward_col_n + a constant
///
/// where X includes alpha0 prior_weight log(p0 q0^T), such that the regulariser is Entropy. Vectors per instance are
/// padded to whole tiles.
struct AdmmLines {
    AdmmSides sides;
    Real rho = 1;
    Real weight = 1;  ///< 1 + alpha0 / rho
    Buffer<Real> log_q, reward_row, reward_col;
    AdmmPlane transport, smooth;
    AdmmPlane potential;       ///< X + f + g, for the residual.
    Buffer<Real> log_col_sum;  ///< LSE_d(log T), before the instances' half step.
    Buffer<Real> log_row_sum;  ///< LSE_n(log S) without the rows' part
    Buffer<Real> log_sum;      ///< LSE_n(log S), before the features' half step.
    Buffer<Real> log_r;        ///< The same after it, at mass 1.
    Buffer<Real> log_c;        ///< LSE_d(log T) after the step; of S, at mass 1, after a residual.
    Real transport_log_mass = 0, smooth_log_mass = 0;  ///< What the step took off both copies.

    Index rows() const { return problem_->features(); }
    Index cols() const { return problem_->active_instances(); }
    Index padded_cols() const { return log_q.size(); }

    /// Starts from the priors; views the problem.
    void start(const Inspection& problem, Index padded_cols) {
        problem_ = &problem;
        has_priors_ = false;
        const Buffer<Real>& log_q0 = problem.priors.log_q;
        for (Buffer<Real>* of_cols : {&log_q, &transport.col, &smooth.col, &log_col_sum}) {
            of_cols->resize(padded_cols);
            std::fill(std::copy_n(log_q0.data(), log_q0.size(), of_cols->begin()), of_cols->end(), 0);
        }
        for (Buffer<Real>* of_cols : {&reward_col, &log_c, &potential.col}) of_cols->resize(padded_cols);
        for (Buffer<Real>* of_rows :
             {&transport.row, &smooth.row, &potential.row, &reward_row, &log_row_sum, &log_sum, &log_r}) {
            of_rows->resize(rows());
            std::copy_n(problem.priors.log_p.data(), rows(), of_rows->data());
        }
        smooth.slope = transport.slope = 0;
    }

    /// Continues with the problem's present alphas, another rho and anchors.
    void set_parameters(Real new_rho, const Buffer<Real>& row_anchor, const Buffer<Real>& col_anchor) {
        rho = new_rho;
        sides.set_parameters(*problem_, rho);
        weight = sides.features.weight;
        const Real of_prior = problem_->regularizer.prior_weight * sides.strength;
        for (Index d = 0; d < rows(); ++d) {
            reward_row[d] = (row_anchor[d] - sides.offset) * sides.inverse_rho + of_prior * problem_->priors.log_p[d];
        }
        for (Index k = 0; k < padded_cols(); ++k) {
            reward_col[k] = col_anchor[k] * sides.inverse_rho + of_prior * log_q[k];
        }
    }

    /// Makes S the plan of these potentials, exp((X + f + g) / alpha0). For alpha0 > 0.
    void start_from(const RealVector& feature_potential, const RealVector& instance_potential) {
        smooth.slope = 1 / sides.alpha0;
        for (Index d = 0; d < rows(); ++d) {
            smooth.row[d] = (reward_row[d] + feature_potential[d] * sides.inverse_rho) / sides.strength;
        }
        for (Index k = 0; k < cols(); ++k) {
            const Index n = problem_->priors.active[static_cast<std::size_t>(k)];
            smooth.col[k] = (reward_col[k] + instance_potential[n] * sides.inverse_rho) / sides.strength;
        }
    }

    bool is_off_center() const {
        return largest_magnitude(smooth.row.data(), rows()) > largest_off_center ||
               largest_magnitude(smooth.col.data(), cols()) > largest_off_center;
    }
    /// Takes smooth / slope off the anchors, and changes the planes by exactly what the rounded anchors moved.
    void center(Buffer<Real>& row_anchor, Buffer<Real>& col_anchor) {
        const auto center_lines = [this](Buffer<Real>& anchor, Buffer<Real>& of_smooth, Buffer<Real>& of_transport) {
            for (Index i = 0; i < anchor.size(); ++i) {
                const Real before = anchor[i];
                anchor[i] -= of_smooth[i] / smooth.slope;
                const Real moved = anchor[i] - before;
                of_smooth[i] = std::fma(smooth.slope, moved, of_smooth[i]);
                of_transport[i] = std::fma(transport.slope, moved, of_transport[i]);
            }
        };
        center_lines(row_anchor, smooth.row, transport.row);
        center_lines(col_anchor, smooth.col, transport.col);
    }

    /// log T <- X/rho + log S,  log S <- log T / weight: all but T's columns, for which end_transport() is called next.
    void begin_step() {
        transport.slope = sides.inverse_rho + smooth.slope;
        smooth.slope = transport.slope / weight;
        for (Index d = 0; d < rows(); ++d) {
            transport.row[d] = smooth.row[d] + reward_row[d];
            smooth.row[d] = transport.row[d] / weight;
        }
        std::transform(smooth.col.begin(), smooth.col.end(), reward_col.begin(), transport.col.begin(), std::plus<>());
    }

    /// log T += k2 (log q0 - LSE_d(log T)) for the instances from `first` on, given LSE_d(log T) without their part.
    /// (Loops over local arrays: compilers move registers of double through memory.)
    void end_transport(Index first, const std::array<Real, register_lanes>& log_power) {
        std::array<Real, register_lanes> log_prior, col, sum_of_col, smooth_col;
        std::copy_n(log_q.data() + first, register_lanes, log_prior.data());
        std::copy_n(transport.col.data() + first, register_lanes, col.data());
        const Real damping = sides.instances.side.common.damping;
        const Real weight_ = weight;
        for (std::size_t i = 0; i < log_power.size(); ++i) {
            sum_of_col[i] = col[i] + log_power[i];
            col[i] += damping * (log_prior[i] - sum_of_col[i]);
            smooth_col[i] = col[i] / weight_;
        }
        std::copy_n(sum_of_col.data(), register_lanes, log_col_sum.data() + first);
        std::copy_n(col.data(), register_lanes, transport.col.data() + first);
        std::copy_n(smooth_col.data(), register_lanes, smooth.col.data() + first);
    }

    /// Brings T to mass 1.
    void normalise_transport() {
        std::transform(log_q.data(), log_q.data() + cols(), log_col_sum.data(), log_c.data(),
                       [k2 = sides.instances.side.common.damping](Real q, Real sum) { return sum + k2 * (q - sum); });
        transport_log_mass = log_sum_exp(log_c.data(), cols());
        for (Real& col : transport.col) col -= transport_log_mass;
    }

    /// log S += k1 (log p0 - LSE_n(log S)), brought to mass 1, given log_row_sum.
    void end_smooth() {
        const Real damping = sides.features.side.common.damping;
        for (Index d = 0; d < rows(); ++d) {
            log_sum[d] = log_row_sum[d] + smooth.row[d];
            const Real shift = damping * (problem_->priors.log_p[d] - log_sum[d]);
            smooth.row[d] += shift;
            log_r[d] = log_sum[d] + shift;
        }
        smooth_log_mass = log_sum_exp(log_r.data(), rows());
        for (Index d = 0; d < rows(); ++d) {
            smooth.row[d] -= smooth_log_mass;
            log_r[d] -= smooth_log_mass;
        }
    }

    /// Whether a number of any precision holds the marginals of both copies, as a residual needs.
    bool in_range() const {
        return lowest(log_r.data(), rows()) > least_log_marginal &&
               lowest(log_c.data(), cols()) - transport_log_mass > least_log_marginal;
    }

    /// Sets `potential` to X + f + g, divided by alpha0 unless that is 0; with the mass's multiplier it is
    ///     alpha0 log S + rho (log S - log S before the step)
    void read_potentials() {
        if (!has_priors_) sides.set_priors(*problem_);  // only residuals need them
        has_priors_ = true;
        sides.features.half_step(log_sum.data());
        sides.instances.half_step(log_col_sum.data());
        const Real unit = sides.strength > 0 ? sides.strength : 1;
        const Real multiplier = weight * smooth_log_mass;  // S has been computed from T before it was normalised
        potential.slope = sides.inverse_rho / unit;
        for (Index d = 0; d < rows(); ++d) {
            potential.row[d] = (reward_row[d] + weight * sides.features.shift[d] - multiplier) / unit;
        }
        for (Index k = 0; k < cols(); ++k) potential.col[k] = (reward_col[k] + sides.instances.shift[k]) / unit;
    }

    /// The residual, given how far S is from the plan of `potential`, relative to rows and to columns, and the mean of
    /// x under S; log_c is that of S now. Reads the potentials' constants and the free mass off S.
    Real residual(Real of_rows, Real of_cols, Real mean_x) {
        sides.read(log_r.data(), log_c.data(), mean_excess(mean_x));
        // A free side adds nothing. But pooling uses the rows' weights, and with a regulariser every row has some.
        const bool rows_count = sides.features.side.common.alpha > 0 || sides.strength > 0;
        const bool cols_count = sides.instances.side.common.alpha > 0;
        const Real of_plan = (std::max)(rows_count ? of_rows : 0, cols_count ? of_cols : 0);
        const Real of_constants = rows_count ? distance_of_potentials() : 0;
        return larger_violation(sides.violation(log_r.data(), log_c.data()),
                                of_plan + of_constants + of_plan * of_constants);
    }

    /// Call after residual(). The caller adds plan and outcome.
    SolvedPlan solution() const { return sides.solution(*problem_, log_r.data(), log_c.data()); }

private:
    /// Rounding numbers of this size takes no digit that counts, even after many steps.
    static constexpr Real largest_off_center = 100;
    /// Above exp() of it, products of marginals and their entries are normal numbers.
    static constexpr Real least_log_marginal = -300;

    /// How far the plan of the potentials that were read is from that of `potential`, relative to each entry. They
    /// differ by constants, and only until the steps have converged.
    Real distance_of_potentials() const {
        const Real apart =
            sides.features.potential_of_constant() + sides.instances.potential_of_constant() + weight * smooth_log_mass;
        if (sides.strength == 0) return std::abs(apart);
        return std::abs(std::expm1(apart / sides.strength - sides.log_scale));
    }

    /// The mean of (alpha0 log S - X) / rho under S, given that of x.
    Real mean_excess(Real mean_x) const {
        Real mean = (sides.strength * smooth.slope - sides.inverse_rho) * mean_x;
        for (Index d = 0; d < rows(); ++d) {
            mean += std::exp(log_r[d]) * (sides.strength * smooth.row[d] - reward_row[d]);
        }
        for (Index k = 0; k < cols(); ++k) {
            mean += std::exp(log_c[k]) * (sides.strength * smooth.col[k] - reward_col[k]);
        }
        return mean;
    }

    const Inspection* problem_ = nullptr;
    bool has_priors_ = false;  ///< Whether the sides have them.
};

}  // namespace otpool::detail
