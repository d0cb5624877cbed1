// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_sides.hpp"
#include "otpool/solver/steps/instance_columns.hpp"

namespace otpool {

/// How BregmanAdmm updates the dual Z from the two copies T, S of the plan.
enum class DualStep {
    scaled,    ///< Z += rho (T - S) / max(T, S): bounded by rho, sees small entries; converges linearly.
    textbook,  ///< Z += rho (T - S): proportional to entries of size 1/(N D); for comparison.
};

namespace detail {

/// The state of BregmanAdmm for every regulariser, dual step and range: two copies T = S of the plan, as logarithms,
/// and the dual Z, in units of rho. This is the one to read; AdmmSweep is faster where it applies.
///
/// Memory: three D x N matrices. An iteration costs three exps per element, its residual four more.
template <std::same_as<Real> Work = Real>
class AdmmState {
public:
    /// Views the problem. T = S = p0 q0^T, Z = 0.
    AdmmState(const Inspection& problem, Real rho, DualStep dual_step = DualStep::scaled)
        : problem_(problem), dual_step_(dual_step) {
        sides_.set_priors(problem);
        log_smooth_ = log_transport_ = dual_ = InstanceColumns(rows(), cols());
        for (Buffer<Real>* of_rows :
             {&log_r_, &row_, &log_row_sum_, &slack_, &gap_, &inverse_r_, &plan_, &entry_, &rounded_})
            of_rows->resize(rows());
        for (Buffer<Real>* of_cols : {&log_c_, &col_, &log_col_sum_}) of_cols->resize(cols());
        for (Index k = 0; k < cols(); ++k) {
            for (Index d = 0; d < rows(); ++d) log_smooth_[k][d] = problem.priors.log_p[d] + problem.priors.log_q[k];
        }
        log_transport_ = log_smooth_;
        sides_.rho = rho;
        set_parameters(rho);
    }

    /// Continues with the problem's present alphas and another rho.
    void set_parameters(Real rho) {
        const Real ratio = sides_.rho / rho;
        for (Work& z : dual_.numbers()) z *= ratio;
        sides_.set_parameters(problem_, rho);
    }

    /// Starts from another solution: T = S = its plan, Z from S's optimality condition.
    void start(const LogPlan& plan, const auto& feature_potential) {
        const std::vector<Index>& active = problem_.priors.active;
        auto k = active.begin();
        plan.for_each_log_column([&](Index, Index n, const RealVector& log_column) {
            k = std::lower_bound(k, active.end(), n);
            if (k == active.end() || *k != n) return;
            Work* S = log_smooth_[k - active.begin()];
            for (Index d = 0; d < rows(); ++d) S[d] = std::clamp(log_column[d], -log_largest, log_largest);
        });
        if (sides_.unit_mass) {
            log_row_sums_of(log_smooth_, row_.data(), gap_);
            const Real log_mass = log_sum_exp(row_.data(), rows());
            for (Work& s : log_smooth_.numbers()) s -= log_mass;
        }
        log_transport_ = log_smooth_;
        for (Index c = 0; c < cols(); ++c) {
            for (Index d = 0; d < rows(); ++d) {
                dual_[c][d] = (sides_.entropic ? sides_.strength * log_smooth_[c][d] : 0) -
                              static_cast<Real>(feature_potential[d]) * sides_.inverse_rho;
            }
        }
    }

    /// One iteration. Always true, like in_range(), unlike AdmmSweep's.
    bool step() {
        update_transport();
        update_smooth();
        update_dual();
        return true;
    }

    bool in_range() const { return true; }

    /// Reads potentials and free mass off the plan S and returns its residual, as Solution::residual defines it.
    Real residual() {
        read_potentials();
        std::fill(gap_.begin(), gap_.end(), 0);
        Real of_rows = 0;
        Real of_cols = 0;
        for (Index k = 0; k < cols(); ++k) of_cols = larger_violation(of_cols, add_gap(k));
        for (const Real gap : gap_) of_rows = larger_violation(of_rows, gap);
        // A free side adds nothing. But pooling uses the rows' weights, and with a regulariser every row has some.
        const bool rows_count = !sides_.features.side.has_no_penalty() || sides_.strength > 0;
        const bool cols_count = !sides_.instances.side.has_no_penalty();
        return (std::max)(
            {sides_.violation(log_r_.data(), log_c_.data()), rows_count ? of_rows : 0, cols_count ? of_cols : 0});
    }

    /// The residual that rounding alone can leave.
    Real attainable() const { return sides_.attainable(); }

    /// log T, log S and Z / rho.
    const InstanceColumns& log_transport() const { return log_transport_; }
    const InstanceColumns& log_smooth() const { return log_smooth_; }
    const InstanceColumns& dual() const { return dual_; }
    bool unit_mass() const { return sides_.unit_mass; }
    /// LSE_n(log S) and LSE_d(log T), before their half steps.
    const Buffer<Real>& log_row_sum() const { return log_row_sum_; }
    const Buffer<Real>& log_col_sum() const { return log_col_sum_; }

    /// Call after residual(). The caller adds the outcome.
    SolvedPlan solution() const {
        SolvedPlan found = sides_.solution(problem_, log_r_.data(), log_c_.data());
        RealVector log_scale(rows());
        std::fill(log_scale.begin(), log_scale.end(), sides_.log_factor());
        found.log_plan = LogPlan([S = log_smooth_](Index k, Real* score) { std::copy_n(S[k], S.rows(), score); },
                                 std::move(log_scale), problem_.priors.active);
        return found;
    }

private:
    using L = Lanes<Work>;
    /// Entries of a plan count as exp() of it at most.
    static constexpr Real log_largest = 600;

    Index rows() const { return problem_.features(); }
    Index cols() const { return problem_.active_instances(); }

    static L load(const Work* from, Index d, Index count) { return load_some(from + d, count, Work(0)); }
    /// exp(log_plan), at most exp(600).
    static L plan_of(const L& log_plan) { return bounded_exp(lower(log_plan, L(log_largest))); }

    /// X / rho; with an entropic regulariser (X + alpha0 prior_weight log(p0 q0^T)) / rho.
    void reward_column(Index k, Real* out) const {
        problem_.reward.copy_column(problem_.priors.active[static_cast<std::size_t>(k)], out);
        const L inverse_rho(sides_.inverse_rho);
        const Real of_prior = sides_.strength * problem_.regularizer.prior_weight;
        const L prior(of_prior * problem_.priors.log_q[k]);
        for_each_lanes(rows(), [&](Index d, Index count) {
            const L x = (load(out, d, count) - L(sides_.offset)) * inverse_rho;
            L bounded = lower(higher(x, L(lowest_exponent)), L(-lowest_exponent));
            if (of_prior != 0)
                bounded += multiply_add(load(problem_.priors.log_p.data(), d, count), L(of_prior), prior);
            store_some(bounded, out + d, count);
        });
    }

    /// log T <- (X - Z)/rho + log S,  log T += k2 (log q0 - LSE_d(log T)),  normalised
    void update_transport() {
        for (Index k = 0; k < cols(); ++k) {
            Work* T = log_transport_[k];
            reward_column(k, T);
            if (!sides_.entropic) set_derivatives(k);
            for_each_lanes(rows(), [&](Index d, Index count) {
                L t = load(T, d, count) + load(log_smooth_[k], d, count) - load(dual_[k], d, count);
                if (!sides_.entropic) t = t - L(sides_.strength) * load(entry_.data(), d, count);
                store_some(higher(t, L(lowest_exponent)), T + d, count);
            });
            log_col_sum_[k] = log_sum_exp(T, rows());
        }
        half_step(sides_.instances, log_col_sum_, col_);
        for (Index k = 0; k < cols(); ++k) {
            for (Index d = 0; d < rows(); ++d) log_transport_[k][d] += col_[k];
        }
    }

    /// Column k, with a separable regulariser: plan_ <- S, entry_ <- R'(S).
    void set_derivatives(Index k) {
        for_each_lanes(rows(), [&](Index d, Index count) {
            store_some(plan_of(load(log_smooth_[k], d, count)), plan_.data() + d, count);
        });
        std::copy(plan_.begin(), plan_.end(), entry_.begin());
        problem_.regularizer.separable->derivative(entry_.data(), rows());
    }

    /// log S <- (Z + rho log T)/(rho + a0),  log S += k1 (log p0 - LSE_n(log S)),  normalised
    void update_smooth() {
        const Real weight = sides_.features.weight;
        for (Index k = 0; k < cols(); ++k) {
            for (Index d = 0; d < rows(); ++d) log_smooth_[k][d] = (dual_[k][d] + log_transport_[k][d]) / weight;
        }
        log_row_sums_of(log_smooth_, log_row_sum_.data(), gap_);
        half_step(sides_.features, log_row_sum_, row_);
        for (Index d = 0; d < rows(); ++d) log_r_[d] = log_row_sum_[d] + row_[d];
        for (Index k = 0; k < cols(); ++k) {
            for (Index d = 0; d < rows(); ++d) log_smooth_[k][d] += row_[d];
        }
    }

    /// shift_i <- what the half step and the mass add to each line's logarithms.
    void half_step(AdmmSide& side, const Buffer<Real>& log_sum, Buffer<Real>& shift) const {
        side.half_step(log_sum.data());
        for (Index i = 0; i < side.size(); ++i) shift[i] = log_sum[i] + side.shift[i];
        const Real log_mass = sides_.unit_mass ? log_sum_exp(shift.data(), side.size()) : 0;
        for (Index i = 0; i < side.size(); ++i) shift[i] = side.shift[i] - log_mass;
    }

    /// Z <- Z + rho (T - S) / max(T, S) = Z + rho sign(d) (1 - exp(-|d|)),  d = log T - log S
    void update_dual() {
        for (Index k = 0; k < cols(); ++k) {
            for_each_lanes(rows(), [&](Index d, Index count) {
                const L T = load(log_transport_[k], d, count);
                const L S = load(log_smooth_[k], d, count);
                const L gap = T - S;  // the rounding of 1 - exp() is far below Z's digits
                const L change = dual_step_ == DualStep::scaled
                                     ? copy_sign(L(1) - bounded_exp(negative_magnitude(gap)), gap)
                                     : plan_of(T) - plan_of(S);
                store_some(load(dual_[k], d, count) + change, dual_[k] + d, count);
            });
        }
    }

    void read_potentials() {
        Real mean_excess = 0;  // of alpha0 R'(S) - X under S
        for (Index k = 0; k < cols(); ++k) {
            log_c_[k] = log_sum_exp(log_smooth_[k], rows());
            reward_column(k, slack_.data());
            if (!sides_.entropic) set_derivatives(k);
            L sums(0);
            for_each_lanes(rows(), [&](Index d, Index count) {
                const L log_S = load_some(log_smooth_[k] + d, count, -log_largest);
                const L S = sides_.entropic ? plan_of(log_S) : load(plan_.data(), d, count);
                const L gradient = sides_.entropic ? log_S : load(entry_.data(), d, count);
                sums += S * (L(sides_.strength) * gradient - load(slack_.data(), d, count));
            });
            mean_excess += sum(sums);
        }
        sides_.read(log_r_.data(), log_c_.data(), mean_excess);
        for (Index d = 0; d < rows(); ++d) row_[d] = sides_.features.potential(d);
        rounding_ = sides_.rounding();
        for (Index d = 0; d < rows(); ++d) inverse_r_[d] = std::exp((std::min)(-log_r_[d], log_largest));
    }

    /// How far column k of S is from the potentials' plan P: adds each entry's difference, relative to its row's mass,
    /// to gap_, and returns their sum relative to the column's mass. With slack = X + f + g:
    ///
    ///     entropic     P = exp(slack / alpha0)
    ///     separable    P = entry_at(slack / alpha0)
    ///     alpha0 = 0   slack = 0 where the plan has mass, and nowhere above
    Real add_gap(Index k) {
        reward_column(k, slack_.data());
        const Real potential = sides_.instances.potential(k);
        for (Index d = 0; d < rows(); ++d) slack_[d] += row_[d] + potential;
        const L log_c(log_c_[k]);
        const L inverse_c = plan_of(L(0) - log_c);
        const bool separable = !sides_.entropic && sides_.strength > 0;
        if (separable) set_entries();
        L of_col(0);
        for_each_lanes(rows(), [&](Index d, Index count) {
            const L log_S = load(log_smooth_[k], d, count);
            const L inverse_r = load(inverse_r_.data(), d, count);
            const Difference of =
                separable ? difference_of_entries(d, count, log_S) : difference(load(slack_.data(), d, count), log_S);
            const L to_row = separable ? inverse_r : plan_of(of.log_larger - load(log_r_.data(), d, count));
            const L to_col = separable ? inverse_c : plan_of(of.log_larger - log_c);
            store_some(load(gap_.data(), d, count) + of.whole + of.apart * to_row, gap_.data() + d, count);
            of_col += first_lanes(of.whole + of.apart * to_col, count, Work(0));
        });
        return sum(of_col);
    }

    /// How far entries are apart: whole + apart exp(log_larger); with a separable regulariser whole + apart.
    struct Difference {
        L whole, apart, log_larger;
    };

    Difference difference(const L& slack, const L& log_S) const {
        const L none(0);
        if (sides_.strength == 0) return {higher(slack, none), none - negative_magnitude(slack), log_S};
        // The difference of two entries is the larger one times 1 - their ratio.
        const L P = slack * L(1 / sides_.strength) - L(sides_.log_scale);
        return {none, L(1) - bounded_exp(negative_magnitude(P - log_S)), higher(P, log_S)};
    }

    /// For a column, with a separable regulariser: entry_ <- entry_at(slack / alpha0); rounded_ <- the largest error
    /// that rounding of the slack makes in it.
    void set_entries() {
        const auto entry_at = problem_.regularizer.separable->entry_at;
        const Real inverse = 1 / sides_.strength;
        for (Index d = 0; d < rows(); ++d) {
            entry_[d] = slack_[d] * inverse;
            plan_[d] = std::abs(entry_[d]);
            rounded_[d] = plan_[d] + rounding_ * inverse;
        }
        for (Buffer<Real>* slacks : {&entry_, &plan_, &rounded_}) entry_at(slacks->data(), rows());
        for (Index d = 0; d < rows(); ++d) rounded_[d] = std::isfinite(plan_[d]) ? rounded_[d] - plan_[d] : 0;
    }

    /// An entry that is a difference of far larger potentials has no digits left to compare.
    Difference difference_of_entries(Index d, Index count, const L& log_S) const {
        const L none(0);
        const L apart = load(entry_.data(), d, count) - plan_of(log_S);
        return {none, higher(none - negative_magnitude(apart) - load(rounded_.data(), d, count), none), none};
    }

    const Inspection& problem_;
    DualStep dual_step_;
    AdmmSides sides_;
    InstanceColumns log_transport_, log_smooth_, dual_;  ///< log T, log S, Z / rho
    Buffer<Real> log_r_, log_c_;                         ///< The log marginals of S.
    Buffer<Real> log_row_sum_, log_col_sum_;             ///< Before the half steps.
    Buffer<Real> row_, col_;                             ///< What half steps add, or potentials.
    Buffer<Real> slack_, gap_, inverse_r_;
    Buffer<Real> plan_, entry_, rounded_;  ///< Of a column, with a separable regulariser.
    Real rounding_ = 0;
};

}  // namespace detail
}  // namespace otpool
