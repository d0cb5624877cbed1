// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/simd/logarithm.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// The exponents z of a kernel as a matrix of doubles, either side its rows, at alpha0 or a multiple of it: for solvers
/// that come back to every entry, each time with other potentials.
template <BagScalar Scalar>
class DenseKernel {
public:
    using RealVector = Vector<typename RealOf<Scalar>::type>;
    using RealMatrix = Matrix<typename RealOf<Scalar>::type>;

    DenseKernel(const ScaledReward<Scalar>& kernel, bool features_are_rows)
        : rows_(features_are_rows ? kernel.rows() : kernel.cols()),
          exponents_(padded(rows_), features_are_rows ? kernel.cols() : kernel.rows()),
          lane_potential_(RealVector::Zero(lanes())),
          block_(lanes(), block_cols),
          row_mass_(lanes()) {
        exponents_.bottomRows(lanes() - rows_).setConstant(-std::numeric_limits<Real>::infinity());
        RealVector column(kernel.rows());
        for (Index k = 0; k < kernel.cols(); ++k) {
            kernel.column(k, column);
            if (features_are_rows) {
                exponents_.col(k).head(rows_) = column;
            } else {
                exponents_.row(k).head(cols()) = column;
            }
        }
    }

    Index rows() const { return rows_; }
    Index cols() const { return exponents_.cols(); }
    void column(Index k, RealVector& out) const { out = exponents_.col(k).head(rows_) * inverse_factor_; }

    /// The smallest exponent at alpha0 itself.
    Real lowest() const { return exponents_.topRows(rows_).minCoeff(); }
    /// From now on alpha0 counts as so many times what it is.
    void multiply_alpha0(Real factor) { inverse_factor_ = 1 / factor; }

    /// What Sweep does with another kernel, at 1 ns an element with AVX-512.
    void sweep(const auto& row_potential, const ScaledMarginal& columns, Sweep& result) {
        result.resize(rows(), cols());
        lane_potential_.head(rows_) = row_potential;
        row_mass_.setZero();
        Real level = -std::numeric_limits<Real>::infinity();  // exp(level) is the unit of row_mass_
        for (Index first = 0; first < cols(); first += block_cols) {
            const Index count = std::min(block_cols, cols() - first);
            for (Index i = 0; i < count; ++i) exponentiate_column(first + i, i);
            const auto in_block = [&](Buffer<Real>& of_columns) { return of_columns.segment(first, count).array(); };
            in_block(result.log_col_sum) = top_.head(count) + log_of_normal(sum_.head(count));
            for (Index k = first; k < first + count; ++k) {
                result.col_potential[k] = columns.half_step(k, result.log_col_sum[k]);
                result.col_penalty[k] = columns.penalty(k, result.log_col_sum[k]);
            }
            auto weight = weight_.head(count);  // P_dk = block_dk weight_k exp(level)
            weight = top_.head(count) + in_block(result.col_potential);
            const Real highest = weight.maxCoeff();
            if (highest > level) {
                row_mass_ *= std::exp(std::max(level - highest, Sweep::least_exponent));
                level = highest;
            }
            weight = bounded_exp((weight - level).max(Sweep::least_exponent));
            multiply<Real, Assign::add>(block_.data(), lanes(), count, weight_.data(), row_mass_.data());
        }
        if (row_mass_.head(rows_).minCoeff() > Sweep::least_mass) {
            result.log_row_mass = log_of_normal(row_mass_.head(rows_).array()) + level;
        } else {
            result.log_row_mass = row_potential + result.log_row_sums(*this, result.col_potential);
        }
    }

    /// out_dk <- exp(z_dk + row_d + col_k), of exponents up to 0, in padded rows; zero where it is below `negligible`.
    /// Returns the sum over the columns of the square of how many entries are not.
    Real exponentials(const RealVector& row, const RealVector& col, Real negligible, RealMatrix& out) {
        out.resize(lanes(), cols());
        lane_potential_.head(rows_) = row;
        Real pairs = 0;
        for (Index k = 0; k < cols(); ++k) {
            const Real* z = exponents_.data() + k * lanes();
            Real* e = out.data() + k * lanes();
            for (Index l = 0; l < lanes(); l += register_lanes) {
                const Lanes exponent = View(z + l) * inverse_factor_ + View(lane_potential_.data() + l) + col[k];
                Eigen::Map<Lanes>(e + l) = bounded_exp(exponent.min(1));
            }
            Index count = 0;
            for (Index l = 0; l < lanes(); ++l) {
                count += e[l] > negligible ? 1 : 0;
                e[l] = e[l] > negligible ? e[l] : 0;
            }
            pairs += static_cast<Real>(count * count);
        }
        return pairs;
    }

private:
    using Lanes = Eigen::Array<Real, register_lanes, 1>;
    using View = Eigen::Map<const Lanes>;
    /// Columns whose logarithms and exponentials are taken at once.
    static constexpr Index block_cols = 16;

    Index lanes() const { return exponents_.rows(); }

    /// block_ <- exp(z + row potential - top), top and sum of it, of column k as the i-th of a block.
    void exponentiate_column(Index k, Index i) {
        const Real* z = exponents_.data() + k * lanes();
        const Real* f = lane_potential_.data();
        Real* e = block_.data() + i * lanes();
        Lanes highest = Lanes::Constant(std::numeric_limits<Real>::lowest());
        for (Index l = 0; l < lanes(); l += register_lanes) {
            const Lanes exponent = View(z + l) * inverse_factor_ + View(f + l);
            highest = highest.max(exponent);
            Eigen::Map<Lanes>(e + l) = exponent;
        }
        const Real top = highest.maxCoeff();
        Lanes sum = Lanes::Zero();
        for (Index l = 0; l < lanes(); l += register_lanes) {
            const Lanes entry = bounded_exp((View(e + l) - top).max(Sweep::least_exponent));
            sum += entry;
            Eigen::Map<Lanes>(e + l) = entry;
        }
        top_[i] = top;
        sum_[i] = sum.sum();
    }

    Index rows_;
    RealMatrix exponents_;  ///< Rows are padded to whole registers, with exponents of nothing.
    Real inverse_factor_ = 1;
    RealVector lane_potential_;
    RealMatrix block_;
    Eigen::Array<Real, block_cols, 1> top_, sum_, weight_;
    RealVector row_mass_;
};

}  // namespace otpool::detail
