// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
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
/// Only F', s, u, T and both G of every step are kept. The plans exp(y + G - s) and exp(y + F' - u) that the reverse needs
/// are exp(y) scaled by vectors, and so is what they add to dL/dy: steps that share their parameters share one exp an
/// element, and their 2K rank-one updates are one product (KernelTerms). Memory: the D x N gradient of the reward, and
/// 2 D + 3 N numbers a step.
///
/// Where only the conditional mean is wanted, T is left out, as Sinkhorn does: the mean and its gradient do not see it.
template <BagScalar Scalar, EntropicRegularizer R>
class Trajectory<Sinkhorn, Scalar, R> {
public:
    /// `steps`: empty, or one set of parameters for each of options.iterations.
    Trajectory(const Sinkhorn& solver, const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass,
               const std::vector<StepParameters>& steps, bool pooled_only, Workspace& workspace)
        : alpha0_(problem.alpha0), parameters_(steps), only_pools_(pooled_only && !solver.options.history) {
        for (Index k = 0; k < std::max<Index>(1, static_cast<Index>(steps.size())); ++k)
            require_interior("Sinkhorn", alpha0(k));
        const double tolerance = tolerance_or_default<Scalar>(solver.options);
        const Observer none;
        Iterations iterations(solver.options, tolerance, 0, none);
        auto& scaling = workspace.get<ScalingWorkspace<Scalar>>().scaling;
        resize(problem.reward.rows(), static_cast<Index>(pass.priors.active.size()), *solver.options.iterations);
        for (Index k = 0; iterations.again(); ++k) {
            if (k == 0 || !steps.empty()) begin(k, problem, pass, scaling);
            from_.col(k) = scaling.instances().kernel;
            log_row_sum_.col(k) = scaling.log_row_sum();
            scaling.update_features();
            if (solver.translation && !only_pools_) translation_[k] = scaling.translate();
            scaling.update_instances(iterations.is_last() ? &problem.pooled_values() : nullptr);
            features_.col(k) = scaling.features().kernel;
            log_col_sum_.col(k) = scaling.log_col_sum();
            instances_.col(k) = scaling.instances().kernel;
            if (iterations.wants_residual()) {
                iterations.record(scaling.feature_residual(), scaling.attainable());
            } else {
                iterations.skip();
            }
        }
        log_row_sum_.rightCols(1) = scaling.log_row_sum();
        solution = scaling.solution(steps.empty() ? problem : with_parameters(problem, steps.back()));
        if (scaling.pooled()) scaling.conditional_mean(solution.conditional_mean.emplace());
        iterations.report(solution);
        check_promise(solution, *scaled_.back(), std::max(scaling.attainable(), scaling.resolution()), tolerance);
    }

    /// Where it is only to pool, without the translations: of a multiple of the plan.
    Solution<Scalar, R> solution;

    /// `found`: the solution, which may have been moved. Throws UnsupportedProblem where the tape is only to pool and the
    /// readout is of more than the conditional mean.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const Solution<Scalar, R>& found, const Readout& readout,
                const RealVector& dL_dy, Workspace& workspace) const {
        if (only_pools_) require_conditional_mean<Readout>();
        auto& reverse = workspace.get<Reverse>();
        reverse.start(*this, found, gradient);
        reverse.plan(pull_back_readout(readout, found, dL_dy, gradient));
        for (Index k = steps() - 1; k >= 0; --k) {
            reverse.update_instances(k);
            reverse.translate(k);
            reverse.update_features(k);
            reverse.begin(k);
        }
        reverse.finish(workspace);
    }

private:
    void resize(Index rows, Index cols, Index steps) {
        for (RealMatrix* of_instances : {&from_, &log_col_sum_, &instances_}) of_instances->resize(cols, steps);
        features_.resize(rows, steps);
        log_row_sum_.resize(rows, steps + 1);
        translation_ = RealVector::Zero(steps);
    }
    Index steps() const { return translation_.size(); }

    const ScaledProblem<Scalar>& scaled(Index k) const {
        return *scaled_[parameters_.empty() ? 0 : static_cast<std::size_t>(k)];
    }

    /// Starts the steps' parameters that begin at k, from the potential that step k - 1 left.
    void begin(Index k, const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass, Scaling<Scalar>& scaling) {
        const auto next = std::make_shared<ScaledProblem<Scalar>>();
        next->set(parameters_.empty() ? problem : with_parameters(problem, parameters_[static_cast<std::size_t>(k)]),
                  pass);
        scaled_.push_back(next);
        if (k == 0) return scaling.start(*next, next->instances.anchor);
        const RealVector moved = instances_.col(k - 1) - scaled(k - 1).instances.anchor;
        scaling.start(*next, next->instances.anchor + moved * (alpha0(k - 1) / alpha0(k)));
    }

    static void require_interior(const std::string& solver, Real alpha0) {
        if (alpha0 > 0 && std::isfinite(alpha0)) return;
        throw UnsupportedProblem("Unrolled " + solver, "alpha0 = " + printed(alpha0), "alpha0 > 0 and finite");
    }

    Real alpha0(Index k) const {
        return parameters_.empty() ? alpha0_ : parameters_[static_cast<std::size_t>(k)].alpha0;
    }

    /// Cotangents of the state, walked backwards; those of the parameters are added up in the gradient.
    class Reverse {
    public:
        void start(const Trajectory& trajectory, const Solution<Scalar, R>& found, BagGradient<Scalar>& gradient) {
            trajectory_ = &trajectory;
            found_ = &found;
            gradient_ = &gradient;
            for (Buffer<Real>* of : {&features_, &log_p_}) of->resize(trajectory.features_.rows());
            for (Buffer<Real>* of : {&instances_, &log_q_}) of->resize(trajectory.instances_.rows());
            for (Buffer<Real>* of : {&features_, &log_p_, &instances_, &log_q_}) of->setZero();
            offset_ = total_ = 0;
        }

        /// log P = y + F' + G + shift,  shift = max X / (alpha0 + alpha1 + alpha2);  P dL/dP = (slope v - offset) w
        void plan(const PlanCotangent& cotangent) {
            const Index last = trajectory_->steps() - 1;
            open(last);
            features_ = cotangent.slope.cwiseProduct(conditional_mean(*found_)) - cotangent.offset;
            set_term(trajectory_->log_row_sum_.col(last + 1), trajectory_->instances_.col(last));
            term_.row_factor = -cotangent.offset;
            term_.slope = cotangent.slope;
            const Real total = features_.sum();
            total_ += total;
            const auto& problem = found_->problem;
            const Real stiffness = static_cast<Real>(problem.alpha0) + problem.features.alpha + problem.instances.alpha;
            if (std::isinf(stiffness)) return;
            offset_ += total / stiffness;
            const Real d_stiffness = -total * trajectory_->scaled(last).offset / stiffness / stiffness;
            for (RealVector* alpha : {&gradient_->alpha0, &gradient_->alpha1, &gradient_->alpha2}) {
                of_step(*alpha, last) += d_stiffness;
            }
        }

        /// u = LSE_d(y + F'),  G = k2 (log q0 - u)
        void update_instances(Index k) {
            const ScaledMarginal& side = trajectory_->scaled(k).instances;
            term_of_cols_.row_exponent = trajectory_->features_.col(k);
            term_of_cols_.row_factor.resize(features_.size());
            term_of_cols_.row_factor.setOnes();
            term_of_cols_.col_exponent = -trajectory_->log_col_sum_.col(k);
            const auto& sums = terms_.add_for_sums(has_term_ ? &term_ : nullptr, term_of_cols_, [&](Index n, Real sum) {
                return of_log_sum(side, instances_[n] + sum);
            });
            features_ += sums.of_rows;
            instances_ += sums.of_cols;
            half_step(k, side, trajectory_->log_col_sum_.col(k), instances_, log_q_, gradient_->alpha2);
            instances_.setZero();
        }

        /// T = (LSE(log p0 - th1 F) - LSE(log q0 - th2 G)) / (th1 + th2)
        void translate(Index k) {
            const Real translation = trajectory_->translation_[k];
            if (translation == 0) return;
            const ScaledMarginal& features = trajectory_->scaled(k).features;
            const ScaledMarginal& instances = trajectory_->scaled(k).instances;
            const RealVector F = trajectory_->features_.col(k).array() - translation - features.anchor.array();
            const RealVector G = trajectory_->from_.col(k) - instances.anchor;
            const Real of_difference = features_.sum() / (features.ratio + instances.ratio);
            pull_back_log_sum(k, features, F, of_difference, translation, features_, log_p_, gradient_->alpha1);
            pull_back_log_sum(k, instances, G, -of_difference, -translation, instances_, log_q_, gradient_->alpha2);
        }

        /// s = LSE_n(y + G),  F = k1 (log p0 - s)
        void update_features(Index k) {
            const ScaledMarginal& side = trajectory_->scaled(k).features;
            half_step(k, side, trajectory_->log_row_sum_.col(k), features_, log_p_, gradient_->alpha1);
            set_term(trajectory_->log_row_sum_.col(k), trajectory_->from_.col(k));
            term_.row_factor = of_log_sum(side, features_);
            term_.slope.resize(0);
            features_.setZero();
        }

        /// The G that step k starts from is the one that step k - 1 ended with, in units of its own alpha0.
        void begin(Index k) {
            if (k > 0 && trajectory_->parameters_.empty()) return;
            if (k > 0) instances_ += terms_.add_for_col_sums(term_);
            if (k == 0) terms_.add(term_);
            has_term_ = false;
            close(k);
            if (k == 0) return;
            open(k - 1);
            const Real before = trajectory_->alpha0(k - 1);
            const Real now = trajectory_->alpha0(k);
            const Real moved = instances_.dot(trajectory_->from_.col(k) - trajectory_->scaled(k).instances.anchor);
            of_step(gradient_->alpha0, k - 1) += moved / before;
            of_step(gradient_->alpha0, k) -= moved / now;
            instances_ *= before / now;
        }

        /// X is taken relative to its largest entry, which the priors' parts of y do not see.
        void finish(Workspace& workspace) {
            auto& priors = workspace.get<Priors>();
            priors.set(found_->problem);
            add_prior_gradients(priors, log_p_, log_q_, *gradient_);
            const auto [d, n] = trajectory_->scaled(0).highest();
            gradient_->reward(d, n) += static_cast<Scalar>(offset_);
        }

    private:
        /// Starts the terms of dL/dy of the steps up to k that share their parameters.
        void open(Index k) {
            has_term_ = false;
            terms_.start(trajectory_->scaled(k).kernel, found_->problem.pooled_values(), trajectory_->features_.col(k),
                         trajectory_->instances_.col(k));
        }

        /// term_ <- exp(y + potential - log sum), but for the factor of the row.
        void set_term(const auto& log_row_sum, const auto& col_potential) {
            has_term_ = true;
            term_.row_exponent = -log_row_sum;
            term_.col_exponent = col_potential;
            term_.col_factor.resize(instances_.size());
            term_.col_factor.setOnes();
        }

        /// Adds what the terms make of dL/dX by y = (X - max X) / alpha0, to which RelativeEntropy adds log p0 + log q0.
        void close(Index k) {
            const ScaledProblem<Scalar>& scaled = trajectory_->scaled(k);
            const ScaledReward<Scalar>& kernel = scaled.kernel;
            const auto inverse_alpha0 = static_cast<Scalar>(kernel.inverse_alpha0);
            const auto offset = static_cast<Scalar>(scaled.offset);
            Vector<Scalar> scratch(kernel.rows());
            Real moment = 0;  // <dL/dy, X - max X>
            terms_.for_each_column([&](Index col, const auto& Y, const auto& W) {
                const Index n = kernel.instance(col);
                const auto x = kernel.reward.contiguous_col(n, scratch.data());
                gradient_->reward.col(n) += inverse_alpha0 * Y;
                if (terms_.has_slope()) gradient_->pooled_values().col(n) += W;
                moment += static_cast<Real>((Y.array() * (x.array() - offset)).sum());
                if constexpr (std::same_as<R, RelativeEntropy>) {
                    log_p_ += Y.template cast<Real>();
                    log_q_[col] += static_cast<Real>(Y.sum());
                }
            });
            offset_ -= total_ * kernel.inverse_alpha0;
            total_ = 0;
            of_step(gradient_->alpha0, k) -= moment * kernel.inverse_alpha0 * kernel.inverse_alpha0;
        }

        /// F = k (log prior - s), k = alpha / (alpha + alpha0); s as the kernel's log sum has it.
        void half_step(Index k, const ScaledMarginal& side, const auto& log_sum, const Buffer<Real>& potential,
                       Buffer<Real>& log_prior, RealVector& alpha) {
            log_prior += side.damping * potential;
            total_ -= side.damping * potential.sum();  // the weights of a log sum add up to 1
            const Real of_damping = potential.dot(side.log_prior - log_sum - side.anchor);
            of_step(gradient_->alpha0, k) +=
                pull_back_damping(of_damping, side.alpha, trajectory_->alpha0(k), of_step(alpha, k));
        }
        /// dL/ds of it
        static auto of_log_sum(const ScaledMarginal& side, const auto& potential) { return -side.damping * potential; }

        /// Of  L = LSE(log prior - th F)  and of the th in T's denominator, given dL/d(L).
        void pull_back_log_sum(Index k, const ScaledMarginal& side, const RealVector& F, Real of_log_sum,
                               Real translation, Buffer<Real>& potential, Buffer<Real>& log_prior, RealVector& alpha) {
            const RealVector exponents = side.log_prior - side.ratio * F;
            const RealVector weight = of_log_sum * (exponents.array() - log_sum_exp(exponents)).exp();
            log_prior += weight;
            if (side.is_hard()) return;
            potential -= side.ratio * weight;
            const Real of_ratio = -weight.dot(F) - of_log_sum * translation;
            of_step(gradient_->alpha0, k) += of_ratio / side.alpha;
            of_step(alpha, k) -= of_ratio * side.ratio / side.alpha;
        }

        const Trajectory* trajectory_ = nullptr;
        const Solution<Scalar, R>* found_ = nullptr;
        BagGradient<Scalar>* gradient_ = nullptr;
        Buffer<Real> features_;   ///< of F' or F
        Buffer<Real> instances_;  ///< of G, or of the G that a step starts from, but for what a pass is to find
        bool has_term_ = false;
        KernelTerm term_;          ///< whose column sums that is
        KernelTerm term_of_cols_;  ///< what the instances' update adds
        Buffer<Real> log_p_, log_q_;
        Real offset_ = 0;            ///< of max X
        Real total_ = 0;             ///< sum_dk dL/dy_dk of the terms
        KernelTerms<Scalar> terms_;  ///< of dL/dy
    };

    Real alpha0_;  ///< Of all steps, unless each has parameters_.
    std::vector<StepParameters> parameters_;
    bool only_pools_;
    std::vector<std::shared_ptr<const ScaledProblem<Scalar>>> scaled_;
    // A column a step:
    RealMatrix from_;         ///< kernel potential of the instances that it starts from
    RealMatrix log_row_sum_;  ///< LSE of that; and of what the last one ends with
    RealMatrix features_;     ///< kernel potential of the features after the translation
    RealMatrix log_col_sum_;  ///< LSE of that
    RealMatrix instances_;    ///< kernel potential of the instances
    RealVector translation_;  ///< T
};

}  // namespace otpool::detail
