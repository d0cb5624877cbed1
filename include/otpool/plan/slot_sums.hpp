// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/lanes.hpp"

namespace otpool::detail {

/// Values of D' rows less a reference, times a unit: in blocks of columns, as Work. A difference of two numbers of about
/// the same size loses no digits, so that products of a block do not depend on the level of the values.
template <BagScalar Work, BagScalar Scalar>
class CentredValues {
public:
    CentredValues(const MatrixView<Scalar>& values, const std::vector<Index>& active, Real unit)
        : values_(values), unit_(static_cast<Work>(unit)) {
        // The median of three instances per row: no single outlier is far from all the rest.
        const auto number = [&](Index d, std::size_t k) { return static_cast<Work>(values(d, active[k])) * unit_; };
        reference_.resize(values.rows());
        for (Index d = 0; d < values.rows(); ++d) {
            const Work a = number(d, 0);
            const Work b = number(d, active.size() / 2);
            const Work c = number(d, active.size() - 1);
            reference_[d] = (std::max)((std::min)(a, b), (std::min)((std::max)(a, b), c));
        }
    }

    Index rows() const { return values_.rows(); }
    const Vector<Work>& reference() const { return reference_; }

    /// to_d <- unit v_dn - reference_d
    void column(Index n, Scalar* scratch, Work* to) const {
        const Scalar* v = values_.contiguous_col(n, scratch);
        const Work* reference = reference_.data();
        for (Index d = 0; d < rows(); ++d) to[d] = static_cast<Work>(v[d]) * unit_ - reference[d];
    }

private:
    MatrixView<Scalar> values_;
    Work unit_;
    Vector<Work> reference_;
};

/// Sums over instances of a plan's weights per slot, and of weights times values, in units of exp(level_k). A slot's level
/// is its highest score so far. Blocks of instances are products of matrices in Work, and are added up in double.
template <BagScalar Work>
class SlotSums {
public:
    static constexpr Index most = 128;  ///< Instances in a block.

    /// Memory for one block at a time.
    template <BagScalar Scalar>
    struct Block {
        Matrix<Real> score;            ///< Of all rows of the plan.
        Matrix<Work> weight;           ///< K x most, in units of exp(level).
        Matrix<Work> values, product;  ///< D' x most, D' x K
        Vector<Scalar> scratch;

        Block(Index plan_rows, Index slots, Index rows, Index width)
            : score(plan_rows, width), weight(slots, width), values(rows, width), product(rows, slots), scratch(rows) {}
    };

    SlotSums(Index slots, Index rows)
        : values_(RealMatrix::Zero(rows, slots)),
          weight_(RealVector::Zero(slots)),
          level_(RealVector::Constant(slots, std::numeric_limits<Real>::lowest())) {}

    /// Adds instances [first, end) of the plan.
    template <BagScalar Scalar>
    void add(const LogPlan& plan, const CentredValues<Work, Scalar>& values, Index first, Index end,
             Block<Scalar>& block) {
        for (Index begin = first; begin < end; begin += most) {
            const Index count = (std::min)(most, end - begin);
            for (Index i = 0; i < count; ++i) {
                plan.column(begin + i, block.score.col(i).data());
                const Index n = plan.active()[static_cast<std::size_t>(begin + i)];
                values.column(n, block.scratch.data(), block.values.col(i).data());
            }
            raise_to(block.score.leftCols(count).topRows(slots()).rowwise().maxCoeff());
            for (Index i = 0; i < count; ++i) weigh(block.score.col(i).data(), block.weight.col(i).data());
            block.product.noalias() = block.values.leftCols(count) * block.weight.leftCols(count).transpose();
            values_ += block.product.template cast<Real>();
        }
    }

    /// Adds other sums of the same slots.
    void add(const SlotSums& other) {
        raise_to(other.level_);
        for (Index k = 0; k < slots(); ++k) {
            const Real factor = std::exp(other.level_[k] - level_[k]);
            weight_[k] += factor * other.weight_[k];
            values_.col(k) += factor * other.values_.col(k);
        }
    }

    bool finite() const { return all_finite(values_.data(), values_.size()); }
    /// sum_n w_kn v_n / sum_n w_kn of the centred values, D' x K.
    RealMatrix mean() const { return values_ * weight_.cwiseInverse().asDiagonal(); }
    /// log sum_n exp(score_kn)
    Real log_weight(Index slot) const { return std::log(weight_[slot]) + level_[slot]; }

private:
    Index slots() const { return level_.size(); }

    /// level_k <- at least top_k
    void raise_to(const RealVector& top) {
        for (Index k = 0; k < slots(); ++k) {
            if (!(top[k] > level_[k])) continue;
            const Real factor = std::exp(level_[k] - top[k]);
            weight_[k] *= factor;
            values_.col(k) *= factor;
            level_[k] = top[k];
        }
    }

    /// weight_k <- exp(score_k - level_k), where negligible weights become 0; adds them up.
    void weigh(const Real* score, Work* weight) {
        for_each_lanes(slots(), [&](Index k, Index count) {
            const auto load = [&](const RealVector& from) { return load_some(from.data() + k, count, Real(0)); };
            const Lanes<Real> exponent = load_some(score + k, count, Real(0)) - load(level_);
            const Lanes<Work> of_lanes = exp_or_zero(converted<Work>(exponent));
            store_some(of_lanes, weight + k, count);
            store_some(load(weight_) + converted<Real>(of_lanes), weight_.data() + k, count);
        });
    }

    RealMatrix values_;
    RealVector weight_, level_;
};

}  // namespace otpool::detail
