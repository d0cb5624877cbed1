// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/marginal.hpp"

// A bag may have a prior of its own, and a pooling or layer may compute another. The two multiply. An instance whose
// own prior is 0 is excluded: no prior is computed from its numbers, and it gets no mass whatever the other prior is.

namespace otpool {

/// A prior whose entries belong to places in the bag, whatever the instances there are: `by_place` is true. It is
/// computed from the whole bag; all other priors see only the instances that the bag does not exclude.
template <class Prior>
concept PriorByPlace = requires {
    requires Prior::by_place;
};

namespace detail {

/// What a Prior is computed from. If the bag excludes instances, the others are copied.
template <class Prior, BagScalar Scalar>
struct ActiveInstances {
    MatrixView<Scalar> instances;
    std::vector<Index> place = {};  ///< Empty if nothing was left out.

    /// Column k is this instance of the bag.
    Index place_of(Index k) const { return place.empty() ? k : place[static_cast<std::size_t>(k)]; }

    /// Of a bag with the prior `own`, if that is not empty. Throws InvalidArgument if it is no prior.
    ActiveInstances(const MatrixView<Scalar>& bag, const Vector<Scalar>& own) : instances(bag) {
        require_prior(own, bag.cols(), true, "q0");
        const bool excludes = std::find(own.begin(), own.end(), Scalar(0)) != own.end();
        if (!excludes || PriorByPlace<Prior>) return;
        for (Index n = 0; n < own.size(); ++n) {
            if (own[n] > 0) place.push_back(n);
        }
        Matrix<Scalar> copy(bag.rows(), static_cast<Index>(place.size()));
        for (Index k = 0; k < copy.cols(); ++k) copy.col(k) = bag.matrix().col(place[static_cast<std::size_t>(k)]);
        instances = std::move(copy);
    }
};

/// q0_n = computed_k own_n / sum, where n is the place of k. By logarithms, so that no product underflows.
template <class Prior, BagScalar Scalar>
Vector<Scalar> multiplied(const Vector<Scalar>& computed, const ActiveInstances<Prior, Scalar>& active,
                          const Vector<Scalar>& own) {
    constexpr Real nothing = -std::numeric_limits<Real>::infinity();
    RealVector logs(own.size());
    std::fill(logs.begin(), logs.end(), nothing);
    for (Index k = 0; k < computed.size(); ++k) {
        const Index n = active.place_of(k);
        logs[n] = std::log(static_cast<Real>(computed[k])) + std::log(static_cast<Real>(own[n]));
    }
    const Real highest = *std::max_element(logs.begin(), logs.end());
    require_that(highest > nothing, "the prior times the bag's own", "0 for every instance",
                 "an instance that neither of them excludes");
    Real sum = 0;
    for (Real& log : logs) sum += log = std::exp(log - highest);
    Vector<Scalar> product(own.size());
    for (Index n = 0; n < own.size(); ++n) product[n] = static_cast<Scalar>(logs[n] / sum);
    return product;
}

/// q0 of a bag: what `prior` computes, times the bag's own if `own` is not empty. Throws InvalidArgument for an own
/// prior that is none, as a solver does.
template <BagScalar Scalar, class Prior>
Vector<Scalar> prior_of(const Prior& prior, const MatrixView<Scalar>& bag, const Vector<Scalar>& own) {
    if (own.size() == 0) return prior(bag);
    const ActiveInstances<Prior, Scalar> active(bag, own);
    const Vector<Scalar> computed = prior(active.instances);
    if (computed.size() == 0) return own;
    require_prior(computed, active.instances.cols(), true, "q0");
    return multiplied(computed, active, own);
}

}  // namespace detail
}  // namespace otpool
