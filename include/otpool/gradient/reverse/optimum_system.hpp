// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <concepts>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

/// The symmetric linear system of an optimum, in which a nonnegative matrix W couples two sides with diagonals A and B.
/// It is scaled to unit diagonal:
///
///     [ I    K ] [x]   [a]
///     [ K^T  I ] [y] = [b],     K = A^-1/2 W B^-1/2,
///
/// so that rows and columns of any mass count the same. The larger side is eliminated: (I - K K^T) x = a - K b. That is
/// solved by Cholesky up to `direct_size`, above by conjugate gradients, which never form the matrix.
///
/// Newton's steps solve this system, too, but on the way to the optimum, where its diagonals are not the plan's own, and
/// with a B that is sparse at small alpha0 and stored in whole registers: so SemidualNewton has its own.
template <std::same_as<Real> Work = Real>
class OptimumSystem {
public:
    static constexpr Index direct_size = 1000;

    Matrix<Work> K;

    /// x, y: right-hand sides before, solution after. log_a, log_b: log A and log B. `singular`: A and B are the sums of
    /// W, so that (A^1/2, -B^1/2) solves the system with right-hand side 0.
    void solve(bool singular, const RealVector& log_a, const RealVector& log_b, RealVector& x, RealVector& y) const {
        if (x.size() <= y.size()) {
            eliminate(K, singular, log_a, x, y);
        } else {
            eliminate(K.transpose(), singular, log_b, y, x);
        }
    }

private:
    template <class Block>
    static void eliminate(const Block& block, bool singular, const RealVector& log_diagonal, RealVector& x,
                          RealVector& y) {
        x.noalias() -= block * y;
        RealVector kernel = RealVector::Zero(x.size());  // added to a singular matrix, it makes it regular
        if (singular) {
            const Real top = *std::max_element(log_diagonal.begin(), log_diagonal.end());
            for (Index i = 0; i < x.size(); ++i) kernel[i] = std::exp((log_diagonal[i] - top) / 2);
            kernel.normalize();
        }
        if (x.size() <= direct_size) {
            solve_by_cholesky(block, kernel, x);
        } else {
            solve_by_conjugate_gradients(block, kernel, x);
        }
        y.noalias() -= block.transpose() * x;
    }

    template <class Block>
    static void solve_by_cholesky(const Block& block, const RealVector& kernel, RealVector& x) {
        RealMatrix schur = RealMatrix::Identity(x.size(), x.size());
        schur.selfadjointView<Eigen::Lower>().rankUpdate(block, -1).rankUpdate(kernel);
        // A ridge at the size of rounding. It grows where parts of the plan do not touch: constants may then be added to
        // the multipliers of each part, and any will do.
        for (Real ridge = 1e-16 * static_cast<Real>(x.size());; ridge *= 10) {
            for (Index i = 0; i < x.size(); ++i) schur(i, i) += ridge;
            const Eigen::LLT<RealMatrix> factor(schur);
            if (factor.info() == Eigen::Success) return factor.solveInPlace(x);
        }
    }

    template <class Block>
    static void solve_by_conjugate_gradients(const Block& block, const RealVector& kernel, RealVector& x) {
        RealVector residual = x;
        RealVector direction = x;
        RealVector product(x.size());
        RealVector of_other_side(block.cols());
        const auto dot = [](const RealVector& a, const RealVector& b) { return a.dot(b); };
        const auto add = [](RealVector& to, Real factor, const RealVector& term) {
            for (Index i = 0; i < to.size(); ++i) to[i] += factor * term[i];
        };
        Real square = dot(residual, residual);
        const Real enough = 1e-30 * square;
        const Index most = 20 * x.size();
        std::fill(x.begin(), x.end(), 0);
        for (Index i = 0; i < most && square > enough; ++i) {
            product = direction;
            add(product, dot(kernel, direction), kernel);
            of_other_side.noalias() = block.transpose() * direction;
            product.noalias() -= block * of_other_side;
            const Real curvature = dot(direction, product);
            if (!(curvature > 0)) break;  // down to rounding
            const Real length = square / curvature;
            add(x, length, direction);
            add(residual, -length, product);
            const Real next = dot(residual, residual);
            for (Index d = 0; d < x.size(); ++d) direction[d] = residual[d] + next / square * direction[d];
            square = next;
        }
    }
};

}  // namespace otpool::detail
