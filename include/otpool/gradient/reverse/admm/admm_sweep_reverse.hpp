// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/admm/admm_reverse_tiles.hpp"
#include "otpool/gradient/reverse/admm/admm_sweep_tape.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/half_step_reverse.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_step.hpp"

namespace otpool::detail {

/// The reverse of AdmmSweep's steps, from what is pooled by the conditional mean. With w = 1 + alpha0/rho, a step takes
/// the slope, rows and columns of log S to those of log T, and on:
///
///     slope' = 1/rho + slope    row' = row + X's    col' = (col + X's) + k2 (log q0 - LSE_d(log T)) - mass
///     slope  = slope'/w         row  = row'/w + k1 (log p0 - LSE_n(log S)) - mass    col = col'/w
///
///     log T = slope' x + row' + col' - Z,   log S = slope x + row + col,   Z <- Z + h(log T - log S)
///
/// Only x and Z have a derivative per element, which AdmmReverseTiles computes. All others are numbers and vectors, in
/// double. All derivatives are in units of unit_, in which those of the readout are at most 1, so that Work holds them.
template <BagScalar Scalar, BagScalar Work>
class AdmmSweepReverse {
public:
    /// Adds all derivatives to the gradient.
    void run(const AdmmSweepTape<Work>& tape, const RealVector& dL_dy, BagGradient<Scalar>& gradient) {
        start(tape, dL_dy, gradient);
        for (Index k = tape.steps(); k-- > 0;) reverse_step(k);
        finish();
    }

private:
    using Tiles = AdmmReverseTiles<Work>;
    using L = Lanes<Work>;
    using R = Lanes<Real>;
    static constexpr Index lanes = Tiles::lanes;

    void start(const AdmmSweepTape<Work>& tape, const RealVector& dL_dy, BagGradient<Scalar>& gradient) {
        tape_ = &tape;
        gradient_ = &gradient;
        slope_unit_ = tape.steepest();
        const Real values = (std::max)({1e-30, values_range(), tape.values.empty() ? 1 / slope_unit_ : 0});
        unit_ = largest_magnitude(dL_dy.data(), dL_dy.size()) * values;
        slope_ = dL_dy / unit_;
        tiles_.start(tape, slope_unit_);
        row_ = log_p_ = from_gap_row_ = log_row_sum_ = RealVector::Zero(tape.rows());
        col_ = log_q_ = log_q_padded_ = of_mass_ = log_mass_ = log_col_sum_ = RealVector::Zero(tape.padded_cols());
        std::copy_n(tape.priors.log_q.data(), tape.cols(), log_q_padded_.data());
        of_slope_ = gap_moment_ = 0;
    }

    void reverse_step(Index k) {
        const AdmmStep step = tape_->step(k);
        const StepParameters& parameters = tape_->parameters[k];
        weight_ = 1 + parameters.alpha0 / parameters.rho;
        pull_back_features(k, step, parameters);
        const Real of_row_weight = -row_.vector().dot(of_features(step.transport.row)) / weight_ / weight_;
        const Real from_gap = gap_moment_;
        start_instances(step, parameters);

        const auto& sums = pass(k, step);

        // slope = slope'/w, col = col'/w, row = row'/w + ...
        of_slope_ += sums.smooth_moment / step.smooth.slope - from_gap;
        const Real of_weight =
            of_row_weight - of_col_weight_ / weight_ - of_slope_ * step.transport.slope / weight_ / weight_;
        row_.vector() = from_gap_row_.vector() + row_.vector() / weight_ + sums.transport_row.vector();
        from_gap_row_ = sums.gap_row;
        of_slope_ = from_gap + sums.transport_moment / step.transport.slope + of_slope_ / weight_;
        gap_moment_ = sums.gap_moment / step.transport.slope;
        pull_back_parameters(k, parameters, of_weight);
        if (k == 0) return;
        // log T has Z / rho, and Z moves by rho of the step before
        add(gradient_->rho, k, -sums.dual_moment / parameters.rho);
        add(gradient_->rho, k - 1, sums.dual_moment / tape_->parameters[k - 1].rho);
    }

    /// row = log p0 and col = log q0 before the first step.
    void finish() {
        RealVector log_p = (log_p_.vector() + row_.vector()) * unit_;
        RealVector log_q = (log_q_.vector() + col_.vector()).head(tape_->cols()) * unit_;
        add_prior_gradients(tape_->priors, log_p, log_q, *gradient_);
    }

    auto of_features(const Real* numbers) const { return Eigen::Map<const RealVector>(numbers, tape_->rows()); }
    static R load(const Real* of_cols, Index tile) { return R::load(of_cols + tile * lanes); }
    static R load(const Buffer<Real>& of_cols, Index tile) { return load(of_cols.data(), tile); }

    void add(auto& parameter, Index k, Real derivative) { of_step(parameter, k) += unit_ * derivative; }

    /// The highest of the values less the lowest.
    Real values_range() const {
        if (tape_->values.empty()) return tape_->range;
        Real high = -std::numeric_limits<Real>::infinity();
        Real low = -high;
        RealVector column(tape_->rows());
        for (const Index n : tape_->priors.active) {
            tape_->values.copy_column(n, column.data());
            high = (std::max)(high, highest(column.data(), column.size()));
            low = (std::min)(low, lowest(column.data(), column.size()));
        }
        return high - low;
    }

    /// The reverse of the features' half step. row_ becomes dL/d(row'/w).
    void pull_back_features(Index k, const AdmmStep& step, const StepParameters& parameters) {
        log_row_sum_ = of_features(step.log_row_sum) + of_features(step.transport.row) / weight_;
        row_.vector() -= from_gap_row_.vector();
        Real of_alpha1 = 0;
        const Real of_scale = features_.run(row_, parameters.alpha1, weight_ * parameters.rho, true,
                                            tape_->priors.log_p, log_row_sum_, log_p_, of_alpha1);
        row_.vector() += features_.of_log_sum.vector();
        add(gradient_->alpha1, k, of_alpha1);
        add(gradient_->alpha0, k, of_scale);
        add(gradient_->rho, k, of_scale);
    }

    /// Prepares for pull_back_instances() of all tiles: of_mass_, and LSE_d(log T) without the columns' part, which is
    /// col' without what the half step added.
    void start_instances(const AdmmStep& step, const StepParameters& parameters) {
        const Index N = tape_->cols();
        damping_ = damping(parameters.alpha2, parameters.rho);
        of_damping_ = of_col_weight_ = 0;
        for (Index n = 0; n < log_mass_.size(); ++n) {
            log_mass_[n] = step.log_col_sum[n] + damping_ * (log_q_padded_[n] - step.log_col_sum[n]);
            log_col_sum_[n] = log_mass_[n] - weight_ * step.smooth.col[n];
        }
        bounded_exp(log_mass_.data(), N, of_mass_.data(), log_sum_exp(log_mass_.data(), N));
        of_mass_.vector() *= -from_gap_row_.vector().sum();
    }

    /// The reverse of col = col'/w and of the instances' half step, in a tile. Returns dL/dLSE_d(log T).
    R pull_back_instances(const AdmmStep& step, Index tile, const R& from_rows) {
        const R from_gap = tiles_.gap_col(tile);
        const R of_smooth = load(col_, tile) - from_gap + from_rows;
        const R of_transport = from_gap + of_smooth / R(weight_);
        const HalfStepDerivatives<R> of(of_transport, load(of_mass_, tile), R(damping_), load(log_q_padded_, tile),
                                        load(step.log_col_sum, tile));
        of_col_weight_ += sum(of_smooth * load(step.smooth.col, tile));
        of_damping_ += sum(of.of_damping);
        (load(log_q_, tile) + of.of_prior).store(log_q_.data() + tile * lanes);
        (of_transport + of.of_log_sum).store(col_.data() + tile * lanes);
        return of.of_log_sum;
    }

    /// Adds the parameters' derivatives, through slope' = 1/rho + slope, row' = row + (top - max top) / rho, w and k2.
    void pull_back_parameters(Index k, const StepParameters& parameters, Real of_weight) {
        const Real rho = parameters.rho;
        const Real highest_top = highest(tape_->top.data(), row_.size());
        Real of_inverse_rho = of_slope_;
        for (Index d = 0; d < row_.size(); ++d) of_inverse_rho += (tape_->top[d] - highest_top) * row_[d];
        Real of_strength = of_weight;  // of alpha0/rho
        const Real prior_weight = tape_->prior_weight;
        if (prior_weight != 0) {  // the rewards' part alpha0 prior_weight log(p0 q0^T)
            of_strength +=
                prior_weight * (row_.vector().dot(tape_->priors.log_p) + col_.vector().dot(log_q_padded_.vector()));
            log_p_.vector() += prior_weight * parameters.alpha0 / rho * row_.vector();
            log_q_.vector() += prior_weight * parameters.alpha0 / rho * col_.vector();
        }
        add(gradient_->alpha0, k, of_strength / rho);
        add(gradient_->rho, k, -(of_inverse_rho + of_strength * parameters.alpha0) / rho / rho);
        Real of_alpha2 = 0;
        add(gradient_->rho, k, pull_back_damping(of_damping_, parameters.alpha2, rho, of_alpha2));
        add(gradient_->alpha2, k, of_alpha2);
    }

    /// The pass over all elements. In the last step P is the weights that pool the values v, and u = P (v - y) dL/dy.
    const typename Tiles::Sums& pass(Index k, const AdmmStep& step) {
        const bool own_values = !tape_->values.empty();
        const bool pools = k + 1 == tape_->steps();
        const auto instances = [&](Index tile, const R& sum) { return pull_back_instances(step, tile, sum); };
        const auto done = [&](Index tile, const Work* of_x) {
            const auto& reward = tiles_.reward();
            if (k == 0) reward.add_to(gradient_->reward.sum().data(), tile, of_x, unit_ * slope_unit_);
            if (pools && own_values) reward.add_to(gradient_->values.sum().data(), tile, of_value_.data(), unit_);
        };
        if (!pools) {
            set(features_.of_log_sum, 1, factor_);
            const auto factor = [&](Index, const Work*) {
                return [f = factor_.data()](Index d, const L&) { return L(f[d]); };
            };
            return tiles_.run(k, step, log_col_sum_, factor, instances, done);
        }
        start_pooled(own_values);
        const auto factor = [&](Index tile, const Work* x) {
            tiles_.clear(tile);
            if (own_values) std::fill(of_value_.begin(), of_value_.end(), Work(0));
            return
                [v = own_values ? values_.tile(tile) : x, to = own_values ? of_value_.data() : tiles_.of_reward(tile),
                 f = value_factor_.data(), s = factor_.data(), o = offset_.data()](Index d, const L& P) {
                    multiply_add(P, L(f[d]), L::load(to + d * lanes)).store(to + d * lanes);
                    return L(s[d]) * L::load(v + d * lanes) - L(o[d]);
                };
        };
        return tiles_.run(k, step, log_col_sum_, factor, instances, done);
    }

    /// Sets slopes and offsets of the values. These are relative to an anchor: the highest reward of every feature, or of
    /// own values the mean, rounded to Work.
    void start_pooled(bool own_values) {
        anchor_ = tape_->top;
        if (own_values) {
            for (Index d = 0; d < anchor_.size(); ++d) anchor_[d] = Real(static_cast<Work>(tape_->mean[d]));
            values_.set(tape_->values, tape_->priors.active, anchor_);
            of_value_.resize(values_.size());
        }
        set(slope_, own_values ? 1 : slope_unit_, value_factor_);
        set(slope_, 1, factor_);
        offset_.resize(slope_.size());
        for (Index d = 0; d < slope_.size(); ++d) {
            offset_[d] = static_cast<Work>(slope_[d] * (tape_->mean[d] - anchor_[d]));
        }
    }

    static void set(const Buffer<Real>& numbers, Real unit, Buffer<Work>& to) {
        to.resize(numbers.size());
        for (Index d = 0; d < numbers.size(); ++d) to[d] = static_cast<Work>(numbers[d] / unit);
    }

    const AdmmSweepTape<Work>* tape_ = nullptr;
    BagGradient<Scalar>* gradient_ = nullptr;
    Real slope_unit_ = 1;
    Real unit_ = 1;
    Buffer<Real> slope_;  ///< dL/dy
    Tiles tiles_;
    Buffer<Real> row_, col_;  ///< Derivatives with respect to the rows and columns of log S,
    Real of_slope_ = 0;       ///< and to its slope.
    Real gap_moment_ = 0;     ///< Of the slope of log T - log S.
    Buffer<Real> from_gap_row_;
    Buffer<Real> log_p_, log_q_, log_q_padded_;  ///< Vectors per instance are padded to whole tiles.

    // Of the present step:
    Real weight_ = 1;
    Buffer<Real> log_row_sum_;
    HalfStepReverse features_;
    Real damping_ = 0;  ///< This and what follows: of the instances.
    Real of_damping_ = 0;
    Real of_col_weight_ = 0;
    Buffer<Real> log_mass_, of_mass_, log_col_sum_;

    Buffer<Work> factor_;  ///< u = factor P; in the last step (factor v - offset) P.
    Buffer<Work> offset_, value_factor_;
    RealVector anchor_;
    InstanceTiles<Work> values_;  ///< Of the last step, if they are not the reward.
    Buffer<Work> of_value_;       ///< dL/dvalue of the present tile.
};

}  // namespace otpool::detail
