// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/matrix.hpp"

namespace otpool {

/// The derivatives of a number L with respect to everything that a UOT problem is made of.
///
/// Of a prior it is the derivative with respect to its logarithm, through the normalisation to sum 1: what the
/// backward pass of a softmax starts from. The alphas' and rho's have one entry, or one a step where every step has
/// parameters of its own. Where an alpha is infinite its derivative is 0, as nothing changes near it.
template <BagScalar Scalar>
struct ProblemGradient {
    Matrix<Scalar> reward = {};  ///< D x N; where the values are the reward, the sum of both derivatives.
    Matrix<Scalar> values = {};  ///< D x N; empty where the values are the reward.
    RealVector alpha0 = {};
    RealVector alpha1 = {};
    RealVector alpha2 = {};
    RealVector rho = {};         ///< Zero at an optimum, which does not depend on it, and for solvers without.
    Vector<Scalar> log_p0 = {};  ///< D
    Vector<Scalar> log_q0 = {};  ///< N; 0 for excluded instances.

    /// To a problem's size, with so many alphas and rhos: zeros where bags are summed over, else any numbers. Takes no
    /// memory where a matrix has that size already.
    void resize(Index features, Index instances, bool has_values, Index parameters) {
        reward.resize(features, instances);
        values.resize(has_values ? features : 0, has_values ? instances : 0);
        alpha0 = alpha1 = alpha2 = rho = RealVector::Zero(parameters);
        log_p0 = Vector<Scalar>::Zero(features);
        log_q0.resize(instances);
    }
};

}  // namespace otpool
