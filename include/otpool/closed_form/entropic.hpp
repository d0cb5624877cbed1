// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/steps/scaling.hpp"

namespace otpool::detail {

/// Whether the problem's solution is known without iterating: a side is free (its potential is zero and the other's
/// one half step away), or alpha0 is infinite (the reward drops out).
template <BagScalar Scalar, EntropicRegularizer R>
bool has_closed_form(const UotProblem<Scalar, R>& problem) {
    return problem.instances.alpha == 0 || problem.features.alpha == 0 || std::isinf(problem.alpha0);
}

/// alpha0 = 0 with a free side: the limit alpha0 -> 0+ of the plan. Ties share as the limit does.
///
/// Free instances: feature d draws on argmax_n x_dn with r_d = p0_d exp(x_max / alpha1). Free features: instance n is
/// drawn on by argmax_d x_dn with c_n = q0_n exp(x_max / alpha2); a feature that wins no instance has no mass, and
/// pools where the limit's vanishing mass is, at argmax_n (x_dn - max_d x_dn).
template <BagScalar Scalar, Regularizer R>
class WinnersLimit {
public:
    WinnersLimit(const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass) : problem_(problem) {
        scaled_.set(problem, pass);
        plan_ = {scaled_.kernel.reward, scaled_.kernel.active, {}, RealVector::Zero(cols()), scaled_.kernel.row_shift};
        plan_.instance_potential = RealVector::Zero(cols());
        if (relative) plan_.log_weight = scaled_.instances.log_prior;
        if (problem.instances.alpha == 0) {
            free_instances();
        } else {
            free_features();
        }
    }

    Solution<Scalar, R> solution() const {
        Solution<Scalar, R> solution{.problem = problem_};
        solution.status = Status::converged;
        solution.feature_potential = feature_potential_.unaryExpr([](Real f) { return saturated<Scalar>(f); });
        solution.instance_potential =
            on_all_instances<Scalar>(scaled_.all_instances, scaled_.kernel.active,
                                     [&](Index k) { return saturated<Scalar>(plan_.instance_potential[k]); });
        solution.log_mass = log_mass_;
        solution.log_plan = LogPlan<Scalar>(plan_, log_scale_, scaled_.kernel.active);
        check_mass_range(solution);
        // With nothing to hold it the mass is unbounded; the plan is then the limit under the constraint sum P = 1.
        if (problem_.features.alpha == 0 && problem_.instances.alpha == 0) solution.status = Status::mass_out_of_range;
        return solution;
    }

private:
    static constexpr bool relative = std::same_as<R, RelativeEntropy>;
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    Index rows() const { return scaled_.kernel.rows(); }
    Index cols() const { return scaled_.kernel.cols(); }

    void free_instances() {
        const RealVector& highest = scaled_.kernel.row_shift;
        const Real alpha1 = problem_.features.alpha;
        RealVector log_marginal = scaled_.features.log_prior;
        if (alpha1 == 0) {
            log_marginal =
                (highest.array() == scaled_.offset).select(log_marginal, RealVector::Constant(rows(), nothing));
            log_marginal.array() -= log_sum_exp(log_marginal);
        } else if (std::isfinite(alpha1)) {
            log_marginal.array() += (highest.array() / alpha1).max(lowest_exponent).min(-lowest_exponent);
        }
        feature_potential_ = alpha1 == 0 ? RealVector(RealVector::Zero(rows())) : RealVector(-highest);
        log_mass_ = log_sum_exp(log_marginal);
        log_scale_ = log_marginal - log_winners_weight();
    }

    void free_features() {
        const Real alpha2 = problem_.instances.alpha;
        feature_potential_ = RealVector::Zero(rows());
        plan_.best.setConstant(nothing);
        RealVector log_marginal = scaled_.instances.log_prior;
        for (Index k = 0; k < cols(); ++k) {
            const RealVector x = scaled_.kernel.reward.col(scaled_.kernel.instance(k));
            const Real highest = x.maxCoeff();
            plan_.instance_potential[k] = -highest;
            plan_.best = plan_.best.array().max(x.array() - highest);
            if (std::isfinite(alpha2))
                log_marginal[k] += std::clamp(highest / alpha2, lowest_exponent, -lowest_exponent);
            Real sharing = 0;
            for (Index d = 0; d < rows(); ++d) {
                if (x[d] == highest) sharing += relative ? std::exp(scaled_.features.log_prior[d]) : 1;
            }
            plan_.log_weight[k] = log_marginal[k] - std::log(sharing);
        }
        log_mass_ = log_sum_exp(log_marginal);
        log_scale_ = RealVector::Zero(rows());
        if (relative) log_scale_ = scaled_.features.log_prior;
        for (Index d = 0; d < rows(); ++d) {
            if (plan_.best[d] < 0) log_scale_[d] = nothing;
        }
    }

    /// log sum of exp(log_weight) over each feature's winners
    RealVector log_winners_weight() const {
        RealVector sum = RealVector::Zero(rows());
        RealVector score(rows());
        const Real top = plan_.log_weight.maxCoeff();
        for (Index k = 0; k < cols(); ++k) {
            plan_.score(k, score);
            sum.array() += (score.array() - top).exp();
        }
        return sum.array().log() + top;
    }

    const UotProblem<Scalar, R>& problem_;
    ScaledProblem<Scalar> scaled_;
    WinnersPlan<Scalar> plan_;
    RealVector feature_potential_;
    RealVector log_scale_;
    Real log_mass_ = 0;
};

/// The exact solution where has_closed_form(). Cost: one to three passes over the reward, at most two exps an
/// element.
template <BagScalar Scalar, EntropicRegularizer R>
Solution<Scalar, R> closed_form(const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass, double tolerance,
                                const Run<Scalar, R>& run, Workspace& workspace) {
    const bool max_pooling = run.pooled_only && problem.instances.alpha == 0 && problem.values.empty();
    if (problem.alpha0 == 0 && !max_pooling) return WinnersLimit<Scalar, R>(problem, pass).solution();
    auto& scaled = workspace.get<ScaledProblem<Scalar>>();
    auto& scaling = workspace.get<Scaling<Scalar, Scalar>>();
    scaled.set(problem, pass);
    RealVector& mean = workspace.get<PooledMean>().values;
    if (problem.alpha0 == 0) {
        mean = scaled.kernel.row_shift;
        return pooled_solution<Scalar, R>(std::move(mean));
    }
    // With a free side, or without a reward, scaling ends after its first iteration.
    const MatrixView<Scalar>* values = run.pooled_only ? &problem.values : nullptr;
    const bool updates_instances = scaled.instances.alpha > 0;
    scaling.start(scaled, scaled.instances.anchor, run.execution, updates_instances ? nullptr : values);
    scaling.update_features();
    if (updates_instances) scaling.update_instances(values);
    if (scaling.pooled()) {
        scaling.conditional_mean(mean);
        return pooled_solution<Scalar, R>(std::move(mean));
    }
    Solution<Scalar, R> solution = scaling.solution(problem);
    solution.residual = scaling.feature_residual();
    solution.status = solution.residual <= tolerance ? Status::converged : Status::precision_limit;
    check_promise(solution, scaled, scaling.attainable(), tolerance);
    return solution;
}

}  // namespace otpool::detail
