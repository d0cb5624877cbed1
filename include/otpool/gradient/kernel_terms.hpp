// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/solver/absorbed_kernel.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// exp(z_dk + row_exponent_d + col_exponent_k) row_factor_d col_factor_k, of a kernel's exponents z.
struct KernelTerm {
    RealVector row_exponent, row_factor;
    RealVector col_exponent, col_factor;
};

/// A sum Y of such terms, of which only the vectors are kept: D x N numbers are made of it a block of columns at a time,
///
///     Y = M * (R C^T),  M_dk = exp(z_dk + F_d + G_k),
///
/// one multiplication an element and term, all in the bag's own scalar. What does not fit its range is computed in the log
/// domain, one exp an element and term.
template <BagScalar Scalar>
class KernelTerms {
public:
    /// Terms shall be near exp(row_potential) and exp(col_potential).
    KernelTerms(const ScaledReward<Scalar>& kernel, const RealVector& row_potential, const RealVector& col_potential)
        : kernel_(kernel),
          absorbed_(kernel, {}, 0),
          in_range_(absorbed_.absorb(row_potential, col_potential)),
          row_factors_(kernel.rows(), 0),
          col_factors_(kernel.cols(), 0),
          scratch_(kernel.rows()) {}

    /// Adds a term; returns its row sums, whose cost is one pass.
    RealVector add_for_row_sums(KernelTerm term) {
        if (!add(term)) return log_domain_sums(log_terms_.back()).first;
        RealVector sums = RealVector::Zero(kernel_.rows());
        absorbed_.for_each_block([&](const Block& block) {
            partial_.noalias() = absorbed_.matrix(block) * col_factors_.col(last()).segment(block.first, block.count);
            sums += partial_.template cast<Real>();
        });
        return sums.cwiseProduct(row_factors_.col(last()).template cast<Real>());
    }

    /// Adds a term; returns its column sums.
    RealVector add_for_col_sums(KernelTerm term) {
        if (!add(term)) return log_domain_sums(log_terms_.back()).second;
        RealVector sums(kernel_.cols());
        absorbed_.for_each_block([&](const Block& block) {
            partial_.noalias() = absorbed_.matrix(block).transpose() * row_factors_.col(last());
            sums.segment(block.first, block.count) = partial_.template cast<Real>();
        });
        return sums.cwiseProduct(col_factors_.col(last()).template cast<Real>());
    }

    /// Sets the one term W of Y + W * values; returns the column sums of W * values.
    RealVector set_weights(KernelTerm term, const MatrixView<Scalar>& values) {
        weights_in_range_ = scaled(term, weights_row_, weights_col_);
        weights_term_ = std::move(term);
        values_ = values;
        RealVector sums(kernel_.cols());
        absorbed_.for_each_block([&](const Block& block) {
            const auto W = weights(block);
            for (Index j = 0; j < block.count; ++j) {
                sums[block.first + j] = static_cast<Real>(W.col(j).dot(value(block.first + j)));
            }
        });
        return sums;
    }

    /// visit(first, count, Y + W * values, W) of every block of columns; without set_weights() W is empty.
    template <class Visit>
    void for_each_block(const Visit& visit) {
        Matrix<Scalar> Y;
        absorbed_.for_each_block([&](const Block& block) {
            const auto [first, count] = std::pair(block.first, block.count);
            Y.noalias() = row_factors_ * col_factors_.middleRows(first, count).transpose();
            Y.array() *= absorbed_.matrix(block).array();
            for (const KernelTerm& term : log_terms_) {
                for (Index j = 0; j < count; ++j) Y.col(j) += column(term, first + j).template cast<Scalar>();
            }
            const auto W = weights_term_ ? weights(block) : weights_.leftCols(0);
            for (Index j = 0; j < W.cols(); ++j) Y.col(j) += W.col(j).cwiseProduct(value(first + j));
            visit(first, count, Y, W);
        });
    }

private:
    using Block = typename AbsorbedKernel<Scalar>::Block;

    Index last() const { return row_factors_.cols() - 1; }

    /// Whether the term is within the scalar's range; else it is kept for the log domain.
    bool add(KernelTerm& term) {
        Vector<Scalar> row;
        Vector<Scalar> col;
        if (scaled(term, row, col)) {
            append(row_factors_, row);
            append(col_factors_, col);
            return true;
        }
        log_terms_.push_back(std::move(term));
        return false;
    }

    bool scaled(const KernelTerm& term, Vector<Scalar>& row, Vector<Scalar>& col) const {
        return in_range_ && scaled(term.row_exponent, absorbed_.row_potential(), term.row_factor, row) &&
               scaled(term.col_exponent, absorbed_.col_potential(), term.col_factor, col);
    }

    static bool scaled(const RealVector& exponent, const Buffer<Scalar>& absorbed, const RealVector& factor,
                       Vector<Scalar>& out) {
        out.resize(exponent.size());
        if (!AbsorbedKernel<Scalar>::scalings(exponent, absorbed, out)) return false;
        out.array() *= factor.template cast<Scalar>().array();
        return out.allFinite();
    }

    static void append(Matrix<Scalar>& matrix, const Vector<Scalar>& column) {
        matrix.conservativeResize(Eigen::NoChange, matrix.cols() + 1);
        matrix.col(matrix.cols() - 1) = column;
    }

    auto value(Index k) { return values_.contiguous_col(kernel_.instance(k), scratch_.data()); }

    /// W of a block.
    auto weights(const Block& block) {
        const auto M = absorbed_.matrix(block);
        weights_.resize(kernel_.rows(), std::max(block.count, weights_.cols()));
        for (Index j = 0; j < block.count; ++j) {
            if (weights_in_range_) {
                weights_.col(j) = weights_col_[block.first + j] * M.col(j).cwiseProduct(weights_row_);
            } else {
                weights_.col(j) = column(*weights_term_, block.first + j).template cast<Scalar>();
            }
        }
        return weights_.leftCols(block.count);
    }

    const RealVector& column(const KernelTerm& term, Index k) {
        kernel_.column(k, column_);
        column_ += term.row_exponent;
        column_.array() = (column_.array() + term.col_exponent[k]).exp() * term.row_factor.array();
        column_ *= term.col_factor[k];
        return column_;
    }

    std::pair<RealVector, RealVector> log_domain_sums(const KernelTerm& term) {
        RealVector rows = RealVector::Zero(kernel_.rows());
        RealVector cols(kernel_.cols());
        for (Index k = 0; k < kernel_.cols(); ++k) {
            rows += column(term, k);
            cols[k] = column_.sum();
        }
        return {rows, cols};
    }

    const ScaledReward<Scalar>& kernel_;
    AbsorbedKernel<Scalar> absorbed_;
    bool in_range_;
    Matrix<Scalar> row_factors_, col_factors_;  ///< R and C, a column a term
    std::vector<KernelTerm> log_terms_;
    std::optional<KernelTerm> weights_term_;  ///< W
    bool weights_in_range_ = false;
    Vector<Scalar> weights_row_, weights_col_;
    Matrix<Scalar> weights_;
    MatrixView<Scalar> values_;
    Vector<Scalar> partial_, scratch_;
    RealVector column_;
};

}  // namespace otpool::detail
