// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/kernel/leveled_sums.hpp"
#include "otpool/kernel/reference_values.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/extremes.hpp"
#include "otpool/simd/logarithm.hpp"
#include "otpool/solver/steps/admm_duals.hpp"
#include "otpool/solver/steps/admm_marginal.hpp"
#include "otpool/solver/steps/swept_step.hpp"

namespace otpool::detail {

/// Steps of BregmanAdmm with an entropic regulariser and the scaled dual step, each in one pass over reward and dual.
///
/// As Z + rho log T is X + rho log S up to a constant a column, log S is after every step a multiple of X plus a
/// rank-one matrix. So of the state's three matrices only Z has to be kept: with x_dn the reward over rho less the
/// highest of its feature,
///
///     log S_dn = smooth.slope x_dn + smooth.row_d + smooth.col_n
///     log T_dn = transport.slope x_dn + transport.row_d + transport.col_n - Z_dn / rho
///
/// Z is brought up to date at the beginning of the next step, when all of S is known: see AdmmDuals. Tiles of instances
/// are visited in parts (InstanceParts) that may run at the same time.
///
/// What there is one of an element is computed in Work, what there is one of a row or column in double. A step reads x,
/// and costs three exps an element and reads and writes Z, or where that is large, in the first four steps does without
/// it for up to two exps more. Memory: the tiles of x, and Z.
template <BagScalar Scalar, BagScalar Work>
class AdmmSweep {
public:
    AdmmSweep() = default;
    template <EntropicRegularizer R>
    AdmmSweep(const UotProblem<Scalar, R>& problem, Real rho) {
        start(problem, FirstPass<Scalar>(problem), rho);
    }

    /// Before the first step; views the bag.
    template <EntropicRegularizer R>
    void start(const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass, Real rho,
               const Execution& execution = {}) {
        execution_ = execution;
        active_ = pass.priors.active;
        highest_ = pass.range.highest;
        spread_ = pass.range.spread();
        x_.set(problem.reward, active_, highest_, execution.workers());
        values_ = problem.values;
        log_p_ = pass.priors.log_p;
        log_q_.resize(x_.count() * lanes);
        log_q_.setZero();
        log_q_.head(x_.cols()) = pass.priors.log_q;
        smooth_.slope = transport_.slope = 0;
        smooth_.row = transport_.row = log_p_;
        smooth_.col = transport_.col = log_col_sum_ = log_q_;
        level_.resize(log_q_.size());
        level_.setZero();
        tiles_ = InstanceParts(rows() * lanes, x_.count());
        parts_.resize(static_cast<std::size_t>(tiles_.count()));
        scratch_.resize(static_cast<std::size_t>(execution.workers()));
        for (Tiles& z : scratch_) z.resize(lanes, rows());
        const bool large = lanes * rows() * x_.count() > largest_in_cache;
        start_duals({.first = large ? 4U : 1U});
        steps_ = 0;
        most_dual_ = 0;
        first_rho_ = rho_ = rho;
        set_parameters(problem, rho);
    }

    /// Goes on with the alphas of `problem`, whose bag and priors are the same, and another rho.
    template <EntropicRegularizer R>
    void set_parameters(const UotProblem<Scalar, R>& problem, Real rho) {
        const Real ratio = rho_ / rho;
        most_dual_ *= ratio;
        smooth_.slope /= ratio;
        rho_ = rho;
        inverse_rho_ = 1 / rho;
        weight_ = 1 + problem.alpha0 / rho;
        feature_damping_ = marginal_damping(problem.features.alpha, rho + problem.alpha0);
        instance_damping_ = marginal_damping(problem.instances.alpha, rho);
        reward_row_ = (highest_.template cast<Real>().array() - static_cast<Real>(highest_.maxCoeff())) * inverse_rho_;
        reward_col_.resize(log_q_.size());
        reward_col_.setZero();
        if constexpr (std::same_as<R, RelativeEntropy>) {  // Entropy with reward X + alpha0 log(p0 q0^T)
            reward_row_ += (weight_ - 1) * log_p_;
            reward_col_ = (weight_ - 1) * log_q_;
        }
    }

    /// Keeps for take_duals() what says the Z of each of so many steps. To be said before the first step.
    void keep_duals(int steps) {
        if (static_cast<std::size_t>(steps) > kept_duals.first) start_duals(kept_duals);
    }

    /// Whether Work resolves the exponents of so many further steps as well as a pooled vector needs.
    bool resolves(int steps) const {
        Real slope = smooth_.slope;
        for (int k = 0; k < steps && slope < largest_exponent; ++k) slope = (1 + slope) / weight_;
        const auto spread = [](const auto& v) { return v.maxCoeff() - v.minCoeff(); };
        const Real exponents = (1 + slope) * (spread_ * inverse_rho_ + spread(reward_row_)) + spread(log_p_) +
                               spread(log_q_.head(x_.cols())) + std::max(0.0, most_dual_ - static_cast<Real>(steps_));
        const Real relative = relative_rho();
        return std::min(relative, 1 / relative) >= smallest_sum && exponents <= largest_exponent &&
               std::isfinite(weight_) && spread_ <= largest_factor && (1 + slope) * inverse_rho_ <= largest_factor;
    }

    /// One step. False where a row of S has no mass that Work can hold; the sweep is of no further use then.
    ///
    ///     Z <- Z + rho (T - S) / max(T, S)                of the step before
    ///     log T <- (X - Z)/rho + log S                    log T += k2 (log q0 - LSE_d(log T))
    ///     log S <- (Z + rho log T)/(rho + a0)             log S += k1 (log p0 - LSE_n(log S))
    bool step() {
        begin_step(false);
        const Part& sums = for_each_tile([&](Index tile, Index worker, Part& part) {
            const Tile x = x_.tile(tile, worker);
            update_transport(tile, x, scratch_[static_cast<std::size_t>(worker)]);
            update_smooth(tile, x, part);
        });
        if (!end_step(sums)) return false;
        gaps_[(steps_ - 1) % gaps_.size()].set((transport_.slope - smooth_.slope) * inverse_rho_,
                                               transport_.row - smooth_.row, transport_.col - smooth_.col,
                                               relative_rho());
        return true;
    }

    /// The last step, and the conditional mean of the values under the S that it ends with; whether Work could hold
    /// both.
    bool pooling_step(RealVector& mean) {
        begin_step(true);
        const bool of_reward = values_.empty();
        if (of_reward) {
            reference_.set(highest_);
        } else {
            reference_.set(values_, x_.matrix(), active_);
            value_tiles_.set(values_, active_, reference_.numbers().head(rows()), execution_.workers());
        }
        const Part& sums = for_each_tile([&](Index tile, Index worker, Part& part) {
            const Tile x = x_.tile(tile, worker);
            update_transport(tile, x, scratch_[static_cast<std::size_t>(worker)]);
            pool(tile, x, of_reward ? x : value_tiles_.tile(tile, worker), part);
        });
        if (!end_step(sums)) return false;
        mean = sums.value().cwiseQuotient(sums.weight());
        mean += reference_.numbers().head(rows()).template cast<Real>();
        return mean.allFinite();  // unless values were too large for sums in Work
    }

    SweptStep last_step() const {
        const auto view = [](const auto& vector) { return SweptStep::View(vector.data(), vector.size()); };
        return {{relative_rho(), transport_.slope * inverse_rho_, smooth_.slope * inverse_rho_},
                view(transport_.row),
                view(smooth_.row),
                view(log_row_sum_),
                view(transport_.col),
                view(smooth_.col),
                view(log_col_sum_)};
    }
    /// The highest reward of every feature.
    const Vector<Scalar>& top() const { return highest_; }
    /// The highest reward less the lowest.
    Real spread() const { return spread_; }
    /// After the steps that keep_duals() was told.
    AdmmDuals<Scalar, Work> take_duals() {
        if (steps_ > kept_duals.first) return std::move(duals_);
        AdmmDuals<Scalar, Work> none;
        none.start(rows(), x_.count(), kept_duals);
        return none;
    }

private:
    static constexpr Index lanes = InstanceTiles<Scalar, Work>::lanes;
    using Lanes = typename InstanceTiles<Scalar, Work>::Lanes;
    using Tile = typename InstanceTiles<Scalar, Work>::Tile;
    using Tiles = typename InstanceTiles<Scalar, Work>::Tiles;
    using MutableTile = typename InstanceTiles<Scalar, Work>::MutableTile;
    using RealLanes = Eigen::Array<Real, lanes, 1>;

    /// Of S, without what there is one of a row, over a part of the instances.
    using Part = LeveledSums<Scalar, Work>;

    /// Of so many steps the Z are kept for their reverse, which computes those of the others again.
    static constexpr typename AdmmDuals<Scalar, Work>::Storage kept_duals = {.first = 8, .every = 8, .all = true};
    static constexpr bool single = std::same_as<Work, float>;
    /// A Z of so many entries is near, so that to read and write it costs less than exps do.
    static constexpr Index largest_in_cache = (1 << 20) / sizeof(Work);
    /// Up to it, pooled vectors were found within 5e-7 of the values' range in float on 6000 random problems; an
    /// exponent of this size is rounded by up to 2e-5, but then of an entry far below the largest ones.
    static constexpr Real largest_exponent = single ? 300 : 1e6;
    /// So large may rewards be, and what they are multiplied by, that Work can hold both.
    static constexpr Real largest_factor = single ? 1e30 : 1e300;
    /// Below it a row's sum has lost digits to the smallest numbers that exp() gives.
    static constexpr Real smallest_sum = single ? 1e-25 : 1e-280;
    /// Up to so many times its unit, and down to the inverse, a column's sum keeps its digits.
    static constexpr Work largest_in_units = 0x1p60;
    /// slope x_dn + row_d + col_n, in units of rho
    struct LogPlane {
        Real slope = 0;
        RealVector row;
        Buffer<Real> col;
    };

    Index rows() const { return log_p_.size(); }
    Real relative_rho() const { return rho_ / first_rho_; }
    template <class Number>
    auto of_tile(Buffer<Number>& per_instance, Index tile) const {
        return per_instance.template segment<lanes>(tile * lanes).array();
    }

    void start_duals(const typename AdmmDuals<Scalar, Work>::Storage& storage) {
        duals_.start(rows(), x_.count(), storage);
        gaps_.resize(storage.gaps());
    }

    void begin_step(bool pools) {
        duals_.begin_step(steps_++);
        transport_.slope = 1 + smooth_.slope;
        transport_.row = smooth_.row + reward_row_;
        transport_.col = smooth_.col + reward_col_;
        smooth_.slope = transport_.slope / weight_;
        smooth_.row = transport_.row / weight_;
        transport_row_ = (transport_.row * log2_e).template cast<Work>();
        for (Part& part : parts_) part.start(rows(), pools);
        most_dual_ += 1;
    }

    /// Sums of powers are in units of 2^level: of the last step's sum, from which they seldom are far, else of the
    /// highest power.
    void update_transport(Index tile, Tile x, Tiles& scratch) {
        const Tile z = duals_.of_present_step(steps_ - 1, gaps_, tile, x, scratch);
        const Work slope = static_cast<Work>(transport_.slope * inverse_rho_ * log2_e);
        const Work dual_slope = static_cast<Work>(-log2_e / relative_rho());
        const Work* row = transport_row_.data();
        const auto log2_T = [&](Index d, const Lanes& unit) -> Lanes {  // without the columns' part
            return multiply_add(x.col(d), slope, multiply_add(z.col(d), dual_slope, row[d] - unit));
        };
        const auto sum_in_units_of = [&](const Lanes unit) {
            Lanes sum = Lanes::Zero();
            for (Index d = 0; d < x.cols(); ++d)
                sum += bounded_exp2(log2_T(d, unit).min(ExponentialRange<Work>::largest_exponent));
            return sum;
        };
        Lanes level = of_tile(level_, tile);
        Lanes sum = sum_in_units_of(level);
        if (!(lowest_of(sum) >= 1 / largest_in_units && highest_of(sum) <= largest_in_units)) {
            level.setConstant(std::numeric_limits<Work>::lowest());
            for (Index d = 0; d < x.cols(); ++d) level = level.max(log2_T(d, Lanes::Zero()));
            sum = sum_in_units_of(level);
        }

        auto col = of_tile(transport_.col, tile);
        const RealLanes log_of_powers = log_of_sum(level, sum);
        of_tile(level_, tile) = (log_of_powers * log2_e).template cast<Work>();
        const RealLanes log_sum = col + log_of_powers;
        const RealLanes shift = instance_damping_ * (of_tile(log_q_, tile) - log_sum);
        col += shift;
        of_tile(log_col_sum_, tile) = log_sum;
        of_tile(smooth_.col, tile) = col / weight_;
    }

    /// log(2^level sum). By value: what is only passed on by its value stays in registers.
    static RealLanes log_of_sum(const Lanes level, const Lanes sum) {
        const Lanes logarithm = log_of_normal(sum);
        return level.template cast<Real>() * log_2 + logarithm.template cast<Real>();
    }

    void update_smooth(Index tile, Tile x, Part& part) {
        const Work slope = static_cast<Work>(smooth_.slope * inverse_rho_ * log2_e);
        const Lanes col = smooth_col(tile, part);
        MutableTile weight(part.weight_lanes.data(), lanes, rows());
        for (Index d = 0; d < x.cols(); ++d) weight.col(d) += bounded_exp2(multiply_add(x.col(d), slope, col));
    }

    /// update_smooth(), and the sums of S times the values.
    void pool(Index tile, Tile x, Tile values, Part& part) {
        const Work slope = static_cast<Work>(smooth_.slope * inverse_rho_ * log2_e);
        const Lanes col = smooth_col(tile, part);
        MutableTile weight(part.weight_lanes.data(), lanes, rows());
        MutableTile value(part.value_lanes.data(), lanes, rows());
        for (Index d = 0; d < x.cols(); ++d) {
            const Lanes S = bounded_exp2(multiply_add(x.col(d), slope, col));
            weight.col(d) += S;
            value.col(d) = multiply_add(S, values.col(d), value.col(d));
        }
    }

    /// The columns' part of the tile's log2 S relative to the part's level.
    Lanes smooth_col(Index tile, Part& part) {
        RealLanes col = of_tile(smooth_.col, tile);
        const Index last = x_.cols() - tile * lanes;
        if (last < lanes) col.tail(lanes - last).setConstant(-1e30);
        const Real level = part.begin_tile(highest_of(col));
        return ((col - level) * log2_e).template cast<Work>();
    }

    /// visit(tile, worker, part) of every tile. Returns the sums over all parts.
    template <class Visit>
    const Part& for_each_tile(const Visit& visit) {
        execution_.for_each(tiles_.count(), [&](Index p, Index worker) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            for (Index tile = tiles_.first(p); tile < tiles_.end(p); ++tile) visit(tile, worker, part);
            part.add_up();
        });
        x_.all_filled();
        return Part::add_up(parts_);
    }

    /// The feature marginal, and both copies to mass 1.
    bool end_step(const Part& sums) {
        const auto log_col_sum = log_col_sum_.head(x_.cols());
        log_mass_ = log_col_sum + instance_damping_ * (log_q_.head(x_.cols()) - log_col_sum);
        transport_.col.array() -= log_sum_exp(log_mass_);
        if (!(sums.weight().minCoeff() > smallest_sum)) return false;
        log_row_sum_ = log_of_normal(sums.weight().array()) + sums.level();
        log_sum_ = log_row_sum_ + smooth_.row;
        smooth_.row += feature_damping_ * (log_p_ - log_sum_);
        log_sum_ += feature_damping_ * (log_p_ - log_sum_);
        smooth_.row.array() -= log_sum_exp(log_sum_);
        return true;
    }

    Execution execution_;
    Real rho_ = 1;
    Real inverse_rho_ = 1;
    Real weight_ = 1;  ///< 1 + alpha0 / rho
    Real feature_damping_ = 0;
    Real instance_damping_ = 0;
    RealVector log_p_;
    Buffer<Real> log_q_;  ///< What there is one of an instance is padded to whole tiles, here and below.
    std::vector<Index> active_;
    Vector<Scalar> highest_;  ///< Of the rewards of every feature.
    Real spread_ = 0;         ///< The highest reward of all less the lowest.
    InstanceTiles<Scalar, Work> x_;
    MatrixView<Scalar> values_;  ///< Empty: the reward.
    InstanceTiles<Scalar, Work> value_tiles_;
    ReferenceValues<Scalar> reference_;  ///< What values are weighed relative to.
    RealVector reward_row_;              ///< X / rho is x_dn + reward_row_d + reward_col_n + a constant.
    Buffer<Real> reward_col_;

    std::size_t steps_ = 0;
    LogPlane transport_, smooth_;
    AdmmDuals<Scalar, Work> duals_;
    std::vector<typename AdmmDuals<Scalar, Work>::Gap> gaps_;  ///< Of the last steps, in turn.

    Real first_rho_ = 1;        ///< That of the first step: Z is in units of it.
    Real most_dual_ = 0;        ///< No entry of Z is larger, in units of the present rho.
    Buffer<Real> log_col_sum_;  ///< LSE_d(log T), before the instances' part of the step
    Buffer<Work> level_;        ///< log2 of the same, without the columns' part
    RealVector log_row_sum_;    ///< LSE_n(log S) less what there is one of a row
    RealVector log_sum_;
    Buffer<Real> log_mass_;
    InstanceParts tiles_{1, 1};
    std::vector<Tiles> scratch_;  ///< Of every worker, for Z.
    std::vector<Part> parts_;
    Vector<Work> transport_row_;
};

/// mean <- the conditional mean of the values after so many steps, in the narrowest type that resolves them; whether
/// one does.
template <BagScalar Scalar, EntropicRegularizer R>
bool pool_by_sweeps(const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass, Real rho, int steps,
                    const Execution& execution, Workspace& workspace, RealVector& mean) {
    const auto pool = [&](auto& sweep) {
        sweep.start(problem, pass, rho, execution);
        if (!sweep.resolves(steps)) return false;
        for (int k = 1; k < steps; ++k) {
            if (!sweep.step()) return false;
        }
        return sweep.pooling_step(mean);
    };
    if constexpr (std::same_as<Scalar, float>) {
        if (pool(workspace.get<AdmmSweep<float, float>>())) return true;
    }
    return pool(workspace.get<AdmmSweep<Scalar, double>>());
}

}  // namespace otpool::detail
