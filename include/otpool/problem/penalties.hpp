// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <memory>
#include <utility>

namespace otpool {

/// alpha KL(marginal | prior), KL(a | b) = sum a log(a/b) - a + b: the penalty that every solver and gradient takes.
struct KullbackLeibler {};

/// A penalty of your own, alpha sum_i p_i psi(m_i / p_i), of a marginal m with the prior p; psi is convex, psi(1) = 0.
///
/// - value(t) is psi(t), t >= 0.
/// - half_step(excess, strength) is the potential x that solves  x in -strength d psi(exp(x - excess)):  what the half
///   step of Sinkhorn sets a line's potential to, in units of alpha0. `excess` is log p_i less the log sum over the
///   line without its potential, `strength` is alpha / alpha0, finite and > 0. For KullbackLeibler it would be
///   excess strength / (1 + strength). (Chizat, Peyre, Schmitzer & Vialard, arXiv 1607.05816, section 3.)
///
/// Both are const and thread-safe. alpha = 0 leaves the side free, and alpha = hard holds it to its prior, whatever psi
/// is. Sinkhorn takes every penalty, BregmanAdmm too; Newton and the gradients take KullbackLeibler alone.
template <class P>
concept MarginalPenalty = requires(const P& penalty, double number) {
    { penalty.value(number) } -> std::convertible_to<double>;
    { penalty.half_step(number, number) } -> std::convertible_to<double>;
};

/// Any penalty. A value type; copies share the penalty, which is const.
class AnyPenalty {
public:
    AnyPenalty() = default;
    explicit(false) AnyPenalty(KullbackLeibler /*penalty*/) {}
    template <class P>
    requires(!std::same_as<P, AnyPenalty>) explicit(false) AnyPenalty(P penalty) {
        static_assert(MarginalPenalty<P>,
                      "otpool: a penalty is KullbackLeibler, or has value(t) and half_step(excess, strength)");
        own_ = std::make_shared<const Of<P>>(std::move(penalty));
    }

    bool is_kullback_leibler() const { return own_ == nullptr; }
    /// Of a penalty that is not KullbackLeibler.
    double value(double ratio) const { return own_->value(ratio); }
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
