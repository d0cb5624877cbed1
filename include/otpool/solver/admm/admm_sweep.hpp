// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
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
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_duals.hpp"
#include "otpool/solver/admm/admm_lines.hpp"
#include "otpool/solver/admm/admm_step.hpp"
#include "otpool/solver/admm/tiled_plan.hpp"

namespace otpool::detail {

/// Steps of BregmanAdmm with an entropic regulariser, KullbackLeibler and the scaled dual step, each in one pass over
/// reward and dual.
///
/// Z + rho log T is X + rho log S up to a constant per column. So after every step, log S is a multiple of X plus a
/// constant per row and per column: an exponential plan. Of the state's three matrices, only Z has to be kept;
/// AdmmLines has the rest. x_dn is the reward minus an anchor of its feature, at first its highest, and later one of
/// its instance (center()).
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
        lines_.start(problem, padded_cols());
        level_.assign(padded_cols(), 0);
        transport_row_.resize(rows());
        scratch_.resize(static_cast<std::size_t>(execution.workers()));
        for (Buffer<Work>& z : scratch_) z.resize(plan_.tile_size());
        start_duals({.first = is_large() ? 4U : 1U});
        steps_ = 0;
        most_dual_ = 0;
        first_rho_ = lines_.rho = rho;
        set_parameters(rho);
    }

    /// Continues with the problem's present alphas and another rho.
    void set_parameters(Real rho) {
        most_dual_ *= lines_.rho / rho;
        lines_.set_parameters(rho, plan_.row_anchor(), plan_.col_anchor());
    }

    /// Call this before steps to a tolerance, not after keep_duals(). At small alpha0, slope x, row and col are large
    /// and cancel where S has mass. Then their rounding is more than the tolerance after many steps. Every few steps,
    /// this moves the anchors such that x is log S / slope: where S has mass, all three are small.
    void center() {
        if (steps_ == 0 || steps_ % steps_between_centers != 0 || !lines_.is_off_center()) return;
        plan_.move_anchors([this](Buffer<Real>& of_rows, Buffer<Real>& of_cols) { lines_.center(of_rows, of_cols); });
        set_parameters(lines_.rho);
        set_gap();
    }

    /// Starts from these potentials' plan instead, exp((X + f + g) / alpha0), and the Z that is optimal for it. For
    /// alpha0 > 0.
    void start_from(const RealVector& feature_potential, const RealVector& instance_potential) {
        typename AdmmDuals<Work>::Start dual{static_cast<Work>(lines_.sides.inverse_rho), {}, {}};
        dual.row.resize(rows());
        dual.col.assign(padded_cols(), 0);
        lines_.start_from(feature_potential, instance_potential);
        for (Index d = 0; d < rows(); ++d) dual.row[d] = static_cast<Work>(lines_.reward_row[d]);
        for (Index k = 0; k < plan_.cols(); ++k) {
            dual.col[k] = static_cast<Work>(lines_.smooth.col[k] * lines_.sides.strength);
        }
        most_dual_ = lines_.sides.inverse_rho * spread() + extent(dual.row.data(), rows()) +
                     extent(dual.col.data(), plan_.cols());
        duals_.start(rows(), plan_.count(), {.first = is_large() ? 4U : 1U}, dual);
    }

    /// Keeps what take_duals() needs for the Z of `steps` steps. Call before the first step.
    void keep_duals(int steps) {
        if (static_cast<std::size_t>(steps) > kept_duals.first) start_duals(kept_duals);
    }

    /// Whether Work resolves the exponents of `steps` more steps as well as a pooled vector needs.
    bool resolves(int steps) const {
        const AdmmSides& sides = lines_.sides;
        const Real rate = steps * std::log(lines_.weight);  // slope_k tends to 1 / alpha0 as weight^-k
        const Real left = lines_.smooth.slope * std::exp(-rate);
        const Real slope = left + (sides.strength > 0 ? -std::expm1(-rate) / sides.alpha0 : steps * sides.inverse_rho);
        const Real of_rewards = spread() + lines_.rho * extent(lines_.reward_row.data(), rows());
        const Real of_priors =
            extent(problem_->priors.log_p.data(), rows()) + extent(lines_.log_q.data(), plan_.cols());
        const Real of_dual = (std::max)(0.0, most_dual_ - static_cast<Real>(steps_));
        const Real exponents = (sides.inverse_rho + slope) * of_rewards + of_priors + of_dual;
        const Real relative = relative_rho();
        return (std::min)(relative, 1 / relative) >= smallest_ratio && exponents <= largest_exponent &&
               std::isfinite(sides.alpha0) && std::isfinite(lines_.weight) && spread() <= largest_factor &&
               sides.inverse_rho + slope <= largest_factor;
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
            plan_.add(lines_.smooth.view(), tile, x, part);
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
            plan_.add_pooled(lines_.smooth.view(), tile, worker, x, part);
        });
        return end_step(true) && plan_.mean(mean);
    }

    /// The conditional mean of the values under the present S. Returns whether Work could hold it.
    bool pool(RealVector& mean) {
        plan_.start_sums(true);
        plan_.for_each_tile([&](Index tile, Index worker, const Work* x, Part& part) {
            plan_.add_pooled(lines_.smooth.view(), tile, worker, x, part);
        });
        return plan_.mean(mean);
    }

    /// Whether the marginals of both copies are normal numbers, as residual() needs.
    bool in_range() const { return lines_.in_range(); }

    /// Reads potentials and free mass off a step's plan S, and returns its residual, as Solution::residual defines it.
    /// Cost: two exps per element, one pass.
    Real residual() {
        lines_.read_potentials();
        const auto gap = plan_.gap(lines_.smooth.view(), lines_.potential.view(), lines_.sides.strength == 0,
                                   lines_.log_r, lines_.log_c);
        return lines_.residual(gap.of_rows, gap.of_cols, gap.mean_x);
    }

    /// The residual that rounding alone can leave.
    Real attainable() const { return lines_.sides.attainable(); }

    /// Call after residual(). The caller adds the outcome.
    SolvedPlan solution() const {
        SolvedPlan found = lines_.solution();
        ScaledReward kernel;
        kernel.reward = problem_->reward;
        kernel.active = problem_->priors.active;
        kernel.inverse_alpha0 = lines_.smooth.slope;
        kernel.row_shift = plan_.row_anchor();
        kernel.col_shift = plan_.col_anchor();
        RealVector log_scale(rows());
        for (Index d = 0; d < rows(); ++d) log_scale[d] = lines_.smooth.row[d] + lines_.sides.log_factor();
        found.log_plan = exponential_plan(std::move(kernel), lines_.smooth.col, std::move(log_scale));
        return found;
    }

    /// A view of the last step.
    AdmmStep last_step() const {
        return {relative_rho(), lines_.transport.view(), lines_.smooth.view(), lines_.log_row_sum.data(),
                lines_.log_col_sum.data()};
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

    static Real extent(const Real* x, Index size) { return highest(x, size) - lowest(x, size); }
    Real relative_rho() const { return lines_.rho / first_rho_; }
    bool is_large() const { return plan_.tile_size() * plan_.count() > largest_in_cache; }

    void start_duals(const typename AdmmDuals<Work>::Storage& storage) {
        duals_.start(rows(), plan_.count(), storage);
        gaps_.resize(storage.gaps());
    }

    void set_gap() {
        gaps_[(steps_ - 1) % gaps_.size()].set(lines_.transport.view(), lines_.smooth.view(), rows(), padded_cols(),
                                               relative_rho());
    }

    void begin_step(bool pools) {
        duals_.begin_step(steps_++);
        lines_.begin_step();
        for (Index d = 0; d < rows(); ++d) transport_row_[d] = static_cast<Work>(lines_.transport.row[d] * log2_e);
        plan_.start_sums(pools);
        most_dual_ += 1;
    }

    /// Sums of powers are in units of 2^level: the last step's sum, which is seldom far off, or else the highest power.
    void update_transport(Index tile, const Work* x, Work* scratch) {
        const Work* z = duals_.of_present_step(steps_ - 1, gaps_, tile, x, scratch);
        const auto slope = static_cast<Work>(lines_.transport.slope * log2_e);
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

    /// Ends the columns of T from `first` on, given LSE_d(log T) without col: log_sum, in units of 2^level.
    void end_transport(Index first, const L& level, const L& log_sum) {
        std::array<Work, lanes> level_of_powers, log_of_powers;
        level.store(level_of_powers.data());
        log_sum.store(log_of_powers.data());
        std::array<Real, lanes> log_power;
        for (std::size_t i = 0; i < lanes; ++i) {
            log_power[i] = static_cast<Real>(level_of_powers[i]) * log_2 + static_cast<Real>(log_of_powers[i]);
            level_of_powers[i] = static_cast<Work>(log_power[i] * log2_e);
        }
        std::copy_n(level_of_powers.data(), lanes, level_.data() + first);
        lines_.end_transport(first, log_power);
    }

    /// Takes the features' half step and normalises both copies. False if Work cannot hold a row's mass of S.
    bool end_step(bool pools) {
        lines_.normalise_transport();
        if (!plan_.log_row_sums(lines_.smooth.view(), pools, lines_.log_row_sum)) return false;
        lines_.end_smooth();
        return true;
    }

    const Inspection* problem_ = nullptr;
    TiledPlan<Work> plan_;  ///< Sums over S.
    AdmmLines lines_;
    AdmmDuals<Work> duals_;
    std::vector<typename AdmmDuals<Work>::Gap> gaps_;  ///< Of the last steps, in turn.
    std::size_t steps_ = 0;
    Real first_rho_ = 1;  ///< The first step's; Z is in units of it.
    Real most_dual_ = 0;  ///< No entry of Z is larger, in units of the present rho.
    Buffer<Work> level_;  ///< log2 of LSE_d(log T) without the columns' part, for every instance.
    Buffer<Work> transport_row_;
    std::vector<Buffer<Work>> scratch_;  ///< One per worker, for Z.
};

}  // namespace otpool::detail
