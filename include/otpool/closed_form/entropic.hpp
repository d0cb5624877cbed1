// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <numbers>
#include <vector>

#include "otpool/closed_form/closed_form_of.hpp"
#include "otpool/closed_form/weighted_mean.hpp"
#include "otpool/closed_form/winners.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/problem/mass_half_step.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Entropy and RelativeEntropy have a closed form if a side is free (its potential is 0, and one half step gives the
/// other), or if alpha0 is infinite (the reward drops out).
template <EntropicRegularizer R>
struct ClosedFormOf<R> {
    template <BagScalar Scalar>
    static bool exists(const UotProblem<Scalar, R>& problem) {
        return has_free_side(problem) || std::isinf(problem.alpha0);
    }

    /// Cost: two to four passes over the reward, at most two exps per element.
    static SolvedPlan solve(const Inspection& problem, double tolerance) {
        if (problem.alpha0 == 0) return WinnersLimit<>(problem).solution();
        const ScaledProblem scaled(problem);
        HalfSteps steps(scaled);
        SolvedPlan found =
            exponential_solution(scaled, problem.alpha0, steps.of_features(), steps.of_instances(), steps.log_mass());
        found.outcome.residual = steps.residual;
        found.outcome.status = steps.residual <= tolerance ? Status::converged : Status::precision_limit;
        check_promise(found, scaled, rounding(steps.f, steps.pass), tolerance);
        return found;
    }

    /// The max costs nothing after the inspection; with values apart, one pass. alpha0 = inf, and Entropy with
    /// alpha0 > 0 and free instances, cost one pass over reward and values and at most one exp per element; all else up
    /// to six passes and three exps.
    template <BagScalar Scalar>
    static Outcome pool(const Inspection& problem, double tolerance, const Execution& execution, Workspace& workspace,
                        RealVector& mean) {
        const Outcome found{.status = Status::converged};
        if (problem.alpha0 == 0 && problem.alpha2.all_free() && problem.regularizer.prior_weight == 0) {
            pool_winners(problem, workspace, mean);
        } else if (problem.alpha0 == 0 || !pool_weighted<Scalar>(problem, execution, workspace, mean)) {
            mean = conditional_mean(closed_form_of<R>(problem, tolerance).log_plan, problem.pooled_values());
        }
        return found;
    }

private:
    /// mean <- the weighted mean in one pass, if the problem is one and its numbers are within the range of Scalar.
    template <BagScalar Scalar>
    static bool pool_weighted(const Inspection& problem, const Execution& execution, Workspace& workspace,
                              RealVector& mean) {
        auto& weighted = workspace.get<WeightedMean<Scalar>>();
        if (std::isinf(problem.alpha0)) {
            if (problem.alpha2.differ()) return false;
            set_weights_of_instances(problem, weighted);
        } else if (problem.alpha2.all_free() && problem.regularizer.prior_weight == 0) {
            const Real slope = std::numbers::log2e / problem.alpha0;
            if (slope > static_cast<Real>((std::numeric_limits<Scalar>::max)())) return false;
            weighted.slope = static_cast<Scalar>(slope);
            set_top(problem.highest, weighted.top);
        } else {
            return false;
        }
        weighted(problem, execution, mean);
        // Differences of the largest numbers, and sums of them, are infinite, and then so is the mean, or NaN.
        return all_finite(mean.data(), mean.size());
    }

    /// A column of rewards and of values, and how many instances share a feature's maximum.
    struct Winners {
        Buffer<Real> reward, value, count;
    };

    /// mean <- the mean of the values over the instances of the highest reward: the max, if reward and values are one.
    static void pool_winners(const Inspection& problem, Workspace& workspace, RealVector& mean) {
        mean = problem.highest;
        if (problem.values.empty()) return;
        auto& winners = workspace.get<Winners>();
        const Index rows = problem.features();
        for (Buffer<Real>* of_column : {&winners.reward, &winners.value, &winners.count}) of_column->assign(rows, 0);
        for (const Index n : problem.priors.active) {
            const Real* const x = problem.reward.column(n, winners.reward.data());
            const Real* const v = problem.values.column(n, winners.value.data());
            for (Index d = 0; d < rows; ++d) {
                if (x[d] != problem.highest[d]) continue;
                const Real count = winners.count[d] += 1;
                // A running mean, which equal values do not round, and which no large ones overflow.
                mean[d] = count == 1 ? v[d] : mean[d] + (v[d] / count - mean[d] / count);
            }
        }
    }

    /// One half step each for f and g, in the log domain. If a side is free or alpha0 infinite, they are the optimum. The
    /// multiplier of a fixed mass comes with the features' half step, or with the instances' if the features are free.
    ///
    /// At alpha0 = inf lines that are not hard stay at their anchor, which is 0 or the prior's logarithm. The plan is
    /// u v^T with u_d = p0_d / A and v_n = q0_n / B on hard lines, where A = sum v and B = sum u. With a fixed mass, all
    /// other u_d have a factor in common.
    struct HalfSteps {
        Buffer<Real> f, f_penalty;
        PassResult pass;
        Real residual = 0;
        Real feature_multiplier = 0, instance_multiplier = 0;  ///< As in ScaledPotential.

        explicit HalfSteps(const ScaledProblem& problem) {
            const ScaledReward& kernel = problem.kernel;
            const Side& features = problem.features;
            LogDomainKernel<ScaledReward> log_domain(kernel);
            pass.resize(kernel.rows(), kernel.cols());
            pass.col_potential = problem.instances.anchor;
            if (kernel.inverse_alpha0 == 0) meet_hard_instances(problem);
            pass.col_penalty.assign(kernel.cols(), 0);
            for (Buffer<Real>* of_rows : {&f, &f_penalty}) of_rows->resize(kernel.rows());
            Buffer<Real>& log_row_sum = pass.log_row_mass;
            const auto set_row_mass = [&] {
                for (Index d = 0; d < kernel.rows(); ++d) log_row_sum[d] += f[d];
            };
            log_domain.log_row_sums(pass.col_potential.data(), log_row_sum.data());
            const bool multiplier_on_instances = problem.log_mass && features.has_no_penalty();
            if (problem.log_mass && !multiplier_on_instances) {
                feature_multiplier = half_step_with_multiplier(features, *problem.log_mass, log_row_sum, f, f_penalty);
            } else {
                features.half_steps(0, kernel.rows(), log_row_sum.data(), f.data(), f_penalty.data());
            }
            set_row_mass();
            if (multiplier_on_instances || !problem.instances.has_no_penalty())
                log_domain.sweep(f.data(), problem.instances, pass);
            if (multiplier_on_instances) {
                instance_multiplier = half_step_with_multiplier(problem.instances, *problem.log_mass, pass.log_col_sum,
                                                                pass.col_potential, pass.col_penalty);
                log_domain.log_row_sums(pass.col_potential.data(), log_row_sum.data());
                set_row_mass();
            }
            residual = (std::max)(features.violation(pass.log_row_mass.data(), f_penalty.data()),
                                  mass_violation(problem.log_mass, pass.log_row_mass));
            // At alpha0 = inf soft features cannot move towards their prior; the marginal gives their penalty.
            for (Index d = 0; d < kernel.rows(); ++d) {
                if (features.line(d).is_free()) f_penalty[d] = features.log_prior[d] - pass.log_row_mass[d];
            }
        }

        /// Takes a side's half step with the multiplier of the mass, and returns that.
        static Real half_step_with_multiplier(const Side& side, Real log_mass, const Buffer<Real>& log_sum,
                                              Buffer<Real>& potential, Buffer<Real>& penalty) {
            MassHalfStep<> half_step;
            half_step.set(side, log_mass);
            half_step(log_sum.data(), potential.data(), penalty.data());
            return half_step.multiplier();
        }

        /// col_potential <- log v of hard instances, where some are not. With m0, n0 the sums of u, v over other lines, P
        /// and Q those of p0, q0 over hard ones, A is the positive root of m0 A^2 + (P - m0 n0 - Q) A = n0 P; and
        /// B = (m - Q) / n0 if the mass m is fixed.
        void meet_hard_instances(const ScaledProblem& problem) {
            const auto sum = [](const Side& side, const Buffer<Real>& logs, bool of_hard_lines) {
                Real total = 0;
                for (Index i = 0; i < side.size(); ++i) {
                    if (side.line(i).is_hard() == of_hard_lines) total += std::exp(logs[i]);
                }
                return total;
            };
            const Side& features = problem.features;
            const Side& instances = problem.instances;
            if (!instances.differ() && !features.differ()) return;
            if (features.is_hard() && instances.is_hard()) return;
            const Real P = sum(features, features.log_prior, true);
            const Real Q = sum(instances, instances.log_prior, true);
            const Real m0 = sum(features, features.anchor, false);
            const Real n0 = sum(instances, instances.anchor, false);
            const Real half = (m0 * n0 + Q - P) / 2;
            const Real root = std::hypot(half, std::sqrt(m0 * n0 * P));
            const Real A = half > 0 ? (half + root) / m0 : n0 * P / (root - half);
            const Real log_B =
                problem.log_mass ? std::log((std::exp(*problem.log_mass) - Q) / n0) : std::log(m0 + P / A);
            for (Index k = 0; k < instances.size(); ++k) {
                if (instances.line(k).is_hard()) pass.col_potential[k] = instances.log_prior[k] - log_B;
            }
        }

        Real log_mass() const { return log_sum_exp(pass.log_row_mass.data(), pass.log_row_mass.size()); }
        ScaledPotential of_features() const { return {f, f_penalty, feature_multiplier}; }
        ScaledPotential of_instances() const { return {pass.col_potential, pass.col_penalty, instance_multiplier}; }
    };

    /// alpha0 = inf: all features weigh instance n alike, by q0_n (RelativeEntropy, or hard instances) or by 1.
    template <BagScalar Work>
    static void set_weights_of_instances(const Inspection& problem, WeightedMean<Work>& weighted) {
        const Real power = problem.alpha2.all_hard() ? 1 : problem.regularizer.prior_weight;
        const Buffer<Real>& log_q = problem.priors.log_q;
        const Real highest = power * *std::max_element(log_q.begin(), log_q.end());
        weighted.slope = 0;
        weighted.instance_weight.resize(log_q.size());
        for (Index k = 0; k < log_q.size(); ++k) {
            const Real exponent = power * log_q[k] - highest;
            weighted.instance_weight[k] = exponent == 0 ? Work(1) : static_cast<Work>(std::exp(exponent));
        }
    }

    template <BagScalar Work>
    static void set_top(const RealVector& highest, Buffer<Work>& top) {
        top.assign(padded(highest.size()), 0);
        for (Index d = 0; d < highest.size(); ++d) top[d] = static_cast<Work>(highest[d]);
    }
};

}  // namespace otpool::detail
