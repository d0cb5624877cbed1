// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// A kernel's exponents z as a matrix of doubles, with either side as rows, at alpha0 or a multiple of it: for solvers
/// that use every entry many times, with other potentials. Columns are padded to whole registers.
template <std::same_as<Real> Work = Real>
class DenseKernel {
public:
    DenseKernel(const ScaledReward& kernel, bool features_are_rows)
        : rows_(features_are_rows ? kernel.rows() : kernel.cols()),
          cols_(features_are_rows ? kernel.cols() : kernel.rows()),
          lanes_(padded(rows_)) {
        exponents_.assign(lanes_ * cols_, -std::numeric_limits<Work>::infinity());
        std::vector<Work> column(static_cast<std::size_t>(kernel.rows()));
        for (Index k = 0; k < kernel.cols(); ++k) {
            kernel.column(k, column.data());
            for (Index d = 0; d < kernel.rows(); ++d) {
                exponents_[features_are_rows ? k * lanes_ + d : d * lanes_ + k] = column[static_cast<std::size_t>(d)];
            }
        }
        for (Buffer<Work>* of_rows : {&lane_potential_, &row_mass_}) of_rows->assign(lanes_, 0);
        block_.resize(lanes_ * block_cols);
    }

    Index rows() const { return rows_; }
    Index cols() const { return cols_; }
    /// rows(), padded to whole registers.
    Index lanes() const { return lanes_; }
    void column(Index k, Work* out) const {
        for (Index i = 0; i < rows_; ++i) out[i] = exponents_[k * lanes_ + i] * inverse_factor_;
    }

    /// The smallest exponent at alpha0 itself.
    Work lowest() const {
        Work lowest = 0;
        for (const Work z : exponents_) {
            if (z > -std::numeric_limits<Work>::infinity()) lowest = (std::min)(lowest, z);
        }
        return lowest;
    }
    /// From now on, alpha0 counts as `factor` times its value.
    void multiply_alpha0(Work factor) { inverse_factor_ = 1 / factor; }

    /// As LogDomainKernel::sweep(), at 1 ns per element with AVX-512.
    void sweep(const Work* row_potential, const Side& columns, PassResult& result) {
        result.resize(rows(), cols());
        std::copy_n(row_potential, rows_, lane_potential_.data());
        std::fill(row_mass_.begin(), row_mass_.end(), Work(0));
        Work level = -std::numeric_limits<Work>::infinity();  // exp(level) is the unit of row_mass_
        for (Index first = 0; first < cols(); first += block_cols) {
            const Index count = (std::min)(block_cols, cols() - first);
            Work top[block_cols];     // NOLINT(modernize-avoid-c-arrays)
            Work weight[block_cols];  // NOLINT(modernize-avoid-c-arrays): P_dk = block_dk weight_k exp(level)
            for (Index i = 0; i < count; ++i) exponentiate_column(first + i, i, top[i], weight[i]);
            log_of_normal(weight, count, weight);
            Work* const log_col_sum = result.log_col_sum.data() + first;
            Work* const potential = result.col_potential.data() + first;
            for (Index i = 0; i < count; ++i) log_col_sum[i] = top[i] + weight[i];
            columns.half_steps(first, count, log_col_sum, potential, result.col_penalty.data() + first);
            for (Index i = 0; i < count; ++i) weight[i] = top[i] + potential[i];
            const Work highest_weight = highest(weight, count);
            if (highest_weight > level) {
                const Work factor = std::exp((std::max)(level - highest_weight, least_exponent));
                for (Work& mass : row_mass_) mass *= factor;
                level = highest_weight;
            }
            for (Index i = 0; i < count; ++i) weight[i] = (std::max)(weight[i] - level, least_exponent);
            bounded_exp(weight, count, weight);
            multiply<Work, Assign::add>(block_.data(), lanes_, count, weight, row_mass_.data());
        }
        if (lowest_mass() > least_mass) {
            log_of_normal(row_mass_.data(), rows_, result.log_row_mass.data());
            for (Work& mass : result.log_row_mass) mass += level;
        } else {
            LogDomainKernel<DenseKernel>(*this).log_row_sums(result.col_potential.data(), result.log_row_mass.data());
            for (Index i = 0; i < rows_; ++i) result.log_row_mass[i] += row_potential[i];
        }
    }

    /// out_ik <- exp(z_ik + row_i + col_k), lanes() x cols(), for exponents up to 0; entries up to `negligible` become
    /// 0. Returns the sum over columns of the squared number of other entries.
    Work exponentials(const Work* row, const Work* col, Work negligible, Work* out) {
        using L = Lanes<Work>;
        std::copy_n(row, rows_, lane_potential_.data());
        Work pairs = 0;
        for (Index k = 0; k < cols_; ++k) {
            const Work* z = exponents_.data() + k * lanes_;
            Work* e = out + k * lanes_;
            const L of_column(col[k]);
            for (Index l = 0; l < lanes_; l += register_lanes) {
                const L exponent =
                    multiply_add(L::load(z + l), L(inverse_factor_), L::load(lane_potential_.data() + l));
                bounded_exp(lower(exponent + of_column, L(Work(1)))).store(e + l);
            }
            Index count = 0;
            for (Index l = 0; l < lanes_; ++l) {
                count += e[l] > negligible ? 1 : 0;
                e[l] = e[l] > negligible ? e[l] : 0;
            }
            pairs += static_cast<Work>(count * count);
        }
        return pairs;
    }

private:
    /// Columns whose logarithms and exponentials are taken together.
    static constexpr Index block_cols = 16;

    Work lowest_mass() const { return *std::min_element(row_mass_.data(), row_mass_.data() + rows_); }

    /// Column i of block_ <- exp(z_k + row potential - top), where top is its highest exponent; total is its sum.
    void exponentiate_column(Index k, Index i, Work& top, Work& total) {
        using L = Lanes<Work>;
        const Work* z = exponents_.data() + k * lanes_;
        const Work* f = lane_potential_.data();
        Work* e = block_.data() + i * lanes_;
        L tops(std::numeric_limits<Work>::lowest());
        for (Index l = 0; l < lanes_; l += register_lanes) {
            const L exponent = multiply_add(L::load(z + l), L(inverse_factor_), L::load(f + l));
            tops = higher(tops, exponent);
            exponent.store(e + l);
        }
        top = highest(tops);
        L sums(Work(0));
        for (Index l = 0; l < lanes_; l += register_lanes) {
            const L entry = bounded_exp(higher(L::load(e + l) - L(top), L(least_exponent)));
            sums += entry;
            entry.store(e + l);
        }
        total = sum(sums);
    }

    Index rows_, cols_, lanes_;
    Buffer<Work> exponents_;  ///< Columns are padded by -inf.
    Work inverse_factor_ = 1;
    Buffer<Work> lane_potential_;
    Buffer<Work> block_;
    Buffer<Work> row_mass_;
};

}  // namespace otpool::detail
