// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/exponential.hpp"
#include "otpool/core/logarithm.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/solver/exponential_range.hpp"
#include "otpool/solver/kernel_blocks.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/sweep.hpp"

namespace otpool::detail {

/// Scaling on exponentials (KernelBlocks) instead of in the log domain:
///
///     M_dk = exp(z_dk + F_d + G_k),  F, G the potentials absorbed;  u = exp(f - F),  v = exp(g - G)
///     LSE_d(z_dk + f_d) = log <M_k, u> - G_k,     LSE_k(z_dk + g_k) = log (M v)_d - F_d
///
/// Both half steps are taken while a block of columns is in cache. Where the scalar's range is not enough nothing is
/// returned, and the log domain (Sweep) must do.
template <BagScalar Scalar>
class AbsorbedKernel {
public:
    /// Views the kernel. Potentials beyond the largest are out of range.
    void set(const ScaledReward<Scalar>& kernel, const Execution& execution, Real largest_potential) {
        kernel_ = &kernel;
        blocks_.set(kernel, execution, largest_potential);
        u_.resize(blocks_.padded_rows());
        v_.resize(blocks_.padded_cols());
        for (Buffer<Scalar>* scaling : {&u_, &v_}) scaling->setZero();  // what pads them stays so
        workers_.resize(blocks_.workers());
        for (Worker& worker : workers_) {
            worker.of_cols.resize(blocks_.width());
            worker.of_rows.resize(blocks_.padded_rows());
        }
        sums_.resize(static_cast<std::size_t>(blocks_.parts()));
    }

    /// log_row_sum_d <- LSE_k(z_dk + col_potential_k). Whether the range sufficed. On the way pools `values`, if given, with
    /// the weights exp(z_dk + col_potential_k). Cost: one exp an element, one pass.
    bool log_row_sums(const Buffer<Real>& col_potential, Buffer<Real>& log_row_sum,
                      const MatrixView<Scalar>* values = nullptr) {
        log_row_sum.resize(blocks_.rows());
        log_row_sum.setZero();
        if (!blocks_.absorb(log_row_sum, col_potential)) return false;
        v_.head(blocks_.cols()).setOnes();
        return pass(nullptr, nullptr, values, log_row_sum);
    }

    /// What Sweep does, given where the columns' potential stands in `result`. Whether the range sufficed. On the way pools
    /// `values`, if given, with the plan that results.
    bool sweep(const Buffer<Real>& row_potential, const ScaledMarginal& columns, Sweep& result,
               const MatrixView<Scalar>* values = nullptr) {
        const auto in_range = [&] {
            return set_scaling(row_potential.data(), blocks_.row_potential().data(), blocks_.rows(), u_.data()) &&
                   pass(&columns, &result, values, result.log_row_mass);
        };
        const bool computed = blocks_.computed() && in_range();
        if (!computed && !(blocks_.absorb(row_potential, result.col_potential) && in_range())) {
            blocks_.forget();
            return false;
        }
        const Real* f = row_potential.data();
        const Scalar* F = blocks_.row_potential().data();
        Real* log_row_mass = result.log_row_mass.data();
        for (Index d = 0; d < blocks_.rows(); ++d) log_row_mass[d] += f[d] - static_cast<Real>(F[d]) * log_2;
        return true;
    }

    /// Whether the values that were pooled did not overflow Scalar.
    bool pooled_finite() const {
        return within(total_.weighted.data(), blocks_.rows(), -std::numeric_limits<Real>::max(),
                      std::numeric_limits<Real>::max());
    }
    /// sum_k P_dk values_dk / sum_k P_dk, after a pass that was given the values.
    void conditional_mean(RealVector& mean) const {
        mean.resize(blocks_.rows());
        for (Index d = 0; d < blocks_.rows(); ++d) {
            mean[d] = total_.weighted[d] / total_.row_mass[d] + static_cast<Real>(reference_[d]);
        }
    }
    /// Of the residual, what rounding to Scalar may hide.
    static constexpr Real resolution() { return std::same_as<Scalar, Real> ? 0 : 3e-5; }

private:
    using Range = ExponentialRange<Scalar>;
    using Block = typename KernelBlocks<Scalar>::Block;

    /// What a worker needs for itself: the sums of its present block.
    struct Worker {
        Buffer<Scalar> of_cols, of_rows;
    };
    /// What a part adds up.
    struct Sums {
        RealVector row_mass;  ///< M v
        RealVector weighted;  ///< (M * (values - reference)) v
        bool in_range = true;
    };

    Worker& worker_of(const Block& block) { return workers_[static_cast<std::size_t>(block.worker)]; }

    /// sum <- sum_d M_dk u_d of a block. Whether it is in range.
    bool sum_over_rows(const Block& block) {
        Buffer<Scalar>& sum = worker_of(block).of_cols;
        blocks_.sum_over_rows(block, u_.data(), sum.data());
        return within(sum.data(), block.count, Range::smallest_sum, Range::largest_sum);
    }

    /// The half step of a block's columns, and v.
    bool update_columns(const Block& block, const ScaledMarginal& columns, Sweep& result) {
        const bool may_absorb = !blocks_.computed();
        if (!sum_over_rows(block)) {
            if (!may_absorb) return false;
            blocks_.absorb_highest(block);
            if (!sum_over_rows(block)) return false;
        }
        Buffer<Scalar>& sum = worker_of(block).of_cols;
        sum.head(block.count) = log_of_normal(sum.head(block.count).array());
        const Index first = block.first;
        const Scalar* log_sum = sum.data();
        const Scalar* G = blocks_.col_potential().data() + first;
        Real* log_col_sum = result.log_col_sum.data() + first;
        Real* potential = result.col_potential.data() + first;
        for (Index i = 0; i < block.count; ++i) {
            log_col_sum[i] = static_cast<Real>(log_sum[i]) - static_cast<Real>(G[i]) * log_2;
        }
        columns.half_steps(first, block.count, log_col_sum, potential, result.col_penalty.data() + first);
        const auto in_range = [&] { return set_scaling(potential, G, block.count, v_.data() + first); };
        return in_range() || (may_absorb && blocks_.absorb_columns(block, potential) && in_range());
    }

    /// Over all blocks: the columns' half step, if they are given; log_mass <- log M v; the values, if they are given.
    bool pass(const ScaledMarginal* columns, Sweep* result, const MatrixView<Scalar>* values, Buffer<Real>& log_mass) {
        if (values != nullptr) start_pooling(*values);
        for (Sums& sums : sums_) {
            sums.in_range = true;
            sums.row_mass.setZero(blocks_.rows());
            if (values != nullptr) sums.weighted.setZero(blocks_.rows());
        }
        blocks_.for_each_block([&](const Block& block) {
            Sums& sums = sums_[static_cast<std::size_t>(block.part)];
            sums.in_range = sums.in_range && (columns == nullptr || update_columns(block, *columns, *result));
            if (!sums.in_range) return;
            const Scalar* v = v_.data() + block.first;
            Buffer<Scalar>& of_block = worker_of(block).of_rows;
            blocks_.sum_over_cols(block, v, of_block.data());
            add(of_block, sums.row_mass);
            if (values == nullptr) return;
            blocks_.weighted_sum_over_cols(block, v, *values, reference_.data(), of_block.data());
            add(of_block, sums.weighted);
        });
        return add_up_parts(values != nullptr) && take_logarithm(log_mass);
    }

    /// A block's sum in Scalar to that of many.
    static void add(const Buffer<Scalar>& of_block, RealVector& to) {
        const Scalar* term = of_block.data();
        Real* sum = to.data();
        for (Index d = 0; d < to.size(); ++d) sum[d] += static_cast<Real>(term[d]);
    }

    /// Into total_, in their order. Whether all was in range.
    bool add_up_parts(bool pooled) {
        std::swap(total_, sums_.front());
        for (std::size_t part = 1; part < sums_.size(); ++part) {
            if (!total_.in_range || !sums_[part].in_range) return false;
            for (Index d = 0; d < blocks_.rows(); ++d) {
                total_.row_mass[d] += sums_[part].row_mass[d];
                if (pooled) total_.weighted[d] += sums_[part].weighted[d];
            }
        }
        return total_.in_range;
    }

    /// log_mass <- log M v. Whether that is in range.
    bool take_logarithm(Buffer<Real>& log_mass) {
        const Index rows = blocks_.rows();
        if (!within(total_.row_mass.data(), rows, Real(Range::smallest_sum), Real(Range::largest_sum))) return false;
        auto logs = workers_.front().of_rows.head(rows);
        std::copy_n(total_.row_mass.data(), rows, logs.data());
        logs = log_of_normal(logs.array());
        log_mass.resize(rows);
        std::copy_n(logs.data(), rows, log_mass.data());
        return true;
    }

    /// Values are weighed relative to those of one instance, so that shifted ones lose no digits.
    void start_pooling(const MatrixView<Scalar>& values) {
        reference_.resize(blocks_.padded_rows());
        reference_.setZero();
        for (Index d = 0; d < blocks_.rows(); ++d) reference_[d] = values(d, kernel_->instance(0));
    }

    const ScaledReward<Scalar>* kernel_ = nullptr;
    KernelBlocks<Scalar> blocks_;
    Buffer<Scalar> u_, v_, reference_;  ///< padded to whole registers
    std::vector<Worker> workers_;
    std::vector<Sums> sums_;  ///< One a part.
    Sums total_;
};

}  // namespace otpool::detail
