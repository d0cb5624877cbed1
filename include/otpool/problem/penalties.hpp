// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <memory>
#include <utility>

#include "otpool/core/compiler.hpp"

namespace otpool {

/// alpha KL(marginal | prior), KL(a | b) = sum a log(a/b) - a + b: the penalty that every solver and gradient takes.
struct KullbackLeibler {};

/// A penalty other than that, AtMost, Range, TotalVariation or one of your own: alpha sum_i p_i psi(m_i / p_i) for a
/// marginal m with prior p; psi is convex, psi(1) = 0.
///
/// - value(t) is psi(t), t >= 0.
/// - half_step(excess, strength) is the x that solves  x in -strength d psi(exp(x - excess)).  Sinkhorn's half step
///   sets potential i to it, in units of alpha0. `excess` is log p_i minus the log of marginal i with this potential
///   at 0; `strength` is alpha / alpha0, finite and > 0. For KullbackLeibler, x would be
///   excess strength / (1 + strength). (Chizat, Peyre, Schmitzer & Vialard, arXiv 1607.05816, section 3.)
///
/// Both are const and thread-safe. Whatever psi is, alpha = 0 leaves the side free, and alpha = hard holds it to its
/// prior. Sinkhorn and BregmanAdmm take every penalty; Newton and gradients take only KullbackLeibler.
template <class P>
concept MarginalPenalty = requires(const P& penalty, double number) {
    { penalty.value(number) } -> std::convertible_to<double>;
    { penalty.half_step(number, number) } -> std::convertible_to<double>;
};

/// Any penalty, as a value; copies share it.
class AnyPenalty {
public:
    AnyPenalty() = default;
    /// KullbackLeibler, also the default.
    explicit(false) AnyPenalty(KullbackLeibler /*penalty*/) {}
    /// Another one.
    template <class P>
    requires(!std::same_as<P, AnyPenalty>) explicit(false) AnyPenalty(P penalty) {
        static_assert(MarginalPenalty<P>,
                      "otpool: a penalty is KullbackLeibler, or has value(t) and half_step(excess, strength)");
        own_ = std::make_shared<const Of<P>>(std::move(penalty));
    }

    /// If true, do not call value() and half_step().
    bool is_kullback_leibler() const { return own_ == nullptr; }
    /// psi(ratio).
    double value(double ratio) const { return own_->value(ratio); }
    /// As in MarginalPenalty.
    double half_step(double excess, double strength) const { return own_->half_step(excess, strength); }

private:
    struct Any {
        Any() = default;
        Any(const Any&) = delete;
        Any& operator=(const Any&) = delete;
        virtual ~Any() = default;
        virtual double value(double ratio) const = 0;
        virtual double half_step(double excess, double strength) const = 0;
    };
    template <class P>
    struct Of : Any {
        P penalty;
        explicit Of(P given) : penalty(std::move(given)) {}
        double value(double ratio) const override { return penalty.value(ratio); }
        double half_step(double excess, double strength) const override { return penalty.half_step(excess, strength); }
    };

    std::shared_ptr<const Any> own_;  ///< Null: KullbackLeibler.
};

}  // namespace otpool
