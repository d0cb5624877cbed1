// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/bag_gradient.hpp"
#include "otpool/gradient/kernel_terms.hpp"
#include "otpool/gradient/plan_cotangent.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/gradient/trajectory.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/iterations.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/scaling.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/solution.hpp"

namespace otpool::detail {

/// K steps of Sinkhorn and their reverse. With y = X/a0, F = f/a0, G = g/a0, th = a0/a and k = 1/(1 + th) of each side, a
/// step is
///
///     s = LSE_n(y + G),   F = k1 (log p0 - s)
///     F' = F + T,         T = (LSE(log p0 - th1 F) - LSE(log q0 - th2 G)) / (th1 + th2)
///     u = LSE_d(y + F'),  G = k2 (log q0 - u)
///
/// Only F', G, s, u and T of every step are kept. The plans exp(y + G - s) and exp(y + F' - u) that the reverse needs are
/// exp(y) scaled by vectors, and so is what they add to dL/dy: steps that share their parameters share one exp an element,
/// and their 2K rank-one updates are one product (KernelTerms). Memory: the D x N gradient of the reward, and 3 (D + N)
/// numbers a step.
template <BagScalar Scalar, EntropicRegularizer R>
class Trajectory<Sinkhorn, Scalar, R> {
public:
    /// `steps`: empty, or one set of parameters for each of options.iterations.
    Trajectory(const Sinkhorn& solver, const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass,
               const std::vector<StepParameters>& steps, bool pooled_only)
        : problem_(steps.empty() ? problem : with_parameters(problem, steps.back())), parameters_(steps) {
        for (std::size_t k = 0; k < std::max<std::size_t>(1, steps.size()); ++k)
            require_interior("Sinkhorn", alpha0(k));
        const double tolerance = tolerance_or_default<Scalar>(solver.options);
        const Observer none;
        Iterations iterations(solver.options, tolerance, 0, none);
        const bool only_pools = pooled_only && !solver.options.history;
        std::optional<Scaling<Scalar>> scaling;
        for (std::size_t k = 0; iterations.again(); ++k) {
            if (k == 0 || !steps.empty()) begin(k, pass, scaling);
            Step& step = steps_.emplace_back();
            step.scaled = scaled_.back();
            step.from = scaling->instances().kernel;
            step.log_row_sum = scaling->log_row_sum();
            scaling->update_features();
            if (solver.translation && !only_pools) step.translation = scaling->translate();  // as Sinkhorn itself
            scaling->update_instances(iterations.is_last() ? &problem_.pooled_values() : nullptr);
            step.features = scaling->features().kernel;
            step.log_col_sum = scaling->log_col_sum();
            step.instances = scaling->instances().kernel;
            if (only_pools && !iterations.is_last()) {
                iterations.skip();
            } else {
                iterations.record(scaling->feature_residual(), scaling->attainable());
            }
        }
        log_row_sum_ = scaling->log_row_sum();
        solution = scaling->solution(problem_);
        if (scaling->pooled()) scaling->conditional_mean(solution.conditional_mean.emplace());
        iterations.report(solution);
        check_promise(solution, *scaled_.back(), std::max(scaling->attainable(), scaling->resolution()), tolerance);
    }

    Solution<Scalar, R> solution;  ///< Where it is only to pool, without the translations: of a multiple of the plan.

    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const Readout& readout, const RealVector& dL_dy) const {
        Reverse reverse(*this, gradient);
        reverse.plan(pull_back_readout(readout, solution, dL_dy, gradient));
        for (std::size_t k = steps_.size(); k-- > 0;) {
            reverse.update_instances(k);
            reverse.translate(k);
            reverse.update_features(k);
            reverse.begin(k);
        }
        reverse.finish();
    }

private:
    using Problem = std::shared_ptr<const ScaledProblem<Scalar>>;

    struct Step {
        Problem scaled;
        RealVector from, log_row_sum;      ///< Kernel potential of the instances the step starts from, and its LSE
        RealVector features, log_col_sum;  ///< Kernel potential of the features after the translation, and its LSE
        RealVector instances;              ///< Kernel potential of the instances
        Real translation = 0;              ///< T
    };

    /// Starts the steps' parameters that begin at k, from the potential that step k - 1 left.
    void begin(std::size_t k, const FirstPass<Scalar>& pass, std::optional<Scaling<Scalar>>& scaling) {
        const auto scaled = std::make_shared<ScaledProblem<Scalar>>();
        scaled->set(parameters_.empty() ? problem_ : with_parameters(problem_, parameters_[k]), pass);
        Buffer<Real> potential = scaled->instances.anchor;
        if (k > 0)
            potential += (steps_.back().instances - scaled_.back()->instances.anchor) * (alpha0(k - 1) / alpha0(k));
        scaling.emplace(*scaled, potential);
        scaled_.push_back(scaled);
    }

    static void require_interior(const std::string& solver, Real alpha0) {
        if (alpha0 > 0 && std::isfinite(alpha0)) return;
        throw UnsupportedProblem("Unrolled " + solver, "alpha0 = " + printed(alpha0), "alpha0 > 0 and finite");
    }

    Real alpha0(std::size_t k) const { return parameters_.empty() ? problem_.alpha0 : parameters_[k].alpha0; }

    /// Cotangents of the state, walked backwards; those of the parameters are added up in the gradient.
    class Reverse {
    public:
        Reverse(const Trajectory& trajectory, BagGradient<Scalar>& gradient)
            : trajectory_(trajectory),
              gradient_(gradient),
              features_(RealVector::Zero(trajectory.steps_.back().features.size())),
              instances_(RealVector::Zero(trajectory.steps_.back().instances.size())),
              log_p_(features_),
              log_q_(instances_) {}

        /// log P = y + F' + G + shift,  shift = max X / (alpha0 + alpha1 + alpha2);  P dL/dP = (slope v - offset) w
        void plan(const PlanCotangent& cotangent) {
            const Solution<Scalar, R>& found = trajectory_.solution;
            const std::size_t last = trajectory_.steps_.size() - 1;
            open(last);
            const Step& step = trajectory_.steps_[last];
            const RealVector ones = RealVector::Ones(step.instances.size());
            features_ = cotangent.slope.cwiseProduct(conditional_mean(found)) - cotangent.offset;
            of_instances_ =
                KernelTerm{-trajectory_.log_row_sum_, -cotangent.offset, step.instances, ones, cotangent.slope};
            const Real total = features_.sum();
            total_ += total;
            const auto& problem = found.problem;
            const Real stiffness = static_cast<Real>(problem.alpha0) + problem.features.alpha + problem.instances.alpha;
            if (std::isinf(stiffness)) return;
            offset_ += total / stiffness;
            const Real d_stiffness = -total * trajectory_.steps_.back().scaled->offset / stiffness / stiffness;
            for (RealVector* alpha : {&gradient_.alpha0, &gradient_.alpha1, &gradient_.alpha2}) {
                of_step(*alpha, last) += d_stiffness;
            }
        }

        /// u = LSE_d(y + F'),  G = k2 (log q0 - u)
        void update_instances(std::size_t k) {
            const Step& step = trajectory_.steps_[k];
            const ScaledMarginal& side = step.scaled->instances;
            const auto sums = terms_->add_for_sums(
                of_instances_, {step.features, RealVector::Ones(step.features.size()), -step.log_col_sum, {}},
                [&](Index n, Real sum) { return of_log_sum(side, instances_[n] + sum); });
            features_ += sums.of_rows;
            instances_ += sums.of_cols;
            half_step(k, side, step.log_col_sum, instances_, log_q_, gradient_.alpha2);
            instances_.setZero();
        }

        /// T = (LSE(log p0 - th1 F) - LSE(log q0 - th2 G)) / (th1 + th2)
        void translate(std::size_t k) {
            const Step& step = trajectory_.steps_[k];
            if (step.translation == 0) return;
            const ScaledMarginal& features = step.scaled->features;
            const ScaledMarginal& instances = step.scaled->instances;
            const RealVector F = step.features.array() - step.translation - features.anchor.array();
            const RealVector G = step.from - instances.anchor;
            const Real of_difference = features_.sum() / (features.ratio + instances.ratio);
            pull_back_log_sum(k, features, F, of_difference, step.translation, features_, log_p_, gradient_.alpha1);
            pull_back_log_sum(k, instances, G, -of_difference, -step.translation, instances_, log_q_, gradient_.alpha2);
        }

        /// s = LSE_n(y + G),  F = k1 (log p0 - s)
        void update_features(std::size_t k) {
            const Step& step = trajectory_.steps_[k];
            const ScaledMarginal& side = step.scaled->features;
            half_step(k, side, step.log_row_sum, features_, log_p_, gradient_.alpha1);
            of_instances_ = KernelTerm{-step.log_row_sum, of_log_sum(side, features_), step.from,
                                       RealVector::Ones(step.from.size())};
            features_.setZero();
        }

        /// The G that step k starts from is the one that step k - 1 ended with, in units of its own alpha0.
        void begin(std::size_t k) {
            if (k > 0 && trajectory_.parameters_.empty()) return;
            if (k > 0) instances_ += terms_->add_for_col_sums(*of_instances_);
            if (k == 0) terms_->add(*of_instances_);
            of_instances_.reset();
            close(k);
            if (k == 0) return;
            open(k - 1);
            const Real before = trajectory_.alpha0(k - 1);
            const Real now = trajectory_.alpha0(k);
            const Step& step = trajectory_.steps_[k];
            const Real moved = instances_.dot(step.from - step.scaled->instances.anchor);
            of_step(gradient_.alpha0, k - 1) += moved / before;
            of_step(gradient_.alpha0, k) -= moved / now;
            instances_ *= before / now;
        }

        /// X is taken relative to its largest entry, which the priors' parts of y do not see.
        void finish() {
            const Priors priors(trajectory_.problem_);
            add_prior_gradients(priors, log_p_, log_q_, gradient_);
            const auto [d, n] = trajectory_.steps_.front().scaled->highest();
            gradient_.reward(d, n) += static_cast<Scalar>(offset_);
        }

    private:
        /// Starts the terms of dL/dy of the steps up to k that share their parameters.
        void open(std::size_t k) {
            const Step& step = trajectory_.steps_[k];
            terms_.emplace(step.scaled->kernel, trajectory_.solution.problem.pooled_values(), step.features,
                           step.instances);
        }

        /// Adds what the terms make of dL/dX by y = (X - max X) / alpha0, to which RelativeEntropy adds log p0 + log q0.
        void close(std::size_t k) {
            const ScaledProblem<Scalar>& scaled = *trajectory_.steps_[k].scaled;
            const ScaledReward<Scalar>& kernel = scaled.kernel;
            const auto inverse_alpha0 = static_cast<Scalar>(kernel.inverse_alpha0);
            const auto offset = static_cast<Scalar>(scaled.offset);
            Vector<Scalar> scratch(kernel.rows());
            Real moment = 0;  // <dL/dy, X - max X>
            terms_->for_each_column([&](Index col, const auto& Y, const auto& W) {
                const Index n = kernel.instance(col);
                const auto x = kernel.reward.contiguous_col(n, scratch.data());
                gradient_.reward.col(n) += inverse_alpha0 * Y;
                if (terms_->has_slope()) gradient_.pooled_values().col(n) += W;
                moment += static_cast<Real>((Y.array() * (x.array() - offset)).sum());
                if constexpr (std::same_as<R, RelativeEntropy>) {
                    log_p_ += Y.template cast<Real>();
                    log_q_[col] += static_cast<Real>(Y.sum());
                }
            });
            offset_ -= total_ * kernel.inverse_alpha0;
            total_ = 0;
            of_step(gradient_.alpha0, k) -= moment * kernel.inverse_alpha0 * kernel.inverse_alpha0;
        }

        /// F = k (log prior - s), k = alpha / (alpha + alpha0); s as the kernel's log sum has it.
        void half_step(std::size_t k, const ScaledMarginal& side, const RealVector& log_sum,
                       const RealVector& potential, RealVector& log_prior, RealVector& alpha) {
            log_prior += side.damping * potential;
            total_ -= side.damping * potential.sum();  // the weights of a log sum add up to 1
            const Real of_damping = potential.dot(side.log_prior - log_sum - side.anchor);
            of_step(gradient_.alpha0, k) +=
                pull_back_damping(of_damping, side.alpha, trajectory_.alpha0(k), of_step(alpha, k));
        }
        /// dL/ds of it
        static auto of_log_sum(const ScaledMarginal& side, const auto& potential) { return -side.damping * potential; }

        /// Of  L = LSE(log prior - th F)  and of the th in T's denominator, given dL/d(L).
        void pull_back_log_sum(std::size_t k, const ScaledMarginal& side, const RealVector& F, Real of_log_sum,
                               Real translation, RealVector& potential, RealVector& log_prior, RealVector& alpha) {
            const RealVector exponents = side.log_prior - side.ratio * F;
            const RealVector weight = of_log_sum * (exponents.array() - log_sum_exp(exponents)).exp();
            log_prior += weight;
            if (side.is_hard()) return;
            potential -= side.ratio * weight;
            const Real of_ratio = -weight.dot(F) - of_log_sum * translation;
            of_step(gradient_.alpha0, k) += of_ratio / side.alpha;
            of_step(alpha, k) -= of_ratio * side.ratio / side.alpha;
        }

        const Trajectory& trajectory_;
        BagGradient<Scalar>& gradient_;
        RealVector features_;   ///< of F' or F
        RealVector instances_;  ///< of G, or of the G that a step starts from, but for what a pass is to find
        std::optional<KernelTerm> of_instances_;  ///< whose column sums that is
        RealVector log_p_, log_q_;
        Real offset_ = 0;                           ///< of max X
        Real total_ = 0;                            ///< sum_dk dL/dy_dk of the terms
        std::optional<KernelTerms<Scalar>> terms_;  ///< of dL/dy
    };

    UotProblem<Scalar, R> problem_;
    std::vector<StepParameters> parameters_;
    std::vector<Problem> scaled_;
    std::vector<Step> steps_;
    RealVector log_row_sum_;  ///< after the last step
};

}  // namespace otpool::detail
