// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/admm_element_reverse.hpp"
#include "otpool/gradient/reverse/admm_sweep_record.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/marginal_shift.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/admm_step.hpp"

namespace otpool::detail {

/// The reverse of AdmmSweep's steps, from what is pooled by the conditional mean. With w = 1 + alpha0/rho, a step takes
/// the slope, rows and columns of log S to those of log T, and on:
///
///     slope' = 1/rho + slope    row' = row + X's    col' = (col + X's) + k2 (log q0 - LSE_d(log T)) - mass
///     slope  = slope'/w         row  = row'/w + k1 (log p0 - LSE_n(log S)) - mass    col = col'/w
///
///     log T = slope' x + row' + col' - Z,   log S = slope x + row + col,   Z <- Z + h(log T - log S)
///
/// so that only x and Z have cotangents of an entry an element (AdmmElementReverse); those of slopes, rows and columns
/// are numbers and vectors, in double. All are in units of unit_, in which what the readout passes back is at most 1,
/// so that Work holds them.
template <BagScalar Scalar, BagScalar Work>
class AdmmSweepReverse {
public:
    /// Before the last step's; views record and gradient.
    void start(const AdmmSweepRecord<Work>& record, const RealVector& dL_dy, BagGradient<Scalar>& gradient) {
        record_ = &record;
        gradient_ = &gradient;
        slope_unit_ = record.steepest();
        const Real values = std::max({1e-30, record.values_range(), record.values.empty() ? 1 / slope_unit_ : 0});
        unit_ = largest_magnitude(dL_dy.data(), dL_dy.size()) * values;
        slope_.resize(record.rows());
        for (Index d = 0; d < record.rows(); ++d) slope_[d] = dL_dy[d] / unit_;
        elements_.start(record, slope_unit_);
        for (Buffer<Real>* of_features : {&row_, &log_p_, &from_gap_row_, &log_sum_, &log_mass_of_features_})
            set_zero(*of_features, record.rows());
        for (Buffer<Real>* of_instances : {&col_, &log_q_, &log_q_padded_, &of_mass_, &log_mass_, &log_col_sum_})
            set_zero(*of_instances, record.padded_cols());
        std::copy_n(record.priors.log_q.data(), record.cols(), log_q_padded_.data());
        of_slope_ = gap_moment_ = 0;
    }

    void step(Index k) {
        const AdmmStep step = record_->step(k);
        const StepParameters& parameters = record_->parameters(k);
        const Real weight = 1 + parameters.alpha0 / parameters.rho;
        pull_back_features(k, step, parameters, weight);
        Real of_row_weight = 0;
        for (Index d = 0; d < row_.size(); ++d) {
            row_[d] += marginal_.of_log_sum[d];  // of row'/w
            of_row_weight -= row_[d] * step.transport.row[d] / weight / weight;
        }
        const Real from_gap = gap_moment_;
        start_instances(step, parameters, weight);

        const auto& sums = pass(k, step);

        // slope = slope'/w, col = col'/w, row = row'/w + ...
        of_slope_ += sums.smooth_moment / step.smooth.slope - from_gap;
        const Real of_weight =
            of_row_weight - of_col_weight_ / weight - of_slope_ * step.transport.slope / weight / weight;
        for (Index d = 0; d < row_.size(); ++d) {
            row_[d] = from_gap_row_[d] + row_[d] / weight + sums.transport_row[d];
            from_gap_row_[d] = sums.gap_row[d];
        }
        of_slope_ = from_gap + sums.transport_moment / step.transport.slope + of_slope_ / weight;
        gap_moment_ = sums.gap_moment / step.transport.slope;
        pull_back_parameters(k, parameters, of_weight);
        if (k == 0) return;
        // log T has Z / rho, and Z moves by rho of the step before
        add(gradient_->rho, k, -sums.dual_moment / parameters.rho);
        add(gradient_->rho, k - 1, sums.dual_moment / record_->parameters(k - 1).rho);
    }

    /// row = log p0 and col = log q0 before the first step.
    void finish() {
        RealVector log_p(record_->rows());
        RealVector log_q(record_->cols());
        for (Index d = 0; d < log_p.size(); ++d) log_p[d] = (log_p_[d] + row_[d]) * unit_;
        for (Index n = 0; n < log_q.size(); ++n) log_q[n] = (log_q_[n] + col_[n]) * unit_;
        add_prior_gradients(record_->priors, log_p, log_q, *gradient_);
    }

private:
    using Elements = AdmmElementReverse<Work>;
    using L = Lanes<Work>;
    using R = Lanes<Real>;
    static constexpr Index lanes = Elements::lanes;

    static void set_zero(Buffer<Real>& numbers, Index size) {
        numbers.resize(size);
        std::fill(numbers.begin(), numbers.end(), 0);
    }
    static R load(const Real* of_cols, Index tile) { return R::load(of_cols + tile * lanes); }
    static R load(const Buffer<Real>& of_cols, Index tile) { return load(of_cols.data(), tile); }

    void add(auto& parameter, Index k, Real derivative) { of_step(parameter, k) += unit_ * derivative; }

    /// The features' side of a step: takes what the gap passes back off row_, and says in marginal_ what the marginal
    /// does.
    void pull_back_features(Index k, const AdmmStep& step, const StepParameters& parameters, Real weight) {
        const RealVector& log_p = record_->priors.log_p;
        const Real scale = weight * parameters.rho;
        const Real k1 = damping(parameters.alpha1, scale);
        for (Index d = 0; d < row_.size(); ++d) {
            log_sum_[d] = step.log_row_sum[d] + step.transport.row[d] / weight;
            log_mass_of_features_[d] = log_sum_[d] + k1 * (log_p[d] - log_sum_[d]);
            row_[d] -= from_gap_row_[d];
        }
        marginal_.set(row_, k1, log_p.data(), log_sum_.data(), log_mass_of_features_.data(), true);
        for (Index d = 0; d < row_.size(); ++d) log_p_[d] += marginal_.of_prior[d];
        Real of_alpha1 = 0;
        const Real of_scale = pull_back_damping(marginal_.of_damping, parameters.alpha1, scale, of_alpha1);
        add(gradient_->alpha1, k, of_alpha1);
        add(gradient_->alpha0, k, of_scale);
        add(gradient_->rho, k, of_scale);
    }

    /// The instances' side of a step, whose log sums shift by k2 (log q0 - LSE_d) - mass.
    void start_instances(const AdmmStep& step, const StepParameters& parameters, Real weight) {
        const Index N = record_->cols();
        const Real* log_sum = step.log_col_sum;
        weight_ = weight;
        damping_ = damping(parameters.alpha2, parameters.rho);
        of_damping_ = of_col_weight_ = 0;
        for (Index n = 0; n < N; ++n) log_mass_[n] = log_sum[n] + damping_ * (log_q_padded_[n] - log_sum[n]);
        Real from_gap = 0;
        for (const Real of_row : from_gap_row_) from_gap += of_row;
        bounded_exp(log_mass_.data(), N, of_mass_.data(), log_sum_exp(log_mass_.data(), N));
        for (Index n = 0; n < N; ++n) of_mass_[n] *= -from_gap;
        // col' less its shift is what T's log sums have of the columns
        for (Index n = 0; n < log_col_sum_.size(); ++n) {
            log_col_sum_[n] = log_sum[n] - weight_ * step.smooth.col[n] + damping_ * (log_q_padded_[n] - log_sum[n]);
        }
    }

    /// Of slope' = 1/rho + slope, row' = row + (top - max top) / rho, the weight and k2.
    void pull_back_parameters(Index k, const StepParameters& parameters, Real of_weight) {
        const Real rho = parameters.rho;
        const Real highest_top = highest(record_->top.data(), row_.size());
        Real of_inverse_rho = of_slope_;
        for (Index d = 0; d < row_.size(); ++d) of_inverse_rho += (record_->top[d] - highest_top) * row_[d];
        Real of_strength = of_weight;  // of alpha0/rho
        if (record_->relative) of_strength += pull_back_relative(parameters.alpha0 / rho);
        add(gradient_->alpha0, k, of_strength / rho);
        add(gradient_->rho, k, -(of_inverse_rho + of_strength * parameters.alpha0) / rho / rho);
        Real of_alpha2 = 0;
        add(gradient_->rho, k, pull_back_damping(of_damping_, parameters.alpha2, rho, of_alpha2));
        add(gradient_->alpha2, k, of_alpha2);
    }

    /// Of the rewards' part alpha0 log(p0 q0^T): adds the priors', returns the strength's.
    Real pull_back_relative(Real strength) {
        Real of_strength = 0;
        for (Index d = 0; d < row_.size(); ++d) {
            of_strength += row_[d] * record_->priors.log_p[d];
            log_p_[d] += strength * row_[d];
        }
        for (Index n = 0; n < col_.size(); ++n) {
            of_strength += col_[n] * log_q_padded_[n];
            log_q_[n] += strength * col_[n];
        }
        return of_strength;
    }

    const typename Elements::Sums& pass(Index k, const AdmmStep& step) {
        const auto instances = [&](Index tile, const R& sum) { return update_instances(step, tile, sum); };
        const auto done = [&](Index tile, const Work* of_x) {
            if (k > 0) return;
            elements_.reward().add_to(gradient_->reward.sum().data(), tile, of_x, unit_ * slope_unit_);
        };
        const auto run = [&](const auto& factor, const auto& after) -> const typename Elements::Sums& {
            return elements_.run(k, step, log_col_sum_, factor, instances, after);
        };
        if (k + 1 == record_->steps()) return pool(run, done);
        set_factor(marginal_.of_log_sum, 1);
        return run([&](Index, const Work*) { return [f = factor_.data()](Index d, const L&) { return L(f[d]); }; },
                   done);
    }

    void set_factor(const Buffer<Real>& factors, Real unit) {
        factor_.resize(factors.size());
        for (Index d = 0; d < factors.size(); ++d) factor_[d] = static_cast<Work>(factors[d] / unit);
    }

    /// offset <- slope (mean - anchor), as Work.
    void set_offset(const RealVector& anchor) {
        offset_.resize(slope_.size());
        for (Index d = 0; d < slope_.size(); ++d) {
            offset_[d] = static_cast<Work>(slope_[d] * (record_->mean[d] - anchor[d]));
        }
    }

    /// The last step, whose P is the weights that the values are pooled with: u = P (v - y) dL/dy.
    template <class Run, class Done>
    const typename Elements::Sums& pool(const Run& run, const Done& done) {
        if (record_->values.empty()) {
            set_offset(record_->top);
            set_factor(slope_, slope_unit_);
            of_value_ = factor_;
            set_factor(slope_, 1);
            const auto factor = [&](Index tile, const Work* x) {
                elements_.clear(tile);
                return [v = of_value_.data(), s = factor_.data(), o = offset_.data(), x,
                        of_x = elements_.reward_tile(tile)](Index d, const L& P) {
                    multiply_add(P, L(v[d]), L::load(of_x + d * lanes)).store(of_x + d * lanes);
                    return L(s[d]) * L::load(x + d * lanes) - L(o[d]);
                };
            };
            return run(factor, done);
        }
        // Relative to the mean as Work has it.
        anchor_.resize(record_->rows());
        for (Index d = 0; d < anchor_.size(); ++d) anchor_[d] = static_cast<Work>(record_->mean[d]);
        set_offset(anchor_);
        set_factor(slope_, 1);
        const auto& reward = elements_.reward();
        values_.set(record_->values, reward.active(), anchor_);
        weights_.resize(reward.size());
        const auto factor = [&](Index tile, const Work*) {
            elements_.clear(tile);
            return [s = factor_.data(), o = offset_.data(), v = values_.tile(tile), w = weights_.data()](Index d,
                                                                                                         const L& P) {
                (L(s[d]) * P).store(w + d * lanes);
                return L(s[d]) * L::load(v + d * lanes) - L(o[d]);
            };
        };
        return run(factor, [&](Index tile, const Work* of_x) {
            reward.add_to(gradient_->values.sum().data(), tile, weights_.data(), unit_);
            done(tile, of_x);
        });
    }

    /// Of col = col'/w and col' = . + k2 (log q0 - LSE_d(log T)) - mass; the cotangent of LSE_d.
    R update_instances(const AdmmStep& step, Index tile, const R& from_rows) {
        const R from_gap = elements_.gap_col(tile);
        const R of_smooth = load(col_, tile) - from_gap + from_rows;
        const R of_transport = from_gap + of_smooth / R(weight_);
        const R of_mass = load(of_mass_, tile);
        const R of_prior = R(damping_) * (of_transport + of_mass);
        const R of_log_sum = of_mass - of_prior;
        of_col_weight_ += sum(of_smooth * load(step.smooth.col, tile));
        of_damping_ += sum((of_transport + of_mass) * (load(log_q_padded_, tile) - load(step.log_col_sum, tile)));
        (load(log_q_, tile) + of_prior).store(log_q_.data() + tile * lanes);
        (of_transport + of_log_sum).store(col_.data() + tile * lanes);
        return of_log_sum;
    }

    const AdmmSweepRecord<Work>* record_ = nullptr;
    BagGradient<Scalar>* gradient_ = nullptr;
    Real slope_unit_ = 1;
    Real unit_ = 1;
    Buffer<Real> slope_;  ///< dL/dy
    Elements elements_;
    Buffer<Real> row_, col_;  ///< Cotangents of the rows and columns of log S,
    Real of_slope_ = 0;       ///< and of its slope.
    Real gap_moment_ = 0;     ///< Of the slope of log T - log S.
    Buffer<Real> from_gap_row_;
    Buffer<Real> log_p_, log_q_, log_q_padded_;  ///< Vectors per instance are padded to whole tiles.

    // Of the present step:
    Buffer<Real> log_sum_, log_mass_of_features_;
    MarginalCotangents marginal_;  ///< Of the features.
    Real weight_ = 1;
    Real damping_ = 0;  ///< Of the instances, as what follows.
    Real of_damping_ = 0;
    Real of_col_weight_ = 0;
    Buffer<Real> log_mass_, of_mass_, log_col_sum_;

    // Of the last step: the values' slopes and offsets, and what is pooled if it is not the reward.
    RealVector anchor_;
    Buffer<Work> factor_, offset_, of_value_;
    InstanceTiles<Work> values_;
    Buffer<Work> weights_;
};

}  // namespace otpool::detail
