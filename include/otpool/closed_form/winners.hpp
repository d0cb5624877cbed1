// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// alpha0 = 0 with a free side: the limit of the plan for alpha0 -> 0+. Ties share the mass as they do in the limit.
///
/// Free instances: feature d puts the mass r_d = p0_d exp(max_n x_dn / alpha1) on argmax_n x_dn. Free features:
/// instance n puts the mass c_n = q0_n exp(max_d x_dn / alpha2) on argmax_d x_dn. A feature that wins no instance has
/// no mass; it pools where its vanishing mass is in the limit, at argmax_n (x_dn - max_e x_en).
template <std::same_as<Real> Work = Real>
class WinnersLimit {
public:
    explicit WinnersLimit(const Inspection& problem) : problem_(problem) {
        scaled_.set(problem);
        plan_.reward = problem.reward;
        plan_.active = scaled_.kernel.active;
        plan_.potential.assign(size_of_cols(), 0);
        plan_.log_weight.assign(size_of_cols(), 0);
        for (Index k = 0; k < cols(); ++k) {
            plan_.log_weight[static_cast<std::size_t>(k)] = prior_weight() * problem.priors.log_q[k];
        }
        feature_potential_.resize(rows());
        log_scale_.resize(rows());
        if (problem.alpha2.all_free()) {
            plan_.best.assign(problem.highest.begin(), problem.highest.end());
            free_instances();
        } else {
            plan_.best.assign(static_cast<std::size_t>(rows()), nothing);
            free_features();
        }
    }

    SolvedPlan solution() {
        SolvedPlan found;
        const bool is_float = problem_.reward.is_float();
        found.outcome.status = Status::converged;
        found.feature_potential.resize(rows());
        for (Index d = 0; d < rows(); ++d) found.feature_potential[d] = saturated(feature_potential_[d], is_float);
        found.instance_potential = on_all_instances(problem_.reward.cols(), plan_.active, [&](Index k) {
            return saturated(plan_.potential[static_cast<std::size_t>(k)], is_float);
        });
        found.log_mass = log_mass_;
        found.log_plan = LogPlan([plan = plan_](Index k, Real* score) { plan.score(k, score); }, std::move(log_scale_),
                                 plan_.active);
        check_mass_range(found, is_float);
        // With two free sides the mass is unbounded; the plan is then the limit under the constraint sum P = 1.
        if (problem_.alpha1.all_free() && problem_.alpha2.all_free()) found.outcome.status = Status::mass_out_of_range;
        return found;
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    /// Feature d draws only on the instances where x_dk + g_k is largest.
    struct Plan {
        AnyView reward;
        std::vector<Index> active;
        std::vector<Real> potential;   ///< g_k
        std::vector<Real> log_weight;  ///< log of k's share where it wins, up to a factor
        std::vector<Real> best;        ///< max_k x_dk + g_k

        void score(Index k, Real* out) const {
            const auto place = static_cast<std::size_t>(k);
            reward.copy_column(active[place], out);
            for (std::size_t d = 0; d < best.size(); ++d) {
                out[d] = out[d] + potential[place] >= best[d] ? log_weight[place] : nothing;
            }
        }
    };

    Real prior_weight() const { return problem_.regularizer.prior_weight; }
    Index rows() const { return scaled_.kernel.rows(); }
    Index cols() const { return scaled_.kernel.cols(); }
    std::size_t size_of_cols() const { return static_cast<std::size_t>(cols()); }

    void free_instances() {
        const RealVector& highest = problem_.highest;
        const Alphas& alpha1 = problem_.alpha1;
        RealVector log_marginal = problem_.priors.log_p;
        if (alpha1.all_free()) {
            for (Index d = 0; d < rows(); ++d) {
                if (highest[d] != scaled_.highest_reward) log_marginal[d] = nothing;
            }
            const Real log_sum = log_sum_exp(log_marginal.data(), rows());
            for (Real& m : log_marginal) m -= log_sum;
        } else {
            for (Index d = 0; d < rows(); ++d) log_marginal[d] += log_growth(highest[d], alpha1[d]);
        }
        log_mass_ = log_sum_exp(log_marginal.data(), rows());
        const RealVector log_weight = log_winners_weight();
        for (Index d = 0; d < rows(); ++d) {
            feature_potential_[d] = alpha1[d] == 0 ? 0 : -highest[d];
            log_scale_[d] = log_marginal[d] - log_weight[d];
        }
    }

    void free_features() {
        const Priors& priors = problem_.priors;
        std::vector<Real> log_marginal(priors.log_q.begin(), priors.log_q.end());
        std::vector<Real> x(static_cast<std::size_t>(rows()));
        for (std::size_t k = 0; k < size_of_cols(); ++k) {
            problem_.reward.copy_column(plan_.active[k], x.data());
            const Real highest = *std::max_element(x.begin(), x.end());
            plan_.potential[k] = -highest;
            log_marginal[k] += log_growth(highest, problem_.alpha2[static_cast<Index>(k)]);
            Real sharing = 0;
            for (std::size_t d = 0; d < x.size(); ++d) {
                plan_.best[d] = (std::max)(plan_.best[d], x[d] - highest);
                if (x[d] != highest) continue;
                sharing += std::exp(prior_weight() * priors.log_p[static_cast<Index>(d)]);
            }
            plan_.log_weight[k] = log_marginal[k] - std::log(sharing);
        }
        log_mass_ = log_sum_exp(log_marginal.data(), cols());
        for (Index d = 0; d < rows(); ++d) {
            feature_potential_[d] = 0;
            log_scale_[d] = prior_weight() * priors.log_p[d];
            if (plan_.best[static_cast<std::size_t>(d)] < 0) log_scale_[d] = nothing;
        }
    }

    /// log of the sum of exp(log_weight) over the winners of each feature
    RealVector log_winners_weight() const {
        RealVector sum(rows());
        std::fill(sum.begin(), sum.end(), 0);
        std::vector<Real> score(static_cast<std::size_t>(rows()));
        const Real top = *std::max_element(plan_.log_weight.begin(), plan_.log_weight.end());
        for (Index k = 0; k < cols(); ++k) {
            plan_.score(k, score.data());
            for (Index d = 0; d < rows(); ++d) sum[d] += std::exp(score[static_cast<std::size_t>(d)] - top);
        }
        for (Real& s : sum) s = std::log(s) + top;
        return sum;
    }

    const Inspection& problem_;
    ScaledProblem scaled_;
    Plan plan_;
    RealVector feature_potential_;
    RealVector log_scale_;
    Real log_mass_ = 0;
};

}  // namespace otpool::detail
