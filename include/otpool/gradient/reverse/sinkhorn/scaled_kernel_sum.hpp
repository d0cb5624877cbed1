// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/sinkhorn/log_domain_sum.hpp"
#include "otpool/gradient/reverse/sinkhorn/scaled_kernel.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/kernel_blocks.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// A sum Y of scaled kernels, its terms, of which one may have a slope. Only their vectors are kept. The D x N entries
/// are computed a column at a time, all in Work, with one multiplication per element and term:
///
///     Y = M * (R C^T) + W * values,   M_dk = exp(z_dk + F_d + G_k),   W = M times the slope of that term
///
/// Values are taken relative to where their factor is zero, so that shifted values lose no digits. A term outside the
/// range of Work goes to a LogDomainSum. So do all where potentials are so large that the rounding of exponents counts.
template <BagScalar Work>
class ScaledKernelSum {
public:
    /// Starts with no terms. Exponents of terms should be near these potentials, F and G. Views kernel and values.
    void start(const ScaledReward& kernel, const AnyView& values, const Real* row_potential,
               const Real* col_potential) {
        kernel_ = &kernel;
        values_ = values;
        lanes_ = padded(kernel.rows());
        sum_.resize((std::max)(lanes_, padded(kernel.cols())));
        for (Buffer<Work>* of_columns : {&Y_, &W_}) of_columns->resize(columns_together * lanes_);
        blocks_.set(kernel, {}, true);
        in_range_ = has_digits(row_potential, kernel.rows()) && has_digits(col_potential, kernel.cols()) &&
                    blocks_.absorb(row_potential, col_potential);
        row_factors_.clear();
        col_factors_.clear();
        with_slope_.slope.resize(0);
        log_domain_.start(kernel, values);
    }

    void add(const ScaledKernel& term) {
        if (set_factors(term, first_)) return add(term, first_);
        log_domain_.add(term, nullptr, nullptr);
    }

    /// Adds a term; returns its column sums. Cost: one pass.
    const Buffer<Real>& add_for_col_sums(const ScaledKernel& term) {
        sums_.of_cols.resize(kernel_->cols());
        if (start_col_sums(term)) {
            blocks_.for_each_block([&](const Block& block) { set_col_sums(block); });
            add(term, first_);
        }
        return sums_.of_cols;
    }

    struct Sums {
        Buffer<Real> of_cols, of_rows;
    };

    /// Adds `first`, if there is one, and then `second`, whose col_factor_k becomes col_factor(k, sum): sum is the k-th
    /// column sum of the first, or 0. Returns the column sums of the first and the row sums of the second. Cost: one
    /// pass.
    template <class ColFactor>
    const Sums& add_for_sums(const ScaledKernel* first, ScaledKernel& second, const ColFactor& col_factor) {
        sums_.of_cols = RealVector::Zero(kernel_->cols());
        sums_.of_rows = RealVector::Zero(kernel_->rows());
        const bool has_first = first != nullptr && start_col_sums(*first);
        second.col_factor = RealVector::Ones(kernel_->cols());
        bool has_second = set_factors(second, second_);
        const auto set_col_factor = [&](Index k) { second.col_factor[k] = col_factor(k, sums_.of_cols[k]); };
        if (!in_range_) {
            for (Index k = 0; k < kernel_->cols(); ++k) set_col_factor(k);
        } else {
            blocks_.for_each_block([&](const Block& block) {
                if (has_first) set_col_sums(block);
                for (Index k = block.first; k < block.first + block.count; ++k) {
                    set_col_factor(k);
                    if (has_second) second_.col[k] *= static_cast<Work>(second.col_factor[k]);
                }
                if (has_second) add_row_sums(block);
            });
        }
        if (has_first) add(*first, first_);
        has_second = has_second && is_finite(second_.col);
        if (has_second) {
            for (Index d = 0; d < kernel_->rows(); ++d) sums_.of_rows[d] *= static_cast<Real>(second_.row[d]);
            add(second, second_);
        } else {
            log_domain_.add(second, nullptr, &sums_.of_rows);
        }
        return sums_;
    }

    /// The terms out of range. They are not in what for_each_column() visits.
    const LogDomainSum& log_domain() const { return log_domain_; }

    /// visit(k, Y_k, W_k) of every column, two pointers, unless all terms are out of range; W_k is null if no term has
    /// a slope.
    template <class Visit>
    void for_each_column(const Visit& visit) {
        if (row_factors_.empty()) return;
        const bool has_slope = with_slope_.slope.size() > 0;
        blocks_.for_each_block([&](const Block& block) {
            const Work* const* value = has_slope ? blocks_.item_lanes(values_, block) : nullptr;
            Index j = 0;
            const auto visit_next = [&](auto count) {
                set_columns<count>(block, j, value);
                for (Index c = 0; c < count; ++c, ++j) {
                    const Work* const Y = Y_.data() + c * lanes_;
                    const Work* const W = has_slope ? W_.data() + c * lanes_ : nullptr;
                    visit(block.first + j, Y, W);
                }
            };
            while (j + columns_together <= block.count) visit_next(std::integral_constant<int, columns_together>());
            while (j < block.count) visit_next(std::integral_constant<int, 1>());
        });
    }

private:
    using Block = typename KernelBlocks<Work>::Block;
    using L = Lanes<Work>;

    /// So many columns are summed at the same time, in at most eight registers: each addition waits for the one before.
    static constexpr int columns_together = std::clamp(8 / L::registers, 1, 4);

    /// A term as it multiplies M: (row_d + slope_d (value_dk - reference_d)) col_k. All but `col` are padded by zeros.
    struct Factors {
        Buffer<Work> row, col, slope, reference;
    };

    /// Potentials beyond this are weights' large exponents, whose rounding dL/dX has divided by alpha0 once more. The
    /// relative error of dL/dX is up to the last digit of Work times the square of it.
    static constexpr Real largest_potential = 1000;

    static bool has_digits(const Real* potential, Index size) {
        return within(potential, size, -largest_potential, largest_potential);
    }

    /// Whether the range of Work holds the factors; if not, they are unspecified.
    bool set_factors(const ScaledKernel& term, Factors& factors) const {
        if (!in_range_) return false;
        const Index rows = kernel_->rows();
        const auto scale = [](const Buffer<Real>& exponent, const Buffer<Work>& absorbed, Work* out) {
            return set_scaling(exponent.data(), absorbed.data(), exponent.size(), out);
        };
        factors.row = Vector<Work>::Zero(lanes_);
        factors.col.resize(kernel_->cols());
        factors.slope.resize(0);
        if (!scale(term.row_exponent, blocks_.row_potential(), factors.row.data())) return false;
        if (!scale(term.col_exponent, blocks_.col_potential(), factors.col.data())) return false;
        if (term.has_slope()) {
            factors.slope = factors.reference = Vector<Work>::Zero(lanes_);
            for (Index d = 0; d < rows; ++d) {
                factors.slope[d] = factors.row[d] * static_cast<Work>(term.slope[d]);
                const Real zero = -term.row_factor[d] / term.slope[d];
                const bool fits = std::abs(zero) <= Real((std::numeric_limits<Work>::max)());  // not so if it is NaN
                factors.reference[d] = fits ? static_cast<Work>(zero) : 0;
                factors.row[d] *= static_cast<Work>(term.row_factor[d] + term.slope[d] * Real(factors.reference[d]));
            }
        } else {
            for (Index d = 0; d < rows; ++d) factors.row[d] *= static_cast<Work>(term.row_factor[d]);
        }
        for (Index k = 0; k < factors.col.size(); ++k) factors.col[k] *= static_cast<Work>(term.col_factor[k]);
        return is_finite(factors.row) && is_finite(factors.col) && is_finite(factors.slope);
    }

    static bool is_finite(const Buffer<Work>& vector) { return all_finite(vector.data(), vector.size()); }

    void add(const ScaledKernel& term, const Factors& factors) {
        if (term.has_slope()) with_slope_ = factors;
        row_factors_.insert(row_factors_.end(), factors.row.begin(), factors.row.end());
        col_factors_.insert(col_factors_.end(), factors.col.begin(), factors.col.end());
    }

    /// Whether the range of Work holds the term, in first_; if not, it is added, and its column sums are set.
    bool start_col_sums(const ScaledKernel& term) {
        if (set_factors(term, first_)) return true;
        log_domain_.add(term, &sums_.of_cols, nullptr);
        return false;
    }

    /// Adds a block's row sums of second_, but for the factor of the row.
    void add_row_sums(const Block& block) {
        std::fill_n(sum_.data(), lanes_, Work(0));
        blocks_.add_sum_over_cols(block, second_.col.data() + block.first, sum_.data());
        for (Index d = 0; d < kernel_->rows(); ++d) sums_.of_rows[d] += static_cast<Real>(sum_[d]);
    }

    /// Sets a block's column sums of first_.
    void set_col_sums(const Block& block) {
        if (first_.slope.size() == 0) {
            blocks_.sum_over_rows(block, first_.row.data(), sum_.data());
        } else {
            const Work* const* value = blocks_.item_lanes(values_, block);
            for (Index j = 0; j < block.count; ++j) sum_[j] = sum_with_slope(block.M + j * lanes_, value[j]);
        }
        for (Index k = block.first, j = 0; j < block.count; ++k, ++j) {
            sums_.of_cols[k] = static_cast<Real>(sum_[j] * first_.col[k]);
        }
    }

    /// sum_d M_d (row_d + slope_d (value_d - reference_d)) of a column, with the factors of first_.
    Work sum_with_slope(const Work* M, const Work* value) const {
        const auto at = [](const Buffer<Work>& factor, Index l) { return L::load(factor.data() + l); };
        L all(Work(0));
        for (Index l = 0; l < lanes_; l += register_lanes) {
            const L excess = L::load(value + l) - at(first_.reference, l);
            all = multiply_add(L::load(M + l), multiply_add(at(first_.slope, l), excess, at(first_.row, l)), all);
        }
        return sum(all);
    }

    /// Sets Y_ and W_ of `count` columns from the j-th of a block, without the terms out of range. `value`: null if no
    /// term has a slope.
    template <int count>
    void set_columns(const Block& block, Index j, const Work* const* value) {
        // Copies, as members would be read again after every store.
        const Index lanes = lanes_;
        const Index cols = kernel_->cols();
        const Index terms = static_cast<Index>(row_factors_.size()) / lanes;
        const Work* const M = block.M + j * lanes;
        const Work* const row_factor = row_factors_.data();
        const Index first = block.first + j;
        const Work* const col_factor = col_factors_.data();
        const Work* const slope = with_slope_.slope.data();
        const Work* const slope_col = with_slope_.col.data();
        const Work* const reference = with_slope_.reference.data();
        Work* const to_Y = Y_.data();
        Work* const to_W = W_.data();
        for (Index l = 0; l < lanes; l += register_lanes) {
            L sum[std::size_t{count}];  // NOLINT(modernize-avoid-c-arrays): std::array drops the alignment
            for_each_constant<count>([&](auto c) { sum[c] = L(Work(0)); });
            for (Index t = 0; t < terms; ++t) {
                const L row = L::load(row_factor + t * lanes + l);
                const Work* const col = col_factor + t * cols + first;
                for_each_constant<count>([&](auto c) { sum[c] = multiply_add(row, L(col[c]), sum[c]); });
            }
            for_each_constant<count>([&](auto c) {
                const L of_kernel = L::load(M + c * lanes + l);
                L Y = of_kernel * sum[c];
                if (value != nullptr) {
                    const L W = of_kernel * (L::load(slope + l) * L(slope_col[first + c]));
                    Y = multiply_add(W, L::load(value[j + c] + l) - L::load(reference + l), Y);
                    W.store(to_W + c * lanes + l);
                }
                Y.store(to_Y + c * lanes + l);
            });
        }
    }

    const ScaledReward* kernel_ = nullptr;
    AnyView values_;
    KernelBlocks<Work> blocks_;
    bool in_range_ = false;
    Index lanes_ = 0;  ///< Rows of M in memory.
    Factors first_, second_;
    Sums sums_;
    std::vector<Work> row_factors_;  ///< R, one term after the other.
    std::vector<Work> col_factors_;  ///< C, likewise.
    Factors with_slope_;             ///< Those of the term that has a slope, if it is in range.
    LogDomainSum log_domain_;
    Buffer<Work> sum_;
    Buffer<Work> Y_, W_;  ///< Of columns_together columns.
};

}  // namespace otpool::detail
