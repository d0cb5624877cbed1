// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
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
#include "otpool/core/workspace.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/feature_sums.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/kernel/reference_values.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/admm_duals.hpp"
#include "otpool/solver/steps/admm_sides.hpp"
#include "otpool/solver/steps/admm_step.hpp"

namespace otpool::detail {

/// Steps of BregmanAdmm with an entropic regulariser and the scaled dual step, each in one pass over reward and dual.
///
/// As Z + rho log T is X + rho log S up to a constant a column, log S is after every step a multiple of X plus a
/// rank-one matrix: an exponential plan. So of the state's three matrices only Z has to be kept: with x_dn the reward
/// less the highest of its feature,
///
///     log S_dn = smooth.slope x_dn + smooth.row_d + smooth.col_n
///     log T_dn = transport.slope x_dn + transport.row_d + transport.col_n - Z_dn / rho
///
/// Z is brought up to date at the beginning of the next step, when all of S is known: see AdmmDuals. Tiles of instances
/// are visited in parts (InstanceParts) that may run at the same time.
///
/// Entries are computed in Work, vectors per feature and per instance in double. A step reads x, and costs three exps
/// an element and reads and writes Z, or where that is large, in the first four steps does without it for up to two
/// exps more; its residual costs two. Memory: the tiles of x, and Z.
template <BagScalar Work>
class AdmmSweep {
public:
    AdmmSweep() = default;
    AdmmSweep(const Inspection& problem, Real rho) { start(problem, rho); }

    /// Before the first step, from the priors; views the problem.
    void start(const Inspection& problem, Real rho, const Execution& execution = {}) {
        problem_ = &problem;
        execution_ = execution;
        x_.set(problem.reward, problem.priors.active, problem.highest, execution.workers());
        sides_.set(problem, false);
        for (Buffer<Real>* of_cols : {&log_q_, &transport_.col, &smooth_.col, &log_col_sum_, &reward_col_, &log_c_}) {
            set_padded(problem.priors.log_q, *of_cols);
        }
        level_.resize(padded_cols());
        std::fill(level_.begin(), level_.end(), Work(0));
        for (Buffer<Real>* of_rows : {&transport_.row, &smooth_.row, &reward_row_, &log_row_sum_, &log_sum_, &log_r_}) {
            of_rows->resize(rows());
            std::copy_n(problem.priors.log_p.data(), rows(), of_rows->data());
        }
        smooth_.slope = transport_.slope = 0;
        tiles_ = InstanceParts(x_.size(), x_.count());
        parts_.resize(static_cast<std::size_t>(tiles_.count()));
        scratch_.resize(static_cast<std::size_t>(execution.workers()));
        for (Buffer<Work>& z : scratch_) z.resize(x_.size());
        start_duals({.first = is_large() ? 4U : 1U});
        has_row_units_ = false;
        steps_ = 0;
        most_dual_ = 0;
        first_rho_ = rho_ = rho;
        set_parameters(rho);
    }

    /// Goes on with the problem's present alphas, and another rho.
    void set_parameters(Real rho) {
        most_dual_ *= rho_ / rho;
        rho_ = rho;
        sides_.set_parameters(*problem_, rho);
        weight_ = sides_.features.weight;
        feature_damping_ = sides_.features.side.damping;
        instance_damping_ = sides_.instances.side.damping;
        // Of RelativeEntropy: Entropy with reward X + alpha0 log(p0 q0^T)
        const Real of_prior = problem_->relative ? sides_.strength : 0;
        for (Index d = 0; d < rows(); ++d) {
            reward_row_[d] =
                (problem_->highest[d] - sides_.offset) * sides_.inverse_rho + of_prior * problem_->priors.log_p[d];
        }
        for (Index k = 0; k < padded_cols(); ++k) reward_col_[k] = of_prior * log_q_[k];
    }

    /// Starts from the plan of these potentials instead, exp((X + f + g) / alpha0), and the Z that is optimal with it.
    /// For alpha0 > 0.
    void start_from(const RealVector& feature_potential, const RealVector& instance_potential) {
        typename AdmmDuals<Work>::Start dual{static_cast<Work>(sides_.inverse_rho), {}, {}};
        dual.row.resize(rows());
        dual.col.resize(padded_cols());
        std::fill(dual.col.begin(), dual.col.end(), Work(0));
        smooth_.slope = 1 / sides_.alpha0;
        for (Index d = 0; d < rows(); ++d) {
            dual.row[d] = static_cast<Work>(reward_row_[d]);
            smooth_.row[d] = (reward_row_[d] + feature_potential[d] * sides_.inverse_rho) / sides_.strength;
        }
        for (Index k = 0; k < x_.cols(); ++k) {
            const Index n = problem_->priors.active[static_cast<std::size_t>(k)];
            const Real col = reward_col_[k] + instance_potential[n] * sides_.inverse_rho;
            dual.col[k] = static_cast<Work>(col);
            smooth_.col[k] = col / sides_.strength;
        }
        most_dual_ =
            sides_.inverse_rho * spread() + extent(dual.row.data(), rows()) + extent(dual.col.data(), x_.cols());
        duals_.start(rows(), x_.count(), {.first = is_large() ? 4U : 1U}, dual);
    }

    /// Keeps for take_duals() what says the Z of each of so many steps. To be said before the first step.
    void keep_duals(int steps) {
        if (static_cast<std::size_t>(steps) > kept_duals.first) start_duals(kept_duals);
    }

    /// Whether Work resolves the exponents of so many further steps as well as a pooled vector needs.
    bool resolves(int steps) const {
        const Real rate = steps * std::log(weight_);  // slope_k tends to 1 / alpha0 as weight^-k
        const Real left = smooth_.slope * std::exp(-rate);
        const Real slope =
            left + (sides_.strength > 0 ? -std::expm1(-rate) / sides_.alpha0 : steps * sides_.inverse_rho);
        const Real priors = extent(problem_->priors.log_p.data(), rows()) + extent(log_q_.data(), x_.cols());
        const Real exponents = (sides_.inverse_rho + slope) * (spread() + rho_ * extent(reward_row_.data(), rows())) +
                               priors + std::max(0.0, most_dual_ - static_cast<Real>(steps_));
        const Real relative = relative_rho();
        return std::min(relative, 1 / relative) >= smallest_sum && exponents <= largest_exponent &&
               std::isfinite(sides_.alpha0) && std::isfinite(weight_) && spread() <= largest_factor &&
               sides_.inverse_rho + slope <= largest_factor;
    }

    /// One step. False where a row of S has no mass that Work can hold; the sweep is of no further use then.
    ///
    ///     Z <- Z + rho (T - S) / max(T, S)                of the step before
    ///     log T <- (X - Z)/rho + log S                    log T += k2 (log q0 - LSE_d(log T))
    ///     log S <- (Z + rho log T)/(rho + a0)             log S += k1 (log p0 - LSE_n(log S))
    bool step() {
        begin_step(false);
        for_each_tile([&](Index tile, Index worker, Part& part) {
            const Work* x = x_.tile(tile, worker);
            update_transport(tile, x, scratch_[static_cast<std::size_t>(worker)].data());
            update_smooth(tile, x, part);
        });
        if (!end_step(false)) return false;
        gaps_[(steps_ - 1) % gaps_.size()].set(transport_.view(), smooth_.view(), rows(), padded_cols(),
                                               relative_rho());
        return true;
    }

    /// The last step, and the conditional mean of the values under the S that it ends with; whether Work could hold
    /// both.
    bool pooling_step(RealVector& mean) {
        begin_step(true);
        const bool of_reward = problem_->values.empty();
        start_pooling(of_reward);
        for_each_tile([&](Index tile, Index worker, Part& part) {
            const Work* x = x_.tile(tile, worker);
            update_transport(tile, x, scratch_[static_cast<std::size_t>(worker)].data());
            pool(tile, x, of_reward ? x : values_.tile(tile, worker), part);
        });
        return end_step(true) && set_mean(mean);
    }

    /// The conditional mean of the values under the present S; whether Work could hold it.
    bool pool(RealVector& mean) {
        start_parts(true);
        const bool of_reward = problem_->values.empty();
        start_pooling(of_reward);
        for_each_tile([&](Index tile, Index worker, Part& part) {
            const Work* x = x_.tile(tile, worker);
            pool(tile, x, of_reward ? x : values_.tile(tile, worker), part);
        });
        return set_mean(mean);
    }

    /// Whether Work holds the marginals of both copies, as residual() needs.
    bool in_range() const {
        return lowest(log_r_.data(), rows()) > least_log_marginal &&
               lowest(log_c_.data(), x_.cols()) - transport_log_mass_ > least_log_marginal;
    }

    /// Reads potentials and free mass off the plan S that a step ended with, and returns its residual, as
    /// Solution::residual defines it. Cost: two exps an element, one pass.
    Real residual() {
        sides_.features.half_step(log_sum_.data());
        sides_.instances.half_step(log_col_sum_.data());
        set_potential_plane();
        start_parts(sides_.strength == 0);
        gaps_of_cols_.assign(parts_.size(), {});
        for_each_tile([&](Index tile, Index worker, Part& part) {
            const Work* x = x_.tile(tile, worker);
            add_gap(tile, x, part, gaps_of_cols_[static_cast<std::size_t>(&part - parts_.data())]);
        });
        GapOfCols all;
        for (const GapOfCols& part : gaps_of_cols_) {
            all.largest = std::max(all.largest, part.largest);
            all.moment += part.moment;
        }
        sides_.read(log_r_.data(), log_c_.data(), mean_excess(all.moment / (smooth_.slope * log2_e)));
        // A free side adds nothing; but the rows' weights are what is pooled, and with a regulariser every row has some.
        const bool rows_count = sides_.features.side.alpha > 0 || sides_.strength > 0;
        return std::max({sides_.violation(log_r_.data(), log_c_.data()), rows_count ? largest_gap_of_rows() : 0,
                         sides_.instances.side.alpha > 0 ? all.largest : 0});
    }

    /// The residual that rounding alone can leave.
    Real attainable() const { return sides_.attainable(); }

    /// After residual(). The outcome is left to the caller.
    SolvedPlan solution() const {
        SolvedPlan found = sides_.solution(*problem_, log_r_.data(), log_c_.data());
        ScaledReward kernel;
        kernel.reward = problem_->reward;
        kernel.active = problem_->priors.active;
        kernel.inverse_alpha0 = smooth_.slope;
        kernel.row_shift.resize(rows());
        kernel.col_shift.resize(x_.cols());
        std::copy(problem_->highest.begin(), problem_->highest.end(), kernel.row_shift.begin());
        std::fill(kernel.col_shift.begin(), kernel.col_shift.end(), 0);
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
    Index padded_cols() const { return x_.count() * lanes; }
    /// The highest reward less the lowest.
    Real spread() const { return problem_->range(); }
    /// After the steps that keep_duals() was told.
    AdmmDuals<Work> take_duals() {
        if (steps_ > kept_duals.first) return std::move(duals_);
        AdmmDuals<Work> none;
        none.start(rows(), x_.count(), kept_duals);
        return none;
    }

private:
    using L = Lanes<Work>;
    using R = Lanes<Real>;
    static constexpr Index lanes = register_lanes;

    /// Of S, without the rows' part, over a part of the instances.
    using Part = FeatureSums<Work>;

    /// Of so many steps the Z are kept for their reverse, which computes those of the others again.
    static constexpr typename AdmmDuals<Work>::Storage kept_duals = {.first = 8, .every = 8, .all = true};
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
    static constexpr Real largest_sum = single ? 1e35 : 1e300;
    /// Up to so many times its unit, and down to the inverse, a column's sum keeps its digits.
    static constexpr Work largest_in_units = 0x1p60;

    /// Marginals above exp() of it have products with their entries that are normal numbers.
    static constexpr Real least_log_marginal = -300;

    /// What the columns of a part have of the residual.
    struct GapOfCols {
        Real largest = 0;  ///< The largest of a column.
        Real moment = 0;   ///< Of S, times its exponents slope x, of two.
    };

    struct Plane {
        Real slope = 0;
        Buffer<Real> row, col;

        LogPlane view() const { return {slope, row.data(), col.data()}; }
    };

    static Real extent(const Real* x, Index size) { return highest(x, size) - lowest(x, size); }
    static R load(const Buffer<Real>& of_cols, Index tile) { return R::load(of_cols.data() + tile * lanes); }
    static void store(const R& of_tile, Buffer<Real>& of_cols, Index tile) {
        of_tile.store(of_cols.data() + tile * lanes);
    }
    void set_padded(const Buffer<Real>& of_cols, Buffer<Real>& to) const {
        to.resize(padded_cols());
        std::fill(std::copy(of_cols.begin(), of_cols.end(), to.begin()), to.end(), 0);
    }

    Real relative_rho() const { return rho_ / first_rho_; }
    bool is_large() const { return x_.size() * x_.count() > largest_in_cache; }

    void start_duals(const typename AdmmDuals<Work>::Storage& storage) {
        duals_.start(rows(), x_.count(), storage);
        gaps_.resize(storage.gaps());
    }

    void start_parts(bool values) {
        for (Part& part : parts_) part.start(rows(), values);
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
        for (Index k = 0; k < padded_cols(); ++k) transport_.col[k] = smooth_.col[k] + reward_col_[k];
        start_parts(pools);
        most_dual_ += 1;
    }

    /// Sums of powers are in units of 2^level: of the last step's sum, from which they seldom are far, else of the
    /// highest power.
    void update_transport(Index tile, const Work* x, Work* scratch) {
        const Work* z = duals_.of_present_step(steps_ - 1, gaps_, tile, x, scratch);
        const L slope(static_cast<Work>(transport_.slope * log2_e));
        const L dual_slope(static_cast<Work>(-log2_e / relative_rho()));
        const Work* row = transport_row_.data();
        const Index size = rows();
        const auto log2_T = [=](Index d, const L& unit) {  // without the columns' part
            const L of_z = multiply_add(L::load(z + d * lanes), dual_slope, L(row[d]) - unit);
            return multiply_add(L::load(x + d * lanes), slope, of_z);
        };
        const auto sum_in_units_of = [=](const L& unit) {
            L sum(Work(0));
            const L most(ExponentialRange<Work>::largest_exponent);
            for (Index d = 0; d < size; ++d) sum += bounded_exp2(lower(log2_T(d, unit), most));
            return sum;
        };
        L level = L::load(level_.data() + tile * lanes);
        L sum = sum_in_units_of(level);
        if (!(lowest(sum) >= 1 / largest_in_units && highest(sum) <= largest_in_units)) {
            level = L(std::numeric_limits<Work>::lowest());
            for (Index d = 0; d < size; ++d) level = higher(level, log2_T(d, L(Work(0))));
            sum = sum_in_units_of(level);
        }
        end_transport(tile, converted<Real>(level) * R(log_2) + converted<Real>(log_of_normal(sum)));
    }

    /// The columns' part of log T and log S, given LSE_d(log T) without it.
    void end_transport(Index tile, const R& log_of_powers) {
        converted<Work>(log_of_powers * R(log2_e)).store(level_.data() + tile * lanes);
        const R col = load(transport_.col, tile);
        const R log_sum = col + log_of_powers;
        const R shifted = col + R(instance_damping_) * (load(log_q_, tile) - log_sum);
        store(log_sum, log_col_sum_, tile);
        store(shifted, transport_.col, tile);
        store(shifted / R(weight_), smooth_.col, tile);
    }

    void update_smooth(Index tile, const Work* x, Part& part) {
        Work* weight = part.weight_lanes.data();
        for_each_smooth(tile, part, [=](Index at, const L& slope, const L& rest, const auto& power) {
            const L S = power(multiply_add(L::load(x + at), slope, rest));
            (L::load(weight + at) + S).store(weight + at);
        });
    }

    /// update_smooth(), and the sums of S times the values.
    void pool(Index tile, const Work* x, const Work* values, Part& part) {
        Work* weight = part.weight_lanes.data();
        Work* value = part.value_lanes.data();
        for_each_smooth(tile, part, [=](Index at, const L& slope, const L& rest, const auto& power) {
            const L S = power(multiply_add(L::load(x + at), slope, rest));
            (L::load(weight + at) + S).store(weight + at);
            multiply_add(S, L::load(values + at), L::load(value + at)).store(value + at);
        });
    }

    /// visit(d * lanes, slope, rest, power): S_dn in the units of row sums is power(slope x_dn + rest). The unit is that
    /// of the part's level, where this will do; else each row's own.
    template <class Visit>
    void for_each_smooth(Index tile, Part& part, const Visit& visit) {
        const L slope(static_cast<Work>(smooth_.slope * log2_e));
        const R of_instances = first_lanes(load(smooth_.col, tile), x_.used(tile), -1e30);
        const Real level = part.begin_tile(has_row_units_ ? 0 : highest(of_instances));
        const L col = converted<Work>((of_instances - R(level)) * R(log2_e));
        const Index size = x_.size();
        if (!has_row_units_) {
            const auto power = [](const L& exponent) { return bounded_exp2(exponent); };
            for (Index at = 0; at < size; at += lanes) visit(at, slope, col, power);
            return;
        }
        const L most(ExponentialRange<Work>::largest_exponent);
        const auto power = [most](const L& exponent) { return bounded_exp2(lower(exponent, most)); };
        const Work* unit = row_unit_.data();
        for (Index at = 0; at < size; at += lanes, ++unit) visit(at, slope, col - L(*unit), power);
    }

    /// Sums over the rows of S again, each in units of its highest entry.
    void sum_in_row_units() {
        std::vector<Buffer<Work>> tops(parts_.size());
        for (Buffer<Work>& top : tops) {
            top.resize(x_.size());
            std::fill(top.begin(), top.end(), std::numeric_limits<Work>::lowest());
        }
        has_row_units_ = true;
        row_unit_.resize(rows());
        std::fill(row_unit_.begin(), row_unit_.end(), Work(0));
        start_parts(false);
        for_each_tile([&](Index tile, Index worker, Part& part) {
            const Work* x = x_.tile(tile, worker);
            Work* top = tops[static_cast<std::size_t>(&part - parts_.data())].data();
            for_each_smooth(tile, part, [=](Index at, const L& slope, const L& rest, const auto&) {
                higher(L::load(top + at), multiply_add(L::load(x + at), slope, rest)).store(top + at);
            });
        });
        for (Index d = 0; d < rows(); ++d) {
            row_unit_[d] = std::numeric_limits<Work>::lowest();
            for (const Buffer<Work>& top : tops) {
                row_unit_[d] = std::max(row_unit_[d], highest(L::load(top.data() + d * lanes)));
            }
        }
        start_parts(false);
        for_each_tile([&](Index tile, Index worker, Part& part) { update_smooth(tile, x_.tile(tile, worker), part); });
    }

    bool has_all_rows() const {
        const Buffer<Real>& weight = parts_.front().weight();
        return lowest(weight.data(), rows()) > smallest_sum && highest(weight.data(), rows()) < largest_sum;
    }

    /// X + f + g, over alpha0 where that is not 0; with the multiplier of the mass it is
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
        for (Index k = 0; k < x_.cols(); ++k) {
            potential_.col[k] = (reward_col_[k] + sides_.instances.shift[k]) / unit;
        }
    }

    /// Of a tile: how far S is from what the potentials make of it, P = exp((X + f + g) / alpha0), as sums of |P - S|;
    /// where alpha0 = 0, of |X + f + g| S, and of what X + f + g is above 0 as values. And LSE_d(log S).
    void add_gap(Index tile, const Work* x, Part& part, GapOfCols& of_cols) {
        const L most(ExponentialRange<Work>::largest_exponent);
        const auto col_of = [&](const Plane& plane) {
            return converted<Work>(first_lanes(load(plane.col, tile), x_.used(tile), -1e30) * R(log2_e));
        };
        const L col = col_of(smooth_);
        const L potential_col = col_of(potential_);
        const L slope(static_cast<Work>(smooth_.slope * log2_e));
        const L potential_slope(static_cast<Work>(potential_.slope * log2_e));
        const bool regularised = sides_.strength > 0;
        Work* of_rows = part.weight_lanes.data();
        Work* above_zero = part.value_lanes.data();
        L mass(Work(0));
        L gap(Work(0));
        L above(Work(0));
        L moment(Work(0));
        for (Index d = 0; d < rows(); ++d, x += lanes, of_rows += lanes) {
            const L exponent = L::load(x) * slope;
            const L S = bounded_exp2(exponent + L(static_cast<Work>(smooth_.row[d] * log2_e)) + col);
            const L log2_P = multiply_add(L::load(x), potential_slope,
                                          L(static_cast<Work>(potential_.row[d] * log2_e)) + potential_col);
            L apart;
            if (regularised) {
                apart = bounded_exp2(lower(log2_P, most)) - S;
            } else {
                const L slack = first_lanes(log2_P * L(Work(log_2)), x_.used(tile), Work(0));
                const L positive = higher(slack, L(Work(0)));
                (L::load(above_zero + d * lanes) + positive).store(above_zero + d * lanes);
                above += positive;
                apart = slack * S;
            }
            apart = L(Work(0)) - negative_magnitude(apart);
            (L::load(of_rows) + apart).store(of_rows);
            mass += S;
            gap += apart;
            moment = multiply_add(exponent, S, moment);
        }
        store(converted<Real>(log_of_normal(mass)), log_c_, tile);
        of_cols.largest = std::max(of_cols.largest, static_cast<Real>(highest(gap / mass + above)));
        of_cols.moment += static_cast<Real>(sum(first_lanes(moment, x_.used(tile), Work(0))));
    }

    Real largest_gap_of_rows() const {
        Real largest = 0;
        for (Index d = 0; d < rows(); ++d) {
            const Real gap = parts_.front().weight()[d] * std::exp(-log_r_[d]) + parts_.front().value()[d];
            largest = std::max(largest, gap);
        }
        return largest;
    }

    /// The mean of alpha0 log S - X under S, over rho, given that of x.
    Real mean_excess(Real mean_x) const {
        Real mean = (sides_.strength * smooth_.slope - sides_.inverse_rho) * mean_x;
        for (Index d = 0; d < rows(); ++d) {
            mean += std::exp(log_r_[d]) * (sides_.strength * smooth_.row[d] - reward_row_[d]);
        }
        for (Index k = 0; k < x_.cols(); ++k) {
            mean += std::exp(log_c_[k]) * (sides_.strength * smooth_.col[k] - reward_col_[k]);
        }
        return mean;
    }

    void start_pooling(bool of_reward) {
        if (of_reward) {
            reference_.set(problem_->highest);
        } else {
            reference_.set(problem_->values, problem_->reward, problem_->priors.active);
            values_.set(problem_->values, problem_->priors.active, reference_.numbers(), execution_.workers());
        }
    }

    /// The mean of what the parts have pooled; whether Work could hold it: values may be too large for sums in Work.
    bool set_mean(RealVector& mean) const {
        const Part& sums = parts_.front();
        mean.resize(rows());
        bool finite = true;
        for (Index d = 0; d < rows(); ++d) {
            mean[d] = sums.value()[d] / sums.weight()[d] + static_cast<Real>(reference_.numbers()[d]);
            finite = finite && std::isfinite(mean[d]);
        }
        return finite;
    }

    /// visit(tile, worker, part) of every tile; then parts_.front() has the sums over all parts.
    template <class Visit>
    void for_each_tile(const Visit& visit) {
        execution_.for_each(tiles_.count(), [&](Index p, Index worker) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            for (Index tile = tiles_.first(p); tile < tiles_.end(p); ++tile) visit(tile, worker, part);
            part.add_up();
        });
        x_.all_filled();
        Part::add_up(parts_);
    }

    /// The feature marginal, and both copies to mass 1. False where a row of S has no mass that Work can hold.
    bool end_step(bool pools) {
        for (Index k = 0; k < x_.cols(); ++k) {
            log_c_[k] = log_col_sum_[k] + instance_damping_ * (log_q_[k] - log_col_sum_[k]);
        }
        transport_log_mass_ = log_sum_exp(log_c_.data(), x_.cols());
        for (Real& col : transport_.col) col -= transport_log_mass_;
        if (!has_all_rows()) {
            if (single || pools) return false;
            sum_in_row_units();
        }
        log_of_normal(parts_.front().weight().data(), rows(), log_row_sum_.data());
        for (Index d = 0; d < rows(); ++d) {
            log_row_sum_[d] += has_row_units_ ? static_cast<Real>(row_unit_[d]) * log_2 : parts_.front().level();
            if (has_row_units_) row_unit_[d] = static_cast<Work>(log_row_sum_[d] * log2_e);
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
    Execution execution_;
    AdmmSides sides_;
    Real rho_ = 1;
    Real weight_ = 1;  ///< 1 + alpha0 / rho
    Real feature_damping_ = 0;
    Real instance_damping_ = 0;
    Buffer<Real> log_q_;  ///< Vectors per instance are padded to whole tiles, here and below.
    InstanceTiles<Work> x_;
    InstanceTiles<Work> values_;       ///< Unless they are the reward.
    ReferenceValues<Work> reference_;  ///< What values are weighed relative to.
    Buffer<Real> reward_row_;          ///< X / rho is x_dn / rho + reward_row_d + reward_col_n + a constant.
    Buffer<Real> reward_col_;

    std::size_t steps_ = 0;
    Plane transport_, smooth_;
    Plane potential_;                      ///< X + f + g, for the residual.
    std::vector<GapOfCols> gaps_of_cols_;  ///< One a part.
    AdmmDuals<Work> duals_;
    std::vector<typename AdmmDuals<Work>::Gap> gaps_;  ///< Of the last steps, in turn.

    Real first_rho_ = 1;          ///< That of the first step: Z is in units of it.
    Real most_dual_ = 0;          ///< No entry of Z is larger, in units of the present rho.
    Buffer<Real> log_col_sum_;    ///< LSE_d(log T), before the instances' part of the step
    Buffer<Work> level_;          ///< log2 of the same, without the columns' part
    bool has_row_units_ = false;  ///< Whether rows of S are summed in units of their own, 2^row_unit.
    Buffer<Work> row_unit_;
    Buffer<Real> log_row_sum_;  ///< LSE_n(log S) less the rows' part
    Buffer<Real> log_sum_;      ///< LSE_n(log S), before the features' part of the step
    Buffer<Real> log_r_;        ///< The same after it, at mass 1.
    Buffer<Real> log_c_;        ///< LSE_d(log T) after the step; of S, at mass 1, after residual().
    Real transport_log_mass_ = 0, smooth_log_mass_ = 0;  ///< What the step took off both copies.
    InstanceParts tiles_{1, 1};
    std::vector<Buffer<Work>> scratch_;  ///< Of every worker, for Z.
    std::vector<Part> parts_;
    Buffer<Work> transport_row_;
};

/// Takes so many steps, of which the last one pools; each is begun by begin(k), k from 0, which may refuse it, and ended
/// by end(). mean <- the conditional mean of the values; whether Work could hold all.
template <BagScalar Work, class Begin, class End>
bool take_pooling_steps(AdmmSweep<Work>& sweep, int steps, RealVector& mean, const Begin& begin, const End& end) {
    for (int k = 0; k < steps; ++k) {
        if (!begin(k)) return false;
        if (!(k + 1 < steps ? sweep.step() : sweep.pooling_step(mean))) return false;
        end();
    }
    return true;
}

/// mean <- the conditional mean of the values after so many steps, in the narrowest type that resolves them; whether
/// one does.
template <BagScalar Scalar>
bool pool_by_sweeps(const Inspection& problem, Real rho, int steps, const Execution& execution, Workspace& workspace,
                    RealVector& mean) {
    auto& sweep = workspace.get<AdmmSweep<Scalar>>();
    sweep.start(problem, rho, execution);
    const auto resolves = [&](int k) { return k > 0 || sweep.resolves(steps); };
    if (take_pooling_steps(sweep, steps, mean, resolves, [] {})) return true;
    if constexpr (std::same_as<Scalar, Real>) {
        return false;
    } else {
        return pool_by_sweeps<Real>(problem, rho, steps, execution, workspace, mean);
    }
}

}  // namespace otpool::detail
