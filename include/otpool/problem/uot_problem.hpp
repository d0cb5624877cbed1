// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/regularizers.hpp"

namespace otpool {

/// The unbalanced optimal transport problem of one bag (Cheng & Xu, arXiv 2201.09191, eq. 4):
///
///     min over P >= 0 (D x N)   -<X, P> + alpha0 R(P) + alpha1 KL(P 1_N | p0) + alpha2 KL(P^T 1_D | q0),
///     KL(r | p) = sum_i r_i log(r_i / p_i) - r_i + p_i
///
/// or with a penalty other than KL (MarginalPenalty), or with an alpha for each feature or instance (Marginal::alphas),
/// or with the constraint sum P = m (mass).
/// P_dn says how much feature d draws on instance n. Every alpha may be 0 or infinity: alpha0 = inf leaves only the
/// regulariser, but a hard marginal stays hard.
///
/// It views its matrices, which must outlive it and all its solutions.
template <BagScalar Scalar, class R = Entropy>
struct UotProblem {
    static_assert(Regularizer<R>, "otpool: a regulariser is what otpool/problem/regularizers.hpp says");

    MatrixView<Scalar> reward;                    ///< X, D x N, finite or -inf, D and N at least 1.
    MatrixView<Scalar> values = {};               ///< What is pooled, D x N, finite; empty means the reward.
    Scalar alpha0 = 1;                            ///< Strength of the regulariser, in [0, inf].
    Marginal<Scalar> features = {.alpha = hard};  ///< alpha1 and p0 (D entries).
    Marginal<Scalar> instances = {.alpha = 0};    ///< alpha2 and q0 (N entries).
    /// m, the plan's mass sum P, finite and > 0; empty: the mass is free. If a side is hard, m is its prior's sum, within
    /// 1e-3, and changes nothing. Else the plan is exp((X + f + g + lambda) / alpha0), lambda the multiplier of
    /// sum P = m, as if the reward were X + lambda. Sinkhorn and Newton take it, for entropic problems with alpha0 > 0.
    std::optional<Scalar> mass = {};
    [[no_unique_address]] R regularizer = {};  ///< R, if it has settings, as KSparse has.

    /// The values, or the reward if there are none.
    const MatrixView<Scalar>& pooled_values() const { return values.empty() ? reward : values; }
};

namespace detail {

template <class Scalar>
bool all_finite(const MatrixView<Scalar>& matrix, const Execution& execution) {
    if (matrix.empty()) return true;
    const InstanceParts parts(matrix.rows(), matrix.cols());
    if (parts.count() == 1) return matrix.all_finite();
    std::atomic<bool> finite = true;
    execution.for_each(parts.count(), [&](Index part, Index) {
        if (!matrix.middle_cols(parts.first(part), parts.size(part)).all_finite()) finite = false;
    });
    return finite;
}

template <class Scalar>
void require_finite(const MatrixView<Scalar>& matrix, const auto& name, const Execution& execution = {}) {
    if (all_finite(matrix, execution)) return;
    for (Index n = 0; n < matrix.cols(); ++n) {
        for (Index d = 0; d < matrix.rows(); ++d) {
            require_that(std::isfinite(matrix(d, n)), text(name, " at feature ", d, ", instance ", n), matrix(d, n),
                         "finite numbers");
        }
    }
}

/// Throws unless every reward is finite or -inf, and those of -inf go with the rest of the problem. Returns whether
/// there are any.
template <class Scalar, class R>
bool require_reward(const UotProblem<Scalar, R>& problem, const Execution& execution = {}) {
    const MatrixView<Scalar>& reward = problem.reward;
    if (all_finite(reward, execution)) return false;
    std::vector<char> allowed(static_cast<std::size_t>(reward.rows()), 0);
    for (Index n = 0; n < reward.cols(); ++n) {
        const bool excluded = problem.instances.prior.size() > 0 && problem.instances.prior[n] == 0;
        bool any = false;
        for (Index d = 0; d < reward.rows(); ++d) {
            const Scalar x = reward(d, n);
            require_that(x < std::numeric_limits<Scalar>::infinity(), text("reward at feature ", d, ", instance ", n),
                         x, "finite numbers, or -inf for a pair that is forbidden");
            if (!std::isfinite(x) || excluded) continue;
            any = true;
            allowed[static_cast<std::size_t>(d)] = 1;
        }
        require_that(any || excluded || !std::isinf(alpha_of(problem.instances, n)), text("reward of instance ", n),
                     "-inf at all features", "a finite reward, as its marginal is hard");
    }
    for (Index d = 0; d < reward.rows(); ++d) {
        require_that(allowed[static_cast<std::size_t>(d)] != 0, text("reward of feature ", d),
                     "-inf at all instances of prior > 0", "at least one finite reward");
    }
    require_that(!problem.values.empty(), "values", "empty", "finite values, as the reward has entries of -inf");
    require_that(std::isfinite(problem.alpha0), "alpha0", problem.alpha0, "finite, as the reward has entries of -inf");
    return true;
}

/// Throws unless there is a mass that both marginals can have, as far as their hard lines say.
template <class Scalar>
void require_common_mass(const Marginal<Scalar>& features, const Marginal<Scalar>& instances) {
    const bool hard_features = alphas_of(features).all_hard();
    const bool hard_instances = alphas_of(instances).all_hard();
    const Real of_features = prior_mass(features);
    const Real of_instances = prior_mass(instances);
    // The other side's lines that are not hard have some mass, too.
    const auto require_less = [](Real hard, const char* name, Real mass, const char* why) {
        require_that(hard < mass, name, hard, text("less than ", mass, why));
    };
    if (hard_features && hard_instances) {
        require_that(std::abs(of_instances - of_features) <= 1e-3 * of_features, "sum of q0", of_instances,
                     text(of_features, ", the sum of p0, within 0.001 of it, as both marginals are hard"));
    } else if (hard_instances) {
        require_less(hard_mass(features), "sum of p0 over hard features", of_instances,
                     ", the sum of q0, as all instances are hard");
    } else if (hard_features) {
        require_less(hard_mass(instances), "sum of q0 over hard instances", of_features,
                     ", the sum of p0, as all features are hard");
    }
}

/// Throws unless the mass is finite and > 0, and the hard lines leave it to the others.
template <class Scalar, class R>
void require_mass(const UotProblem<Scalar, R>& problem) {
    if (!problem.mass) return;
    const Real mass = *problem.mass;
    require_that(mass > 0 && std::isfinite(mass), "mass", mass, "finite and > 0");
    const auto require_on = [&](const Marginal<Scalar>& side, const char* prior, const char* lines) {
        if (alphas_of(side).all_hard()) {
            const Real sum = prior_mass(side);
            require_that(std::abs(mass - sum) <= 1e-3 * sum, "mass", mass,
                         text(sum, ", the sum of ", prior, ", within 0.001 of it, as all ", lines, " are hard"));
        } else {
            const Real sum = hard_mass(side);
            require_that(sum < mass, "mass", mass,
                         text("more than ", sum, ", the sum of ", prior, " over hard ", lines));
        }
    };
    require_on(problem.features, "p0", "features");
    require_on(problem.instances, "q0", "instances");
}

/// The mass, if it is a constraint of its own: if it is given, and no side is hard.
template <class Scalar, class R>
std::optional<Real> fixed_mass(const UotProblem<Scalar, R>& problem) {
    if (!problem.mass || alphas_of(problem.features).all_hard() || alphas_of(problem.instances).all_hard()) return {};
    return Real(*problem.mass);
}

/// Throws UnsupportedProblem, in the solver's name, if the mass is a constraint of its own.
template <class Scalar, class R>
void require_free_mass(const char* solver, const UotProblem<Scalar, R>& problem) {
    if (!fixed_mass(problem)) return;
    throw UnsupportedProblem(solver, "a fixed mass", "no mass, or a hard side (Sinkhorn and Newton take a fixed mass)");
}

/// validate() without the entries of reward and values.
template <class Scalar, class R>
void validate_fields(const UotProblem<Scalar, R>& problem) {
    const auto& [reward, values, alpha0, features, instances, mass, regularizer] = problem;
    require_that(!reward.empty(), "shape of reward", shape_text(reward.rows(), reward.cols()),
                 "at least one feature and one instance");
    require_that(values.empty() || (values.rows() == reward.rows() && values.cols() == reward.cols()),
                 "shape of values", shape_text(values.rows(), values.cols()),
                 text(shape_text(reward.rows(), reward.cols()), ", the shape of the reward"));
    require_alpha(Real(alpha0), "alpha0");
    require_alphas(features, reward.rows(), "alpha1");
    require_alphas(instances, reward.cols(), "alpha2");
    require_prior(features.prior, reward.rows(), false, "p0", features.has_masses);
    require_prior(instances.prior, reward.cols(), true, "q0", instances.has_masses);
    require_common_mass(features, instances);
    require_mass(problem);
    if constexpr (LimitedRegularizer<R>) require_that(regularizer.most >= 1, "most", regularizer.most, "at least 1");
}

/// The number of instances that are not excluded.
template <class Scalar, class R>
Index active_instances(const UotProblem<Scalar, R>& problem) {
    Index count = problem.reward.cols();
    for (const Scalar q : problem.instances.prior) count -= q == 0 ? 1 : 0;
    return count;
}

template <class Scalar, class R>
bool is_kullback_leibler(const UotProblem<Scalar, R>& problem) {
    const auto holds = [](const Marginal<Scalar>& side) { return is_kullback_leibler(side.penalty, alphas_of(side)); };
    return holds(problem.features) && holds(problem.instances);
}

/// Throws UnsupportedProblem, in the solver's name, unless both penalties are KullbackLeibler.
template <class Scalar, class R>
void require_kullback_leibler(const char* solver, const UotProblem<Scalar, R>& problem) {
    if (is_kullback_leibler(problem)) return;
    throw UnsupportedProblem(solver, "a penalty other than KullbackLeibler",
                             "KullbackLeibler (Sinkhorn and BregmanAdmm take every penalty)");
}

/// Whether features or instances have an alpha each.
template <class Scalar, class R>
bool has_own_alphas(const UotProblem<Scalar, R>& problem) {
    return problem.features.alphas.size() > 0 || problem.instances.alphas.size() > 0;
}

/// Throws UnsupportedProblem, in the solver's name, if free features may draw on free instances without end, as only some
/// lines are free.
template <class Scalar, class R>
void require_bounded_mass(const char* solver, const UotProblem<Scalar, R>& problem) {
    const Alphas alpha1 = alphas_of(problem.features);
    const Alphas alpha2 = alphas_of(problem.instances);
    const bool all_free = alpha1.all_free() && alpha2.all_free();
    if (problem.alpha0 > 0 || all_free || !alpha1.any_free() || !alpha2.any_free()) return;
    throw UnsupportedProblem(solver, "alpha0 = 0 and both free features and free instances",
                             "free lines on one side, or all lines free");
}

/// Throws UnsupportedProblem, in the solver's name, if they have.
template <class Scalar, class R>
void require_common_alphas(const char* solver, const UotProblem<Scalar, R>& problem) {
    if (!has_own_alphas(problem)) return;
    throw UnsupportedProblem(solver, "alphas for each feature or instance", "one alpha for all (solvers take them)");
}

}  // namespace detail

/// Throws InvalidArgument if the problem is not well formed; the message names the field, its value and what is
/// allowed. Every solver checks this before any work. Cost: one pass over reward and values.
template <class Scalar, class R>
void validate(const UotProblem<Scalar, R>& problem, const Execution& execution = {}) {
    detail::validate_fields(problem);
    detail::require_reward(problem, execution);
    detail::require_finite(problem.values, "values", execution);
}

}  // namespace otpool
