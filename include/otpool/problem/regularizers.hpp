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

/// Quadratic with at most m slots (rows of the plan) per instance: every column of P has at most m entries above 0
/// (Liu, Puigcerver & Blondel, "Sparsity-Constrained Optimal Transport", ICLR 2023). Not convex; Newton takes it, and
/// finds the optimum or says Status::not_exact. ClosedForm takes it if all features are free.
struct KSparse {
    Index most = 1;  ///< m, at least 1.

    static double value(double entry) { return Quadratic::value(entry); }            ///< As Quadratic's.
    static double derivative(double entry) { return Quadratic::derivative(entry); }  ///< As Quadratic's.
    static double curvature(double entry) { return Quadratic::curvature(entry); }    ///< As Quadratic's.
    static double entry_at(double slack) { return Quadratic::entry_at(slack); }      ///< As Quadratic's.
};

/// Quadratic with at most m instances per slot: every row of P has at most m entries above 0. ClosedForm takes it, if
/// all instances are free: the m largest rewards of a row, projected onto the simplex (hard slots). If instances wanted
/// mass, the slots could often not reach them all.
struct TopK {
    Index most = 1;  ///< m, at least 1.

    static double value(double entry) { return Quadratic::value(entry); }            ///< As Quadratic's.
    static double derivative(double entry) { return Quadratic::derivative(entry); }  ///< As Quadratic's.
    static double curvature(double entry) { return Quadratic::curvature(entry); }    ///< As Quadratic's.
    static double entry_at(double slack) { return Quadratic::entry_at(slack); }      ///< As Quadratic's.
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

/// A regulariser with a limit on the plan's entries: KSparse and TopK.
template <class R>
concept LimitedRegularizer = std::same_as<R, KSparse> || std::same_as<R, TopK>;

/// A regulariser without one. ActiveSet and BregmanAdmm take no others.
template <class R>
concept ConvexRegularizer = Regularizer<R> && !LimitedRegularizer<R>;

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
    Index most = 0;                                 ///< m of KSparse and TopK; 0 without a limit.
    bool limits_instances = false;                  ///< Whether it is KSparse's.

    template <Regularizer R>
    static constexpr AnyRegularizer of(const R& regularizer = {}) {
        if constexpr (EntropicRegularizer<R>) {
            return {R::prior_weight, nullptr};
        } else if constexpr (LimitedRegularizer<R>) {
            return {0, &functions_of_separable<R>, regularizer.most, std::same_as<R, KSparse>};
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
