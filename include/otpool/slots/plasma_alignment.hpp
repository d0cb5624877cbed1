// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/slots/named_slot_poolings.hpp"
#include "otpool/slots/slot_rewards.hpp"

// The alignment of two proteins of PLASMA (Wang et al., "Fast and Interpretable Protein Substructure Alignment via Optimal
// Transport", ICLR 2026, arXiv 2510.11752): residues of the query are slots, those of the candidate are instances.

namespace otpool {

/// s_kn = -sum_d max(w_dk - x_dn, 0): what the prototype has more than the instance.
template <BagScalar Scalar>
struct Hinge {
    Matrix<Scalar> prototypes;  ///< W, D x K

    Index slots() const { return prototypes.cols(); }  ///< K

    /// S. Cost: 3 K N D flops.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances, const Vector<Scalar>& /*prior*/ = {}) const {
        detail::require_prototypes(prototypes, instances.rows());
        Matrix<Scalar> reward(slots(), instances.cols());
        for (Index n = 0; n < instances.cols(); ++n) {
            const Vector<Scalar> x = instances.matrix().col(n);
            for (Index k = 0; k < slots(); ++k) reward(k, n) = -(prototypes.col(k) - x).cwiseMax(Scalar(0)).sum();
        }
        return reward;
    }
};

/// How plasma_alignment() aligns and scores; the defaults are theirs.
template <BagScalar Scalar>
struct PlasmaOptions {
    Scalar alpha0 = 1;       ///< 1 over their temperature, which they multiply rewards by; above 0.
    int iterations = 20;     ///< Sinkhorn steps, at least 1.
    double threshold = 0.5;  ///< A residue counts if the plan has an entry above this in its row or column.
    Index diagonal = 10;     ///< Length of the diagonal that the score asks for, at least 0 and at most K and N.
};

/// An alignment: the plan times N, K x N (columns sum to 1), and its score in [0, 1].
template <BagScalar Scalar>
struct PlasmaAlignment {
    Matrix<Scalar> plan;  ///< K x N
    double score = 0;     ///< See plasma_score().
};

/// The score of a plan P times N between a query W (D x K) and a candidate X (D x N):
///
///     max(cos(sum_kn P_kn w_k, sum_n x_n), 0) max_(k,n) min(sum_(t < T) P_(k+t, n+t), T) / T
///
/// with sums over the slots k and instances n that have an entry above the threshold, and T the length of the diagonal
/// (T = 0: without the second factor). 0 if no instance has such an entry. Computed in double. Throws InvalidArgument.
template <BagScalar Scalar>
double plasma_score(const MatrixView<Scalar>& query, const MatrixView<Scalar>& candidate, const Matrix<Scalar>& plan,
                    double threshold, Index diagonal) {
    const Index K = plan.rows();
    const Index N = plan.cols();
    detail::require_that(query.cols() == K && candidate.cols() == N, "shape of the plan", detail::shape_text(K, N),
                         detail::shape_text(query.cols(), candidate.cols()));
    detail::require_that(diagonal >= 0 && diagonal <= (std::min)(K, N), "length of the diagonal", diagonal,
                         detail::text("0 to ", (std::min)(K, N), ", the shorter side of the plan"));
    RealVector in_query = RealVector::Zero(query.rows());
    RealVector in_candidate = in_query;
    for (Index n = 0; n < N; ++n) {
        if (!(static_cast<Real>(plan.col(n).maxCoeff()) > threshold)) continue;
        in_candidate += candidate.col(n);
        for (Index k = 0; k < K; ++k) {
            if (static_cast<Real>(plan.row(k).maxCoeff()) > threshold) in_query += plan(k, n) * query.col(k);
        }
    }
    const Real norms = in_query.norm() * in_candidate.norm();
    const Real cosine = norms > 0 ? in_query.dot(in_candidate) / norms : 0;
    Real longest = 0;
    for (Index k = 0; k + diagonal <= K; ++k) {
        for (Index n = 0; n + diagonal <= N; ++n) {
            Real sum = 0;
            for (Index t = 0; t < diagonal; ++t) sum += plan(k + t, n + t);
            longest = (std::max)(longest, sum);
        }
    }
    const auto T = static_cast<Real>(diagonal);
    return (std::max)(cosine, 0.0) * (diagonal > 0 ? (std::min)(longest, T) / T : 1);
}

/// PLASMA's alignment of a query (D x K) with a candidate (D x N) by features of their residues: the reward Hinge, hard and
/// uniform marginals, a fixed number of Sinkhorn steps that end on the candidate.
///
/// One difference from their program: it adds 1e-8 to the sums that it divides by. Where a row or column of exp(S /
/// alpha0) sums to little, its residue then gets less than its share, and the plan is another. For rewards of -10 to 0,
/// entries differed by up to 4e-7 at alpha0 = 1, and by up to 0.5 at alpha0 = 0.2. Throws InvalidArgument.
template <BagScalar Scalar>
PlasmaAlignment<Scalar> plasma_alignment(const MatrixView<Scalar>& query, const MatrixView<Scalar>& candidate,
                                         const PlasmaOptions<Scalar>& options = {}) {
    const Matrix<Scalar> scores = Hinge<Scalar>{query.matrix()}(candidate);
    PlasmaAlignment<Scalar> found{sinkhorn_assignment<Scalar>(scores, options.alpha0, options.iterations)};
    found.score = plasma_score(query, candidate, found.plan, options.threshold, options.diagonal);
    return found;
}

}  // namespace otpool
