// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/alphas.hpp"
#include "otpool/problem/penalties.hpp"

namespace otpool {

/// Infinity, as a value of any floating-point type.
struct Infinity {
    /// Infinity as a Scalar.
    template <std::floating_point Scalar>
    constexpr operator Scalar() const {  // NOLINT(google-explicit-constructor)
        return std::numeric_limits<Scalar>::infinity();
    }
};
/// `alpha0 = infinity` leaves only the regulariser.
inline constexpr Infinity infinity{};
/// `alpha = hard` holds a marginal to its prior exactly.
inline constexpr Infinity hard{};

/// One marginal of the plan, and how it is held to its prior: by alpha times a penalty, Kullback-Leibler by default.
template <BagScalar Scalar>
struct Marginal {
    /// In [0, inf], in the reward's unit: 0 leaves the marginal free, `hard` holds it to the prior exactly.
    Scalar alpha = 0;
    /// Sums to 1 (within 1e-3; renormalised), unless it is given as masses; empty means uniform, with sum 1. Feature
    /// priors are > 0, instance priors >= 0. An instance of prior 0 is excluded: it gets no mass, whatever alpha is.
    Vector<Scalar> prior = {};
    AnyPenalty penalty = {};  ///< KullbackLeibler, AtMost, Range, TotalVariation or your own (MarginalPenalty).
    /// Whether the prior has masses of any sum, taken as they are. Two hard marginals must have the same sum, within
    /// 1e-3; q0 is then brought to that of p0.
    bool has_masses = false;
    /// An alpha for each feature or instance, instead of `alpha`: free, soft and hard ones may mix. Empty: `alpha` for
    /// all. Every solver takes them.
    Vector<Scalar> alphas = {};
};

namespace detail {

inline void require_alpha(double alpha, const auto& name) {
    require_that(alpha >= 0, name, alpha, "0 to inf");  // false for NaN, too
}

/// Throws unless the marginal's alphas are numbers from 0 to inf, for all lines or for each of `size`.
template <class Scalar>
void require_alphas(const Marginal<Scalar>& marginal, Index size, const char* name) {
    require_alpha(Real(marginal.alpha), name);
    const Index given = marginal.alphas.size();
    if (given == 0) return;
    require_that(given == size, text("number of alphas of ", name), given, size);
    for (Index i = 0; i < size; ++i) require_alpha(Real(marginal.alphas[i]), text(name, "[", i, "]"));
}

template <class Scalar>
Real alpha_of(const Marginal<Scalar>& marginal, Index i) {
    return Real(marginal.alphas.size() > 0 ? marginal.alphas[i] : marginal.alpha);
}

/// The alphas of the lines that are not excluded.
template <class Scalar>
Alphas alphas_of(const Marginal<Scalar>& marginal) {
    Alphas alphas(Real(marginal.alpha));
    if (marginal.alphas.size() == 0) return alphas;
    std::vector<Real> own;
    for (Index i = 0; i < marginal.alphas.size(); ++i) {
        const bool excluded = i < marginal.prior.size() && marginal.prior[i] == 0;
        if (!excluded) own.push_back(alpha_of(marginal, i));
    }
    alphas.set(static_cast<Index>(own.size()), [&](Index i) { return own[static_cast<std::size_t>(i)]; });
    return alphas;
}

template <class Scalar>
Real sum_of(const Vector<Scalar>& numbers) {
    Real sum = 0;
    for (Index i = 0; i < numbers.size(); ++i) sum += static_cast<Real>(numbers[i]);
    return sum;
}

/// Throws unless the prior is empty or has `size` numbers that sum to 1, or, as masses, to any number.
template <class Scalar>
void require_prior(const Vector<Scalar>& prior, Index size, bool zeros_allowed, const char* name,
                   bool has_masses = false) {
    if (prior.size() == 0) return;
    require_that(prior.size() == size, text("length of ", name), prior.size(), size);
    const char* allowed = zeros_allowed ? "finite and >= 0" : "finite and > 0";
    for (Index i = 0; i < size; ++i) {
        const bool inside = std::isfinite(prior[i]) && (zeros_allowed ? prior[i] >= 0 : prior[i] > 0);
        require_that(inside, text(name, "[", i, "]"), prior[i], allowed);
    }
    const Real sum = sum_of(prior);
    if (has_masses) {
        require_that(sum > 0 && std::isfinite(sum), text("sum of ", name), sum, "finite and > 0");
    } else {
        require_that(std::abs(sum - 1) <= 1e-3, text("sum of ", name), sum,
                     "1, within 0.001 (or any, where the marginal says that it has masses)");
    }
}

/// sum p0, the mass of a plan with this marginal if it is hard.
template <class Scalar>
Real prior_mass(const Marginal<Scalar>& marginal) {
    return marginal.has_masses && marginal.prior.size() > 0 ? sum_of(marginal.prior) : 1;
}

/// The prior as `size` doubles of this sum.
template <class Scalar>
RealVector prior_of_mass(const Vector<Scalar>& prior, Index size, Real mass = 1) {
    RealVector scaled(size);
    const Real sum = prior.size() == 0 ? static_cast<Real>(size) : sum_of(prior);
    for (Index i = 0; i < size; ++i) scaled[i] = (prior.size() == 0 ? 1 : static_cast<Real>(prior[i])) / (sum / mass);
    return scaled;
}

/// The sum of the priors of hard lines.
template <class Scalar>
Real hard_mass(const Marginal<Scalar>& marginal) {
    const Real mass = prior_mass(marginal);
    if (marginal.alphas.size() == 0) return std::isinf(marginal.alpha) ? mass : 0;
    const RealVector prior = prior_of_mass(marginal.prior, marginal.alphas.size(), mass);
    Real sum = 0;
    for (Index i = 0; i < prior.size(); ++i) sum += std::isinf(marginal.alphas[i]) ? prior[i] : 0;
    return sum;
}

/// Logarithms of the same, in a vector of any type.
template <class Scalar, class Logs>
void set_log_prior(const Vector<Scalar>& prior, Index size, Real mass, Logs& logs) {
    logs.resize(size);
    Real* const to = logs.data();
    if (prior.size() == 0) {
        const Real uniform = std::log(mass / static_cast<Real>(size));
        for (Index i = 0; i < size; ++i) to[i] = uniform;
        return;
    }
    const Real unit = sum_of(prior) / mass;
    for (Index i = 0; i < size; ++i) to[i] = std::log(static_cast<Real>(prior[i]) / unit);
}

}  // namespace detail
}  // namespace otpool
