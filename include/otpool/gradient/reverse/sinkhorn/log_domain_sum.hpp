// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/sinkhorn/scaled_kernel.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// A sum of scaled kernels (ScaledKernel), Y, in the log domain and in double, for exponents of any size. W is that of
/// the slope times the kernel, of the one term that may have a slope.
///
/// Weights have an exact sum here, whatever rounding does to large exponents. At small alpha0, the terms of Y cancel: Y
/// is alpha0 times as large as they are. They cancel to the last digit if the weights of each line sum to 1, even if
/// each weight is off by the rounding of its exponent: then all is right for priors that are off by as much.
class LogDomainSum {
public:
    /// Starts with no terms. Views kernel and values.
    void start(const ScaledReward& kernel, const AnyView& values) {
        kernel_ = &kernel;
        values_ = values;
        has_terms_ = has_slope_ = false;
    }

    bool has_terms() const { return has_terms_; }
    bool has_slope() const { return has_slope_; }
    /// Column k; if there is a term, or one with a slope.
    const Real* Y(Index k) const { return Y_.data() + k * kernel_->rows(); }
    const Real* W(Index k) const { return W_.data() + k * kernel_->rows(); }

    /// Adds a term. Sets those of its sums that are asked for. Cost: one exp per element; two if rows have weights.
    void add(const ScaledKernel& term, Buffer<Real>* of_cols, Buffer<Real>* of_rows) {
        const Index rows = kernel_->rows();
        const Index cols = kernel_->cols();
        if (!has_terms_) Y_.assign(rows * cols, 0);
        if (term.has_slope()) W_.resize(rows * cols);
        has_terms_ = true;
        has_slope_ |= term.has_slope();
        start_rows(term);
        if (term.weights == ScaledKernel::Weights::of_rows) weigh_rows(term);
        if (of_rows != nullptr) of_rows->assign(rows, 0);
        if (of_cols != nullptr) of_cols->resize(cols);
        for (Index k = 0; k < cols; ++k) {
            set_exponentials(term, k);
            set_excess(term, k);
            Real* const Y = Y_.data() + k * rows;
            Real total = 0;
            for (Index d = 0; d < rows; ++d) {
                const Real weight = column_[d] * row_scale_[d] * term.col_factor[k];
                const Real entry = weight * (row_factor_[d] + excess_[d]);
                Y[d] += entry;
                total += entry;
                if (of_rows != nullptr) (*of_rows)[d] += entry;
                if (term.has_slope()) W_[k * rows + d] = weight * term.slope[d];
            }
            if (of_cols != nullptr) (*of_cols)[k] = total;
        }
    }

private:
    using Weights = ScaledKernel::Weights;

    /// Values are taken relative to where their factor is zero, so that shifted values lose no digits.
    void start_rows(const ScaledKernel& term) {
        const Index rows = kernel_->rows();
        row_factor_ = term.row_factor;
        row_exponent_ = term.row_exponent;
        row_scale_.assign(rows, 1);
        for (Buffer<Real>* of_rows : {&reference_, &excess_}) of_rows->assign(rows, 0);
        for (Buffer<Real>* of_rows : {&column_, &value_}) of_rows->resize(rows);
        if (!term.has_slope()) return;
        for (Index d = 0; d < rows; ++d) {
            const Real zero = -term.row_factor[d] / term.slope[d];
            if (!std::isfinite(zero)) continue;
            reference_[d] = zero;
            row_factor_[d] = 0;
        }
    }

    /// Gives the weights of each row the sum 1, and its entries the sum row_sum.
    void weigh_rows(const ScaledKernel& term) {
        const Index rows = kernel_->rows();
        row_exponent_.assign(rows, std::numeric_limits<Real>::infinity());  // minus the highest exponent
        for (Index k = 0; k < kernel_->cols(); ++k) {
            kernel_->column(k, column_.data());
            for (Index d = 0; d < rows; ++d) {
                row_exponent_[d] = (std::min)(row_exponent_[d], -(column_[d] + term.col_exponent[k]));
            }
        }
        sum_.assign(rows, 0);
        moment_.assign(rows, 0);
        for (Index k = 0; k < kernel_->cols(); ++k) {
            set_exponentials(term, k);
            set_excess(term, k);
            for (Index d = 0; d < rows; ++d) {
                sum_[d] += column_[d];
                moment_[d] += column_[d] * excess_[d];
            }
        }
        for (Index d = 0; d < rows; ++d) {
            row_scale_[d] = 1 / sum_[d];
            row_factor_[d] = term.row_sum[d] - moment_[d] / sum_[d];
        }
    }

    /// column_ <- the exponentials of column k, but for the factors of rows and columns.
    void set_exponentials(const ScaledKernel& term, Index k) {
        const Index rows = kernel_->rows();
        Real* const x = column_.data();
        kernel_->column(k, x);
        if (term.weights != Weights::of_cols) {
            // In the order of weigh_rows(), so that rounding leaves no exponent above 0.
            for (Index d = 0; d < rows; ++d) x[d] = (x[d] + term.col_exponent[k]) + row_exponent_[d];
            return exp_or_zero(x, rows, x);
        }
        for (Index d = 0; d < rows; ++d) x[d] += row_exponent_[d];
        const Real top = highest(x, rows);
        for (Index d = 0; d < rows; ++d) x[d] -= top;
        exp_or_zero(x, rows, x);
        const Real sum = column_.vector().sum();
        for (Index d = 0; d < rows; ++d) x[d] /= sum;
    }

    /// excess_ <- slope_d (value_dk - reference_d)
    void set_excess(const ScaledKernel& term, Index k) {
        if (!term.has_slope()) return;
        values_.copy_column(kernel_->instance(k), value_.data());
        for (Index d = 0; d < value_.size(); ++d) excess_[d] = term.slope[d] * (value_[d] - reference_[d]);
    }

    const ScaledReward* kernel_ = nullptr;
    AnyView values_;
    bool has_terms_ = false;
    bool has_slope_ = false;
    Buffer<Real> Y_, W_;
    // Of a term's rows:
    Buffer<Real> row_exponent_, row_scale_, row_factor_, reference_;
    Buffer<Real> sum_, moment_;
    // Of a column:
    Buffer<Real> column_, value_, excess_;
};

}  // namespace otpool::detail
