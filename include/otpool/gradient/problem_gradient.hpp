// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// The derivatives of a number L with respect to all parts of a UOT problem.
///
/// A prior is differentiated with respect to its logarithm, through the normalisation to sum 1. If the prior is a
/// softmax, this is also the derivative with respect to its logits. A prior of masses (Marginal::has_masses) is
/// differentiated entry by entry, or if both marginals are hard, as one that keeps its sum. Alphas and rho have one
/// entry, or one per step if steps have their own parameters. Where a marginal has an alpha for each line
/// (Marginal::alphas), alphas1 or alphas2 has their derivatives, and alpha1 or alpha2 is 0. An infinite alpha's
/// derivative is 0.
template <BagScalar Scalar>
struct ProblemGradient {
    Matrix<Scalar> reward = {};  ///< D x N; if the values are the reward, the sum of both derivatives.
    Matrix<Scalar> values = {};  ///< D x N; empty if the values are the reward.
    RealVector alpha0 = {};      ///< dL/dalpha0
    RealVector alpha1 = {};      ///< dL/dalpha1
    RealVector alpha2 = {};      ///< dL/dalpha2
    RealVector alphas1 = {};     ///< D: those of each feature's own alpha; empty if the features have one alpha.
    RealVector alphas2 = {};     ///< N: those of each instance's own alpha; empty if the instances have one alpha.
    RealVector rho = {};         ///< dL/drho; 0 for an optimum, which does not depend on rho, and without rho.
    Real mass = 0;               ///< dL/dm of a fixed mass; 0 if the mass is free, or if a side is hard.
    Vector<Scalar> log_p0 = {};  ///< D
    Vector<Scalar> log_q0 = {};  ///< N; 0 for excluded instances.

    /// Resizes to `instances` instances of problems like this one, with `parameters` entries per alpha. What is summed
    /// over bags becomes 0; all else is unspecified. A matrix that already has its size keeps its memory.
    template <class R>
    void resize(const UotProblem<Scalar, R>& like, Index instances, Index parameters) {
        const Index features = like.reward.rows();
        const bool has_values = !like.values.empty();
        reward.resize(features, instances);
        values.resize(has_values ? features : 0, has_values ? instances : 0);
        alpha0 = alpha1 = alpha2 = rho = RealVector::Zero(parameters);
        mass = 0;
        alphas1 = RealVector::Zero(like.features.alphas.size() > 0 ? features : 0);
        alphas2.resize(like.instances.alphas.size() > 0 ? instances : 0);
        log_p0 = Vector<Scalar>::Zero(features);
        log_q0.resize(instances);
    }
};

}  // namespace otpool
