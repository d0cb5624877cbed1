// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>

#include "otpool/core/exponential.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/packet.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/sweep.hpp"

namespace otpool::detail {

/// Within these bounds exponentials in Scalar, and sums of them, keep all the digits that Scalar has.
template <BagScalar Scalar>
struct ExponentialRange {
    static constexpr bool single = std::same_as<Scalar, float>;
    /// |log| of a scaling: what underflows in M stays nothing when it is scaled up.
    static constexpr Scalar log_scaling = single ? 20 : 230;
    static constexpr Scalar smallest_sum = single ? Scalar(1e-14) : Scalar(1e-180);
    /// Of exp(), beyond which a sum is out of range anyway.
    static constexpr Scalar largest_exponent = single ? 88 : 708;
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
///
/// In memory M is blocks of `lanes` times `items`: a vector register holds features of one instance, or where features are
/// few, instances of one feature.
template <BagScalar Scalar>
class AbsorbedKernel {
public:
    /// `few_features`: below it, registers hold instances.
    explicit AbsorbedKernel(const ScaledReward<Scalar>& kernel, Index few_features = 32)
        : kernel_(kernel),
          rows_(kernel.rows()),
          cols_(kernel.cols()),
          by_instance_(rows_ < few_features),
          block_(std::min(padded(std::max<Index>(block_elements / rows_, 16)), padded(cols_))),
          kept_(rows_ * cols_ <= kept_elements),
          row_shift_(with_padding(kernel.row_shift)),
          col_shift_(with_padding(kernel.col_shift)),
          inverse_alpha0_(static_cast<Scalar>(kernel.inverse_alpha0)),
          M_((kept_ ? padded(cols_) : block_) * (by_instance_ ? rows_ : padded(rows_))),
          F_(row_shift_.size()),
          G_(col_shift_.size()),
          u_(Vector<Scalar>::Zero(row_shift_.size())),
          v_(Vector<Scalar>::Zero(col_shift_.size())),
          sum_(block_),
          partial_(row_shift_.size()),
          lane_(std::max(block_, row_shift_.size())),
          row_mass_(rows_) {
        lane_.setZero();
    }

    /// log_row_sum_d <- LSE_k(z_dk + col_potential_k). Whether the range sufficed. Cost: one exp an element, one pass.
    bool log_row_sums(const RealVector& col_potential, RealVector& log_row_sum) {
        if (!absorb(RealVector::Zero(rows_), col_potential)) return false;
        row_mass_.setZero();
        v_.head(cols_).setOnes();
        for_each_block([&](Index first, Index count) { add_row_mass(first, count); });
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
        for_each_block([&](Index first, Index count) {
            in_range = in_range && update_columns(first, count, columns, result);
            if (!in_range) return;
            add_row_mass(first, count);
            if (values != nullptr) add_pooled(first, count, *values);
        });
        if (!in_range || !row_mass_in_range()) {
            absorbed_ = false;
            return false;
        }
        result.log_row_mass = log_row_mass();
        for (Index d = 0; d < rows_; ++d) result.log_row_mass[d] += row_potential[d] - static_cast<Real>(F_[d]);
        return true;
    }

    /// F and G become what Scalar makes of the potentials, if that is in range; u takes the rest.
    bool absorb(const RealVector& row_potential, const RealVector& col_potential) {
        absorbed_ = false;
        if (!within(row_potential, -Range::largest_potential, Range::largest_potential)) return false;
        if (!within(col_potential, -Range::largest_potential, Range::largest_potential)) return false;
        if (!(inverse_alpha0_ > 0 && kernel_.inverse_alpha0 <= Real(Range::largest_sum))) return false;
        F_ = with_padding(row_potential);
        G_ = with_padding(col_potential);
        return scalings(row_potential, F_, u_);
    }
    const Vector<Scalar>& row_potential() const { return F_; }
    const Vector<Scalar>& col_potential() const { return G_; }

    /// scaling <- exp(potential - absorbed), unless it is out of range.
    static bool scalings(const RealVector& potential, const Vector<Scalar>& absorbed, Vector<Scalar>& scaling) {
        const Index size = potential.size();  // scaling may be padded
        for (Index i = 0; i < size; ++i)
            scaling[i] = static_cast<Scalar>(potential[i] - static_cast<Real>(absorbed[i]));
        if (!within(scaling.head(size), -Range::log_scaling, Range::log_scaling)) return false;
        scaling.head(size) = scaling.head(size).array().exp();
        return true;
    }

    /// visit(first, count) of every block of columns, whose M is at hand, after absorb().
    template <class Visit>
    void for_each_block(const Visit& visit) {
        for (Index first = 0; first < cols_; first += block_) {
            const Index count = std::min(block_, cols_ - first);
            if (!absorbed_) exponentiate(first, count);
            visit(first, count);
        }
        absorbed_ = kept_;
    }

    /// M of the block that is visited, where registers hold features.
    auto block(Index first, Index count) const {
        return Eigen::Map<const Matrix<Scalar>, 0, Eigen::OuterStride<>>(M_.data() + start(first), rows_, count,
                                                                         Eigen::OuterStride<>(lanes(count)));
    }

    /// sum_k P_dk values_dk / sum_k P_dk, after a sweep that was given the values; not finite where they overflow Scalar.
    RealVector conditional_mean() const {
        RealVector mean = weighted_sum_.cwiseQuotient(row_mass_);
        for (Index d = 0; d < rows_; ++d) mean[d] += static_cast<Real>(reference_[d]);
        return mean;
    }
    /// Of the residual, what rounding to Scalar may hide.
    static constexpr Real resolution() { return std::same_as<Scalar, Real> ? 0 : 3e-5; }

private:
    using Range = ExponentialRange<Scalar>;
    /// A block stays in the first-level cache, a kept kernel in the second; doubles' exponentials cost more than memory.
    static constexpr Index block_elements = (1 << 15) / sizeof(Scalar);
    static constexpr Index kept_elements = std::same_as<Scalar, float> ? 1 << 18 : 1 << 22;

    static Vector<Scalar> with_padding(const RealVector& vector) {
        Vector<Scalar> out = Vector<Scalar>::Zero(padded(vector.size()));
        for (Index i = 0; i < vector.size(); ++i) out[i] = static_cast<Scalar>(vector[i]);
        return out;
    }

    Index lanes(Index count) const { return padded(by_instance_ ? count : rows_); }
    Index items(Index count) const { return by_instance_ ? rows_ : count; }
    /// Where the block begins in M_.
    Index start(Index first) const { return (kept_ ? first : 0) * (by_instance_ ? rows_ : padded(rows_)); }

    /// The numbers of `matrix` that the lanes of an item hold; where they have to be gathered, until the next call.
    const Scalar* lane_values(const MatrixView<Scalar>& matrix, Index first, Index count, Index item) {
        if (by_instance_) {
            for (Index k = 0; k < count; ++k) lane_[k] = matrix(item, kernel_.instance(first + k));
            return lane_.data();
        }
        const auto column = matrix.contiguous_col(kernel_.instance(first + item), lane_.head(rows_));
        if (rows_ == lanes(count)) return column.data();
        if (column.data() != lane_.data()) lane_.head(rows_) = column;
        return lane_.data();
    }

    /// M of a block. Cost: one exp an element.
    void exponentiate(Index first, Index count) {
        using Lanes = Eigen::Array<Scalar, register_lanes, 1>;
        using LanesView = Eigen::Map<const Lanes>;
        const Scalar* lane_shift = by_instance_ ? col_shift_.data() + first : row_shift_.data();
        const Scalar* lane_potential = by_instance_ ? G_.data() + first : F_.data();
        const Scalar* item_shift = by_instance_ ? row_shift_.data() : col_shift_.data() + first;
        const Scalar* item_potential = by_instance_ ? F_.data() : G_.data() + first;
        const Index lanes = this->lanes(count);
        Scalar* M = M_.data() + start(first);
        for (Index i = 0; i < items(count); ++i, M += lanes) {
            const Scalar* x = lane_values(kernel_.reward, first, count, i);
            for (Index l = 0; l < lanes; l += register_lanes) {
                const Lanes z = (LanesView(x + l) - LanesView(lane_shift + l) - item_shift[i]) * inverse_alpha0_;
                Eigen::Map<Lanes>(M + l) =
                    bounded_exp((z + (LanesView(lane_potential + l) + item_potential[i])).min(Range::largest_exponent));
            }
        }
    }

    /// sum_d M_dk u_d of a block, into sum_.
    void sum_over_rows(const Scalar* M, Index count) {
        (by_instance_ ? multiply<Scalar> : multiply_transposed<Scalar>)(M, lanes(count), items(count), u_.data(),
                                                                        sum_.data());
    }

    /// sum_k M_dk v_k of a block, into partial_.
    void sum_over_cols(const Scalar* M, Index first, Index count) {
        (by_instance_ ? multiply_transposed<Scalar> : multiply<Scalar>)(M, lanes(count), items(count),
                                                                        v_.data() + first, partial_.data());
    }

    /// The half step of a block's columns, and v.
    bool update_columns(Index first, Index count, const ScaledMarginal& columns, Sweep& result) {
        sum_over_rows(M_.data() + start(first), count);
        auto sum = sum_.head(count);
        if (!within(sum, Range::smallest_sum, Range::largest_sum)) return false;
        sum = sum.array().log();
        for (Index i = 0; i < count; ++i) {
            const Index k = first + i;
            const Real G = G_[k];
            const Real log_sum = static_cast<Real>(sum[i]) - G;
            result.log_col_sum[k] = log_sum;
            result.col_potential[k] = columns.half_step(k, log_sum);
            result.col_penalty[k] = columns.penalty(k, log_sum);
            v_[k] = static_cast<Scalar>(result.col_potential[k] - G);
        }
        auto v = v_.segment(first, count);
        if (!within(v, -Range::log_scaling, Range::log_scaling)) return false;
        v = v.array().exp();
        return true;
    }

    /// row_mass += M v, of a block in Scalar and of all in double.
    void add_row_mass(Index first, Index count) {
        sum_over_cols(M_.data() + start(first), first, count);
        for (Index d = 0; d < rows_; ++d) row_mass_[d] += static_cast<Real>(partial_[d]);
    }

    /// Values are weighed relative to those of one instance, so that shifted ones lose no digits.
    void start_pooling(const MatrixView<Scalar>& values) {
        reference_.setZero(row_shift_.size());
        for (Index d = 0; d < rows_; ++d) reference_[d] = values(d, kernel_.instance(0));
        weighted_.resize(block_ * (by_instance_ ? rows_ : row_shift_.size()));
        weighted_sum_.setZero(rows_);
    }

    /// weighted_sum += (M * (values - reference)) v
    void add_pooled(Index first, Index count, const MatrixView<Scalar>& values) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        const Index lanes = this->lanes(count);
        const Scalar* M = M_.data() + start(first);
        Scalar* weighted = weighted_.data();
        for (Index i = 0; i < items(count); ++i, M += lanes, weighted += lanes) {
            const Scalar* value = lane_values(values, first, count, i);
            for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
                const P reference = by_instance_ ? pset1<P>(reference_[i]) : ploadu<P>(reference_.data() + l);
                pstoreu(weighted + l, pmul(ploadu<P>(M + l), psub(ploadu<P>(value + l), reference)));
            }
        }
        sum_over_cols(weighted_.data(), first, count);
        for (Index d = 0; d < rows_; ++d) weighted_sum_[d] += static_cast<Real>(partial_[d]);
    }

    RealVector log_row_mass() {
        for (Index d = 0; d < rows_; ++d) partial_[d] = static_cast<Scalar>(row_mass_[d]);
        auto logs = partial_.head(rows_);
        logs = logs.array().log();
        RealVector log_mass(rows_);
        for (Index d = 0; d < rows_; ++d) log_mass[d] = static_cast<Real>(logs[d]);
        return log_mass;
    }

    bool row_mass_in_range() const { return within(row_mass_, Real(Range::smallest_sum), Real(Range::largest_sum)); }

    /// Whether all numbers are; NaN is not.
    template <class Numbers, class Number>
    static bool within(const Numbers& numbers, Number low, Number high) {
        bool all = true;
        for (Index i = 0; i < numbers.size(); ++i) all &= numbers[i] >= low && numbers[i] <= high;
        return all;
    }

    const ScaledReward<Scalar>& kernel_;
    Index rows_, cols_;
    bool by_instance_;  ///< Whether the lanes are instances.
    Index block_;       ///< columns a block
    bool kept_;
    bool absorbed_ = false;                 ///< Whether M_ is M.
    Vector<Scalar> row_shift_, col_shift_;  ///< These and F, G, u, v are padded to whole registers.
    Scalar inverse_alpha0_;
    Vector<Scalar> M_;  ///< M, or its present block
    Vector<Scalar> F_, G_, u_, v_;
    Vector<Scalar> sum_, partial_, lane_;
    RealVector row_mass_;  ///< M v
    Vector<Scalar> reference_;
    Vector<Scalar> weighted_;  ///< M * (values - reference), a block
    RealVector weighted_sum_;  ///< (M * (values - reference)) v
};

}  // namespace otpool::detail
