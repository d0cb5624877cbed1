// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/packet.hpp"
#include "otpool/solver/kernel_blocks.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// exp(z_dk + row_exponent_d + col_exponent_k) (row_factor_d + slope_d value_dk) col_factor_k, of a kernel's exponents z.
struct KernelTerm {
    Buffer<Real> row_exponent, row_factor;
    Buffer<Real> col_exponent, col_factor;
    Buffer<Real> slope = {};  ///< Empty for 0.

    bool has_slope() const { return slope.size() > 0; }
};

/// A sum Y of such terms, of which only the vectors are kept: D x N numbers are made of it a column at a time,
///
///     Y = M * (R C^T) + W * values,  M_dk = exp(z_dk + F_d + G_k),
///
/// one multiplication an element and term, all in the bag's own scalar; W is what the slope of one term makes of M. What
/// does not fit its range is computed in the log domain, one exp an element and term.
template <BagScalar Scalar>
class KernelTerms {
public:
    /// Before the first term: they shall be near exp(row_potential) and exp(col_potential). Views kernel and values.
    void start(const ScaledReward<Scalar>& kernel, const MatrixView<Scalar>& values, const auto& row_potential,
               const auto& col_potential) {
        kernel_ = &kernel;
        values_ = values;
        lanes_ = padded(kernel.rows());
        sum_.resize(std::max(lanes_, kernel.cols()));
        row_.resize(lanes_);
        row_.setZero();
        weights_.resize(lanes_);
        scratch_.resize(kernel.rows());
        blocks_.set(kernel, {}, ExponentialRange<Scalar>::largest_potential, true);
        in_range_ = blocks_.absorb(row_potential, col_potential);
        row_factors_.clear();
        col_factors_.clear();
        of_column_.resize(0);
        slope_.resize(0);
        has_slope_ = false;
        log_terms_.clear();
    }

    void add(const KernelTerm& term) { add(term, first_, set_factors(term, first_)); }

    /// Whether a term has a slope, and there is a W.
    bool has_slope() const { return has_slope_; }

    /// Adds a term; returns its column sums. Cost: one pass.
    const Buffer<Real>& add_for_col_sums(const KernelTerm& term) {
        sums_.of_cols.resize(kernel_->cols());
        const bool in_range = set_factors(term, first_);
        if (in_range) {
            blocks_.for_each_block([&](const Block& block) { set_col_sums(block, first_, sums_.of_cols); });
        } else {
            set_sums_in_log_domain(term, &sums_.of_cols, nullptr);
        }
        add(term, first_, in_range);
        return sums_.of_cols;
    }

    struct Sums {
        Buffer<Real> of_cols, of_rows;
    };

    /// Adds `first`, if there is one, and then `second`, of which col_factor_k is made of the k-th column sum of the first:
    /// col_factor(k, sum), 0 without it. Returns the column sums of the first and the row sums of the second. Cost: one
    /// pass.
    template <class ColFactor>
    const Sums& add_for_sums(const KernelTerm* first, KernelTerm& second, const ColFactor& col_factor) {
        sums_.of_cols.resize(kernel_->cols());
        sums_.of_cols.setZero();
        sums_.of_rows.resize(kernel_->rows());
        sums_.of_rows.setZero();
        const bool has_first = first != nullptr && set_factors(*first, first_);
        if (first != nullptr && !has_first) set_sums_in_log_domain(*first, &sums_.of_cols, nullptr);
        second.col_factor.resize(kernel_->cols());
        second.col_factor.setOnes();
        bool has_second = set_factors(second, second_);
        blocks_.for_each_block([&](const Block& block) {
            if (has_first) set_col_sums(block, first_, sums_.of_cols);
            for (Index k = block.first; k < block.first + block.count; ++k) {
                second.col_factor[k] = col_factor(k, sums_.of_cols[k]);
                if (has_second) second_.col[k] *= static_cast<Scalar>(second.col_factor[k]);
            }
            if (has_second) add_row_sums(block, second_, sums_.of_rows);
        });
        has_second = has_second && is_finite(second_.col);
        if (has_second) {
            sums_.of_rows.array() *= second_.row.head(kernel_->rows()).template cast<Real>().array();
        } else {
            set_sums_in_log_domain(second, nullptr, &sums_.of_rows);
        }
        if (first != nullptr) add(*first, first_, has_first);
        add(second, second_, has_second);
        return sums_;
    }

    /// visit(k, Y_k, W_k) of every column; W_k is any numbers unless has_slope().
    template <class Visit>
    void for_each_column(const Visit& visit) {
        blocks_.for_each_block([&](const Block& block) {
            for (Index j = 0; j < block.count; ++j) {
                set_column(block.M + j * lanes_, block.first + j);
                visit(block.first + j, row_.head(kernel_->rows()), weights_.head(kernel_->rows()));
            }
        });
    }

private:
    using Block = typename KernelBlocks<Scalar>::Block;

    /// A term as it multiplies M; `row` is padded by zeros.
    struct Factors {
        Buffer<Scalar> row, col, slope;
    };

    /// Whether the scalar's range holds them; else they are any numbers.
    bool set_factors(const KernelTerm& term, Factors& factors) const {
        if (!in_range_) return false;
        const auto scale = [](const Buffer<Real>& exponent, const Buffer<Scalar>& absorbed, Scalar* out) {
            return set_scaling(exponent.data(), absorbed.data(), exponent.size(), out);
        };
        factors.row.resize(lanes_);
        factors.col.resize(kernel_->cols());
        factors.slope.resize(term.slope.size());
        if (!scale(term.row_exponent, blocks_.row_potential(), factors.row.data())) return false;
        if (!scale(term.col_exponent, blocks_.col_potential(), factors.col.data())) return false;
        auto row = factors.row.head(kernel_->rows());
        if (term.has_slope()) factors.slope = row.cwiseProduct(term.slope.template cast<Scalar>());
        row.array() *= term.row_factor.template cast<Scalar>().array();
        factors.row.tail(lanes_ - row.size()).setZero();
        factors.col.array() *= term.col_factor.template cast<Scalar>().array();
        return is_finite(factors.row) && is_finite(factors.col) && is_finite(factors.slope);
    }

    static bool is_finite(const Buffer<Scalar>& vector) { return MatrixView<Scalar>(vector).all_finite(); }

    void add(const KernelTerm& term, const Factors& factors, bool in_range) {
        has_slope_ |= term.has_slope();
        if (!in_range) return log_terms_.push_back(term);
        if (term.has_slope()) {
            slope_ = factors.slope;
            term_of_slope_ = of_column_.size();
        }
        row_factors_.insert(row_factors_.end(), factors.row.begin(), factors.row.end());
        col_factors_.insert(col_factors_.end(), factors.col.begin(), factors.col.end());
        of_column_.resize(of_column_.size() + 1);
    }

    /// sums_k <- sum_d of the term, in a block.
    void set_col_sums(const Block& block, const Factors& term, Buffer<Real>& sums) {
        if (term.slope.size() == 0) {
            blocks_.sum_over_rows(block, term.row.data(), sum_.data());
        } else {
            for (Index j = 0; j < block.count; ++j) {
                const auto x = value(block.first + j);
                for (Index d = 0; d < x.size(); ++d) row_[d] = term.row[d] + term.slope[d] * x[d];
                multiply_transposed<Scalar>(block.M + j * lanes_, lanes_, 1, row_.data(), sum_.data() + j);
            }
        }
        for (Index j = 0; j < block.count; ++j) {
            sums[block.first + j] = static_cast<Real>(sum_[j] * term.col[block.first + j]);
        }
    }

    /// sums_d += sum_k of the term, in a block, over its factor of the row.
    void add_row_sums(const Block& block, const Factors& term, Buffer<Real>& sums) {
        blocks_.sum_over_cols(block, term.col.data() + block.first, sum_.data());
        for (Index d = 0; d < sums.size(); ++d) sums[d] += static_cast<Real>(sum_[d]);
    }

    /// Y_k and W_k, given M_k.
    void set_column(const Scalar* M, Index k) {
        for (Index t = 0; t < of_column_.size(); ++t) of_column_[t] = col_factor(t, k);
        multiply<Scalar>(row_factors_.data(), lanes_, of_column_.size(), of_column_.data(), row_.data());
        if (slope_.size() > 0) {
            const auto x = value(k);
            const Scalar col = col_factor(term_of_slope_, k);
            for (Index d = 0; d < x.size(); ++d) {
                weights_[d] = M[d] * (slope_[d] * col);
                row_[d] = M[d] * row_[d] + weights_[d] * x[d];
            }
        } else {
            for (Index d = 0; d < lanes_; ++d) row_[d] *= M[d];
        }
        for (const KernelTerm& term : log_terms_) {
            const RealVector& unit = log_domain_column(term, k);
            row_.head(unit.size()) += unit.cwiseProduct(row_factor(term, k)).template cast<Scalar>();
            if (term.has_slope()) weights_.head(unit.size()) = unit.cwiseProduct(term.slope).template cast<Scalar>();
        }
    }

    Scalar col_factor(Index term, Index k) const {
        return col_factors_[static_cast<std::size_t>(term * kernel_->cols() + k)];
    }

    /// What there is of the term, but for the factor of the row.
    const RealVector& log_domain_column(const KernelTerm& term, Index k) {
        kernel_->column(k, column_);
        column_ += term.row_exponent;
        column_.array() = (column_.array() + term.col_exponent[k]).exp() * term.col_factor[k];
        return column_;
    }
    RealVector row_factor(const KernelTerm& term, Index k) const {
        if (!term.has_slope()) return term.row_factor;
        return term.row_factor + term.slope.cwiseProduct(values_.col(kernel_->instance(k)));
    }

    /// Those of a term's sums that are asked for.
    void set_sums_in_log_domain(const KernelTerm& term, Buffer<Real>* of_cols, Buffer<Real>* of_rows) {
        if (of_rows != nullptr) of_rows->setZero();
        for (Index k = 0; k < kernel_->cols(); ++k) {
            const RealVector column = log_domain_column(term, k).cwiseProduct(row_factor(term, k));
            if (of_rows != nullptr) *of_rows += column;
            if (of_cols != nullptr) (*of_cols)[k] = column.sum();
        }
    }

    auto value(Index k) { return values_.contiguous_col(kernel_->instance(k), scratch_.data()); }

    const ScaledReward<Scalar>* kernel_ = nullptr;
    MatrixView<Scalar> values_;
    KernelBlocks<Scalar> blocks_;
    bool in_range_ = false;
    Index lanes_ = 0;  ///< rows of M in memory
    Factors first_, second_;
    Sums sums_;
    std::vector<Scalar> row_factors_;  ///< R, one term after the other
    std::vector<Scalar> col_factors_;  ///< C, likewise
    Buffer<Scalar> of_column_;         ///< A row of C: as many numbers as there are terms.
    Buffer<Scalar> slope_;             ///< Of the term that has one, if that is in range: multiplies its M.
    Index term_of_slope_ = 0;
    bool has_slope_ = false;
    std::vector<KernelTerm> log_terms_;
    Buffer<Scalar> sum_, row_, weights_, scratch_;
    RealVector column_;
};

}  // namespace otpool::detail
