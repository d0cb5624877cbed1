// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/kernel_exponentials.hpp"
#include "otpool/kernel/reward_block.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// A kernel's exponentials with absorbed potentials, M (KernelExponentials), and its products with vectors, a block of
/// columns at a time. If all of M fits in a cache, it is computed once for all visits; otherwise at every visit, as an
/// exponential costs less than fetching it from memory.
///
/// Registers hold features, or instances if that takes a quarter fewer registers; if features are few, up to a quarter
/// more. Blocks are visited in parts (InstanceParts) that may run at the same time.
template <BagScalar Work>
class KernelBlocks {
public:
    using Block = KernelBlock<Work>;

    /// Views the kernel; the potentials are zero. `only_features`: registers hold features in any case.
    void set(const ScaledReward& kernel, const Execution& execution, bool only_features = false) {
        kernel_ = &kernel;
        exponentials_.set(kernel);
        execution_ = execution;
        const bool few_rows = 2 * rows() <= 3 * register_lanes;
        by_instance_ = !only_features && 4 * rows() * padded_cols() < (few_rows ? 5 : 3) * padded_rows() * cols();
        const Index multiple = by_instance_ ? register_lanes : 8;
        width_ = std::clamp(block_elements / rows() / multiple * multiple, multiple, padded_cols());
        kept_ = rows() * cols() <= kept_elements;
        computed_ = false;
        raises_low_ = by_instance_;
        parts_ = InstanceParts(rows(), cols(), width_);
        if (kept_) M_.resize(size_of(padded_cols()));
        workers_.resize(static_cast<std::size_t>(parts_.count() > 1 ? execution.workers() : 1));
        for (Worker& worker : workers_) {
            if (!kept_) worker.M.resize(size_of(width_));
        }
    }

    Index rows() const { return kernel_->rows(); }
    Index cols() const { return kernel_->cols(); }
    Index padded_rows() const { return exponentials_.padded_rows(); }
    Index padded_cols() const { return exponentials_.padded_cols(); }
    /// The largest number of columns in a block.
    Index width() const { return width_; }
    Index parts() const { return parts_.count(); }
    std::size_t workers() const { return workers_.size(); }

    /// As KernelExponentials::absorb().
    bool absorb(const Real* row_potential, const Real* col_potential) {
        computed_ = false;
        raises_low_ = false;
        return exponentials_.absorb(row_potential, col_potential);
    }
    /// Both in units of log 2.
    const Buffer<Work>& row_potential() const { return exponentials_.row_potential(); }
    const Buffer<Work>& col_potential() const { return exponentials_.col_potential(); }

    /// Whether all of M has been computed for the absorbed potentials.
    bool computed() const { return computed_; }
    void forget() { computed_ = false; }

    /// Calls visit(block) for every block, with its M computed. If registers hold instances and no potentials have been
    /// absorbed, the first time raises columns that are low as a whole, as columns of few features often are.
    template <class Visit>
    void for_each_block(const Visit& visit) {
        execution_.for_each(parts_.count(), [&](Index part, Index worker) {
            for (Index first = parts_.first(part); first < parts_.end(part); first += width_) {
                const Index count = (std::min)(width_, parts_.end(part) - first);
                Block block{first,
                            count,
                            by_instance_,
                            by_instance_ ? rows() : count,
                            by_instance_ ? padded(count) : padded_rows(),
                            kept_ ? M_.data() + size_of(first) : of_worker(worker).M.data(),
                            part,
                            worker,
                            first + count == parts_.end(part)};
                if (!computed_) exponentiate(block);
                visit(block);
            }
        });
        computed_ = kept_;
        raises_low_ = false;
    }

    /// G <- potential in a block being visited, unless out of range.
    bool absorb_columns(Block& block, const Real* potential) {
        if (!exponentials_.absorb_columns(block, potential)) return false;
        exponentiate(block);
        return true;
    }

    /// G_k <- -max_d(z_dk + potential_d) in a block being visited, so that no column of M is nearly zero when its rows
    /// are scaled by the potential; this is in units of log 2.
    void absorb_highest(Block& block, const Buffer<Work>& potential) {
        const Work* const* rewards = item_lanes(kernel_->reward, block);
        exponentials_.absorb_highest(block, rewards, potential);
        exponentials_.fill(block, rewards);
    }

    /// sums_k = sum_d M_dk u_d for a block's columns. u and sums are padded to whole registers, here and below.
    void sum_over_rows(const Block& block, const Work* u, Work* sums) const {
        if (block.by_instance) {
            multiply(block.M, block.lanes, block.items, u, sums);
        } else {
            multiply_transposed(block.M, block.lanes, block.items, u, sums);
        }
    }

    /// sums_d += sum_k M_dk v_k over a block; v has its columns.
    void add_sum_over_cols(const Block& block, const Work* v, Work* sums) const {
        if (block.by_instance) {
            multiply_transposed<Work, Assign::add>(block.M, block.lanes, block.items, v, sums);
        } else {
            multiply<Work, Assign::add>(block.M, block.lanes, block.items, v, sums);
        }
    }

    /// sums_d += sum_k M_dk v_k (value_dk - reference_d) over a block; v has its columns.
    void add_weighted_sum_over_cols(const Block& block, const Work* v, const AnyView& values, const Work* reference,
                                    Work* sums) {
        const Work* const* value = item_lanes(values, block);
        if (block.by_instance) {
            const TimesExcess<Work, true> weigh = {value, reference};
            multiply_transposed<Work, Assign::add>(block.M, block.lanes, block.items, v, sums, weigh);
        } else {
            const TimesExcess<Work, false> weigh = {value, reference};
            multiply<Work, Assign::add>(block.M, block.lanes, block.items, v, sums, weigh);
        }
    }

    /// The numbers of `matrix` in each item's lanes. Valid until the next call.
    const Work* const* item_lanes(const AnyView& matrix, const Block& block) {
        RewardBlock<Work>& lanes = of_worker(block.worker).lanes;
        const Index* instances = kernel_->active.data() + block.first;
        if (by_instance_) return lanes.of_instances(matrix, instances, block.count);
        return lanes.of_features(matrix, instances, block.count, cols() == matrix.cols());
    }

private:
    /// A block and its rewards fit in the first-level cache, a kept kernel and its rewards in the third-level one. From
    /// there, a float takes a third of the time of its exponential; from memory, as long. Exponentials of doubles cost
    /// more.
    static constexpr Index block_elements = (1 << 14) / sizeof(Work);
    static constexpr Index kept_elements = std::same_as<Work, float> ? 1 << 20 : 1 << 22;

    /// A worker's own memory.
    struct Worker {
        Buffer<Work> M;  ///< Of its present block, if M is not kept.
        RewardBlock<Work> lanes;
    };

    Worker& of_worker(Index worker) { return workers_[static_cast<std::size_t>(worker)]; }

    /// How many numbers of M `cols` columns have.
    Index size_of(Index cols) const { return cols * (by_instance_ ? rows() : padded_rows()); }

    void exponentiate(Block& block) {
        const Work* const* rewards = item_lanes(kernel_->reward, block);
        if (raises_low_) exponentials_.raise_low(block, rewards);
        exponentials_.fill(block, rewards);
    }

    const ScaledReward* kernel_ = nullptr;
    KernelExponentials<Work> exponentials_;
    Execution execution_;
    bool by_instance_ = false;  ///< Whether registers hold instances.
    Index width_ = 0;
    bool kept_ = false;        ///< Whether all of M is kept, in M_.
    bool computed_ = false;    ///< Whether M_ is up to date.
    bool raises_low_ = false;  ///< Whether the next visit raises low columns.
    InstanceParts parts_{1, 1};
    Buffer<Work> M_;
    std::vector<Worker> workers_;
};

}  // namespace otpool::detail
