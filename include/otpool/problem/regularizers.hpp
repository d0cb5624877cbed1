// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>

#include "otpool/core/matrix.hpp"

namespace otpool {

/// R(P) = <P, log P - 1>: Cheng & Xu, arXiv 2201.09191, eq. 4. A dense plan.
struct Entropy {
    static constexpr double prior_weight = 0;  ///< As in EntropicRegularizer.
};

/// R(P) = KL(P | p0 q0^T): POT's "kl". Entropy with reward X + alpha0 log(p0 q0^T); keeps q0 when alpha0 is large.
struct RelativeEntropy {
    static constexpr double prior_weight = 1;  ///< As in EntropicRegularizer.
};

/// R(P) = ||P||_F^2: the paper's second regulariser. A sparse plan.
struct Quadratic {
    static double value(double entry) { return entry * entry; }                  ///< phi(p)
    static double derivative(double entry) { return 2 * entry; }                 ///< phi'(p)
    static double curvature(double /*entry*/) { return 2; }                      ///< phi''(p)
    static double entry_at(double slack) { return (std::max)(slack, 0.0) / 2; }  ///< As in SeparableRegularizer.
};

/// R(P) = <P, log P - 1> - w (<P, log p0 q0^T> - 1), w = prior_weight: the regularisers whose plans are exponential,
/// P = (p0 q0^T)^w exp((X + f + g) / alpha0). Every solver takes them.
template <class R>
concept EntropicRegularizer = requires {
    { R::prior_weight } -> std::convertible_to<double>;
};

/// R(P) = sum_dn phi(P_dn), with a convex phi whose derivative at 0 is finite. BregmanAdmm takes them. For p >= 0,
/// value(p) is phi(p), derivative(p) is phi'(p) and curvature(p) is phi''(p). entry_at(y) is the p >= 0 where
/// p y - phi(p) is largest; the plan has P_dn = entry_at((X_dn + f_d + g_n) / alpha0).
template <class R>
concept SeparableRegularizer = requires(double number) {
    { R::value(number) } -> std::convertible_to<double>;
    { R::derivative(number) } -> std::convertible_to<double>;
    { R::curvature(number) } -> std::convertible_to<double>;
    { R::entry_at(number) } -> std::convertible_to<double>;
};

/// Either of them.
template <class R>
concept Regularizer = EntropicRegularizer<R> || SeparableRegularizer<R>;

namespace detail {

/// A SeparableRegularizer's functions, on arrays in place: solvers are compiled once for all regularisers.
struct SeparableFunctions {
    void (*derivative)(Real* entries, Index count);
    void (*curvature)(Real* entries, Index count);
    void (*entry_at)(Real* slacks, Index count);
};

template <SeparableRegularizer R>
inline constexpr SeparableFunctions functions_of_separable = {[](Real* x, Index count) {
                                                                  for (Index i = 0; i < count; ++i)
                                                                      x[i] = R::derivative(x[i]);
                                                              },
                                                              [](Real* x, Index count) {
                                                                  for (Index i = 0; i < count; ++i)
                                                                      x[i] = R::curvature(x[i]);
                                                              },
                                                              [](Real* x, Index count) {
                                                                  for (Index i = 0; i < count; ++i)
                                                                      x[i] = R::entry_at(x[i]);
                                                              }};

/// A regulariser as solvers see it, whatever its type.
struct AnyRegularizer {
    Real prior_weight = 0;                          ///< If an EntropicRegularizer.
    const SeparableFunctions* separable = nullptr;  ///< Null unless a SeparableRegularizer.

    template <Regularizer R>
    static constexpr AnyRegularizer of() {
        if constexpr (EntropicRegularizer<R>) {
            return {R::prior_weight, nullptr};
        } else {
            return {0, &functions_of_separable<R>};
        }
    }
    Real derivative(Real entry) const { return apply(separable->derivative, entry); }
    Real curvature(Real entry) const { return apply(separable->curvature, entry); }
    Real entry_at(Real slack) const { return apply(separable->entry_at, slack); }

private:
    static Real apply(void (*function)(Real*, Index), Real number) {
        function(&number, 1);
        return number;
    }
};

}  // namespace detail
}  // namespace otpool
