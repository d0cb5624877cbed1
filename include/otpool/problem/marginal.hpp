// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>
#include <string>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"

namespace otpool {

/// Infinity, in whatever floating-point type it is assigned to.
struct Infinity {
    template <std::floating_point Scalar>
    constexpr operator Scalar() const {  // NOLINT(google-explicit-constructor)
        return std::numeric_limits<Scalar>::infinity();
    }
};
/// `alpha0 = infinity` leaves only the regulariser.
inline constexpr Infinity infinity{};
/// `alpha = hard` holds a marginal to its prior exactly.
inline constexpr Infinity hard{};

/// One marginal of the plan: the penalty alpha KL(marginal | prior), KL(a | b) = sum a log(a/b) - a + b.
template <BagScalar Scalar>
struct Marginal {
    /// In [0, inf], in the reward's unit: 0 leaves the marginal free, `hard` holds it to the prior exactly.
    Scalar alpha = 0;
    /// Entries of sum 1 (within 1e-3; renormalised); left empty: uniform. Feature priors are > 0, instance priors >=
    /// 0, and an instance of prior 0 is excluded: it gets no mass whatever alpha is.
    Vector<Scalar> prior = {};
};

namespace detail {

inline void require_alpha(double alpha, const std::string& name) {
    require(alpha >= 0, name, alpha, "0 to inf");  // false for NaN, too
}

/// The prior of `size` entries as doubles of sum 1; `smallest_allowed` says whether zeros are (">= 0") or not (">
/// 0").
template <class Scalar>
RealVector normalized_prior(const Vector<Scalar>& prior, Index size, bool zeros_allowed, const std::string& name) {
    if (prior.size() == 0) return RealVector::Constant(size, 1.0 / static_cast<double>(size));
    require(prior.size() == size, "length of " + name, prior.size(), printed(size));
    const std::string allowed = zeros_allowed ? "finite and >= 0" : "finite and > 0";
    for (Index i = 0; i < size; ++i) {
        const bool inside = std::isfinite(prior[i]) && (zeros_allowed ? prior[i] >= 0 : prior[i] > 0);
        if (!inside) require(false, name + "[" + printed(i) + "]", prior[i], allowed);  // text costs, and is rare
    }
    RealVector normalized = prior.template cast<Real>();
    const Real sum = normalized.sum();
    require(std::abs(sum - 1) <= 1e-3, "sum of " + name, sum, "1, within 0.001");
    return normalized / sum;
}

}  // namespace detail
}  // namespace otpool
