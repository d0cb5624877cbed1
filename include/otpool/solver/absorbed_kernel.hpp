// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>

#include "otpool/core/matrix.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/sweep.hpp"

namespace otpool::detail {

/// Within these bounds exponentials in Scalar, and sums of them, keep all the digits that Scalar has.
template <BagScalar Scalar>
struct ExponentialRange {
    static constexpr bool single = std::same_as<Scalar, float>;
    /// |log| of a scaling: what underflows in M stays nothing when it is scaled up.
    static constexpr Real log_scaling = single ? 20 : 230;
    static constexpr Scalar smallest_sum = single ? Scalar(1e-14) : Scalar(1e-180);
    static constexpr Scalar largest_sum = single ? Scalar(1e30) : Scalar(1e250);
    /// Exponents are sums with potentials, whose digits they lose: 1e-5 is left of a float.
    static constexpr Real largest_potential = single ? 64 : 1e10;
};

/// Scaling in the bag's own arithmetic, on exponentials that are kept:
///
///     M_dk = exp(z_dk + F_d + G_k),  F, G the potentials absorbed;  u = exp(f - F),  v = exp(g - G)
///     LSE_d(z_dk + f_d) = log <M_k, u> - G_k,     LSE_k(z_dk + g_k) = log (M v)_d - F_d
///
/// Both half steps are taken while a block of columns is in cache. Where M as a whole fits there, it is computed once and
/// again only when a scaling leaves its range; otherwise in every sweep, since an exponential costs less than fetching it
/// from memory. Where the range is not enough nothing is returned, and the log domain (Sweep) must do.
template <BagScalar Scalar>
class AbsorbedKernel {
public:
    explicit AbsorbedKernel(const ScaledReward<Scalar>& kernel)
        : kernel_(kernel),
          rows_(kernel.rows()),
          cols_(kernel.cols()),
          block_(std::clamp<Index>(block_elements / rows_, 16, std::max<Index>(cols_, 16))),
          kept_(rows_ * cols_ <= kept_elements),
          row_shift_(kernel.row_shift.template cast<Scalar>()),
          inverse_alpha0_(static_cast<Scalar>(kernel.inverse_alpha0)),
          exponentials_(rows_, kept_ ? cols_ : std::min(block_, cols_)),
          F_(rows_),
          G_(cols_),
          u_(rows_),
          v_(cols_),
          sum_(std::min(block_, cols_)),
          partial_(rows_),
          column_(rows_),
          row_mass_(rows_) {}

    /// log_row_sum_d <- LSE_k(z_dk + col_potential_k). Whether the range sufficed. Cost: one exp an element, one pass.
    bool log_row_sums(const RealVector& col_potential, RealVector& log_row_sum) {
        if (!absorb(RealVector::Zero(rows_), col_potential)) return false;
        row_mass_.setZero();
        v_.setOnes();
        for_each_block([&](Index first, Index count, const auto&) { add_row_mass(first, count); });
        if (!row_mass_in_range()) return false;
        log_row_sum = log_row_mass();
        return true;
    }

    /// What Sweep does, given where the columns' potential stands in `result`. Whether the range sufficed. On the way pools
    /// `values`, if given, with the plan that results.
    bool sweep(const RealVector& row_potential, const ScaledMarginal& columns, Sweep& result,
               const MatrixView<Scalar>* values = nullptr) {
        const bool kept = absorbed_ && scalings(row_potential, F_, u_);
        if (!kept && !absorb(row_potential, result.col_potential)) return false;
        row_mass_.setZero();
        if (values != nullptr) start_pooling(*values);
        bool in_range = true;
        for_each_block([&](Index first, Index count, const auto&) {
            in_range = in_range && update_columns(first, count, columns, result);
            if (!in_range) return;
            add_row_mass(first, count);
            if (values != nullptr) add_pooled(first, count, *values);
        });
        if (!in_range || !row_mass_in_range()) {
            absorbed_ = false;
            return false;
        }
        result.log_row_mass = log_row_mass() + row_potential - F_.template cast<Real>();
        return true;
    }

    /// F and G become what Scalar makes of the potentials, if that is in range; u takes the rest.
    bool absorb(const RealVector& row_potential, const RealVector& col_potential) {
        absorbed_ = false;
        const auto largest = [](const RealVector& potential) { return potential.cwiseAbs().maxCoeff(); };
        if (!(std::max(largest(row_potential), largest(col_potential)) <= Range::largest_potential)) return false;
        if (!(kernel_.inverse_alpha0 <= Real(Range::largest_sum))) return false;
        F_ = row_potential.template cast<Scalar>();
        G_ = col_potential.template cast<Scalar>();
        return scalings(row_potential, F_, u_);
    }
    const Vector<Scalar>& row_potential() const { return F_; }
    const Vector<Scalar>& col_potential() const { return G_; }

    /// u <- exp(potential - absorbed), unless it is out of range.
    static bool scalings(const RealVector& potential, const Vector<Scalar>& absorbed, Vector<Scalar>& scaling) {
        const auto log_scaling = potential - absorbed.template cast<Real>();
        if (!(log_scaling.cwiseAbs().maxCoeff() <= Range::log_scaling)) return false;
        scaling = log_scaling.template cast<Scalar>();  // casts are not vectorised together with exp
        scaling = scaling.array().exp();
        return true;
    }

    /// visit(first, count, M) of every block of columns, after absorb().
    template <class Visit>
    void for_each_block(const Visit& visit) {
        for (Index first = 0; first < cols_; first += block_) {
            const Index count = std::min(block_, cols_ - first);
            if (!absorbed_) exponentiate(first, count);
            visit(first, count, block(first, count));
        }
        absorbed_ = kept_;
    }

    /// sum_k P_dk values_dk / sum_k P_dk, after a sweep that was given the values; not finite where they overflow Scalar.
    RealVector conditional_mean() const {
        return reference_.template cast<Real>() + weighted_sum_.cwiseQuotient(row_mass_);
    }
    /// Of the residual, what rounding to Scalar may hide.
    static constexpr Real resolution() { return std::same_as<Scalar, Real> ? 0 : 3e-5; }

private:
    using Range = ExponentialRange<Scalar>;
    /// A block stays in the first-level cache, a kept kernel in the second.
    static constexpr Index block_elements = (1 << 15) / sizeof(Scalar);
    static constexpr Index kept_elements = (1 << 20) / sizeof(Scalar);

    auto block(Index first, Index count) { return exponentials_.middleCols(kept_ ? first : 0, count); }

    /// M of a block. Cost: one exp an element.
    void exponentiate(Index first, Index count) {
        auto M = block(first, count);
        for (Index k = 0; k < count; ++k) {
            const auto x = kernel_.reward.contiguous_col(kernel_.instance(first + k), column_);
            const Scalar col_shift = static_cast<Scalar>(kernel_.col_shift[first + k]);
            M.col(k) = (((x - row_shift_).array() - col_shift) * inverse_alpha0_ + (F_.array() + G_[first + k])).exp();
        }
    }

    /// The half step of a block's columns, and v.
    bool update_columns(Index first, Index count, const ScaledMarginal& columns, Sweep& result) {
        auto sum = sum_.head(count);
        sum.noalias() = block(first, count).transpose() * u_;
        if (!(sum.minCoeff() >= Range::smallest_sum && sum.sum() <= Range::largest_sum)) return false;
        const auto part = [&](auto& vector) { return vector.segment(first, count).array(); };
        const auto G = part(G_).template cast<Real>();
        sum = sum.array().log();
        part(result.log_col_sum) = sum.array().template cast<Real>() - G;
        const auto excess = part(columns.log_prior) - part(result.log_col_sum);
        part(result.col_potential) = columns.damping * excess + columns.relaxation * part(columns.anchor);
        part(result.col_penalty) = columns.relaxation * (excess - part(columns.anchor));
        part(v_) = (part(result.col_potential) - G).template cast<Scalar>();
        if (!(part(v_).abs().maxCoeff() <= Scalar(Range::log_scaling))) return false;
        part(v_) = part(v_).exp();
        return true;
    }

    /// row_mass += M v, of a block in Scalar and of all in double.
    void add_row_mass(Index first, Index count) {
        partial_.noalias() = block(first, count) * v_.segment(first, count);
        row_mass_ += partial_.template cast<Real>();
    }

    /// Values are weighed relative to those of one instance, so that shifted ones lose no digits.
    void start_pooling(const MatrixView<Scalar>& values) {
        reference_ = values.contiguous_col(kernel_.instance(0), column_);
        weighted_sum_.setZero(rows_);
    }

    /// weighted_sum += (M * (values - reference)) v
    void add_pooled(Index first, Index count, const MatrixView<Scalar>& values) {
        const auto M = block(first, count);
        partial_.setZero();
        for (Index k = 0; k < count; ++k) {
            const auto value = values.contiguous_col(kernel_.instance(first + k), column_);
            partial_ += v_[first + k] * M.col(k).cwiseProduct(value - reference_);
        }
        weighted_sum_ += partial_.template cast<Real>();
    }

    RealVector log_row_mass() {
        partial_ = row_mass_.template cast<Scalar>();
        partial_ = partial_.array().log();
        return partial_.template cast<Real>();
    }

    bool row_mass_in_range() const {
        return row_mass_.minCoeff() >= Real(Range::smallest_sum) && row_mass_.sum() <= Real(Range::largest_sum);
    }

    const ScaledReward<Scalar>& kernel_;
    Index rows_, cols_;
    Index block_;  ///< columns a block
    bool kept_;
    bool absorbed_ = false;  ///< Whether exponentials_ is M.
    Vector<Scalar> row_shift_;
    Scalar inverse_alpha0_;
    Matrix<Scalar> exponentials_;  ///< M, or its present block
    Vector<Scalar> F_, G_, u_, v_;
    Vector<Scalar> sum_, partial_, column_;
    RealVector row_mass_;      ///< M v
    Vector<Scalar> reference_;
    RealVector weighted_sum_;  ///< (M * (values - reference)) v
};

}  // namespace otpool::detail
