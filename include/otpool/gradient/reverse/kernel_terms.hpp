// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/kernel_blocks.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// exp(z_dk + row_exponent_d + col_exponent_k) (row_factor_d + slope_d value_dk) col_factor_k, of a kernel's exponents
/// z.
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
/// one multiplication an element and term, all in the bag's own scalar; W is what the slope of one term makes of M.
/// Values are taken relative to where their factor is zero, so that shifted ones lose no digits. What does not fit the
/// scalar's range is computed in the log domain, one exp an element and term.
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
        for (Buffer<Scalar>* of_columns : {&Y_, &W_}) of_columns->resize(columns_together * lanes_);
        blocks_.set(kernel, {}, true);
        in_range_ = blocks_.absorb(row_potential, col_potential);
        row_factors_.clear();
        col_factors_.clear();
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

    /// Adds `first`, if there is one, and then `second`, of which col_factor_k is made of the k-th column sum of the
    /// first: col_factor(k, sum), 0 without it. Returns the column sums of the first and the row sums of the second.
    /// Cost: one pass.
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
            const Scalar* const* value = slope_.size() > 0 ? blocks_.item_lanes(values_, block) : nullptr;
            Index j = 0;
            const auto visit_next = [&](auto count) {
                set_columns<count>(block, j, value);
                for (Index c = 0; c < count; ++c, ++j) {
                    add_log_terms(block.first + j, column(Y_, c), column(W_, c));
                    visit(block.first + j, column(Y_, c), column(W_, c));
                }
            };
            while (j + columns_together <= block.count) visit_next(std::integral_constant<int, columns_together>());
            while (j < block.count) visit_next(std::integral_constant<int, 1>());
        });
    }

private:
    using Block = typename KernelBlocks<Scalar>::Block;

    /// Their sums are made at the same time: each waits for its last addition.
    static constexpr int columns_together = 4;

    /// A term as it multiplies M: (row_d + slope_d (value_dk - reference_d)) col_k. All but `col` are padded by zeros.
    struct Factors {
        Buffer<Scalar> row, col, slope, reference;
    };

    /// Whether the scalar's range holds them; else they are any numbers.
    bool set_factors(const KernelTerm& term, Factors& factors) const {
        if (!in_range_) return false;
        const auto scale = [](const Buffer<Real>& exponent, const Buffer<Scalar>& absorbed, Scalar* out) {
            return set_scaling(exponent.data(), absorbed.data(), exponent.size(), out);
        };
        factors.row.resize(lanes_);
        factors.col.resize(kernel_->cols());
        factors.slope.resize(term.has_slope() ? lanes_ : 0);
        if (!scale(term.row_exponent, blocks_.row_potential(), factors.row.data())) return false;
        if (!scale(term.col_exponent, blocks_.col_potential(), factors.col.data())) return false;
        auto row = factors.row.head(kernel_->rows());
        if (term.has_slope()) {
            factors.slope.head(row.size()) = row.cwiseProduct(term.slope.template cast<Scalar>());
            factors.slope.tail(lanes_ - row.size()).setZero();
            factors.reference.resize(lanes_);
            factors.reference.tail(lanes_ - row.size()).setZero();
            for (Index d = 0; d < row.size(); ++d) {
                const Real zero = -term.row_factor[d] / term.slope[d];
                const bool fits = std::abs(zero) <= Real(std::numeric_limits<Scalar>::max());  // not so if it is NaN
                factors.reference[d] = fits ? static_cast<Scalar>(zero) : 0;
                row[d] *= static_cast<Scalar>(term.row_factor[d] + term.slope[d] * Real(factors.reference[d]));
            }
        } else {
            row.array() *= term.row_factor.template cast<Scalar>().array();
        }
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
            reference_ = factors.reference;
            slope_col_ = factors.col;
        }
        row_factors_.insert(row_factors_.end(), factors.row.begin(), factors.row.end());
        col_factors_.insert(col_factors_.end(), factors.col.begin(), factors.col.end());
    }

    /// sums_k <- sum_d of the term, in a block.
    void set_col_sums(const Block& block, const Factors& term, Buffer<Real>& sums) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        if (term.slope.size() == 0) {
            blocks_.sum_over_rows(block, term.row.data(), sum_.data());
        } else {
            const Scalar* const* value = blocks_.item_lanes(values_, block);
            const auto with_slope = [=, slope = term.slope.data(), reference = term.reference.data()](
                                        const P& row, Index l, Index j) {
                return pmadd(ploadu<P>(slope + l), psub(ploadu<P>(value[j] + l), ploadu<P>(reference + l)), row);
            };
            multiply_transposed(block.M, lanes_, block.count, term.row.data(), sum_.data(), with_slope);
        }
        for (Index j = 0; j < block.count; ++j) {
            sums[block.first + j] = static_cast<Real>(sum_[j] * term.col[block.first + j]);
        }
    }

    /// sums_d += sum_k of the term, in a block, over its factor of the row.
    void add_row_sums(const Block& block, const Factors& term, Buffer<Real>& sums) {
        std::fill_n(sum_.data(), lanes_, Scalar(0));
        blocks_.add_sum_over_cols(block, term.col.data() + block.first, sum_.data());
        for (Index d = 0; d < sums.size(); ++d) sums[d] += static_cast<Real>(sum_[d]);
    }

    /// Y_ and W_ of `count` columns from the j-th of a block, but for what is out of range; given their values where
    /// slope_ is.
    template <int count>
    void set_columns(const Block& block, Index j, const Scalar* const* value) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        // Copies of members, which would be read again after every number that is stored.
        const Index lanes = lanes_;
        const Index cols = kernel_->cols();
        const Index terms = static_cast<Index>(row_factors_.size()) / lanes;
        const Scalar* const M = block.M + j * lanes;
        const Scalar* const row_factor = row_factors_.data();
        const Index first = block.first + j;
        // Null where there are none, so that nothing may be added to them:
        const Scalar* const col_factor = col_factors_.data();
        const Scalar* const slope = slope_.data();
        const Scalar* const slope_col = slope_col_.data();
        const Scalar* const reference = reference_.data();
        Scalar* const to_Y = Y_.data();
        Scalar* const to_W = W_.data();
        for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
            P sum[count];  // NOLINT(modernize-avoid-c-arrays): std::array drops the alignment of P, with a warning
            for_each_constant<count>([&](auto c) { sum[c] = pset1<P>(Scalar(0)); });
            for (Index t = 0; t < terms; ++t) {
                const P row = ploadu<P>(row_factor + t * lanes + l);
                const Scalar* const col = col_factor + t * cols + first;
                for_each_constant<count>([&](auto c) { sum[c] = pmadd(row, pset1<P>(col[c]), sum[c]); });
            }
            for_each_constant<count>([&](auto c) {
                const P of_kernel = ploadu<P>(M + c * lanes + l);
                P Y = pmul(of_kernel, sum[c]);
                if (value != nullptr) {
                    const P W = pmul(of_kernel, pmul(ploadu<P>(slope + l), pset1<P>(slope_col[first + c])));
                    Y = pmadd(W, psub(ploadu<P>(value[j + c] + l), ploadu<P>(reference + l)), Y);
                    pstoreu(to_W + c * lanes + l, W);
                }
                pstoreu(to_Y + c * lanes + l, Y);
            });
        }
    }

    auto column(Buffer<Scalar>& columns, Index c) const { return columns.segment(c * lanes_, kernel_->rows()); }

    void add_log_terms(Index k, auto Y, auto W) {
        for (const KernelTerm& term : log_terms_) {
            const RealVector& unit = log_domain_column(term, k);
            Y += unit.cwiseProduct(row_factor(term, k)).template cast<Scalar>();
            if (term.has_slope()) W = unit.cwiseProduct(term.slope).template cast<Scalar>();
        }
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

    const ScaledReward<Scalar>* kernel_ = nullptr;
    MatrixView<Scalar> values_;
    KernelBlocks<Scalar> blocks_;
    bool in_range_ = false;
    Index lanes_ = 0;  ///< rows of M in memory
    Factors first_, second_;
    Sums sums_;
    std::vector<Scalar> row_factors_;               ///< R, one term after the other
    std::vector<Scalar> col_factors_;               ///< C, likewise
    Buffer<Scalar> slope_, reference_, slope_col_;  ///< Of the term that has one, if that is in range.
    bool has_slope_ = false;
    std::vector<KernelTerm> log_terms_;
    Buffer<Scalar> sum_;
    Buffer<Scalar> Y_, W_;  ///< of columns_together columns
    RealVector column_;
};

}  // namespace otpool::detail
