// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/exponential.hpp"

namespace otpool::detail {

/// One pass over a kernel: both half steps of scaling, and its scratch memory.
///
/// A kernel has rows(), cols() and column(k, out), which gives the exponents z_k <= 0.
class Sweep {
public:
    /// No exponential is taken of less, so that products of two are no denormal numbers, which cost a hundred times as
    /// much; and below this mass a row has lost digits to that.
    static constexpr Real least_exponent = -300;
    static constexpr Real least_mass = 1e-100;

    Buffer<Real> col_potential;  ///< Kernel potential of every column, of the last pass.
    Buffer<Real> col_penalty;    ///< col_potential's potential / alpha.
    Buffer<Real> log_col_sum;    ///< LSE_d(z_dk + row_potential_d).
    Buffer<Real> log_row_mass;   ///< log sum_k P_dk of the plan of (row_potential, col_potential).

    /// Given the row potential, col_potential <- damped (log prior - LSE_d) and the row marginal of the plan that
    /// results. Cost: one exp an element, one pass over the kernel; a second and third only where a row's mass
    /// underflows.
    template <class Kernel>
    void operator()(const Kernel& kernel, const auto& row_potential, const ScaledMarginal& columns) {
        resize(kernel.rows(), kernel.cols());
        resize_scratch(kernel.rows());
        Real level = -std::numeric_limits<Real>::infinity();  // exp(level) is the unit of row_mass_
        row_mass_.setZero();
        for (Index k = 0; k < kernel.cols(); ++k) {
            kernel.column(k, column_);
            column_ += row_potential;
            const Real top = column_.maxCoeff();
            column_.array() = bounded_exp((column_.array() - top).max(least_exponent));
            log_col_sum[k] = top + std::log(column_.sum());
            col_potential[k] = columns.half_step(k, log_col_sum[k]);
            col_penalty[k] = columns.penalty(k, log_col_sum[k]);

            const Real log_unit = top + col_potential[k];  // P_dk = column_d exp(log_unit)
            if (log_unit > level) {
                row_mass_ *= std::exp(std::max(level - log_unit, least_exponent));
                level = log_unit;
            }
            row_mass_ += std::exp(std::max(log_unit - level, least_exponent)) * column_;
        }
        if (row_mass_.minCoeff() > least_mass) {
            log_row_mass = row_mass_.array().log() + level;
        } else {
            log_row_mass = row_potential + log_row_sums(kernel, col_potential);
        }
    }

    /// LSE_k(z_dk + col_potential_k), whatever the range. Cost: one exp an element, two passes over the kernel.
    template <class Kernel>
    const RealVector& log_row_sums(const Kernel& kernel, const auto& potential) {
        resize_scratch(kernel.rows());
        row_top_.setConstant(-std::numeric_limits<Real>::infinity());
        for (Index k = 0; k < kernel.cols(); ++k) {
            kernel.column(k, column_);
            row_top_ = row_top_.array().max(column_.array() + potential[k]);
        }
        row_mass_.setZero();
        for (Index k = 0; k < kernel.cols(); ++k) {
            kernel.column(k, column_);
            row_mass_.array() += bounded_exp(column_.array() + potential[k] - row_top_.array());
        }
        row_top_.array() += row_mass_.array().log();
        return row_top_;
    }

    void resize(Index rows, Index cols) {
        log_row_mass.resize(rows);
        col_potential.resize(cols);
        col_penalty.resize(cols);
        log_col_sum.resize(cols);
    }

private:
    void resize_scratch(Index rows) {
        column_.resize(rows);
        row_mass_.resize(rows);
        row_top_.resize(rows);
    }

    RealVector column_, row_mass_, row_top_;
};

}  // namespace otpool::detail
