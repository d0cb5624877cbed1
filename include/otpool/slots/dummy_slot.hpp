// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

// A dummy slot takes a part of the mass of the instances and is dropped from the result, so that the other slots get no
// more than the rest. mass(K, N) is its part, of K slots and N instances that are not excluded, if the plan's mass is 1.
// If that is 0, there is no dummy slot.

namespace otpool {

/// No dummy slot.
struct NoDummySlot {
    double reward = 0;  ///< Of no matter.

    /// 0
    Real mass(Index /*slots*/, Index /*instances*/) const { return 0; }
};

/// Slots get the mass m of 1, the dummy slot 1 - m. If the instances are hard, an instance then gives its whole mass or
/// less: partial transport (exactly so at alpha0 = 0; at alpha0 > 0 what it keeps back is regularised, too). Its reward
/// does not matter where dummy slot and instances are hard.
struct PartialSlots {
    double m = 0.5;     ///< In (0, 1].
    double reward = 0;  ///< Of the dummy slot, with every instance.

    /// 1 - m
    Real mass(Index /*slots*/, Index /*instances*/) const {
        detail::require_that(m > 0 && m <= 1, "mass of the slots", m, "above 0, at most 1");
        return 1 - m;
    }
};

/// Every slot gets the mass of one instance, 1/N, and the dustbin all the rest, (N - K)/N (Izquierdo & Civera, "Optimal
/// Transport Aggregation for Visual Place Recognition", CVPR 2024).
struct Dustbin {
    double reward = 0;  ///< Of the dustbin, with every instance.

    /// (N - K)/N. Throws InvalidArgument unless N > K.
    Real mass(Index slots, Index instances) const {
        detail::require_that(instances > slots, "number of instances", instances,
                             detail::text("more than ", slots, ", the number of slots"));
        return static_cast<Real>(instances - slots) / static_cast<Real>(instances);
    }
};

namespace detail {

/// Appends a row to the problem, unless its mass is 0: a hard slot of this mass and reward. The priors of the other
/// rows, of sum 1, are multiplied by 1 - mass.
template <BagScalar Scalar, class R>
void append_dummy_slot(UotProblem<Scalar, R>& problem, Real mass, Real reward) {
    if (mass == 0) return;
    const Index slots = problem.reward.rows();
    const Index instances = problem.reward.cols();
    Matrix<Scalar> extended(slots + 1, instances);
    extended.topRows(slots) = problem.reward.matrix();
    extended.row(slots).setConstant(static_cast<Scalar>(reward));
    problem.reward = std::move(extended);
    Marginal<Scalar>& side = problem.features;
    require_prior(side.prior, slots, false, "p0", side.has_masses);
    const RealVector prior = prior_of_mass(side.prior, slots, 1 - mass);
    side.prior.resize(slots + 1);
    for (Index k = 0; k < slots; ++k) side.prior[k] = static_cast<Scalar>(prior[k]);
    side.prior[slots] = static_cast<Scalar>(mass);
    if (side.alphas.size() == 0 && std::isinf(side.alpha)) return;
    Vector<Scalar> alphas(slots + 1);
    require_alphas(side, slots, "alpha1");
    for (Index k = 0; k < slots; ++k) alphas[k] = static_cast<Scalar>(alpha_of(side, k));
    alphas[slots] = hard;
    side.alphas = std::move(alphas);
}

}  // namespace detail
}  // namespace otpool
