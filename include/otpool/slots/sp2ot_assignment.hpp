// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/slots/dummy_slot.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/structural.hpp"

namespace otpool {

namespace detail {

/// The shares of the slots in the instances, N times their plan.
template <BagScalar Scalar, class Solver>
Matrix<Scalar> partial_assignment(const MatrixView<Scalar>& log_probabilities, Scalar rho, Scalar alpha0,
                                  const Solver& solver) {
    UotProblem<Scalar> problem{
        .reward = log_probabilities, .alpha0 = alpha0, .features = {.alpha = 1}, .instances = {.alpha = hard}};
    append_dummy_slot(problem, PartialSlots{static_cast<double>(rho)}.mass(0, 0), 0);
    const Matrix<Scalar> plan = solver.solve(problem).plan();
    return static_cast<Scalar>(plan.cols()) * plan.topRows(log_probabilities.rows());
}

}  // namespace detail

/// The assignment of PPOT (Zhang, Ren & He, "P2OT: Progressive Partial Optimal Transport for Deep Imbalanced
/// Clustering", ICLR 2024): shares of N instances in K clusters, K x N, from log probabilities (log softmax of scores).
/// Clusters are soft with alpha 1 and get about the mass rho in all, a hard dummy slot takes the rest, and columns sum
/// to at most 1. Solved to the solver's tolerance. Throws InvalidArgument.
template <BagScalar Scalar>
Matrix<Scalar> ppot_assignment(const MatrixView<Scalar>& log_probabilities, Scalar rho, Scalar alpha0 = Scalar(0.1),
                               const Sinkhorn& solver = {}) {
    return detail::partial_assignment<Scalar>(log_probabilities, rho, alpha0, solver);
}

/// The assignment of SP2OT (Zhang, Ren & He, arXiv 2404.03446): PPOT's with the term -lambda <P A, P>, by which
/// instances of a large affinity A (N x N, of any symmetry) go to the same cluster. Structural with C1 = I (0 for the
/// dummy slot), C2 = (A + A^T) / 2 and alpha = 2 lambda, solved to its tolerance. Throws InvalidArgument. Memory: an N
/// x N matrix.
template <BagScalar Scalar>
Matrix<Scalar> sp2ot_assignment(const MatrixView<Scalar>& log_probabilities, const MatrixView<Scalar>& affinity,
                                Scalar rho, Scalar lambda, Scalar alpha0 = Scalar(0.1), Structural<> solver = {}) {
    const Index slots = log_probabilities.rows();
    const Index instances = log_probabilities.cols();
    detail::require_that(affinity.rows() == instances && affinity.cols() == instances, "shape of the affinity",
                         detail::shape_text(affinity.rows(), affinity.cols()),
                         detail::shape_text(instances, instances));
    RealMatrix C1 = RealMatrix::Identity(rho < 1 ? slots + 1 : slots, rho < 1 ? slots + 1 : slots);
    if (rho < 1) C1(slots, slots) = 0;
    const RealMatrix A = affinity.matrix().template cast<Real>();
    solver.feature_structure = std::move(C1);
    solver.instance_structure = RealMatrix((A + A.transpose()) / 2);
    solver.alpha = 2 * static_cast<Real>(lambda);
    return detail::partial_assignment<Scalar>(log_probabilities, rho, alpha0, solver);
}

}  // namespace otpool
