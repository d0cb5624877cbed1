// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/pass_result.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// Lower exponents are raised to this one, so that products of two exponentials are never denormal, which would cost a
/// hundred times as much. A row below least_mass has lost digits to this.
inline constexpr Real least_exponent = -300;
inline constexpr Real least_mass = 1e-100;

/// A kernel exp(z) in the log domain, for any range: the Kernel to read, and the one that takes over when others are
/// out of range.
///
/// `Exponents` has rows(), cols() and column(k, out), which gives the exponents z_k <= 0 of a column.
template <class Exponents>
class LogDomainKernel {
public:
    LogDomainKernel() = default;
    explicit LogDomainKernel(const Exponents& exponents) { set(exponents); }

    /// Views the exponents.
    void set(const Exponents& exponents, const Execution& /*sequential*/ = {}) {
        exponents_ = &exponents;
        for (Buffer<Real>* of_rows : {&column_, &row_mass_, &row_top_}) of_rows->resize(exponents.rows());
    }

    /// Both half steps in one pass: takes the columns' half step, given the row potential, and finds the row mass of
    /// the resulting plan. Cost: one exp per element, one pass; two more passes only if a row's mass underflows. Always
    /// in range.
    bool sweep(const Real* row_potential, const Side& columns, PassResult& result) {
        const Index rows = exponents_->rows();
        result.resize(rows, exponents_->cols());
        Real level = -std::numeric_limits<Real>::infinity();  // exp(level) is the unit of row_mass_
        std::fill(row_mass_.begin(), row_mass_.end(), 0);
        for (Index k = 0; k < exponents_->cols(); ++k) {
            exponents_->column(k, column_.data());
            for (Index d = 0; d < rows; ++d) column_[d] += row_potential[d];
            const Real top = highest(column_.data(), rows);
            const Real sum = exponentiate(top);
            result.log_col_sum[k] = top + std::log(sum);
            columns.half_steps(k, 1, &result.log_col_sum[k], &result.col_potential[k], &result.col_penalty[k]);

            const Real log_unit = top + result.col_potential[k];  // P_dk = column_d exp(log_unit)
            if (log_unit > level) {
                const Real factor = std::exp((std::max)(level - log_unit, least_exponent));
                for (Real& mass : row_mass_) mass *= factor;
                level = log_unit;
            }
            const Real weight = std::exp((std::max)(log_unit - level, least_exponent));
            for (Index d = 0; d < rows; ++d) row_mass_[d] += weight * column_[d];
        }
        if (*std::min_element(row_mass_.begin(), row_mass_.end()) > least_mass) {
            for (Index d = 0; d < rows; ++d) result.log_row_mass[d] = std::log(row_mass_[d]) + level;
        } else {
            log_row_sums(result.col_potential.data(), result.log_row_mass.data());
            for (Index d = 0; d < rows; ++d) result.log_row_mass[d] += row_potential[d];
        }
        return true;
    }

    /// log_row_sum_d = LSE_k(z_dk + col_potential_k). Cost: one exp per element, two passes. Always in range.
    bool log_row_sums(const Real* col_potential, Real* log_row_sum) {
        const Index rows = exponents_->rows();
        std::fill(row_top_.begin(), row_top_.end(), -std::numeric_limits<Real>::infinity());
        for (Index k = 0; k < exponents_->cols(); ++k) {
            exponents_->column(k, column_.data());
            for (Index d = 0; d < rows; ++d) row_top_[d] = (std::max)(row_top_[d], column_[d] + col_potential[k]);
        }
        std::fill(row_mass_.begin(), row_mass_.end(), 0);
        for (Index k = 0; k < exponents_->cols(); ++k) {
            exponents_->column(k, column_.data());
            // Added in the same order as row_top_, so that rounding leaves no exponent above 0.
            for (Index d = 0; d < rows; ++d) column_[d] = (column_[d] + col_potential[k]) - row_top_[d];
            bounded_exp(column_.data(), rows, column_.data());
            for (Index d = 0; d < rows; ++d) row_mass_[d] += column_[d];
        }
        for (Index d = 0; d < rows; ++d) log_row_sum[d] = row_top_[d] + std::log(row_mass_[d]);
        return true;
    }

private:
    /// column_ <- exp(column_ - top); returns its sum.
    Real exponentiate(Real top) {
        const Index rows = column_.size();
        for (Index d = 0; d < rows; ++d) column_[d] = (std::max)(column_[d] - top, least_exponent);
        bounded_exp(column_.data(), rows, column_.data());
        Real sum = 0;
        for (Index d = 0; d < rows; ++d) sum += column_[d];
        return sum;
    }

    const Exponents* exponents_ = nullptr;
    Buffer<Real> column_, row_mass_, row_top_;
};

}  // namespace otpool::detail
