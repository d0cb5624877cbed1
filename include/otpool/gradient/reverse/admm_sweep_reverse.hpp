// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/admm_reverse_pass.hpp"
#include "otpool/gradient/reverse/admm_sweep_record.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/marginal_shift.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/solver/steps/admm_marginal.hpp"
#include "otpool/solver/steps/swept_step.hpp"

namespace otpool::detail {

/// The reverse of AdmmSweep's steps, from what is pooled by the conditional mean. With w = 1 + alpha0/rho, a step takes
/// what log S has of x, of rows and of columns to that of log T, and on:
///
///     slope' = 1/rho + slope    row' = row + X's    col' = (col + X's) + k2 (log q0 - LSE_d(log T)) - mass
///     slope  = slope'/w         row  = row'/w + k1 (log p0 - LSE_n(log S)) - mass    col = col'/w
///
///     log T = slope' x + row' + col' - Z,   log S = slope x + row + col,   Z <- Z + h(log T - log S)
///
/// so that only x and Z have cotangents of an entry an element (AdmmReversePass); those of slopes, rows and columns are
/// numbers and vectors, in double. All are in units of unit_, in which what the readout passes back is at most 1, so
/// that Work holds them.
template <BagScalar Scalar, BagScalar Work>
class AdmmSweepReverse {
public:
    /// Before the last step's; views record and gradient.
    void start(const AdmmSweepRecord<Scalar, Work>& record, BagGradient<Scalar>& gradient,
               const PlanCotangent& cotangent) {
        record_ = &record;
        gradient_ = &gradient;
        slope_unit_ = record.steepest();
        unit_ = cotangent.slope.cwiseAbs().maxCoeff() *
                std::max({1e-30, record.values_range(), record.values.empty() ? 1 / slope_unit_ : 0});
        slope_ = cotangent.slope / unit_;
        pass_.start(record, slope_unit_);
        for (RealVector* of_features : {&row_, &log_p_, &from_gap_row_}) of_features->setZero(slope_.size());
        for (Buffer<Real>* of_instances : {&col_, &log_q_, &log_q_padded_, &of_mass_}) {
            of_instances->resize(record.of_cols.rows());
            of_instances->setZero();
        }
        log_q_padded_.head(record.cols()) = record.priors.log_q;
        of_slope_ = gap_moment_ = 0;
    }

    void step(Index k) {
        const SweptStep step = record_->step(k);
        const StepParameters& parameters = record_->parameters(k);
        const Real rho = parameters.rho;
        const Real weight = 1 + parameters.alpha0 / rho;
        pull_back_features(k, step, parameters, weight);
        const RealVector& of_log_row_sum = marginal_.of_log_sum;
        row_ += of_log_row_sum;  // of row'/w
        const Real of_row_weight = -row_.dot(step.transport_row) / weight / weight;
        const Real from_gap = gap_moment_;
        start_instances(step, parameters, weight);

        const auto& sums = pass(k, step, of_log_row_sum);

        // b = b'/w, col = col'/w, row = row'/w + ...
        of_slope_ += sums.smooth_moment / step.numbers.smooth_slope - from_gap;
        const Real of_weight =
            of_row_weight - of_col_weight_ / weight - of_slope_ * step.numbers.transport_slope / weight / weight;
        row_ = from_gap_row_ + row_ / weight + sums.transport_row;
        // b' = 1/rho + b, row' = row + (top - max top) / rho
        of_slope_ = from_gap + sums.transport_moment / step.numbers.transport_slope + of_slope_ / weight;
        from_gap_row_ = sums.gap_row;
        gap_moment_ = sums.gap_moment / step.numbers.transport_slope;
        const auto top = record_->top.template cast<Real>();
        const Real of_inverse_rho = of_slope_ + (top.array() - top.maxCoeff()).matrix().dot(row_);
        Real of_strength = 0;  // of alpha0/rho
        if (record_->relative) {
            const Index N = record_->cols();
            of_strength = row_.dot(record_->priors.log_p) + col_.head(N).dot(record_->priors.log_q);
            log_p_ += (weight - 1) * row_;
            log_q_ += (weight - 1) * col_;
        }
        of_strength += of_weight;
        add(gradient_->alpha0, k, of_strength / rho);
        add(gradient_->rho, k, -(of_inverse_rho + of_strength * parameters.alpha0) / rho / rho);
        Real of_alpha2 = 0;
        add(gradient_->rho, k, pull_back_damping(of_damping_, parameters.alpha2, rho, of_alpha2));
        add(gradient_->alpha2, k, of_alpha2);
        if (k == 0) return;
        add(gradient_->rho, k, -sums.dual_moment / rho);  // log T has Z / rho, and Z moves by rho of the step before
        add(gradient_->rho, k - 1, sums.dual_moment / record_->parameters(k - 1).rho);
    }

    /// row = log p0 and col = log q0 before the first step.
    void finish() {
        log_p_ = (log_p_ + row_) * unit_;
        log_q_ = (log_q_ + col_) * unit_;
        add_prior_gradients(record_->priors, log_p_, log_q_.head(record_->cols()), *gradient_);
    }

private:
    using Pass = AdmmReversePass<Scalar, Work>;
    using Lanes = typename Pass::Lanes;
    using RealLanes = typename Pass::RealLanes;
    static constexpr Index lanes = Pass::lanes;

    void add(auto& parameter, Index k, Real derivative) { of_step(parameter, k) += unit_ * derivative; }

    /// The features' side of a step: takes what the gap passes back off row_, and says in marginal_ what the marginal
    /// does.
    void pull_back_features(Index k, const SweptStep& step, const StepParameters& parameters, Real weight) {
        const RealVector& log_p = record_->priors.log_p;
        const Real scale = weight * parameters.rho;
        const Real damping = marginal_damping(parameters.alpha1, scale);
        log_sum_ = step.log_row_sum + step.transport_row / weight;
        log_mass_of_features_ = log_sum_ + damping * (log_p - log_sum_);
        row_ -= from_gap_row_;
        marginal_.set(row_, damping, log_p, log_sum_, log_mass_of_features_, true);
        log_p_ += marginal_.of_prior;
        Real of_alpha1 = 0;
        const Real of_scale = pull_back_damping(marginal_.of_damping, parameters.alpha1, scale, of_alpha1);
        add(gradient_->alpha1, k, of_alpha1);
        add(gradient_->alpha0, k, of_scale);
        add(gradient_->rho, k, of_scale);
    }

    /// The instances' side of a step, whose log sums shift by k2 (log q0 - LSE_d) - mass.
    void start_instances(const SweptStep& step, const StepParameters& parameters, Real weight) {
        const Index N = record_->cols();
        const auto log_sum = step.log_col_sum.head(N);
        weight_ = weight;
        damping_ = marginal_damping(parameters.alpha2, parameters.rho);
        of_damping_ = of_col_weight_ = 0;
        log_mass_ = log_sum + damping_ * (record_->priors.log_q - log_sum);
        of_mass_.head(N) = -from_gap_row_.sum() * bounded_exp(log_mass_.array() - log_sum_exp(log_mass_));
    }

    const typename Pass::Sums& pass(Index k, const SweptStep& step, const RealVector& of_log_row_sum) {
        // col' less its shift is what T's log sums have of the columns
        log_col_sum_ = step.log_col_sum - weight_ * step.smooth_col + damping_ * (log_q_padded_ - step.log_col_sum);
        const auto instances = [&](Index tile, const RealLanes& sum) { return update_instances(step, tile, sum); };
        const auto done = [&](Index tile, const auto& of_x) {
            if (k == 0) pass_.reward().add_to(gradient_->reward.sum(), tile, of_x, unit_ * slope_unit_);
        };
        const auto run = [&](const auto& factor, const auto& after) -> const typename Pass::Sums& {
            return pass_.run(k, step, log_col_sum_, factor, instances, after);
        };
        if (k + 1 == record_->steps()) return pool(run, done);
        factor_ = of_log_row_sum.template cast<Work>();
        return run([&](Index, const auto&) { return [f = factor_.data()](Index d, const Lanes&) { return f[d]; }; },
                   done);
    }

    /// The last step, whose P is the weights that the values are pooled with: u = P (v - y) dL/dy.
    template <class Run, class Done>
    const typename Pass::Sums& pool(const Run& run, const Done& done) {
        const auto& reward = pass_.reward();
        const MatrixView<Scalar>& view = record_->values;
        factor_ = slope_.template cast<Work>();
        const auto set_offset = [&](const Vector<Scalar>& anchor) {
            offset_ = slope_.cwiseProduct(record_->mean - anchor.template cast<Real>()).template cast<Work>();
        };
        if (view.empty()) {
            set_offset(record_->top);
            of_value_ = (slope_ / slope_unit_).template cast<Work>();
            const auto factor = [&](Index tile, const auto& x) {
                pass_.clear(tile);
                return [v = of_value_.data(), s = factor_.data(), o = offset_.data(), x,
                        of_x = pass_.reward_tile(tile)](Index d, const Lanes& P) mutable -> Lanes {
                    of_x.col(d) += v[d] * P;
                    return s[d] * x.col(d) - o[d];
                };
            };
            return run(factor, done);
        }
        anchor_ = record_->mean.template cast<Scalar>();
        set_offset(anchor_);
        values_.set(view, reward.active(), anchor_);
        weights_.resize(lanes, reward.rows());
        const auto factor = [&](Index tile, const auto&) {
            pass_.clear(tile);
            return [&, v = values_.tile(tile)](Index d, const Lanes& P) -> Lanes {
                weights_.col(d) = factor_[d] * P;
                return factor_[d] * v.col(d) - offset_[d];
            };
        };
        return run(factor, [&](Index tile, const auto& of_x) {
            reward.add_to(gradient_->values.sum(), tile, weights_, unit_);
            done(tile, of_x);
        });
    }

    /// Of col = col'/w and col' = . + k2 (log q0 - LSE_d(log T)) - mass; the cotangent of LSE_d.
    RealLanes update_instances(const SweptStep& step, Index tile, const RealLanes& from_rows) {
        const auto of_tile = [&](const auto& v) { return v.template segment<lanes>(tile * lanes).array(); };
        const RealLanes from_gap = pass_.gap_col(tile);
        const RealLanes of_smooth = of_tile(col_) - from_gap + from_rows;
        const RealLanes of_transport = from_gap + of_smooth / weight_;
        const RealLanes of_mass = of_tile(of_mass_);
        const RealLanes of_prior = damping_ * (of_transport + of_mass);
        const RealLanes of_log_sum = of_mass - of_prior;
        of_col_weight_ += (of_smooth * of_tile(step.smooth_col)).sum();
        of_damping_ += ((of_transport + of_mass) * (of_tile(log_q_padded_) - of_tile(step.log_col_sum))).sum();
        log_q_.template segment<lanes>(tile * lanes).array() += of_prior;
        col_.template segment<lanes>(tile * lanes) = (of_transport + of_log_sum).matrix();
        return of_log_sum;
    }

    const AdmmSweepRecord<Scalar, Work>* record_ = nullptr;
    BagGradient<Scalar>* gradient_ = nullptr;
    Real slope_unit_ = 1;
    Real unit_ = 1;
    RealVector slope_;  ///< dL/dy
    Pass pass_;
    RealVector row_;       ///< Cotangents of what log S has of rows,
    Buffer<Real> col_;     ///< and of columns.
    Real of_slope_ = 0;    ///< That of its slope.
    Real gap_moment_ = 0;  ///< Of the slope of log T - log S.
    RealVector from_gap_row_;
    RealVector log_p_;
    Buffer<Real> log_q_, log_q_padded_;

    // Of the present step:
    RealVector log_sum_, log_mass_of_features_;
    MarginalCotangents marginal_;  ///< Of the features.
    Real weight_ = 1;
    Real damping_ = 0;  ///< Of the instances, as what follows.
    Real of_damping_ = 0;
    Real of_col_weight_ = 0;
    Buffer<Real> log_mass_, of_mass_, log_col_sum_;

    // Of the last step: the values' slopes and offsets, and what is pooled if it is not the reward.
    Vector<Scalar> anchor_;
    Vector<Work> factor_, offset_, of_value_;
    InstanceTiles<Scalar, Work> values_;
    typename Pass::Tiles weights_;
};

}  // namespace otpool::detail
