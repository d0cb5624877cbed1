// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/gradient/reverse/sinkhorn/reward_gradient_column.hpp"
#include "otpool/gradient/reverse/sinkhorn/scaled_kernel_sum.hpp"
#include "otpool/gradient/reverse/sinkhorn/side_reverse.hpp"
#include "otpool/gradient/reverse/sinkhorn/sinkhorn_tape.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/translation.hpp"

namespace otpool::detail {

/// The reverse of K steps of Sinkhorn; Trajectory<Sinkhorn> says what a step is. Walks backwards with the derivatives with
/// respect to the potentials, and adds those of the parameters to the gradient. Its memory is used again by the next bag.
template <BagScalar Scalar>
class SinkhornReverse {
public:
    /// Adds all derivatives to the gradient. `values`: what was pooled; `mean`: its conditional mean.
    void run(const SinkhornTape& tape, const PlanGradient& of_plan, const AnyView& values, const RealVector& mean,
             BagGradient<Scalar>& gradient) {
        start(tape, values, gradient);
        pull_back_plan(of_plan, mean);
        if (tape.instances_first) end_on_features();
        for (Index k = tape.steps() - 1; k >= 0; --k) {
            update_instances(k);
            if (tape.has_features(k)) {
                translate(k);
                update_features(k);
            }
            begin(k);
        }
        finish();
    }

private:
    using L = Lanes<Scalar>;

    void start(const SinkhornTape& tape, const AnyView& values, BagGradient<Scalar>& gradient) {
        tape_ = &tape;
        values_ = values;
        gradient_ = &gradient;
        const ScaledReward& kernel = tape.scaled(0).kernel;
        features_ = RealVector::Zero(kernel.rows());
        instances_ = RealVector::Zero(kernel.cols());
        of_features_.start(kernel.rows(), gradient.alphas1.size() > 0);
        of_instances_.start(kernel.cols(), gradient.alphas2.size() > 0);
        term_.weights = ScaledKernel::Weights::of_rows;
        term_of_cols_.weights = ScaledKernel::Weights::of_cols;
        of_reward_.resize(0);
        offset_ = total_ = 0;
    }

    /// log P = y + F' + G + shift,  shift = max X / (alpha0 + alpha1 + alpha2);  P dL/dP = (slope v - offset) w
    void pull_back_plan(const PlanGradient& of_plan, const RealVector& mean) {
        const Index last = tape_->steps() - 1;
        open(last);
        features_ = of_plan.slope.cwiseProduct(mean) - of_plan.offset;
        term_.row_factor = -of_plan.offset;
        term_.slope = of_plan.slope;
        set_term(last + 1, features_);
        const Real total = features_.vector().sum();
        total_ += total;
        const ScaledProblem& scaled = tape_->scaled(last);
        const Real stiffness =
            tape_->parameters[last].alpha0 + scaled.features.common.alpha + scaled.instances.common.alpha;
        if (!std::isfinite(stiffness) || !scaled.takes_offset) return;
        offset_ += total / stiffness;
        const Real of_stiffness = -total * scaled.offset / stiffness / stiffness;
        of_step(gradient_->alpha0, last) += of_stiffness;
        of_features_.add_to_alpha(of_stiffness, of_step(gradient_->alpha1, last));
        of_instances_.add_to_alpha(of_stiffness, of_step(gradient_->alpha2, last));
    }

    /// s = LSE_n(y + G),  F = k1 (log p0 - s) after the last step. The weights of s are the plan's: it adds to that term.
    void end_on_features() {
        const Index end = tape_->steps();
        const Buffer<Real>& of_log_sum = half_step_of_features(end - 1, tape_->log_row_sum(end));
        term_.row_factor.vector() += of_log_sum.vector();
        term_.row_sum.vector() += of_log_sum.vector();
    }

    /// u = LSE_d(y + F'),  G = k2 (log q0 - u)
    void update_instances(Index k) {
        const Side& side = tape_->scaled(k).instances;
        tape_->features(k, term_of_cols_.row_exponent);
        term_of_cols_.row_factor = RealVector::Ones(features_.size());
        term_of_cols_.col_exponent = -Eigen::Map<const RealVector>(tape_->log_col_sum(k), instances_.size());
        const auto& sums = terms_.add_for_sums(has_term_ ? &term_ : nullptr, term_of_cols_, [&](Index i, Real sum) {
            return -side.line(i).damping * (instances_[i] + sum);  // dL/du
        });
        features_.vector() += sums.of_rows.vector();
        instances_.vector() += sums.of_cols.vector();
        total_ += of_instances_.half_step(side, tape_->log_col_sum(k), instances_, alphas(k, gradient_->alpha2));
        instances_.vector().setZero();
        tape_->start(k, term_.col_exponent);
    }

    /// T makes the sides ask for equal masses, L and R. So dT = (d log L - d log R at fixed T) / (sum of their slopes).
    void translate(Index k) {
        const Side& features = tape_->scaled(k).features;
        const Side& instances = tape_->scaled(k).instances;
        if (!tape_->translates || !has_translation(features, instances)) return;
        const Real T = tape_->translation[static_cast<std::size_t>(k)];
        const auto F = [&](Index d) { return term_of_cols_.row_exponent[d] - features.anchor[d]; };  // after it
        const auto G = [&](Index n) { return term_.col_exponent[n] - T - instances.anchor[n]; };
        const auto log_mass = [&](Index d) { return features.anchor[d] + tape_->log_row_sum(k)[d] - T; };
        const auto none = [](Index) { return Real(0); };  // no instance is free
        const Real slope =
            of_features_.set_shares(features, F, log_mass) + of_instances_.set_shares(instances, G, none);
        Real of_translation = 0;
        for (Index d = 0; d < features_.size(); ++d) of_translation += features.line(d).is_free() ? 0 : features_[d];
        const Real of_difference = of_translation / slope;
        of_features_.pull_back_mass(features, of_difference, F, features_, alphas(k, gradient_->alpha1));
        of_instances_.pull_back_mass(instances, -of_difference, G, instances_, alphas(k, gradient_->alpha2));
    }

    /// s = LSE_n(y + G),  F = k1 (log p0 - s)
    void update_features(Index k) {
        term_.row_factor = half_step_of_features(k, tape_->log_row_sum(k));
        term_.slope.resize(0);
        set_term(k, term_.row_factor);
    }

    /// Given dL/dF in features_, which is then 0. Returns dL/ds.
    const Buffer<Real>& half_step_of_features(Index k, const Real* log_row_sum) {
        total_ +=
            of_features_.half_step(tape_->scaled(k).features, log_row_sum, features_, alphas(k, gradient_->alpha1));
        features_.vector().setZero();
        return of_features_.of_log_sum();
    }

    /// alpha0 of step k, and the derivatives with respect to it and to this alpha.
    StepAlphas alphas(Index k, auto& alpha) {
        return {tape_->parameters[k].alpha0, of_step(gradient_->alpha0, k), of_step(alpha, k)};
    }

    /// The G that step k starts from is the one that step k - 1 ended with, in units of its own alpha0.
    void begin(Index k) {
        if (k > 0 && tape_->parameters.shared()) return;
        if (k == 0) {
            if (tape_->has_features(k)) terms_.add(term_);
            return close(k);
        }
        instances_.vector() += terms_.add_for_col_sums(term_).vector();
        close(k);
        const Real before = tape_->parameters[k - 1].alpha0;
        const Real now = tape_->parameters[k].alpha0;
        const Buffer<Real>& anchor = tape_->scaled(k).instances.anchor;
        Real moved = 0;
        for (Index i = 0; i < instances_.size(); ++i) {
            moved += instances_[i] * (term_.col_exponent[i] - anchor[i]);
            instances_[i] *= before / now;
        }
        of_step(gradient_->alpha0, k - 1) += moved / before;
        of_step(gradient_->alpha0, k) -= moved / now;
        open(k - 1);
    }

    /// Adds the priors' derivatives, and that of the largest reward, which all rewards are taken relative to.
    void finish() {
        const ScaledProblem& scaled = tape_->scaled(0);
        const auto pull_back = [](const Side& side, auto& log_prior) {
            return pull_back_normalization(side.log_prior.data(), side.size(), side.kept_sum, log_prior.data());
        };
        Buffer<Real>& log_p = of_features_.log_prior();
        Buffer<Real>& log_q = of_instances_.log_prior();
        pull_back(scaled.features, log_p);
        const Real per_mass = pull_back(scaled.instances, log_q);
        add_prior_gradients(scaled.kernel.active, scaled.forbidden, per_mass, log_p.data(), log_q.data(), *gradient_);
        gradient_->alphas1 += of_features_.alphas().vector();
        const Buffer<Real>& alphas2 = of_instances_.alphas();
        for (Index k = 0; k < alphas2.size(); ++k) gradient_->alphas2[scaled.kernel.instance(k)] += alphas2[k];
        const auto [d, n] = scaled.highest();
        if (of_reward_.size() > 0) {  // looked at in saturate()
            of_reward_[n * log_p.size() + d] += offset_;
            Scalar* const to = gradient_->reward.sum().data();
            for (Index i = 0; i < of_reward_.size(); ++i) to[i] += static_cast<Scalar>(of_reward_[i]);
            return;
        }
        Scalar& of_highest = gradient_->reward.sum(n)[d];
        of_highest += static_cast<Scalar>(offset_);
        gradient_->reward.set_finite(is_finite_ && std::isfinite(of_highest));
    }

    /// Starts a sum of terms of dL/dy, for step k and those before it with the same parameters. Leaves G in term_.
    void open(Index k) {
        has_term_ = false;
        tape_->features(k, term_of_cols_.row_exponent);
        tape_->instances(k, term_.col_exponent);
        terms_.start(tape_->scaled(k).kernel, values_, term_of_cols_.row_exponent.data(), term_.col_exponent.data());
    }

    /// term_ <- exp(y + its col_exponent - s), s of step k, but for the factor of the row, which gives it these sums.
    void set_term(Index k, const Buffer<Real>& row_sum) {
        has_term_ = true;
        term_.row_sum = row_sum;
        term_.row_exponent = -Eigen::Map<const RealVector>(tape_->log_row_sum(k), features_.size());
        term_.col_factor = RealVector::Ones(instances_.size());
    }

    /// Adds the terms to dL/dX, where y = (X - max X) / alpha0; of RelativeEntropy plus log p0 + log q0.
    void close(Index k) {
        const ScaledProblem& scaled = tape_->scaled(k);
        const ScaledReward& kernel = scaled.kernel;
        scratch_.resize(kernel.rows());
        Real moment = close_log_domain(scaled);  // <dL/dy, X - max X>
        const bool in_reward = gradient_->values.empty();
        RewardGradientColumn<Scalar> column{static_cast<Scalar>(kernel.inverse_alpha0),
                                            static_cast<Scalar>(scaled.offset), kernel.rows()};
        L nothing(Scalar(0));  // NaN where a derivative is NaN or infinite
        const bool sets = gradient_->reward.is_new() && kernel.cols() == kernel.reward.cols();
        terms_.for_each_column([&](Index col, const Scalar* Y, const Scalar* W) {
            const Index n = kernel.instance(col);
            column.Y = Y;
            column.W = in_reward ? W : nullptr;
            column.x = kernel.reward.column(n, scratch_.data());
            Scalar* const to = (sets ? gradient_->reward.columns() : gradient_->reward.sum()).col(n).data();
            moment += static_cast<Real>(column.add_to(to, sets ? nullptr : to, nothing));
            if (W != nullptr && !in_reward) add_to_values(n, W);
            add_prior_weights(col, Y);
        });
        is_finite_ = sum(nothing) == 0;
        if (scaled.takes_offset) offset_ -= total_ * kernel.inverse_alpha0;
        total_ = 0;
        of_step(gradient_->alpha0, k) -= moment * kernel.inverse_alpha0 * kernel.inverse_alpha0;
    }

    /// The same for terms in the log domain, which cancel between steps: their dL/dX stays in double until the end.
    Real close_log_domain(const ScaledProblem& scaled) {
        const LogDomainSum& sum = terms_.log_domain();
        if (!sum.has_terms()) return 0;
        const ScaledReward& kernel = scaled.kernel;
        const Index rows = kernel.rows();
        if (of_reward_.size() == 0) of_reward_.assign(rows * kernel.reward.cols(), 0);
        weight_.resize(rows);
        Real moment = 0;
        for (Index col = 0; col < kernel.cols(); ++col) {
            const Index n = kernel.instance(col);
            const Real* const Y = sum.Y(col);
            const Real* const x = kernel.reward.column(n, weight_.data());
            Real* const to = of_reward_.data() + n * rows;
            for (Index d = 0; d < rows; ++d) {
                to[d] += kernel.inverse_alpha0 * Y[d];
                if (Y[d] != 0) moment += Y[d] * (x[d] - scaled.offset);
            }
            if (sum.has_slope() && gradient_->values.empty()) {
                for (Index d = 0; d < rows; ++d) to[d] += sum.W(col)[d];
            } else if (sum.has_slope()) {
                add_to_values(n, sum.W(col));
            }
            add_prior_weights(col, Y);
        }
        return moment;
    }

    void add_to_values(Index n, const auto* W) {
        Scalar* const of_values = gradient_->values.sum(n);
        for (Index d = 0; d < gradient_->log_p0.size(); ++d) of_values[d] += static_cast<Scalar>(W[d]);
    }

    void add_prior_weights(Index col, const auto* Y) {
        if (tape_->prior_weight == 0) return;
        Buffer<Real>& log_p = of_features_.log_prior();
        Real sum = 0;
        for (Index d = 0; d < log_p.size(); ++d) {
            log_p[d] += tape_->prior_weight * static_cast<Real>(Y[d]);
            sum += static_cast<Real>(Y[d]);
        }
        of_instances_.log_prior()[col] += tape_->prior_weight * sum;
    }

    const SinkhornTape* tape_ = nullptr;
    AnyView values_;
    BagGradient<Scalar>* gradient_ = nullptr;
    Buffer<Real> features_;   ///< dL/dF' or dL/dF
    Buffer<Real> instances_;  ///< dL/dG without the column sums of term_
    bool has_term_ = false;
    ScaledKernel term_;              ///< The next term; its col_exponent is the G that the step starts from.
    ScaledKernel term_of_cols_;      ///< That of the instances' half step.
    ScaledKernelSum<Scalar> terms_;  ///< dL/dy
    Real total_ = 0;                 ///< The sum of dL/dy.
    Real offset_ = 0;                ///< dL/dmax X
    bool is_finite_ = false;         ///< Whether all of dL/dX was finite at last.
    SideReverse<> of_features_, of_instances_;
    Buffer<Scalar> scratch_;  ///< For a column of the reward.
    Buffer<Real> weight_;
    Buffer<Real> of_reward_;  ///< dL/dX of terms in the log domain, D x N, or empty.
};

}  // namespace otpool::detail
