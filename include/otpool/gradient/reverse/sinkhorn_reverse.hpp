// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/kernel_terms.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/sinkhorn_record.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/packet.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

/// The reverse of K steps of Sinkhorn (Trajectory): cotangents of the state, walked backwards; those of the parameters
/// are added up in the gradient. In memory that is used again from bag to bag.
template <BagScalar Scalar, EntropicRegularizer R>
class SinkhornReverse {
public:
    /// Views all three. `found`: the solution that the steps led to.
    void start(const SinkhornRecord<Scalar>& record, const Solution<Scalar, R>& found, BagGradient<Scalar>& gradient) {
        record_ = &record;
        found_ = &found;
        gradient_ = &gradient;
        for (Buffer<Real>* of : {&features_, &log_p_}) of->resize(record.log_sums.of_rows.rows());
        for (Buffer<Real>* of : {&instances_, &log_q_}) of->resize(record.log_sums.of_cols.rows());
        for (Buffer<Real>* of : {&features_, &log_p_, &instances_, &log_q_}) of->setZero();
        offset_ = total_ = 0;
    }

    /// log P = y + F' + G + shift,  shift = max X / (alpha0 + alpha1 + alpha2);  P dL/dP = (slope v - offset) w
    void plan(const PlanCotangent& cotangent) {
        const Index last = record_->steps() - 1;
        open(last);
        features_ = cotangent.slope.cwiseProduct(conditional_mean(*found_)) - cotangent.offset;
        set_term(record_->log_sums.of_rows.col(last + 1));
        term_.row_factor = -cotangent.offset;
        term_.slope = cotangent.slope;
        const Real total = features_.sum();
        total_ += total;
        const auto& problem = found_->problem;
        const Real stiffness = static_cast<Real>(problem.alpha0) + problem.features.alpha + problem.instances.alpha;
        if (std::isinf(stiffness)) return;
        offset_ += total / stiffness;
        const Real d_stiffness = -total * record_->scaled(last).offset / stiffness / stiffness;
        for (auto* alpha : {&gradient_->alpha0, &gradient_->alpha1, &gradient_->alpha2}) {
            of_step(*alpha, last) += d_stiffness;
        }
    }

    /// u = LSE_d(y + F'),  G = k2 (log q0 - u)
    void update_instances(Index k) {
        const ScaledMarginal& side = record_->scaled(k).instances;
        record_->features(k, term_of_cols_.row_exponent);
        term_of_cols_.row_factor.resize(features_.size());
        term_of_cols_.row_factor.setOnes();
        term_of_cols_.col_exponent = -record_->log_sums.of_cols.col(k);
        const auto& sums = terms_.add_for_sums(has_term_ ? &term_ : nullptr, term_of_cols_, [&](Index n, Real sum) {
            return of_log_sum(side, instances_[n] + sum);
        });
        features_ += sums.of_rows;
        instances_ += sums.of_cols;
        half_step(k, side, record_->log_sums.of_cols.col(k), instances_, log_q_, gradient_->alpha2);
        instances_.setZero();
        record_->start(k, term_.col_exponent);
    }

    /// T = (LSE(log p0 - th1 F) - LSE(log q0 - th2 G)) / (th1 + th2)
    void translate(Index k) {
        const Real translation = record_->translation[k];
        if (translation == 0) return;
        const ScaledMarginal& features = record_->scaled(k).features;
        const ScaledMarginal& instances = record_->scaled(k).instances;
        const RealVector F = term_of_cols_.row_exponent.array() - translation - features.anchor.array();
        const RealVector G = term_.col_exponent - instances.anchor;
        const Real of_difference = features_.sum() / (features.ratio + instances.ratio);
        pull_back_log_sum(k, features, F, of_difference, translation, features_, log_p_, gradient_->alpha1);
        pull_back_log_sum(k, instances, G, -of_difference, -translation, instances_, log_q_, gradient_->alpha2);
    }

    /// s = LSE_n(y + G),  F = k1 (log p0 - s)
    void update_features(Index k) {
        const ScaledMarginal& side = record_->scaled(k).features;
        half_step(k, side, record_->log_sums.of_rows.col(k), features_, log_p_, gradient_->alpha1);
        set_term(record_->log_sums.of_rows.col(k));
        term_.row_factor = of_log_sum(side, features_);
        term_.slope.resize(0);
        features_.setZero();
    }

    /// The G that step k starts from is the one that step k - 1 ended with, in units of its own alpha0.
    void begin(Index k) {
        if (k > 0 && record_->shares_parameters()) return;
        if (k == 0) {
            terms_.add(term_);
            return close(k);
        }
        instances_ += terms_.add_for_col_sums(term_);
        close(k);
        const Real before = record_->alpha0(k - 1);
        const Real now = record_->alpha0(k);
        const Real moved = instances_.dot(term_.col_exponent - record_->scaled(k).instances.anchor);
        of_step(gradient_->alpha0, k - 1) += moved / before;
        of_step(gradient_->alpha0, k) -= moved / now;
        instances_ *= before / now;
        open(k - 1);
    }

    /// X is taken relative to its largest entry, which the priors' parts of y do not see.
    void finish(Workspace& workspace) {
        auto& priors = workspace.get<Priors>();
        priors.set(found_->problem);
        add_prior_gradients(priors, log_p_, log_q_, *gradient_);
        const auto [d, n] = record_->scaled(0).highest();
        Scalar& of_highest = gradient_->reward.sum()(d, n);
        of_highest += static_cast<Scalar>(offset_);
        gradient_->reward.set_finite(is_finite_ && std::isfinite(of_highest));
    }

private:
    /// Starts the terms of dL/dy of the steps up to k that share their parameters. Leaves G in term_.
    void open(Index k) {
        has_term_ = false;
        record_->features(k, term_of_cols_.row_exponent);
        record_->instances(k, term_.col_exponent);
        terms_.start(record_->scaled(k).kernel, found_->problem.pooled_values(), term_of_cols_.row_exponent,
                     term_.col_exponent);
    }

    /// term_ <- exp(y + its col_exponent - log sum), but for the factor of the row.
    void set_term(const auto& log_row_sum) {
        has_term_ = true;
        term_.row_exponent = -log_row_sum;
        term_.col_factor.resize(instances_.size());
        term_.col_factor.setOnes();
    }

    /// Adds what the terms make of dL/dX by y = (X - max X) / alpha0, to which RelativeEntropy adds log p0 + log q0.
    void close(Index k) {
        const ScaledProblem<Scalar>& scaled = record_->scaled(k);
        const ScaledReward<Scalar>& kernel = scaled.kernel;
        const auto inverse_alpha0 = static_cast<Scalar>(kernel.inverse_alpha0);
        const auto offset = static_cast<Scalar>(scaled.offset);
        scratch_.resize(kernel.rows());
        Real moment = 0;  // <dL/dy, X - max X>
        const bool in_reward = gradient_->values.empty();
        const bool sets = gradient_->reward.is_new() && kernel.cols() == kernel.reward.cols();
        auto& reward = sets ? gradient_->reward.columns() : gradient_->reward.sum();
        FiniteCheck<Scalar> check;
        terms_.for_each_column([&](Index col, const auto& Y, const auto& W) {
            const Index n = kernel.instance(col);
            const Scalar* const x = kernel.reward.contiguous_col(n, scratch_.data()).data();
            const Scalar* const of_values = terms_.has_slope() && in_reward ? W.data() : nullptr;
            Scalar* const to = reward.col(n).data();
            moment += static_cast<Real>(add_column(Y.data(), inverse_alpha0, of_values, x, offset, kernel.rows(),
                                                   sets ? nullptr : to, to, check));
            if (terms_.has_slope() && !in_reward) gradient_->values.sum().col(n) += W;
            if constexpr (std::same_as<R, RelativeEntropy>) {
                log_p_ += Y.template cast<Real>();
                log_q_[col] += static_cast<Real>(Y.sum());
            }
        });
        is_finite_ = check.all_finite();
        offset_ -= total_ * kernel.inverse_alpha0;
        total_ = 0;
        of_step(gradient_->alpha0, k) -= moment * kernel.inverse_alpha0 * kernel.inverse_alpha0;
    }

    /// to = slope Y + W + before, of which W and before may be null; <Y, x - offset>. Shows what it stores.
    static Scalar add_column(const Scalar* Y, Scalar slope, const Scalar* W, const Scalar* x, Scalar offset, Index size,
                             const Scalar* before, Scalar* to, FiniteCheck<Scalar>& check) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        P moment = pset1<P>(Scalar(0));
        FiniteCheck<Scalar> stored = check;  // a copy, which stays in registers
        Index d = 0;
        for (; d + packet_size<Scalar> <= size; d += packet_size<Scalar>) {
            const auto or_zero = [d](const Scalar* from) {
                return from == nullptr ? pset1<P>(Scalar(0)) : ploadu<P>(from + d);
            };
            fetch_ahead(to + d);
            const P y = ploadu<P>(Y + d);
            const P sum = pmadd(y, pset1<P>(slope), padd(or_zero(before), or_zero(W)));
            pstoreu(to + d, sum);
            stored.add(sum);
            moment = pmadd(y, psub(ploadu<P>(x + d), pset1<P>(offset)), moment);
        }
        Scalar sum_of_moments = predux(moment);
        for (; d < size; ++d) {
            to[d] = slope * Y[d] + (W == nullptr ? 0 : W[d]) + (before == nullptr ? 0 : before[d]);
            stored.add(to[d]);
            sum_of_moments += Y[d] * (x[d] - offset);
        }
        check = stored;
        return sum_of_moments;
    }

    /// F = k (log prior - s), k = alpha / (alpha + alpha0); s as the kernel's log sum has it.
    void half_step(Index k, const ScaledMarginal& side, const auto& log_sum, const Buffer<Real>& potential,
                   Buffer<Real>& log_prior, auto& alpha) {
        log_prior += side.damping * potential;
        total_ -= side.damping * potential.sum();  // the weights of a log sum add up to 1
        const Real of_damping = potential.dot(side.log_prior - log_sum - side.anchor);
        of_step(gradient_->alpha0, k) +=
            pull_back_damping(of_damping, side.alpha, record_->alpha0(k), of_step(alpha, k));
    }
    /// dL/ds of it
    static auto of_log_sum(const ScaledMarginal& side, const auto& potential) { return -side.damping * potential; }

    /// Of  L = LSE(log prior - th F)  and of the th in T's denominator, given dL/d(L).
    void pull_back_log_sum(Index k, const ScaledMarginal& side, const RealVector& F, Real of_log_sum, Real translation,
                           Buffer<Real>& potential, Buffer<Real>& log_prior, auto& alpha) {
        const RealVector exponents = side.log_prior - side.ratio * F;
        const RealVector weight = of_log_sum * bounded_exp(exponents.array() - log_sum_exp(exponents));
        log_prior += weight;
        if (side.is_hard()) return;
        potential -= side.ratio * weight;
        const Real of_ratio = -weight.dot(F) - of_log_sum * translation;
        of_step(gradient_->alpha0, k) += of_ratio / side.alpha;
        of_step(alpha, k) -= of_ratio * side.ratio / side.alpha;
    }

    const SinkhornRecord<Scalar>* record_ = nullptr;
    const Solution<Scalar, R>* found_ = nullptr;
    BagGradient<Scalar>* gradient_ = nullptr;
    Buffer<Real> features_;   ///< of F' or F
    Buffer<Real> instances_;  ///< of G, or of the G that a step starts from, but for what a pass is to find
    bool has_term_ = false;
    KernelTerm term_;          ///< whose column sums that is; its col_exponent is the G that a step starts from
    KernelTerm term_of_cols_;  ///< what the instances' update adds
    Buffer<Real> log_p_, log_q_;
    Real offset_ = 0;            ///< of max X
    Real total_ = 0;             ///< sum_dk dL/dy_dk of the terms
    bool is_finite_ = false;     ///< Whether the last terms left numbers of dL/dX.
    KernelTerms<Scalar> terms_;  ///< of dL/dy
    Vector<Scalar> scratch_;     ///< for a column of the reward
};

}  // namespace otpool::detail
