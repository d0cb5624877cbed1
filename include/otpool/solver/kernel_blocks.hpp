// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/exponential.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/packet.hpp"
#include "otpool/solver/exponential_range.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// The exponentials of a kernel's exponents z with potentials absorbed, in the bag's own arithmetic, and their products with
/// vectors, a block of columns at a time:
///
///     M_dk = exp(z_dk + F_d + G_k)
///
/// Where M as a whole fits in a cache, it is computed once for all visits; otherwise in every one, since an exponential
/// costs less than fetching it from memory.
///
/// In memory M is blocks of `lanes` times `items`: a vector register holds features of one instance, or where features are
/// few, instances of one feature. Blocks are visited in parts (InstanceParts) that may run at the same time.
template <BagScalar Scalar>
class KernelBlocks {
public:
    /// Views the kernel; the potentials are zero, and will not be absorbed beyond `largest_potential`. `few_features`: below
    /// it, registers hold instances.
    void set(const ScaledReward<Scalar>& kernel, const Execution& execution,
             Real largest_potential = ExponentialRange<Scalar>::largest_potential, Index few_features = 32) {
        kernel_ = &kernel;
        largest_potential_ = largest_potential;
        execution_ = execution;
        rows_ = kernel.rows();
        cols_ = kernel.cols();
        by_instance_ = rows_ < few_features;
        width_ = std::min(padded(std::max<Index>(block_elements / rows_, 16)), padded(cols_));
        kept_ = rows_ * cols_ <= kept_elements;
        computed_ = false;
        parts_ = InstanceParts(rows_, cols_, width_);
        set_padded(kernel.row_shift, row_shift_);
        set_padded(kernel.col_shift, col_shift_);
        F_.resize(padded_rows());
        G_.resize(padded_cols());
        for (Buffer<Scalar>* potential : {&F_, &G_}) potential->setZero();
        if (kept_) M_.resize(size_of(padded(cols_)));
        workers_.resize(static_cast<std::size_t>(parts_.count() > 1 ? execution.workers() : 1));
        for (Worker& worker : workers_) {
            if (!kept_) worker.M.resize(size_of(width_));
            worker.lane.resize(std::max(width_, padded_rows()));
            worker.lane.setZero();
        }
    }

    Index rows() const { return rows_; }
    Index cols() const { return cols_; }
    Index padded_rows() const { return row_shift_.size(); }
    Index padded_cols() const { return col_shift_.size(); }
    /// The largest number of columns in a block.
    Index width() const { return width_; }
    Index parts() const { return parts_.count(); }
    std::size_t workers() const { return workers_.size(); }

    /// F and G become what Scalar makes of the potentials. Whether they and the kernel are in range; if not, F and G stay.
    bool absorb(const auto& row_potential, const auto& col_potential) {
        const auto in_range = [&](const auto& potential) {
            return within(potential.data(), potential.size(), -largest_potential_, largest_potential_);
        };
        computed_ = false;
        if (!in_range(row_potential) || !in_range(col_potential)) return false;
        if (kernel_->inverse_alpha0 > Real(Range::largest_sum)) return false;
        std::transform(row_potential.begin(), row_potential.end(), F_.begin(), in_base_two);
        std::transform(col_potential.begin(), col_potential.end(), G_.begin(), in_base_two);
        return true;
    }
    /// In units of log 2, both.
    const Buffer<Scalar>& row_potential() const { return F_; }
    const Buffer<Scalar>& col_potential() const { return G_; }

    /// Whether M has been computed for the potentials absorbed, and would have to be again for others.
    bool computed() const { return computed_; }
    void forget() { computed_ = false; }

    /// Columns [first, first + count), whose M is at hand; a part has them, and a worker.
    struct Block {
        Index first, count;
        Scalar* M;
        Index part, worker;
    };

    /// visit(block) of every block, after absorb().
    template <class Visit>
    void for_each_block(const Visit& visit) {
        execution_.for_each(parts_.count(), [&](Index part, Index worker) {
            for (Index first = parts_.first(part); first < parts_.end(part); first += width_) {
                Scalar* M = kept_ ? M_.data() + size_of(first) : of_worker(worker).M.data();
                const Block block{first, std::min(width_, parts_.end(part) - first), M, part, worker};
                if (!computed_) exponentiate(block);
                visit(block);
            }
        });
        computed_ = kept_;
    }

    /// G <- potential in a block that is being visited, unless it is out of range.
    bool absorb_columns(const Block& block, const Real* potential) {
        if (!within(potential, block.count, -largest_potential_, largest_potential_)) return false;
        std::transform(potential, potential + block.count, G_.data() + block.first, in_base_two);
        exponentiate(block);
        return true;
    }

    /// G_k <- -max_d(z_dk + F_d) in a block that is being visited, so that no column of M is all but zero.
    void absorb_highest(const Block& block) {
        const Scalar limit = in_base_two(largest_potential_);
        const Scalar inverse_alpha0 = in_base_two(kernel_->inverse_alpha0);
        auto top = G_.segment(block.first, block.count).array();
        top.setConstant(-limit);
        for (Index i = 0; i < items(block); ++i) {
            const Scalar* x = lane_values(kernel_->reward, block, i);
            if (by_instance_) {
                const auto z =
                    (Eigen::Map<const Vector<Scalar>>(x, block.count) - col_shift_.segment(block.first, block.count))
                        .array() -
                    row_shift_[i];
                top = top.max(z * inverse_alpha0 + F_[i]);
            } else {
                const auto z = (Eigen::Map<const Vector<Scalar>>(x, rows_) - row_shift_.head(rows_)).array() -
                               col_shift_[block.first + i];
                top[i] = std::max(top[i], (z * inverse_alpha0 + F_.head(rows_).array()).maxCoeff());
            }
        }
        top = -top.min(limit);
        exponentiate(block);
    }

    /// sums_k = sum_d M_dk u_d of a block's columns. u and sums are as long as whole registers, here and below.
    void sum_over_rows(const Block& block, const Scalar* u, Scalar* sums) const {
        (by_instance_ ? multiply<Scalar> : multiply_transposed<Scalar>)(block.M, lanes(block), items(block), u, sums);
    }

    /// sums_d = sum_k M_dk v_k over a block, v of its columns.
    void sum_over_cols(const Block& block, const Scalar* v, Scalar* sums) const {
        (by_instance_ ? multiply_transposed<Scalar> : multiply<Scalar>)(block.M, lanes(block), items(block), v, sums);
    }

    /// sums_d = sum_k M_dk v_k (value_dk - reference_d) over a block, v of its columns.
    void weighted_sum_over_cols(const Block& block, const Scalar* v, const MatrixView<Scalar>& values,
                                const Scalar* reference, Scalar* sums) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        const Index lanes = this->lanes(block);
        const Scalar* M = block.M;
        std::fill_n(sums, padded_rows(), Scalar(0));
        for (Index i = 0; i < items(block); ++i, M += lanes) {
            const Scalar* value = lane_values(values, block, i);
            if (by_instance_) {
                const P of_feature = pset1<P>(reference[i]);
                P sum = pset1<P>(Scalar(0));
                for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
                    sum = pmadd(pmul(ploadu<P>(M + l), ploadu<P>(v + l)), psub(ploadu<P>(value + l), of_feature), sum);
                }
                sums[i] = predux(sum);
            } else {
                const P weight = pset1<P>(v[i]);
                for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
                    const P deviation = psub(ploadu<P>(value + l), ploadu<P>(reference + l));
                    pstoreu(sums + l, pmadd(pmul(ploadu<P>(M + l), weight), deviation, ploadu<P>(sums + l)));
                }
            }
        }
    }

private:
    using Range = ExponentialRange<Scalar>;
    /// A block stays in the first-level cache, a kept kernel in the second; doubles' exponentials cost more than memory.
    static constexpr Index block_elements = (1 << 15) / sizeof(Scalar);
    static constexpr Index kept_elements = std::same_as<Scalar, float> ? 1 << 18 : 1 << 22;
    /// So far ahead of its exponentials a reward is fetched.
    static constexpr Index fetched_ahead = 4096 / sizeof(Scalar);

    /// What a worker needs for itself.
    struct Worker {
        Buffer<Scalar> M;  ///< Of its present block, where M is not kept.
        Buffer<Scalar> lane;
    };

    Worker& of_worker(Index worker) { return workers_[static_cast<std::size_t>(worker)]; }

    static Scalar in_base_two(Real exponent) { return static_cast<Scalar>(exponent * log2_e); }

    static void set_padded(const auto& vector, Buffer<Scalar>& out) {
        out.resize(padded(vector.size()));
        std::copy_n(vector.data(), vector.size(), out.data());
        std::fill(out.data() + vector.size(), out.data() + out.size(), Scalar(0));
    }

    /// Of M, so many columns.
    Index size_of(Index cols) const { return cols * (by_instance_ ? rows_ : padded_rows()); }
    Index lanes(const Block& block) const { return by_instance_ ? padded(block.count) : padded_rows(); }
    Index items(const Block& block) const { return by_instance_ ? rows_ : block.count; }

    /// The numbers of `matrix` that the lanes of an item hold; where they have to be gathered, until the next call.
    const Scalar* lane_values(const MatrixView<Scalar>& matrix, const Block& block, Index item) {
        Buffer<Scalar>& lane = of_worker(block.worker).lane;
        if (by_instance_) {
            copy_row(matrix, item, kernel_->active.data() + block.first, block.count, lane.data());
            return lane.data();
        }
        const Index n = kernel_->instance(block.first + item);
        const auto column = matrix.contiguous_col(n, lane.data());
        // What pads a column may be any numbers: where there are more columns, those of the next.
        const bool has_padding = matrix.is_contiguous() && n * rows_ + lanes(block) <= matrix.cols() * rows_;
        if (rows_ == lanes(block) || has_padding) return column.data();
        if (column.data() != lane.data()) lane.head(rows_) = column;
        return lane.data();
    }

    /// M of a block. Cost: one exp an element.
    void exponentiate(const Block& block) {
        const auto small = [](const Scalar* potential, Index size) {
            const Scalar largest = in_base_two(Range::largest_potential_summed);
            return within(potential, size, -largest, largest);
        };
        // NOLINTNEXTLINE(bugprone-branch-clone): they differ where Scalar is float
        if (small(F_.data(), rows_) && small(G_.data() + block.first, block.count)) {
            exponentiate<Scalar>(block);
        } else {
            exponentiate<Real>(block);
        }
    }

    /// The same, with exponents summed in Number.
    template <class Number>
    void exponentiate(const Block& block) {
        using Lanes = Eigen::Array<Scalar, register_lanes, 1>;
        const auto lanes_at = [](const Scalar* first) {
            return Eigen::Map<const Lanes>(first).template cast<Number>();
        };
        const auto inverse_alpha0 = static_cast<Number>(kernel_->inverse_alpha0 * log2_e);
        const Scalar* lane_shift = by_instance_ ? col_shift_.data() + block.first : row_shift_.data();
        const Scalar* lane_potential = by_instance_ ? G_.data() + block.first : F_.data();
        const Scalar* item_shift = by_instance_ ? row_shift_.data() : col_shift_.data() + block.first;
        const Scalar* item_potential = by_instance_ ? F_.data() : G_.data() + block.first;
        const Index lanes = this->lanes(block);
        Scalar* M = block.M;
        for (Index i = 0; i < items(block); ++i, M += lanes) {
            const Scalar* x = lane_values(kernel_->reward, block, i);
            for (Index l = 0; l < lanes; l += register_lanes) {
                Eigen::internal::prefetch(x + l + fetched_ahead);
                const auto excess = lanes_at(x + l) - lanes_at(lane_shift + l) - Number(item_shift[i]);
                const auto potential = lanes_at(lane_potential + l) + Number(item_potential[i]);
                const Lanes exponent = multiply_add(excess, inverse_alpha0, potential).template cast<Scalar>();
                Eigen::Map<Lanes>(M + l) = exp2_above(Range::smallest_exponent, exponent.min(Range::largest_exponent));
            }
        }
    }

    const ScaledReward<Scalar>* kernel_ = nullptr;
    Execution execution_;
    Index rows_ = 0;
    Index cols_ = 0;
    bool by_instance_ = false;  ///< Whether the lanes are instances.
    Index width_ = 0;
    Real largest_potential_ = 0;
    bool kept_ = false;      ///< Whether M as a whole is kept, in M_.
    bool computed_ = false;  ///< Whether M_ is M.
    InstanceParts parts_{1, 1};
    Buffer<Scalar> row_shift_, col_shift_, F_, G_;  ///< padded to whole registers
    Buffer<Scalar> M_;
    std::vector<Worker> workers_;
};

}  // namespace otpool::detail
