// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <utility>

#include "otpool/core/matrix.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/simd/arrays.hpp"

/// The layers that the authors of the method released, step by step, for weights trained with them: SDS-Lab/ROT-Pooling
/// (MIT licence, commit a02e62c). The updates were worked out from the behaviour of that code; none of it is copied.
/// They are not otpool's solvers and do not solve the problems they are named after; each comment says what is solved.
namespace otpool::published {

/// The parameters of one step under otpool's names, each > 0 and finite.
struct Step {
    Real alpha0 = 1;   ///< Released as a1: of the regulariser.
    Real alpha1 = 1;   ///< Released as a2: of the feature marginal.
    Real alpha2 = 1;   ///< Released as a3: of the instance marginal.
    Real rho = 1;      ///< For ADMM alone.
    Real alpha_s = 0;  ///< Of a structural term, if there is one. 0 is allowed.
};

/// The matrices of a structural term. Empty: no term.
struct StructureMatrices {
    RealMatrix C1;  ///< Of the features, D x D.
    RealMatrix C2;  ///< Of the instances, N x N.

    /// X + alpha_s C1 P C2
    RealMatrix added_to(const RealMatrix& X, Real alpha_s, const RealMatrix& P) const {
        if (C1.size() == 0) return X;
        const RealMatrix half = C1 * P;
        return X + alpha_s * (half * C2);
    }
};

namespace detail {

/// log sum_n exp(y_dn) of every feature d.
inline RealVector log_sum_over_instances(const RealMatrix& y) {
    RealVector sums(y.rows());
    for (Index d = 0; d < y.rows(); ++d) {
        Real top = y(d, 0);
        for (Index n = 0; n < y.cols(); ++n) top = y(d, n) > top ? y(d, n) : top;
        Real sum = 0;
        for (Index n = 0; n < y.cols(); ++n) sum += std::exp(y(d, n) - top);
        sums[d] = std::isfinite(top) ? top + std::log(sum) : top;
    }
    return sums;
}

/// log sum_d exp(y_dn) of every instance n.
inline RealVector log_sum_over_features(const RealMatrix& y) {
    RealMatrix transposed(y.cols(), y.rows());
    for (Index d = 0; d < y.rows(); ++d) {
        for (Index n = 0; n < y.cols(); ++n) transposed(n, d) = y(d, n);
    }
    return log_sum_over_instances(transposed);
}

/// exp(log_plan) by the C library, which underflows to 0; Eigen's exp stops at 1e-308.
inline RealMatrix exp(const RealMatrix& log_plan) {
    RealMatrix plan(log_plan.rows(), log_plan.cols());
    for (Index i = 0; i < plan.size(); ++i) plan.data()[i] = std::exp(log_plan.data()[i]);
    return plan;
}

/// log p0 with p0 = 1/D, and log (q0 + 1e-8), as in the layers. The 1e-8 keeps the logarithm finite, so that q0_n = 0
/// does not exclude instance n.
struct LogPriors {
    RealVector features, instances;

    LogPriors(Index feature_count, const RealVector& q0) : features(feature_count), instances(q0) {
        for (Real& log_p : features) log_p = -std::log(static_cast<Real>(feature_count));
        for (Real& log_q : instances) log_q = std::log(log_q + 1e-8);
    }
    /// log p0 and log (q0 + added).
    LogPriors(const RealVector& p0, const RealVector& q0, Real added)
        : features(p0.array().log()), instances((q0.array() + added).log()) {}
};

}  // namespace detail

/// The Sinkhorn layer's steps. Both potentials are computed from the same plan, T = exp(X/alpha0 + a + b):
///
///     a <- alpha1/(alpha1 + alpha0) (a/alpha0 + log p0 - LSE_n log T)
///     b <- alpha2/(alpha2 + alpha0) (b/alpha0 + log q0 - LSE_d log T)
///
/// Solves the entropic problem only at alpha0 = 1, and slowly (up to the 1e-8 added to q0): a and b already carry the
/// factor 1/alpha0 and are divided by it again. At other alpha0 it converges to another plan or not at all; entries
/// become 0, inf or NaN, as in the released layer (in double later than in float).
/// Cost of a step: two exps per element. Memory: three D x N matrices.
class SinkhornSteps {
public:
    static constexpr bool uses_rho = false;  ///< rho is not used.

    /// Starts from a bag X (D x N), the prior q0 (N entries) and the first step's parameters.
    SinkhornSteps(const RealMatrix& bag, const RealVector& q0, const Step& first)
        : SinkhornSteps(bag, detail::LogPriors(bag.rows(), q0), first) {}
    /// The same with both priors.
    SinkhornSteps(RealMatrix bag, detail::LogPriors prior, const Step& first)
        : bag_(std::move(bag)), prior_(std::move(prior)), a_(bag_.rows()), b_(bag_.cols()) {
        std::fill(a_.begin(), a_.end(), 0);
        std::fill(b_.begin(), b_.end(), 0);
        set_log_plan(first.alpha0);
    }

    /// Takes one step.
    void step(const Step& s) {
        const auto update = [&](Real alpha, const RealVector& log_prior, const RealVector& log_sums,
                                RealVector& potential) {
            for (Index i = 0; i < potential.size(); ++i) {
                potential[i] = alpha / (alpha + s.alpha0) * (potential[i] / s.alpha0 + log_prior[i] - log_sums[i]);
            }
        };
        update(s.alpha1, prior_.features, detail::log_sum_over_instances(log_plan_), a_);
        update(s.alpha2, prior_.instances, detail::log_sum_over_features(log_plan_), b_);
        set_log_plan(s.alpha0);
    }

    /// T, D x N.
    RealMatrix plan() const { return detail::exp(log_plan_); }
    /// log T, D x N.
    const RealMatrix& log_plan() const { return log_plan_; }

private:
    void set_log_plan(Real alpha0) {
        log_plan_.resize(bag_.rows(), bag_.cols());
        for (Index n = 0; n < bag_.cols(); ++n) {
            for (Index d = 0; d < bag_.rows(); ++d) log_plan_(d, n) = bag_(d, n) / alpha0 + a_[d] + b_[n];
        }
    }

    RealMatrix bag_;
    detail::LogPriors prior_;
    RealVector a_, b_;
    RealMatrix log_plan_;
};

/// The Bregman ADMM layer's steps, with R = Entropy ("badmm-e") or Quadratic ("badmm-q"). They start from
/// T = S = p0 q0^T, mu = p0, eta = q0, Z = 0, z1 = 0, z2 = 0:
///
///     log T <- (X - Z)/rho + log S,  T scaled to T^T 1 = eta;  log S <- (Z + rho log T)/(alpha0 + rho)  [Entropy]
///     log T <- (X - alpha0 S - Z)/rho + log S,  scaled too;    log S <- (Z - alpha0 T)/rho + log T    [Quadratic]
///     S scaled to S 1 = mu;                                    Z <- Z + rho (T - S)
///     mu  <- softmax((rho log mu  + alpha1 log p0 - z1)/(rho + alpha1));  z1 <- z1 + rho (mu - S 1)
///     eta <- softmax((rho log eta + alpha2 log q0 - z2)/(rho + alpha2));  z2 <- z2 + rho (eta - T^T 1)
///
/// Solves the balanced problem (alpha1 = alpha2 = inf) for any alpha1 and alpha2: T and S are scaled to the marginals
/// eta and mu before their distance from these is taken. So z1 and z2 stay at 0, and eta and mu at the priors; soft
/// marginals and max pooling are out of reach. Slow where the plan's entries are small, since Z moves in proportion to
/// them. Cost of a step: four exps per element. Memory: six D x N matrices.
///
/// With a structural term (rot_badmm), X is X + alpha_s C1 S C2 in the step of T, and that of S has alpha_s C1 T C2 beside
/// Z: the term -alpha_s <C1 T C2, S>, twice that of rot_sinkhorn.
template <class R>
requires std::same_as<R, Entropy> || std::same_as<R, Quadratic>
class BregmanAdmmSteps {
public:
    static constexpr bool uses_rho = true;  ///< rho is a parameter.

    /// Starts from a bag X (D x N) and the prior q0 (N entries); the first step's parameters do not matter.
    BregmanAdmmSteps(const RealMatrix& bag, const RealVector& q0, const Step& /*first*/ = {})
        : BregmanAdmmSteps(bag, detail::LogPriors(bag.rows(), q0), StructureMatrices()) {}
    /// The same with both priors and a structural term.
    BregmanAdmmSteps(RealMatrix bag, detail::LogPriors prior, StructureMatrices structure)
        : bag_(std::move(bag)),
          structure_(std::move(structure)),
          prior_(std::move(prior)),
          log_mu_(prior_.features),
          log_eta_(prior_.instances),
          log_s_(prior_.features.rowwise().replicate(bag_.cols()).rowwise() + prior_.instances.transpose()),
          T_(detail::exp(log_s_)),
          S_(T_),
          dual_(RealMatrix::Zero(bag_.rows(), bag_.cols())),
          z1_(RealVector::Zero(bag_.rows())),
          z2_(RealVector::Zero(bag_.cols())) {}

    /// Takes one step.
    void step(const Step& s) {
        step_plans(s);
        step_marginals(s);
    }

    /// T, D x N.
    const RealMatrix& plan() const { return T_; }

private:
    void step_plans(const Step& s) {
        constexpr bool quadratic = std::same_as<R, Quadratic>;
        const RealMatrix reward = structure_.added_to(bag_, s.alpha_s, S_);
        RealMatrix log_t;
        if constexpr (quadratic) {
            log_t = (reward - s.alpha0 * S_ - dual_) / s.rho + log_s_;
        } else {
            log_t = (reward - dual_) / s.rho + log_s_;
        }
        log_t.rowwise() += (log_eta_ - detail::log_sum_over_features(log_t)).transpose();
        T_ = detail::exp(log_t);
        const RealMatrix dual = structure_.added_to(dual_, s.alpha_s, T_);
        if constexpr (quadratic) {
            log_s_ = (dual - s.alpha0 * T_) / s.rho + log_t;
        } else {
            log_s_ = (dual + s.rho * log_t) / (s.alpha0 + s.rho);
        }
        log_s_.colwise() += log_mu_ - detail::log_sum_over_instances(log_s_);
        S_ = detail::exp(log_s_);
        dual_ += s.rho * (T_ - S_);
    }

    void step_marginals(const Step& s) {
        log_mu_ = (s.rho * log_mu_ + s.alpha1 * prior_.features - z1_) / (s.rho + s.alpha1);
        log_mu_.array() -= otpool::detail::log_sum_exp(log_mu_.data(), log_mu_.size());
        log_eta_ = (s.rho * log_eta_ + s.alpha2 * prior_.instances - z2_) / (s.rho + s.alpha2);
        log_eta_.array() -= otpool::detail::log_sum_exp(log_eta_.data(), log_eta_.size());
        z1_ += s.rho * (log_mu_.array().exp().matrix() - S_.rowwise().sum());
        z2_ += s.rho * (log_eta_.array().exp().matrix() - T_.colwise().sum().transpose());
    }

    RealMatrix bag_;
    StructureMatrices structure_;
    detail::LogPriors prior_;
    RealVector log_mu_, log_eta_;
    RealMatrix log_s_;
    RealMatrix T_, S_;
    RealMatrix dual_;  // Z
    RealVector z1_, z2_;
};

/// z_d = D sum_n T_dn x_dn: the layers' readout, which does not divide by the plan's mass.
inline RealVector pooled(const RealMatrix& plan, const RealMatrix& bag) {
    RealVector sums(bag.rows());
    for (Index d = 0; d < bag.rows(); ++d) {
        sums[d] = 0;
        for (Index n = 0; n < bag.cols(); ++n) sums[d] += plan(d, n) * bag(d, n);
        sums[d] *= static_cast<Real>(bag.rows());
    }
    return sums;
}

}  // namespace otpool::published
