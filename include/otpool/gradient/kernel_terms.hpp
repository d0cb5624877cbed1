// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/packet.hpp"
#include "otpool/solver/kernel_blocks.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// exp(z_dk + row_exponent_d + col_exponent_k) (row_factor_d + slope_d value_dk) col_factor_k, of a kernel's exponents z.
struct KernelTerm {
    RealVector row_exponent, row_factor;
    RealVector col_exponent, col_factor;
    RealVector slope = {};  ///< Empty for 0.

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
    /// Terms shall be near exp(row_potential) and exp(col_potential). Views kernel and values.
    KernelTerms(const ScaledReward<Scalar>& kernel, const MatrixView<Scalar>& values, const RealVector& row_potential,
                const RealVector& col_potential)
        : kernel_(kernel),
          values_(values),
          lanes_(padded(kernel.rows())),
          sum_(std::max(lanes_, kernel.cols())),
          row_(Vector<Scalar>::Zero(lanes_)),
          weights_(lanes_),
          scratch_(kernel.rows()) {
        blocks_.set(kernel, {}, ExponentialRange<Scalar>::largest_potential, 0);
        in_range_ = blocks_.absorb(row_potential, col_potential);
    }

    void add(const KernelTerm& term) { add(term, factors_of(term)); }

    /// Whether a term has a slope, and there is a W.
    bool has_slope() const { return has_slope_; }

    /// Adds a term; returns its column sums. Cost: one pass.
    RealVector add_for_col_sums(const KernelTerm& term) {
        const std::optional<Factors> factors = factors_of(term);
        RealVector sums(kernel_.cols());
        if (factors) {
            blocks_.for_each_block([&](const Block& block) { set_col_sums(block, *factors, sums); });
        } else {
            sums = log_domain_sums(term).of_cols;
        }
        add(term, factors);
        return sums;
    }

    struct Sums {
        RealVector of_cols, of_rows;
    };

    /// Adds `first`, if there is one, and then `second`, of which col_factor_k is made of the k-th column sum of the first:
    /// col_factor(k, sum), 0 without it. Returns the column sums of the first and the row sums of the second. Cost: one
    /// pass.
    template <class ColFactor>
    Sums add_for_sums(const std::optional<KernelTerm>& first, KernelTerm second, const ColFactor& col_factor) {
        Sums sums{RealVector::Zero(kernel_.cols()), RealVector::Zero(kernel_.rows())};
        const std::optional<Factors> of_first = first ? factors_of(*first) : std::nullopt;
        if (first && !of_first) sums.of_cols = log_domain_sums(*first).of_cols;
        second.col_factor = RealVector::Ones(kernel_.cols());
        std::optional<Factors> of_second = factors_of(second);
        blocks_.for_each_block([&](const Block& block) {
            if (of_first) set_col_sums(block, *of_first, sums.of_cols);
            for (Index k = block.first; k < block.first + block.count; ++k) {
                second.col_factor[k] = col_factor(k, sums.of_cols[k]);
                if (of_second) of_second->col[k] *= static_cast<Scalar>(second.col_factor[k]);
            }
            if (of_second) add_row_sums(block, *of_second, sums.of_rows);
        });
        if (of_second && is_finite(of_second->col)) {
            sums.of_rows.array() *= of_second->row.head(kernel_.rows()).template cast<Real>().array();
        } else {
            of_second.reset();
            sums.of_rows = log_domain_sums(second).of_rows;
        }
        if (first) add(*first, of_first);
        add(second, of_second);
        return sums;
    }

    /// visit(k, Y_k, W_k) of every column; W_k is any numbers unless has_slope().
    template <class Visit>
    void for_each_column(const Visit& visit) {
        blocks_.for_each_block([&](const Block& block) {
            for (Index j = 0; j < block.count; ++j) {
                set_column(block.M + j * lanes_, block.first + j);
                visit(block.first + j, row_.head(kernel_.rows()), weights_.head(kernel_.rows()));
            }
        });
    }

private:
    using Block = typename KernelBlocks<Scalar>::Block;

    /// A term as it multiplies M; `row` is padded by zeros.
    struct Factors {
        Vector<Scalar> row, col, slope;
    };

    /// None if the scalar's range does not hold them.
    std::optional<Factors> factors_of(const KernelTerm& term) const {
        if (!in_range_) return {};
        Factors factors;
        const auto scale = [](const RealVector& exponent, const Buffer<Scalar>& absorbed, Vector<Scalar>& out) {
            out.resize(exponent.size());
            return set_scaling(exponent.data(), absorbed.data(), out.size(), out.data());
        };
        if (!scale(term.row_exponent, blocks_.row_potential(), factors.row)) return {};
        if (!scale(term.col_exponent, blocks_.col_potential(), factors.col)) return {};
        if (term.has_slope()) {
            factors.slope = factors.row.array() * term.slope.template cast<Scalar>().array();
            if (!is_finite(factors.slope)) return {};
        }
        factors.row.array() *= term.row_factor.template cast<Scalar>().array();
        factors.col.array() *= term.col_factor.template cast<Scalar>().array();
        if (!is_finite(factors.row) || !is_finite(factors.col)) return {};
        factors.row.conservativeResize(lanes_);
        factors.row.tail(lanes_ - kernel_.rows()).setZero();
        return factors;
    }

    static bool is_finite(const Vector<Scalar>& vector) { return MatrixView<Scalar>(vector).all_finite(); }

    void add(const KernelTerm& term, const std::optional<Factors>& factors) {
        has_slope_ |= term.has_slope();
        if (!factors) return log_terms_.push_back(term);
        if (term.has_slope()) {
            slope_ = factors->slope;
            term_of_slope_ = col_factors_.size();
        }
        row_factors_.insert(row_factors_.end(), factors->row.begin(), factors->row.end());
        col_factors_.push_back(factors->col);
        of_column_.resize(static_cast<Index>(col_factors_.size()));
    }

    /// sums_k <- sum_d of the term, in a block.
    void set_col_sums(const Block& block, const Factors& term, RealVector& sums) {
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
    void add_row_sums(const Block& block, const Factors& term, RealVector& sums) {
        blocks_.sum_over_cols(block, term.col.data() + block.first, sum_.data());
        for (Index d = 0; d < sums.size(); ++d) sums[d] += static_cast<Real>(sum_[d]);
    }

    /// Y_k and W_k, given M_k.
    void set_column(const Scalar* M, Index k) {
        for (std::size_t t = 0; t < col_factors_.size(); ++t) of_column_[static_cast<Index>(t)] = col_factors_[t][k];
        multiply<Scalar>(row_factors_.data(), lanes_, of_column_.size(), of_column_.data(), row_.data());
        if (slope_.size() > 0) {
            const auto x = value(k);
            const Scalar col = col_factors_[term_of_slope_][k];
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

    /// What there is of the term, but for the factor of the row.
    const RealVector& log_domain_column(const KernelTerm& term, Index k) {
        kernel_.column(k, column_);
        column_ += term.row_exponent;
        column_.array() = (column_.array() + term.col_exponent[k]).exp() * term.col_factor[k];
        return column_;
    }
    RealVector row_factor(const KernelTerm& term, Index k) const {
        if (!term.has_slope()) return term.row_factor;
        return term.row_factor + term.slope.cwiseProduct(values_.col(kernel_.instance(k)));
    }

    Sums log_domain_sums(const KernelTerm& term) {
        Sums sums{RealVector(kernel_.cols()), RealVector::Zero(kernel_.rows())};
        for (Index k = 0; k < kernel_.cols(); ++k) {
            const RealVector column = log_domain_column(term, k).cwiseProduct(row_factor(term, k));
            sums.of_rows += column;
            sums.of_cols[k] = column.sum();
        }
        return sums;
    }

    auto value(Index k) { return values_.contiguous_col(kernel_.instance(k), scratch_.data()); }

    const ScaledReward<Scalar>& kernel_;
    MatrixView<Scalar> values_;
    KernelBlocks<Scalar> blocks_;
    bool in_range_ = false;
    Index lanes_;  ///< rows of M in memory
    bool has_slope_ = false;
    std::vector<Scalar> row_factors_;          ///< R, one term after the other
    std::vector<Vector<Scalar>> col_factors_;  ///< C, a vector a term
    Vector<Scalar> slope_;                     ///< Of the term that has one, if that is in range: multiplies its M.
    std::size_t term_of_slope_ = 0;
    std::vector<KernelTerm> log_terms_;
    Vector<Scalar> sum_, row_, weights_, of_column_, scratch_;
    RealVector column_;
};

}  // namespace otpool::detail
