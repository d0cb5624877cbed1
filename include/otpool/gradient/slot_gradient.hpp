// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/problem_gradient.hpp"

namespace otpool {

/// The derivatives of a number L with respect to all parts of a pooling to slots. What a pooling does not have is empty,
/// or 0.
template <BagScalar Scalar>
struct SlotGradient {
    Matrix<Scalar> instances = {};  ///< D x sum N: of the bags, through the values and through the reward.
    /// Of the UOT problem without the dummy slot. Its `reward` is dL/dS, K x sum N; its `values` are empty.
    ProblemGradient<Scalar> problem = {};
    Matrix<Scalar> prototypes = {};  ///< D x K: of the reward's prototypes.
    Vector<Scalar> bias = {};        ///< K: of DotProduct's bias; also where that is empty.
    RealMatrix centres = {};         ///< D x K: of ResidualSlots' centres.
    Real scale = 0;                  ///< Of JointSlots' scale.
    Real dummy_reward = 0;           ///< Of the dummy slot's reward.
    Real dummy_m = 0;                ///< Of PartialSlots' m; 0 if m = 1, where there is no dummy slot.

    /// Adds the derivatives with respect to what the bags of a batch share.
    void add_shared(const SlotGradient& bag) {
        const auto add = [](auto& sum, const auto& term) {
            if (sum.size() == 0) {
                sum = term;
            } else if (term.size() > 0) {
                sum += term;
            }
        };
        add(problem.alpha0, bag.problem.alpha0);
        add(problem.alpha1, bag.problem.alpha1);
        add(problem.alpha2, bag.problem.alpha2);
        add(problem.rho, bag.problem.rho);
        problem.mass += bag.problem.mass;
        add(problem.alphas1, bag.problem.alphas1);
        add(problem.log_p0, bag.problem.log_p0);
        add(prototypes, bag.prototypes);
        add(bias, bag.bias);
        add(centres, bag.centres);
        scale += bag.scale;
        dummy_reward += bag.dummy_reward;
        dummy_m += bag.dummy_m;
    }
};

}  // namespace otpool
