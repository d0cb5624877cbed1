// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/kernel_blocks.hpp"
#include "otpool/kernel/reference_values.hpp"
#include "otpool/kernel/scaled_problem.hpp"

namespace otpool::detail {

/// A scaling pass over a kernel's exponentials M. Both products, with the scalings u of rows and v of columns, are
/// taken while a block of columns is in cache.
template <BagScalar Work>
class KernelPass {
public:
    using Block = typename KernelBlocks<Work>::Block;

    KernelBlocks<Work> blocks;
    Buffer<Work> u, v;  ///< padded to whole registers by zeros

    /// Views the kernel; scalings are zero.
    void set(const ScaledReward& kernel, const Execution& execution) {
        kernel_ = &kernel;
        blocks.set(kernel, execution);
        u.assign(blocks.padded_rows(), 0);
        v.assign(blocks.padded_cols(), 0);
        workers_.resize(blocks.workers());
        for (Worker& worker : workers_) {
            worker.of_cols.resize(padded(blocks.width()));
            worker.clear(blocks.padded_rows());
        }
        sums_.resize(static_cast<std::size_t>(blocks.parts()));
    }

    /// row_mass() <- M v, after update(block) has set v of every block's columns. Also pools the values if given, or
    /// the reward if they are empty. Returns whether M, its sums and all updates are in range.
    template <class Update>
    bool operator()(const Update& update, const AnyView* values) {
        if (values != nullptr) start_pooling(*values);
        for (Sums& sums : sums_) {
            sums.in_range = true;
            sums.highest = -std::numeric_limits<Real>::infinity();
            sums.row_mass.assign(blocks.rows(), 0);
            if (values != nullptr) sums.weighted.assign(blocks.rows(), 0);
        }
        for (Worker& worker : workers_) {
            if (worker.columns > 0)
                worker.clear(blocks.padded_rows());  // of what a pass that was out of range has left
        }
        blocks.for_each_block([&](Block& block) {
            Sums& sums = sums_[static_cast<std::size_t>(block.part)];
            sums.in_range = sums.in_range && block.in_range && update(block);
            sums.highest = (std::max)(sums.highest, block.highest);
            if (!sums.in_range) return;
            const Work* of_cols = v.data() + block.first;
            Worker& worker = worker_of(block);
            blocks.add_sum_over_cols(block, of_cols, worker.row_mass.data());
            if (values != nullptr) {
                const Work* reference = reference_.numbers().data();
                blocks.add_weighted_sum_over_cols(block, of_cols, pooled_, reference, worker.weighted.data());
            }
            worker.columns += block.count;
            if (worker.columns < summed_columns && !block.last) return;
            move(worker.row_mass, sums.row_mass);
            if (values != nullptr) move(worker.weighted, sums.weighted);
            worker.columns = 0;
        });
        return add_up_parts(values != nullptr) &&
               within(total_.row_mass.data(), blocks.rows(), Real(Range::smallest_sum), Real(Range::largest_sum));
    }

    /// For update(): M^T u of a block's columns, in memory that update() may overwrite; null if out of range.
    Work* sum_over_rows(const Block& block) {
        Work* sum = worker_of(block).of_cols.data();
        blocks.sum_over_rows(block, u.data(), sum);
        return within(sum, block.count, Range::smallest_sum, Range::largest_sum) ? sum : nullptr;
    }

    /// rows() numbers.
    const Real* row_mass() const { return total_.row_mass.data(); }
    /// No reward is above it; after a pass over rewards that had not been looked at.
    Real highest() const { return total_.highest; }

    /// Whether pooling the values did not overflow Work.
    bool pooled_finite() const {
        return within(total_.weighted.data(), blocks.rows(), -(std::numeric_limits<Real>::max)(),
                      (std::numeric_limits<Real>::max)());
    }
    /// sum_k P_dk values_dk / sum_k P_dk, after a pass with values.
    void conditional_mean(Real* mean) const {
        for (Index d = 0; d < blocks.rows(); ++d) {
            mean[d] = total_.weighted[d] / total_.row_mass[d] + static_cast<Real>(reference_.numbers()[d]);
        }
    }

private:
    using Range = ExponentialRange<Work>;

    /// Sum at least this many columns in Work, then add to totals in double.
    static constexpr Index summed_columns = 128;

    /// A worker's own memory.
    struct Worker {
        Buffer<Work> of_cols;             ///< M^T u of its present block.
        Buffer<Work> row_mass, weighted;  ///< As in Sums, of its last columns.
        Index columns = 0;                ///< Their number.

        void clear(Index rows) {
            row_mass.assign(rows, 0);
            weighted.assign(rows, 0);
            columns = 0;
        }
    };
    /// The totals of a part.
    struct Sums {
        Buffer<Real> row_mass;  ///< M v
        Buffer<Real> weighted;  ///< (M * (values - reference)) v
        Real highest = 0;
        bool in_range = true;
    };

    Worker& worker_of(const Block& block) { return workers_[static_cast<std::size_t>(block.worker)]; }

    /// Adds sums over some columns to `to`, and sets them to zero, but for their padding.
    static void move(Buffer<Work>& of_columns, Buffer<Real>& to) {
        Work* term = of_columns.data();
        Real* sum = to.data();
        for (Index d = 0; d < to.size(); ++d) {
            sum[d] += static_cast<Real>(term[d]);
            term[d] = 0;
        }
    }

    /// Adds up the parts into total_, in order. Returns whether all was in range.
    bool add_up_parts(bool pooled) {
        std::swap(total_, sums_.front());
        for (std::size_t part = 1; part < sums_.size(); ++part) {
            if (!total_.in_range || !sums_[part].in_range) return false;
            total_.highest = (std::max)(total_.highest, sums_[part].highest);
            for (Index d = 0; d < blocks.rows(); ++d) {
                total_.row_mass[d] += sums_[part].row_mass[d];
                if (pooled) total_.weighted[d] += sums_[part].weighted[d];
            }
        }
        return total_.in_range;
    }

    void start_pooling(const AnyView& values) {
        pooled_ = values.empty() ? kernel_->reward : values;
        if (values.empty() && kernel_->shifts_rows) {
            reference_.set(kernel_->row_shift);
        } else {
            reference_.set(pooled_, kernel_->reward, kernel_->active);
        }
    }

    const ScaledReward* kernel_ = nullptr;
    AnyView pooled_;
    ReferenceValues<Work> reference_;  ///< Subtracted from values before weighing.
    std::vector<Worker> workers_;
    std::vector<Sums> sums_;  ///< One per part.
    Sums total_;
};

}  // namespace otpool::detail
