// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/kernel_terms.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/sinkhorn_record.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

/// The reverse of K steps of Sinkhorn (Trajectory): cotangents of the state, walked backwards; those of the parameters
/// are added up in the gradient. In memory that is used again from bag to bag.
template <BagScalar Scalar>
class SinkhornReverse {
public:
    /// Views both.
    void start(const SinkhornRecord& record, BagGradient<Scalar>& gradient) {
        record_ = &record;
        gradient_ = &gradient;
        for (Buffer<Real>* of : {&features_, &log_p_}) set_all(*of, record.rows(), 0);
        for (Buffer<Real>* of : {&instances_, &log_q_}) set_all(*of, record.cols(), 0);
        offset_ = total_ = 0;
    }

    /// log P = y + F' + G + shift,  shift = max X / (alpha0 + alpha1 + alpha2);  P dL/dP = (slope v - offset) w
    void plan(const PlanCotangent& cotangent) {
        const Index last = record_->steps() - 1;
        open(last);
        set_term(record_->log_row_sum(last + 1));
        term_.row_factor.resize(features_.size());
        term_.slope.resize(features_.size());
        Real total = 0;
        for (Index d = 0; d < features_.size(); ++d) {
            features_[d] = cotangent.slope[d] * record_->mean[d] - cotangent.offset[d];
            total += features_[d];
            term_.row_factor[d] = -cotangent.offset[d];
            term_.slope[d] = cotangent.slope[d];
        }
        total_ += total;
        const ScaledProblem& problem = record_->scaled(last);
        const Real stiffness = record_->alpha0(last) + problem.features.alpha + problem.instances.alpha;
        if (std::isinf(stiffness)) return;
        offset_ += total / stiffness;
        const Real d_stiffness = -total * problem.offset / stiffness / stiffness;
        for (auto* alpha : {&gradient_->alpha0, &gradient_->alpha1, &gradient_->alpha2}) {
            of_step(*alpha, last) += d_stiffness;
        }
    }

    /// u = LSE_d(y + F'),  G = k2 (log q0 - u)
    void update_instances(Index k) {
        const Side& side = record_->scaled(k).instances;
        record_->features(k, term_of_cols_.row_exponent);
        set_all(term_of_cols_.row_factor, features_.size(), 1);
        set_negative(record_->log_col_sum(k), instances_.size(), term_of_cols_.col_exponent);
        const auto& sums = terms_.add_for_sums(has_term_ ? &term_ : nullptr, term_of_cols_, [&](Index n, Real sum) {
            return -side.damping * (instances_[n] + sum);  // dL/du
        });
        for (Index d = 0; d < features_.size(); ++d) features_[d] += sums.of_rows[d];
        for (Index n = 0; n < instances_.size(); ++n) instances_[n] += sums.of_cols[n];
        half_step(k, side, record_->log_col_sum(k), instances_, log_q_, gradient_->alpha2);
        set_all(instances_, instances_.size(), 0);
        record_->start(k, term_.col_exponent);
    }

    /// T = (LSE(log p0 - th1 F) - LSE(log q0 - th2 G)) / (th1 + th2)
    void translate(Index k) {
        const Real translation = record_->translation[static_cast<std::size_t>(k)];
        if (translation == 0) return;
        const Side& features = record_->scaled(k).features;
        const Side& instances = record_->scaled(k).instances;
        Real of_difference = 0;
        for (const Real f : features_) of_difference += f;
        of_difference /= features.ratio + instances.ratio;
        const auto without_anchor = [&](const Side& side, const Buffer<Real>& potential, Real moved) {
            unanchored_.resize(side.size());
            for (Index i = 0; i < side.size(); ++i) unanchored_[i] = potential[i] - moved - side.anchor[i];
        };
        without_anchor(features, term_of_cols_.row_exponent, translation);
        pull_back_log_sum(k, features, of_difference, translation, features_, log_p_, gradient_->alpha1);
        without_anchor(instances, term_.col_exponent, 0);
        pull_back_log_sum(k, instances, -of_difference, -translation, instances_, log_q_, gradient_->alpha2);
    }

    /// s = LSE_n(y + G),  F = k1 (log p0 - s)
    void update_features(Index k) {
        const Side& side = record_->scaled(k).features;
        half_step(k, side, record_->log_row_sum(k), features_, log_p_, gradient_->alpha1);
        set_term(record_->log_row_sum(k));
        term_.row_factor.resize(features_.size());
        for (Index d = 0; d < features_.size(); ++d) term_.row_factor[d] = -side.damping * features_[d];  // dL/ds
        term_.slope.resize(0);
        set_all(features_, features_.size(), 0);
    }

    /// The G that step k starts from is the one that step k - 1 ended with, in units of its own alpha0.
    void begin(Index k) {
        if (k > 0 && record_->shares_parameters()) return;
        if (k == 0) {
            terms_.add(term_);
            return close(k);
        }
        const Buffer<Real>& sums = terms_.add_for_col_sums(term_);
        for (Index n = 0; n < instances_.size(); ++n) instances_[n] += sums[n];
        close(k);
        const Real before = record_->alpha0(k - 1);
        const Real now = record_->alpha0(k);
        const Buffer<Real>& anchor = record_->scaled(k).instances.anchor;
        Real moved = 0;
        for (Index n = 0; n < instances_.size(); ++n) {
            moved += instances_[n] * (term_.col_exponent[n] - anchor[n]);
            instances_[n] *= before / now;
        }
        of_step(gradient_->alpha0, k - 1) += moved / before;
        of_step(gradient_->alpha0, k) -= moved / now;
        open(k - 1);
    }

    /// X is taken relative to its largest entry, which the priors' parts of y do not see.
    void finish() {
        const ScaledProblem& first = record_->scaled(0);
        add_prior_gradients(first.kernel.active, first.features.log_prior.data(), first.instances.log_prior.data(),
                            log_p_.data(), log_q_.data(), *gradient_);
        const auto [d, n] = first.highest();
        Scalar& of_highest = gradient_->reward.sum_of(n)[d];
        of_highest += static_cast<Scalar>(offset_);
        gradient_->reward.set_finite(is_finite_ && std::isfinite(of_highest));
    }

private:
    using L = Lanes<Scalar>;

    static void set_all(Buffer<Real>& numbers, Index size, Real number) {
        numbers.resize(size);
        std::fill(numbers.begin(), numbers.end(), number);
    }
    static void set_negative(const Real* from, Index size, Buffer<Real>& to) {
        to.resize(size);
        for (Index i = 0; i < size; ++i) to[i] = -from[i];
    }

    /// Starts the terms of dL/dy of the steps up to k that share their parameters. Leaves G in term_.
    void open(Index k) {
        has_term_ = false;
        record_->features(k, term_of_cols_.row_exponent);
        record_->instances(k, term_.col_exponent);
        terms_.start(record_->scaled(k).kernel, record_->values, term_of_cols_.row_exponent.data(),
                     term_.col_exponent.data());
    }

    /// term_ <- exp(y + its col_exponent - log sum), but for the factor of the row.
    void set_term(const Real* log_row_sum) {
        has_term_ = true;
        set_negative(log_row_sum, features_.size(), term_.row_exponent);
        set_all(term_.col_factor, instances_.size(), 1);
    }

    /// Adds what the terms make of dL/dX by y = (X - max X) / alpha0, to which RelativeEntropy adds log p0 + log q0.
    void close(Index k) {
        const ScaledProblem& scaled = record_->scaled(k);
        const ScaledReward& kernel = scaled.kernel;
        const Index rows = kernel.rows();
        scratch_.resize(rows);
        nothing_ = L(Scalar(0));
        Real moment = 0;  // <dL/dy, X - max X>
        const bool in_reward = gradient_->values.empty();
        const bool sets = gradient_->reward.is_new() && kernel.cols() == kernel.reward.cols();
        Scalar* const reward = sets ? gradient_->reward.numbers() : gradient_->reward.sum();
        terms_.for_each_column([&](Index col, const Scalar* Y, const Scalar* W) {
            const Index n = kernel.instance(col);
            const Scalar* const x = kernel.reward.column(n, scratch_.data());
            const Scalar* const of_values = terms_.has_slope() && in_reward ? W : nullptr;
            moment += static_cast<Real>(add_column(Y, of_values, x, scaled, !sets, reward + n * rows));
            if (terms_.has_slope() && !in_reward) {
                Scalar* const values = gradient_->values.sum_of(n);
                for (Index d = 0; d < rows; ++d) values[d] += W[d];
            }
            if (record_->relative) {
                for (Index d = 0; d < rows; ++d) {
                    log_p_[d] += static_cast<Real>(Y[d]);
                    log_q_[col] += static_cast<Real>(Y[d]);
                }
            }
        });
        is_finite_ = sum(nothing_) == 0;
        offset_ -= total_ * kernel.inverse_alpha0;
        total_ = 0;
        of_step(gradient_->alpha0, k) -= moment * kernel.inverse_alpha0 * kernel.inverse_alpha0;
    }

    /// to = Y / alpha0 + W + to, of which W may be null, and `to` is left out unless `adds`; <Y, x - offset>.
    Scalar add_column(const Scalar* Y, const Scalar* W, const Scalar* x, const ScaledProblem& scaled, bool adds,
                      Scalar* to) {
        const L slope(static_cast<Scalar>(scaled.kernel.inverse_alpha0));
        const L offset(static_cast<Scalar>(scaled.offset));
        L moment(Scalar(0));
        L nothing = nothing_;  // a copy, which stays in registers; NaN where a number is NaN or infinite
        for_each_lanes(scaled.kernel.rows(), [&](Index d, Index count) {
            fetch_ahead(to + d);
            const auto at = [&](const Scalar* numbers) { return load_some(numbers + d, count, Scalar(0)); };
            const L y = at(Y);
            L rest(Scalar(0));
            if (W != nullptr) rest = at(W);
            if (adds) rest += at(to);
            const L sum = multiply_add(y, slope, rest);
            store_some(sum, to + d, count);
            nothing = multiply_add(sum, L(Scalar(0)), nothing);
            moment = multiply_add(y, at(x) - offset, moment);
        });
        nothing_ = nothing;
        return sum(moment);
    }

    /// F = k (log prior - s), k = alpha / (alpha + alpha0); s as the kernel's log sum has it.
    void half_step(Index k, const Side& side, const Real* log_sum, const Buffer<Real>& potential,
                   Buffer<Real>& log_prior, auto& alpha) {
        Real total = 0;
        Real of_damping = 0;
        for (Index i = 0; i < side.size(); ++i) {
            log_prior[i] += side.damping * potential[i];
            total += potential[i];
            of_damping += potential[i] * (side.log_prior[i] - log_sum[i] - side.anchor[i]);
        }
        total_ -= side.damping * total;  // the weights of a log sum add up to 1
        of_step(gradient_->alpha0, k) +=
            pull_back_damping(of_damping, side.alpha, record_->alpha0(k), of_step(alpha, k));
    }

    /// Of  L = LSE(log prior - th F), F in unanchored_, and of the th in T's denominator, given dL/d(L).
    void pull_back_log_sum(Index k, const Side& side, Real of_log_sum, Real translation, Buffer<Real>& potential,
                           Buffer<Real>& log_prior, auto& alpha) {
        weight_.resize(side.size());
        for (Index i = 0; i < side.size(); ++i) weight_[i] = side.log_prior[i] - side.ratio * unanchored_[i];
        bounded_exp(weight_.data(), side.size(), weight_.data(), log_sum_exp(weight_.data(), side.size()));
        Real of_ratio = -of_log_sum * translation;
        for (Index i = 0; i < side.size(); ++i) {
            const Real weight = of_log_sum * weight_[i];
            log_prior[i] += weight;
            of_ratio -= weight * unanchored_[i];
            if (!side.is_hard()) potential[i] -= side.ratio * weight;
        }
        if (side.is_hard()) return;
        of_step(gradient_->alpha0, k) += of_ratio / side.alpha;
        of_step(alpha, k) -= of_ratio * side.ratio / side.alpha;
    }

    const SinkhornRecord* record_ = nullptr;
    BagGradient<Scalar>* gradient_ = nullptr;
    Buffer<Real> features_;   ///< of F' or F
    Buffer<Real> instances_;  ///< of G, or of the G that a step starts from, but for what a pass is to find
    bool has_term_ = false;
    KernelTerm term_;          ///< whose column sums that is; its col_exponent is the G that a step starts from
    KernelTerm term_of_cols_;  ///< what the instances' update adds
    Buffer<Real> log_p_, log_q_;
    Buffer<Real> unanchored_, weight_;  ///< Of a translation.
    Real offset_ = 0;                   ///< of max X
    Real total_ = 0;                    ///< sum_dk dL/dy_dk of the terms
    L nothing_;                         ///< NaN where numbers of dL/dX that were stored are not finite.
    bool is_finite_ = false;            ///< Whether the last terms left numbers of dL/dX.
    KernelTerms<Scalar> terms_;         ///< of dL/dy
    Buffer<Scalar> scratch_;            ///< for a column of the reward
};

}  // namespace otpool::detail
