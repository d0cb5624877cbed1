// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_duals.hpp"
#include "otpool/solver/admm/admm_sides.hpp"
#include "otpool/solver/admm/admm_step.hpp"
#include "otpool/solver/admm/tiled_plan.hpp"

namespace otpool::detail {

/// Steps of BregmanAdmm with an entropic regulariser, KullbackLeibler and the scaled dual step, each in one pass over
/// reward and dual.
///
/// Z + rho log T is X + rho log S up to a constant per column. So after every step, log S is a multiple of X plus a
/// constant per row and per column: an exponential plan. Of the state's three matrices, only Z has to be kept. With
/// x_dn the reward minus an anchor of its feature, at first its highest, and later one of its instance (center()),
///
///     log S_dn = smooth.slope x_dn + smooth.row_d + smooth.col_n
///     log T_dn = transport.slope x_dn + transport.row_d + transport.col_n - Z_dn / rho
///
/// Z is updated at the beginning of the next step, when all of S is known: see AdmmDuals. Tiles of instances are
/// visited in parts (InstanceParts) that may run at the same time.
///
/// Entries are computed in Work, vectors per feature and per instance in double. A step reads x, reads and writes Z,
/// and costs three exps per element. If Z is large, the first four steps do without it, for up to two exps more. A
/// residual costs two exps. Memory: the tiles of x, and Z.
template <BagScalar Work>
class AdmmSweep {
public:
    AdmmSweep() = default;
    AdmmSweep(const Inspection& problem, Real rho) { start(problem, rho); }

    /// Call before the first step. Starts from the priors; views the problem.
    void start(const Inspection& problem, Real rho, const Execution& execution = {}) {
        problem_ = &problem;
        plan_.start(problem, execution);
        has_priors_ = false;
        for (Buffer<Real>* of_cols : {&log_q_, &transport_.col, &smooth_.col, &log_col_sum_}) {
            set_padded(problem.priors.log_q, *of_cols);
        }
        for (Buffer<Real>* of_cols : {&reward_col_, &log_c_}) of_cols->resize(padded_cols());
        level_.assign(padded_cols(), 0);
        for (Buffer<Real>* of_rows : {&transport_.row, &smooth_.row, &reward_row_, &log_row_sum_, &log_sum_, &log_r_}) {
            of_rows->resize(rows());
            std::copy_n(problem.priors.log_p.data(), rows(), of_rows->data());
        }
        smooth_.slope = transport_.slope = 0;
        scratch_.resize(static_cast<std::size_t>(execution.workers()));
        for (Buffer<Work>& z : scratch_) z.resize(plan_.tile_size());
        start_duals({.first = is_large() ? 4U : 1U});
        steps_ = 0;
        most_dual_ = 0;
        first_rho_ = rho_ = rho;
        set_parameters(rho);
    }

    /// Continues with the problem's present alphas and another rho.
    void set_parameters(Real rho) {
        most_dual_ *= rho_ / rho;
        rho_ = rho;
        sides_.set_parameters(*problem_, rho);
        weight_ = sides_.features.weight;
        feature_damping_ = sides_.features.side.common.damping;
        instance_damping_ = sides_.instances.side.common.damping;
        // R is Entropy with reward X + alpha0 prior_weight log(p0 q0^T).
        const Real of_prior = problem_->regularizer.prior_weight * sides_.strength;
        const Buffer<Real>& anchor = plan_.row_anchor();
        for (Index d = 0; d < rows(); ++d) {
            reward_row_[d] = (anchor[d] - sides_.offset) * sides_.inverse_rho + of_prior * problem_->priors.log_p[d];
        }
        const Buffer<Real>& col_anchor = plan_.col_anchor();
        for (Index k = 0; k < padded_cols(); ++k) {
            reward_col_[k] = col_anchor[k] * sides_.inverse_rho + of_prior * log_q_[k];
        }
    }

    /// Call this before steps to a tolerance, not after keep_duals(). At small alpha0, slope x, row and col are large
    /// and cancel where S has mass. Then their rounding is more than the tolerance after many steps. Every few steps,
    /// this moves the anchors such that x is log S / slope: where S has mass, all three are small.
    void center() {
        if (steps_ == 0 || steps_ % steps_between_centers != 0 || !is_off_center()) return;
        plan_.move_anchors([this](Buffer<Real>& of_rows, Buffer<Real>& of_cols) {
            center(of_rows, smooth_.row, transport_.row);
            center(of_cols, smooth_.col, transport_.col);
        });
        set_parameters(rho_);
        set_gap();
    }

    /// Starts from these potentials' plan instead, exp((X + f + g) / alpha0), and the Z that is optimal for it. For
    /// alpha0 > 0.
    void start_from(const RealVector& feature_potential, const RealVector& instance_potential) {
        typename AdmmDuals<Work>::Start dual{static_cast<Work>(sides_.inverse_rho), {}, {}};
        dual.row.resize(rows());
        dual.col.assign(padded_cols(), 0);
        smooth_.slope = 1 / sides_.alpha0;
        for (Index d = 0; d < rows(); ++d) {
            dual.row[d] = static_cast<Work>(reward_row_[d]);
            smooth_.row[d] = (reward_row_[d] + feature_potential[d] * sides_.inverse_rho) / sides_.strength;
        }
        for (Index k = 0; k < plan_.cols(); ++k) {
            const Index n = problem_->priors.active[static_cast<std::size_t>(k)];
            const Real col = reward_col_[k] + instance_potential[n] * sides_.inverse_rho;
            dual.col[k] = static_cast<Work>(col);
            smooth_.col[k] = col / sides_.strength;
        }
        most_dual_ =
            sides_.inverse_rho * spread() + extent(dual.row.data(), rows()) + extent(dual.col.data(), plan_.cols());
        duals_.start(rows(), plan_.count(), {.first = is_large() ? 4U : 1U}, dual);
    }

    /// Keeps what take_duals() needs for the Z of `steps` steps. Call before the first step.
    void keep_duals(int steps) {
        if (static_cast<std::size_t>(steps) > kept_duals.first) start_duals(kept_duals);
    }

    /// Whether Work resolves the exponents of `steps` more steps as well as a pooled vector needs.
    bool resolves(int steps) const {
        const Real rate = steps * std::log(weight_);  // slope_k tends to 1 / alpha0 as weight^-k
        const Real left = smooth_.slope * std::exp(-rate);
        const Real slope =
            left + (sides_.strength > 0 ? -std::expm1(-rate) / sides_.alpha0 : steps * sides_.inverse_rho);
        const Real priors = extent(problem_->priors.log_p.data(), rows()) + extent(log_q_.data(), plan_.cols());
        const Real exponents = (sides_.inverse_rho + slope) * (spread() + rho_ * extent(reward_row_.data(), rows())) +
                               priors + (std::max)(0.0, most_dual_ - static_cast<Real>(steps_));
        const Real relative = relative_rho();
        return (std::min)(relative, 1 / relative) >= smallest_ratio && exponents <= largest_exponent &&
               std::isfinite(sides_.alpha0) && std::isfinite(weight_) && spread() <= largest_factor &&
               sides_.inverse_rho + slope <= largest_factor;
    }

    /// One step. False if Work cannot hold a row's mass of S; the sweep is then of no further use.
    ///
    ///     Z <- Z + rho (T - S) / max(T, S)                of the step before
    ///     log T <- (X - Z)/rho + log S                    log T += k2 (log q0 - LSE_d(log T))
    ///     log S <- (Z + rho log T)/(rho + a0)             log S += k1 (log p0 - LSE_n(log S))
    bool step() {
        begin_step(false);
        plan_.for_each_tile([&](Index tile, Index worker, const Work* x, Part& part) {
            update_transport(tile, x, scratch_[static_cast<std::size_t>(worker)].data());
            plan_.add(smooth_.view(), tile, x, part);
        });
        if (!end_step(false)) return false;
        set_gap();
        return true;
    }

    /// The last step, and the conditional mean of the values under its S. Returns whether Work could hold both.
    bool pooling_step(RealVector& mean) {
        begin_step(true);
        plan_.for_each_tile([&](Index tile, Index worker, const Work* x, Part& part) {
            update_transport(tile, x, scratch_[static_cast<std::size_t>(worker)].data());
            plan_.add_pooled(smooth_.view(), tile, worker, x, part);
        });
        return end_step(true) && plan_.mean(mean);
    }

    /// The conditional mean of the values under the present S. Returns whether Work could hold it.
    bool pool(RealVector& mean) {
        plan_.start_sums(true);
        plan_.for_each_tile([&](Index tile, Index worker, const Work* x, Part& part) {
            plan_.add_pooled(smooth_.view(), tile, worker, x, part);
        });
        return plan_.mean(mean);
    }

    /// Whether Work holds the marginals of both copies, as residual() needs.
    bool in_range() const {
        return lowest(log_r_.data(), rows()) > least_log_marginal &&
               lowest(log_c_.data(), plan_.cols()) - transport_log_mass_ > least_log_marginal;
    }

    /// Reads potentials and free mass off a step's plan S, and returns its residual, as Solution::residual defines it.
    /// Cost: two exps per element, one pass.
    Real residual() {
        if (!has_priors_) sides_.set_priors(*problem_);
        has_priors_ = true;
        sides_.features.half_step(log_sum_.data());
        sides_.instances.half_step(log_col_sum_.data());
        set_potential_plane();
        const auto gap = plan_.gap(smooth_.view(), potential_.view(), sides_.strength == 0, log_r_, log_c_);
        sides_.read(log_r_.data(), log_c_.data(), mean_excess(gap.mean_x));
        // A free side adds nothing. But pooling uses the rows' weights, and with a regulariser every row has some.
        const bool rows_count = sides_.features.side.common.alpha > 0 || sides_.strength > 0;
        const Real of_plan =
            (std::max)(rows_count ? gap.of_rows : 0, sides_.instances.side.common.alpha > 0 ? gap.of_cols : 0);
        const Real of_constants = rows_count ? distance_of_potentials() : 0;
        return larger_violation(sides_.violation(log_r_.data(), log_c_.data()),
                                of_plan + of_constants + of_plan * of_constants);
    }

    /// The residual that rounding alone can leave.
    Real attainable() const { return sides_.attainable(); }

    /// Call after residual(). The caller adds the outcome.
    SolvedPlan solution() const {
        SolvedPlan found = sides_.solution(*problem_, log_r_.data(), log_c_.data());
        ScaledReward kernel;
        kernel.reward = problem_->reward;
        kernel.active = problem_->priors.active;
        kernel.inverse_alpha0 = smooth_.slope;
        kernel.row_shift = plan_.row_anchor();
        kernel.col_shift = plan_.col_anchor();
        RealVector log_scale(rows());
        for (Index d = 0; d < rows(); ++d) log_scale[d] = smooth_.row[d] + sides_.log_factor();
        found.log_plan = exponential_plan(std::move(kernel), smooth_.col, std::move(log_scale));
        return found;
    }

    /// A view of the last step.
    AdmmStep last_step() const {
        return {relative_rho(), transport_.view(), smooth_.view(), log_row_sum_.data(), log_col_sum_.data()};
    }
    Index rows() const { return problem_->features(); }
    Index padded_cols() const { return plan_.padded_cols(); }
    /// The highest reward minus the lowest.
    Real spread() const { return problem_->range(); }
    /// Call after the steps that keep_duals() was told.
    AdmmDuals<Work> take_duals() {
        if (steps_ > kept_duals.first) return std::move(duals_);
        AdmmDuals<Work> none;
        none.start(rows(), plan_.count(), kept_duals);
        return none;
    }

private:
    using L = Lanes<Work>;
    static constexpr Index lanes = register_lanes;
    template <class Number>
    using Lane = std::array<Number, lanes>;

    using Part = typename TiledPlan<Work>::Part;

    /// Which Z are kept for the reverse; it computes the others again.
    static constexpr typename AdmmDuals<Work>::Storage kept_duals = {.first = 8, .every = 8, .all = true};
    static constexpr bool single = std::same_as<Work, float>;
    /// A Z of at most this size stays in cache, where reading and writing it costs less than exps.
    static constexpr Index largest_in_cache = (1 << 20) / sizeof(Work);
    /// Up to it, pooled vectors in float were right within 5e-7 of the values' range on 6000 random problems. An
    /// exponent of this size is rounded by up to 2e-5, but its entry is far below the largest ones.
    static constexpr Real largest_exponent = single ? 300 : 1e6;
    static constexpr std::size_t steps_between_centers = 8;
    /// Rounding numbers of this size takes no digit that counts, even after many steps.
    static constexpr Real largest_off_center = 100;
    /// Work can hold rewards, and what they are multiplied by, up to this.
    static constexpr Real largest_factor = single ? 1e30 : 1e300;
    /// The least ratio between rho and the first step's, either way, at which Z keeps its digits.
    static constexpr Real smallest_ratio = single ? 1e-25 : 1e-280;
    /// A column's sum keeps its digits up to this many units, and down to the inverse.
    static constexpr Work largest_in_units = 0x1p60;

    /// Above exp() of it, products of marginals and their entries are normal numbers.
    static constexpr Real least_log_marginal = -300;

    struct Plane {
        Real slope = 0;
        Buffer<Real> row, col;

        LogPlane view() const { return {slope, row.data(), col.data()}; }
    };

    static Real extent(const Real* x, Index size) { return highest(x, size) - lowest(x, size); }
    void set_padded(const Buffer<Real>& of_cols, Buffer<Real>& to) const {
        to.resize(padded_cols());
        std::fill(std::copy_n(of_cols.data(), of_cols.size(), to.data()), to.data() + to.size(), 0);
    }

    Real relative_rho() const { return rho_ / first_rho_; }
    bool is_large() const { return plan_.tile_size() * plan_.count() > largest_in_cache; }

    void start_duals(const typename AdmmDuals<Work>::Storage& storage) {
        duals_.start(rows(), plan_.count(), storage);
        gaps_.resize(storage.gaps());
    }

    void set_gap() {
        gaps_[(steps_ - 1) % gaps_.size()].set(transport_.view(), smooth_.view(), rows(), padded_cols(),
                                               relative_rho());
    }

    bool is_off_center() const {
        return largest_magnitude(smooth_.row.data(), rows()) > largest_off_center ||
               largest_magnitude(smooth_.col.data(), plan_.cols()) > largest_off_center;
    }
    /// Takes smooth / slope off the anchors, and changes the planes by exactly what the rounded anchors moved.
    void center(Buffer<Real>& anchor, Buffer<Real>& smooth, Buffer<Real>& transport) const {
        for (Index i = 0; i < anchor.size(); ++i) {
            const Real before = anchor[i];
            anchor[i] -= smooth[i] / smooth_.slope;
            const Real moved = anchor[i] - before;
            smooth[i] = std::fma(smooth_.slope, moved, smooth[i]);
            transport[i] = std::fma(transport_.slope, moved, transport[i]);
        }
    }

    void begin_step(bool pools) {
        duals_.begin_step(steps_++);
        transport_.slope = sides_.inverse_rho + smooth_.slope;
        smooth_.slope = transport_.slope / weight_;
        transport_row_.resize(rows());
        for (Index d = 0; d < rows(); ++d) {
            transport_.row[d] = smooth_.row[d] + reward_row_[d];
            smooth_.row[d] = transport_.row[d] / weight_;
            transport_row_[d] = static_cast<Work>(transport_.row[d] * log2_e);
        }
        std::transform(smooth_.col.data(), smooth_.col.data() + padded_cols(), reward_col_.data(),
                       transport_.col.data(), std::plus<>());
        plan_.start_sums(pools);
        most_dual_ += 1;
    }

    /// Sums of powers are in units of 2^level: the last step's sum, which is seldom far off, or else the highest power.
    void update_transport(Index tile, const Work* x, Work* scratch) {
        const Work* z = duals_.of_present_step(steps_ - 1, gaps_, tile, x, scratch);
        const auto slope = static_cast<Work>(transport_.slope * log2_e);
        const auto dual_slope = static_cast<Work>(-log2_e / relative_rho());
        const Work* row = transport_row_.data();
        const Index size = rows();
        const auto log2_T = [=](Index d, const L& unit) {  // without the columns' part
            const L of_z = multiply_add(L::load(z + d * lanes), L(dual_slope), L(row[d]) - unit);
            return multiply_add(L::load(x + d * lanes), L(slope), of_z);
        };
        L level = L::load(level_.data() + tile * lanes);
        L sum;
        for (bool again = false;; again = true) {
            sum = L(Work(0));
            const L most(ExponentialRange<Work>::largest_exponent);
            for (Index d = 0; d < size; ++d) sum += bounded_exp2(lower(log2_T(d, level), most));
            if (again || (lowest(sum) >= 1 / largest_in_units && highest(sum) <= largest_in_units)) break;
            level = L(std::numeric_limits<Work>::lowest());
            for (Index d = 0; d < size; ++d) level = higher(level, log2_T(d, L(Work(0))));
        }
        end_transport(tile * lanes, level, log_of_normal(sum));
    }

    /// Sets col of log T and log S for the tile from column `first`, given LSE_d(log T) without col: log_sum, in units
    /// of 2^level. (Loops over local arrays: compilers move Lanes of double through memory.)
    void end_transport(Index first, const L& level, const L& log_sum) {
        Lane<Work> level_of_powers, log_of_powers;
        level.store(level_of_powers.data());
        log_sum.store(log_of_powers.data());
        Lane<Real> log_q, col, sum_of_col, smooth_col;
        std::copy_n(log_q_.data() + first, lanes, log_q.data());
        std::copy_n(transport_.col.data() + first, lanes, col.data());
        for (std::size_t i = 0; i < lanes; ++i) {
            const Real log_power = static_cast<Real>(level_of_powers[i]) * log_2 + static_cast<Real>(log_of_powers[i]);
            level_of_powers[i] = static_cast<Work>(log_power * log2_e);
            sum_of_col[i] = col[i] + log_power;
            col[i] += instance_damping_ * (log_q[i] - sum_of_col[i]);
            smooth_col[i] = col[i] / weight_;
        }
        std::copy_n(level_of_powers.data(), lanes, level_.data() + first);
        std::copy_n(sum_of_col.data(), lanes, log_col_sum_.data() + first);
        std::copy_n(col.data(), lanes, transport_.col.data() + first);
        std::copy_n(smooth_col.data(), lanes, smooth_.col.data() + first);
    }

    /// X + f + g, divided by alpha0 unless that is 0; with the mass's multiplier it is
    ///     alpha0 log S + rho (log S - log S before the step)
    void set_potential_plane() {
        const Real unit = sides_.strength > 0 ? sides_.strength : 1;
        const Real multiplier = weight_ * smooth_log_mass_;  // S has been computed from T before it was normalised
        potential_.slope = sides_.inverse_rho / unit;
        potential_.row.resize(rows());
        potential_.col.resize(padded_cols());
        for (Index d = 0; d < rows(); ++d) {
            potential_.row[d] = (reward_row_[d] + weight_ * sides_.features.shift[d] - multiplier) / unit;
        }
        for (Index k = 0; k < plan_.cols(); ++k) {
            potential_.col[k] = (reward_col_[k] + sides_.instances.shift[k]) / unit;
        }
    }

    /// How far the plan of the potentials that were read is from potential_'s, relative to each entry. They differ by
    /// constants, and only until the steps have converged.
    Real distance_of_potentials() const {
        const Real apart = sides_.features.potential_of_constant() + sides_.instances.potential_of_constant() +
                           weight_ * smooth_log_mass_;
        if (sides_.strength == 0) return std::abs(apart);
        return std::abs(std::expm1(apart / sides_.strength - sides_.log_scale));
    }

    /// The mean of (alpha0 log S - X) / rho under S, given that of x.
    Real mean_excess(Real mean_x) const {
        Real mean = (sides_.strength * smooth_.slope - sides_.inverse_rho) * mean_x;
        for (Index d = 0; d < rows(); ++d) {
            mean += std::exp(log_r_[d]) * (sides_.strength * smooth_.row[d] - reward_row_[d]);
        }
        for (Index k = 0; k < plan_.cols(); ++k) {
            mean += std::exp(log_c_[k]) * (sides_.strength * smooth_.col[k] - reward_col_[k]);
        }
        return mean;
    }

    /// Takes the features' half step and normalises both copies. False if Work cannot hold a row's mass of S.
    bool end_step(bool pools) {
        std::transform(log_q_.data(), log_q_.data() + plan_.cols(), log_col_sum_.data(), log_c_.data(),
                       [k2 = instance_damping_](Real log_q, Real sum) { return sum + k2 * (log_q - sum); });
        transport_log_mass_ = log_sum_exp(log_c_.data(), plan_.cols());
        std::for_each_n(transport_.col.data(), padded_cols(), [m = transport_log_mass_](Real& col) { col -= m; });
        if (!plan_.log_row_sums(smooth_.view(), pools, log_row_sum_)) return false;
        for (Index d = 0; d < rows(); ++d) {
            log_sum_[d] = log_row_sum_[d] + smooth_.row[d];
            const Real shift = feature_damping_ * (problem_->priors.log_p[d] - log_sum_[d]);
            smooth_.row[d] += shift;
            log_r_[d] = log_sum_[d] + shift;
        }
        smooth_log_mass_ = log_sum_exp(log_r_.data(), rows());
        for (Index d = 0; d < rows(); ++d) {
            smooth_.row[d] -= smooth_log_mass_;
            log_r_[d] -= smooth_log_mass_;
        }
        return true;
    }

    const Inspection* problem_ = nullptr;
    TiledPlan<Work> plan_;  ///< Sums over S.
    AdmmSides sides_;
    bool has_priors_ = false;  ///< Whether the sides have them; only residuals need them.
    Real rho_ = 1;
    Real weight_ = 1;  ///< 1 + alpha0 / rho
    Real feature_damping_ = 0;
    Real instance_damping_ = 0;
    Buffer<Real> log_q_;       ///< Vectors per instance are padded to whole tiles, here and below.
    Buffer<Real> reward_row_;  ///< X / rho is x_dn / rho + reward_row_d + reward_col_n + a constant.
    Buffer<Real> reward_col_;

    std::size_t steps_ = 0;
    Plane transport_, smooth_;
    Plane potential_;  ///< X + f + g, for the residual.
    AdmmDuals<Work> duals_;
    std::vector<typename AdmmDuals<Work>::Gap> gaps_;  ///< Of the last steps, in turn.

    Real first_rho_ = 1;        ///< The first step's; Z is in units of it.
    Real most_dual_ = 0;        ///< No entry of Z is larger, in units of the present rho.
    Buffer<Real> log_col_sum_;  ///< LSE_d(log T), before the instances' part of the step
    Buffer<Work> level_;        ///< log2 of the same, without the columns' part
    Buffer<Real> log_row_sum_;  ///< LSE_n(log S) without the rows' part
    Buffer<Real> log_sum_;      ///< LSE_n(log S), before the features' part of the step
    Buffer<Real> log_r_;        ///< The same after it, at mass 1.
    Buffer<Real> log_c_;        ///< LSE_d(log T) after the step; of S, at mass 1, after residual().
    Real transport_log_mass_ = 0, smooth_log_mass_ = 0;  ///< What the step took off both copies.
    std::vector<Buffer<Work>> scratch_;                  ///< One per worker, for Z.
    Buffer<Work> transport_row_;
};

}  // namespace otpool::detail
