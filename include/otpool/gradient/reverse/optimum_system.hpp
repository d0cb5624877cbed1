// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <concepts>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The symmetric system of two sides that a nonnegative matrix W couples, diagonals A and B, in the form of unit
/// diagonal
///
///     [ I    K ] [x]   [a]
///     [ K^T  I ] [y] = [b],     K = A^-1/2 W B^-1/2,
///
/// where rows and columns of any mass count the same. One side is eliminated: (I - K K^T) x = a - K b, on the smaller
/// one. Up to `direct_size` by Cholesky, above by conjugate gradients (whose matrix is never formed).
template <std::same_as<Real> Work = Real>
class OptimumSystem {
public:
    RealVector log_rows, log_cols;  ///< log A, log B; inf takes an entry out of the system.

    static constexpr Index direct_size = 1000;

    /// After log_rows and log_cols are set. `singular`: A and B are W's own sums, so that (A^1/2, -B^1/2) is in the
    /// kernel.
    void resize(bool singular) {
        K_.resize(log_rows.size(), log_cols.size());
        singular_ = singular;
    }

    /// Column k of W, by its logarithms; `log_W` may be any numbers after it.
    void set_column(Index k, Real* log_W) {
        for (Index d = 0; d < K_.rows(); ++d) log_W[d] -= (log_rows[d] + log_cols[k]) / 2;
        exp_or_zero(log_W, K_.rows(), K_.data() + k * K_.rows());
    }

    /// Right-hand sides in, solution out.
    void solve(RealVector& rows, RealVector& cols) const {
        if (rows.size() <= cols.size()) {
            eliminate(K_, log_rows, rows, cols);
        } else {
            eliminate(K_.transpose(), log_cols, cols, rows);
        }
    }

private:
    template <class Matrix>
    void eliminate(const Matrix& K, const RealVector& log_diagonal, RealVector& x, RealVector& y) const {
        x -= K * y;
        RealVector kernel = RealVector::Zero(x.size());  // one more direction to fill a singular matrix up
        if (singular_) kernel = ((log_diagonal.array() - log_diagonal.maxCoeff()) / 2).exp().matrix().normalized();
        x = x.size() <= direct_size ? by_cholesky(K, kernel, x) : by_conjugate_gradients(K, kernel, x);
        y -= K.transpose() * x;
    }

    template <class Matrix>
    static RealVector by_cholesky(const Matrix& K, const RealVector& kernel, const RealVector& right_side) {
        RealMatrix schur = RealMatrix::Identity(right_side.size(), right_side.size());
        schur.selfadjointView<Eigen::Lower>().rankUpdate(K, -1).rankUpdate(kernel);
        // A ridge at the size of rounding, more where parts of the plan do not touch: their multipliers have no common
        // origin, and need none.
        for (Real ridge = 1e-16 * static_cast<Real>(right_side.size());; ridge *= 10) {
            schur.diagonal().array() += ridge;
            const Eigen::LLT<RealMatrix> factor(schur);
            if (factor.info() == Eigen::Success) return factor.solve(right_side);
        }
    }

    template <class Matrix>
    static RealVector by_conjugate_gradients(const Matrix& K, const RealVector& kernel, const RealVector& right_side) {
        RealVector x = RealVector::Zero(right_side.size());
        RealVector residual = right_side;
        RealVector direction = residual;
        RealVector product;
        Real square = residual.squaredNorm();
        const Real enough = 1e-30 * square;
        const Index most = 20 * right_side.size();
        for (Index i = 0; i < most && square > enough; ++i) {
            product = direction + kernel * kernel.dot(direction);
            product.noalias() -= K * (K.transpose() * direction).eval();
            const Real curvature = direction.dot(product);
            if (!(curvature > 0)) break;  // down to rounding
            const Real length = square / curvature;
            x += length * direction;
            residual -= length * product;
            const Real next = residual.squaredNorm();
            direction = residual + next / square * direction;
            square = next;
        }
        return x;
    }

    RealMatrix K_;
    bool singular_ = false;
};

}  // namespace otpool::detail
