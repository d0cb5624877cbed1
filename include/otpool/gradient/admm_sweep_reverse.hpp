// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>

#include "otpool/core/exponential.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/admm_reverse_pass.hpp"
#include "otpool/gradient/admm_sweep_record.hpp"
#include "otpool/gradient/bag_gradient.hpp"
#include "otpool/gradient/marginal_shift.hpp"
#include "otpool/gradient/plan_cotangent.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/gradient/trajectory.hpp"
#include "otpool/solver/admm_marginal.hpp"
#include "otpool/solver/admm_sweep.hpp"
#include "otpool/solver/instance_tiles.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// The reverse of AdmmSweep's steps, from what is pooled by the conditional mean. With w = 1 + alpha0/rho, a step takes what
/// log S has of x, of rows and of columns to that of log T, and on:
///
///     slope' = 1/rho + slope    row' = row + X's    col' = (col + X's) + k2 (log q0 - LSE_d(log T)) - mass
///     slope  = slope'/w         row  = row'/w + k1 (log p0 - LSE_n(log S)) - mass    col = col'/w
///
///     log T = slope' x + row' + col' - Z,   log S = slope x + row + col,   Z <- Z + h(log T - log S)
///
/// so that only x and Z have cotangents of an entry an element (AdmmReversePass); those of slopes, rows and columns are
/// numbers and vectors, in double. All are in units of unit_, in which what the readout passes back is at most 1, so that
/// Work holds them.
template <BagScalar Scalar, BagScalar Work>
class AdmmSweepReverse {
public:
    AdmmSweepReverse(const AdmmSweepRecord<Scalar, Work>& record, BagGradient<Scalar>& gradient,
                     const PlanCotangent& cotangent, Workspace& workspace)
        : record_(record),
          gradient_(gradient),
          slope_unit_(record.steepest()),
          unit_(cotangent.slope.cwiseAbs().maxCoeff() *
                std::max({1e-30, record.values_range(), record.values.empty() ? 1 / slope_unit_ : 0})),
          slope_(cotangent.slope / unit_),
          pass_(workspace.get<Pass>()),
          row_(RealVector::Zero(cotangent.slope.size())),
          col_(RealVector::Zero(record.steps.back().smooth_col.size())),
          log_p_(row_),
          log_q_(col_) {
        pass_.start(record, slope_unit_);
        sums_.gap_row = row_;
        log_q_padded_ = col_;
        log_q_padded_.head(record.cols()) = record.priors.log_q;
    }

    void step(std::size_t k) {
        const SweptStep& step = record_.steps[k];
        const StepParameters& parameters = record_.parameters(k);
        const Real rho = parameters.rho;
        const Real weight = 1 + parameters.alpha0 / rho;
        const auto of_p = smooth_row(k, weight);
        const Real of_row_weight = -(row_ + of_p).dot(step.transport_row) / weight / weight;
        const Real from_gap = gap_moment_;
        const RealVector from_gap_row = sums_.gap_row;
        instances_ = side(k, weight, from_gap_row.sum());

        sums_ = pass(k, of_p);

        // b = b'/w, col = col'/w, row = row'/w + ...
        of_slope_ += sums_.smooth_moment / step.smooth_slope - from_gap;
        const Real of_weight =
            of_row_weight - instances_.of_col_weight / weight - of_slope_ * step.transport_slope / weight / weight;
        row_ = from_gap_row + (row_ + of_p) / weight + sums_.transport_row;
        // b' = 1/rho + b, row' = row + (top - max top) / rho
        of_slope_ = from_gap + sums_.transport_moment / step.transport_slope + of_slope_ / weight;
        gap_moment_ = sums_.gap_moment / step.transport_slope;
        const auto top = record_.top.template cast<Real>();
        const Real of_inverse_rho = of_slope_ + (top.array() - top.maxCoeff()).matrix().dot(row_);
        Real of_strength = 0;  // of alpha0/rho
        if (record_.relative) {
            const Index N = record_.cols();
            of_strength = row_.dot(record_.priors.log_p) + col_.head(N).dot(record_.priors.log_q);
            log_p_ += (weight - 1) * row_;
            log_q_ += (weight - 1) * col_;
        }
        of_strength += of_weight;
        add(gradient_.alpha0, k, of_strength / rho);
        add(gradient_.rho, k, -(of_inverse_rho + of_strength * parameters.alpha0) / rho / rho);
        Real of_alpha2 = 0;
        add(gradient_.rho, k, pull_back_damping(instances_.of_damping, parameters.alpha2, rho, of_alpha2));
        add(gradient_.alpha2, k, of_alpha2);
        if (k == 0) return;
        add(gradient_.rho, k, -sums_.dual_moment / rho);  // log T has Z / rho, and Z moves by rho of the step before
        add(gradient_.rho, k - 1, sums_.dual_moment / record_.parameters(k - 1).rho);
    }

    /// row = log p0 and col = log q0 before the first step.
    void finish() {
        log_p_ += row_;
        log_q_ += col_;
        add_prior_gradients(record_.priors, RealVector(unit_ * log_p_), RealVector(unit_ * log_q_.head(record_.cols())),
                            gradient_);
    }

private:
    using Pass = AdmmReversePass<Scalar, Work>;
    using Lanes = typename Pass::Lanes;
    using RealLanes = typename Pass::RealLanes;
    static constexpr Index lanes = Pass::lanes;

    /// The instances' side of a step, whose log sums shift by k2 (log q0 - LSE_d) - mass.
    struct Instances {
        Real weight, damping;
        RealVector of_mass;
        Real of_damping = 0;
        Real of_col_weight = 0;
    };

    void add(RealVector& parameter, std::size_t k, Real derivative) { of_step(parameter, k) += unit_ * derivative; }

    /// Takes what the gap passes back off row_; returns the cotangent of the log sums of the features.
    RealVector smooth_row(std::size_t k, Real weight) {
        const SweptStep& step = record_.steps[k];
        const StepParameters& parameters = record_.parameters(k);
        const RealVector& log_p = record_.priors.log_p;
        const Real scale = weight * parameters.rho;
        const Real damping = marginal_damping(parameters.alpha1, scale);
        const RealVector log_sum = step.log_row_sum + step.transport_row / weight;
        row_ -= sums_.gap_row;
        const auto [of_prior, of_log_sum, of_damping] = pull_back_marginal(
            row_, parameters.alpha1, scale, log_p, log_sum, log_sum + damping * (log_p - log_sum), true);
        log_p_ += of_prior;
        Real of_alpha1 = 0;
        const Real of_scale = pull_back_damping(of_damping, parameters.alpha1, scale, of_alpha1);
        add(gradient_.alpha1, k, of_alpha1);
        add(gradient_.alpha0, k, of_scale);
        add(gradient_.rho, k, of_scale);
        return of_log_sum;
    }

    Instances side(std::size_t k, Real weight, Real from_gap) const {
        const StepParameters& parameters = record_.parameters(k);
        Instances side{weight, marginal_damping(parameters.alpha2, parameters.rho), RealVector::Zero(col_.size())};
        const RealVector log_sum = record_.steps[k].log_col_sum.head(record_.cols());
        const RealVector log_mass = log_sum + side.damping * (record_.priors.log_q - log_sum);
        side.of_mass.head(log_mass.size()) = -from_gap * bounded_exp(log_mass.array() - log_sum_exp(log_mass));
        return side;
    }

    typename Pass::Sums pass(std::size_t k, const RealVector& of_log_row_sum) {
        const SweptStep& step = record_.steps[k];
        // col' less its shift is what T's log sums have of the columns
        const RealVector log_col_sum = step.log_col_sum - instances_.weight * step.smooth_col +
                                       instances_.damping * (log_q_padded_ - step.log_col_sum);
        const auto instances = [&](Index tile, const RealLanes& sum) { return update_instances(k, tile, sum); };
        const auto done = [&](Index tile, const auto& of_x) {
            if (k == 0) pass_.reward().add_to(gradient_.reward, tile, of_x, unit_ * slope_unit_);
        };
        const auto run = [&](const auto& factor, const auto& after) {
            return pass_.run(k, step, log_col_sum, factor, instances, after);
        };
        if (k + 1 == record_.steps.size()) return pool(run, done);
        const Vector<Work> factor = of_log_row_sum.template cast<Work>();
        return run([&](Index, const auto&) { return [f = factor.data()](Index d, const Lanes&) { return f[d]; }; },
                   done);
    }

    /// The last step, whose P is the weights that the values are pooled with: u = P (v - y) dL/dy.
    template <class Run, class Done>
    typename Pass::Sums pool(const Run& run, const Done& done) {
        const auto& reward = pass_.reward();
        const MatrixView<Scalar>& view = record_.values;
        const Vector<Scalar> anchor =
            view.empty() ? record_.top : Vector<Scalar>(view.matrix().col(reward.active().front()));
        const RealVector mean = record_.mean - anchor.template cast<Real>();
        const Vector<Work> slope = slope_.template cast<Work>();
        const Vector<Work> offset = slope_.cwiseProduct(mean).template cast<Work>();
        if (view.empty()) {
            const Vector<Work> of_value = (slope_ / slope_unit_).template cast<Work>();
            const auto factor = [&](Index tile, const auto& x) {
                pass_.clear(tile);
                return [v = of_value.data(), s = slope.data(), o = offset.data(), x, of_x = pass_.reward_tile(tile)](
                           Index d, const Lanes& P) mutable -> Lanes {
                    of_x.col(d) += v[d] * P;
                    return s[d] * x.col(d) - o[d];
                };
            };
            return run(factor, done);
        }
        InstanceTiles<Scalar, Work> values(view, reward.active(), anchor);
        typename Pass::Tiles weights(lanes, reward.rows());
        const auto factor = [&](Index tile, const auto&) {
            pass_.clear(tile);
            return [&, v = values.tile(tile)](Index d, const Lanes& P) -> Lanes {
                weights.col(d) = slope[d] * P;
                return slope[d] * v.col(d) - offset[d];
            };
        };
        return run(factor, [&](Index tile, const auto& of_x) {
            reward.add_to(gradient_.values, tile, weights, unit_);
            done(tile, of_x);
        });
    }

    /// Of col = col'/w and col' = . + k2 (log q0 - LSE_d(log T)) - mass; the cotangent of LSE_d.
    RealLanes update_instances(std::size_t k, Index tile, const RealLanes& from_rows) {
        const auto of_tile = [&](const RealVector& v) { return v.segment<lanes>(tile * lanes).array(); };
        const SweptStep& step = record_.steps[k];
        const RealLanes from_gap = pass_.gap_col(tile);
        const RealLanes of_smooth = of_tile(col_) - from_gap + from_rows;
        const RealLanes of_transport = from_gap + of_smooth / instances_.weight;
        const RealLanes of_mass = of_tile(instances_.of_mass);
        const RealLanes of_prior = instances_.damping * (of_transport + of_mass);
        const RealLanes of_log_sum = of_mass - of_prior;
        instances_.of_col_weight += (of_smooth * of_tile(step.smooth_col)).sum();
        instances_.of_damping +=
            ((of_transport + of_mass) * (of_tile(log_q_padded_) - of_tile(step.log_col_sum))).sum();
        log_q_.segment<lanes>(tile * lanes).array() += of_prior;
        col_.segment<lanes>(tile * lanes) = (of_transport + of_log_sum).matrix();
        return of_log_sum;
    }

    const AdmmSweepRecord<Scalar, Work>& record_;
    BagGradient<Scalar>& gradient_;
    Real slope_unit_;
    Real unit_;
    RealVector slope_;  ///< dL/dy
    Pass& pass_;
    RealVector row_, col_;  ///< Cotangents of what log S has of rows and columns.
    Real of_slope_ = 0;     ///< That of its slope.
    Real gap_moment_ = 0;   ///< Of the slope of log T - log S.
    typename Pass::Sums sums_;
    Instances instances_;
    RealVector log_q_padded_;
    RealVector log_p_, log_q_;
};

}  // namespace otpool::detail
