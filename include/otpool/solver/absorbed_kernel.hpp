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
#include "otpool/core/matrix.hpp"
#include "otpool/core/packet.hpp"
#include "otpool/solver/exponential_range.hpp"
#include "otpool/solver/scaled_problem.hpp"
#include "otpool/solver/sweep.hpp"

namespace otpool::detail {

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
/// few, instances of one feature. Blocks are visited in parts (InstanceParts) that may run at the same time.
template <BagScalar Scalar>
class AbsorbedKernel {
public:
    /// `few_features`: below it, registers hold instances.
    explicit AbsorbedKernel(const ScaledReward<Scalar>& kernel, const Execution& execution = {},
                            Index few_features = 32) {
        set(kernel, execution, few_features);
    }
    AbsorbedKernel() = default;

    /// Views the kernel.
    void set(const ScaledReward<Scalar>& kernel, const Execution& execution, Index few_features = 32) {
        kernel_ = &kernel;
        execution_ = execution;
        rows_ = kernel.rows();
        cols_ = kernel.cols();
        by_instance_ = rows_ < few_features;
        block_ = std::min(padded(std::max<Index>(block_elements / rows_, 16)), padded(cols_));
        kept_ = rows_ * cols_ <= kept_elements;
        absorbed_ = false;
        parts_ = InstanceParts(rows_, cols_, block_);
        inverse_alpha0_ = static_cast<Scalar>(kernel.inverse_alpha0);
        set_padded(kernel.row_shift, row_shift_);
        set_padded(kernel.col_shift, col_shift_);
        for (Buffer<Scalar>* of_rows : {&F_, &u_}) {
            of_rows->resize(row_shift_.size());
            of_rows->setZero();
        }
        for (Buffer<Scalar>* of_cols : {&G_, &v_}) {
            of_cols->resize(col_shift_.size());
            of_cols->setZero();
        }
        if (kept_) M_.resize(block_size(padded(cols_)));
        workers_.resize(static_cast<std::size_t>(parts_.count() > 1 ? execution.workers() : 1));
        for (Worker& worker : workers_) {
            if (!kept_) worker.M.resize(block_size(block_));
            worker.sum.resize(block_);
            worker.partial.resize(row_shift_.size());
            worker.lane.resize(std::max(block_, row_shift_.size()));
            worker.lane.setZero();
        }
        sums_.resize(static_cast<std::size_t>(parts_.count()));
    }

    /// log_row_sum_d <- LSE_k(z_dk + col_potential_k). Whether the range sufficed. On the way pools `values`, if given, with
    /// the weights exp(z_dk + col_potential_k). Cost: one exp an element, one pass.
    bool log_row_sums(const Buffer<Real>& col_potential, Buffer<Real>& log_row_sum,
                      const MatrixView<Scalar>* values = nullptr) {
        log_row_sum.resize(rows_);
        log_row_sum.setZero();
        if (!absorb(log_row_sum, col_potential)) return false;
        v_.head(cols_).setOnes();  // what pads it stays zero
        return pass(nullptr, nullptr, values, log_row_sum);
    }

    /// What Sweep does, given where the columns' potential stands in `result`. Whether the range sufficed. On the way pools
    /// `values`, if given, with the plan that results.
    bool sweep(const Buffer<Real>& row_potential, const ScaledMarginal& columns, Sweep& result,
               const MatrixView<Scalar>* values = nullptr) {
        const auto pass_is_in_range = [&] { return pass(&columns, &result, values, result.log_row_mass); };
        const bool kept = absorbed_ && scalings(row_potential, F_, u_) && pass_is_in_range();
        if (!kept && !(absorb(row_potential, result.col_potential) && pass_is_in_range())) {
            absorbed_ = false;
            return false;
        }
        const Real* f = row_potential.data();
        const Scalar* F = F_.data();
        Real* log_row_mass = result.log_row_mass.data();
        for (Index d = 0; d < rows_; ++d) log_row_mass[d] += f[d] - static_cast<Real>(F[d]);
        return true;
    }

    /// F and G become what Scalar makes of the potentials, if that is in range; u takes the rest.
    bool absorb(const auto& row_potential, const auto& col_potential) {
        absorbed_ = false;
        if (!within(row_potential.data(), rows_, -Range::largest_potential, Range::largest_potential)) return false;
        if (!within(col_potential.data(), cols_, -Range::largest_potential, Range::largest_potential)) return false;
        if (kernel_->inverse_alpha0 > Real(Range::largest_sum)) return false;
        set_padded(row_potential, F_);
        set_padded(col_potential, G_);
        return scalings(row_potential, F_, u_);
    }
    const Buffer<Scalar>& row_potential() const { return F_; }
    const Buffer<Scalar>& col_potential() const { return G_; }

    /// scaling <- exp(potential - absorbed), unless it is out of range.
    static bool scalings(const auto& potential, const Buffer<Scalar>& absorbed, auto& scaling) {
        const Index size = potential.size();  // scaling may be padded
        subtract(potential.data(), absorbed.data(), size, scaling.data());
        return exponentiate(scaling.data(), size);
    }

    /// Columns [first, first + count), whose M is at hand; a part has them, and a worker.
    struct Block {
        Index first, count;
        Scalar* M;
        Index part, worker;
    };

    /// visit(block) of every block of columns, after absorb().
    template <class Visit>
    void for_each_block(const Visit& visit) {
        execution_.for_each(parts_.count(), [&](Index part, Index worker) {
            for (Index first = parts_.first(part); first < parts_.end(part); first += block_) {
                Scalar* M = kept_ ? M_.data() + block_size(first) : of_worker(worker).M.data();
                const Block block{first, std::min(block_, parts_.end(part) - first), M, part, worker};
                if (!absorbed_) exponentiate(block);
                visit(block);
            }
        });
        absorbed_ = kept_;
    }

    /// M of a block, where registers hold features.
    auto matrix(const Block& block) const {
        return Eigen::Map<const Matrix<Scalar>, 0, Eigen::OuterStride<>>(block.M, rows_, block.count,
                                                                         Eigen::OuterStride<>(lanes(block)));
    }

    /// Whether the values that were pooled did not overflow Scalar.
    bool pooled_finite() const {
        return within(total_.weighted.data(), rows_, -std::numeric_limits<Real>::max(),
                      std::numeric_limits<Real>::max());
    }
    /// sum_k P_dk values_dk / sum_k P_dk, after a pass that was given the values.
    void conditional_mean(RealVector& mean) const {
        mean.resize(rows_);
        for (Index d = 0; d < rows_; ++d) {
            mean[d] = total_.weighted[d] / total_.row_mass[d] + static_cast<Real>(reference_[d]);
        }
    }
    /// Of the residual, what rounding to Scalar may hide.
    static constexpr Real resolution() { return std::same_as<Scalar, Real> ? 0 : 3e-5; }

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
        Buffer<Scalar> sum, partial, lane;
    };
    /// What a part adds up.
    struct Sums {
        RealVector row_mass;  ///< M v
        RealVector weighted;  ///< (M * (values - reference)) v
        bool in_range = true;
    };

    Worker& of_worker(Index worker) { return workers_[static_cast<std::size_t>(worker)]; }
    Worker& worker_of(const Block& block) { return of_worker(block.worker); }

    static void set_padded(const auto& vector, Buffer<Scalar>& out) {
        out.resize(padded(vector.size()));
        std::copy_n(vector.data(), vector.size(), out.data());
        std::fill(out.data() + vector.size(), out.data() + out.size(), Scalar(0));
    }

    /// log_scaling <- potential - absorbed
    static void subtract(const Real* potential, const Scalar* absorbed, Index size, Scalar* log_scaling) {
        for (Index i = 0; i < size; ++i) {
            log_scaling[i] = static_cast<Scalar>(potential[i] - static_cast<Real>(absorbed[i]));
        }
    }

    /// Of M, so many columns.
    Index block_size(Index cols) const { return cols * (by_instance_ ? rows_ : padded(rows_)); }
    Index lanes(const Block& block) const { return padded(by_instance_ ? block.count : rows_); }
    Index items(const Block& block) const { return by_instance_ ? rows_ : block.count; }

    /// The numbers of `matrix` that the lanes of an item hold; where they have to be gathered, until the next call.
    const Scalar* lane_values(const MatrixView<Scalar>& matrix, const Block& block, Index item) {
        Buffer<Scalar>& lane = worker_of(block).lane;
        if (by_instance_) {
            for (Index k = 0; k < block.count; ++k) lane[k] = matrix(item, kernel_->instance(block.first + k));
            return lane.data();
        }
        const auto column = matrix.contiguous_col(kernel_->instance(block.first + item), lane.data());
        if (rows_ == lanes(block)) return column.data();
        if (column.data() != lane.data()) lane.head(rows_) = column;
        return lane.data();
    }

    /// M of a block. Cost: one exp an element.
    void exponentiate(const Block& block) {
        using Lanes = Eigen::Array<Scalar, register_lanes, 1>;
        using LanesView = Eigen::Map<const Lanes>;
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
                const Lanes z = (LanesView(x + l) - LanesView(lane_shift + l) - item_shift[i]) * inverse_alpha0_;
                Eigen::Map<Lanes>(M + l) =
                    bounded_exp((z + (LanesView(lane_potential + l) + item_potential[i])).min(Range::largest_exponent));
            }
        }
    }

    /// G_k <- -max_d(z_dk + F_d) in a block, whose old potential leaves it without a mass that Scalar can hold.
    void absorb_highest(const Block& block) {
        RealVector exponents(rows_);
        const RealVector F = F_.head(rows_).template cast<Real>();
        for (Index k = block.first; k < block.first + block.count; ++k) {
            kernel_->column(k, exponents);
            G_[k] = static_cast<Scalar>(
                -std::clamp((exponents + F).maxCoeff(), -Range::largest_potential, Range::largest_potential));
        }
        exponentiate(block);
    }

    /// G <- potential in a block, which is too far from the old one.
    bool absorb_columns(const Block& block, const Real* potential) {
        if (!within(potential, block.count, -Range::largest_potential, Range::largest_potential)) return false;
        std::copy_n(potential, block.count, G_.data() + block.first);
        exponentiate(block);
        return true;
    }

    /// sum <- sum_d M_dk u_d of a block. Whether it is in range.
    bool sum_over_rows(const Block& block) {
        Buffer<Scalar>& sum = worker_of(block).sum;
        (by_instance_ ? multiply<Scalar> : multiply_transposed<Scalar>)(block.M, lanes(block), items(block), u_.data(),
                                                                        sum.data());
        return within(sum.data(), block.count, Range::smallest_sum, Range::largest_sum);
    }

    /// to_d += sum_k M_dk v_k of a block; within it in Scalar.
    void add_sum_over_cols(const Block& block, RealVector& to) {
        (by_instance_ ? multiply_transposed<Scalar> : multiply<Scalar>)(block.M, lanes(block), items(block),
                                                                        v_.data() + block.first,
                                                                        worker_of(block).partial.data());
        add_partial(block, to);
    }
    void add_partial(const Block& block, RealVector& to) {
        const Scalar* partial = worker_of(block).partial.data();
        Real* sum = to.data();
        for (Index d = 0; d < rows_; ++d) sum[d] += static_cast<Real>(partial[d]);
    }

    /// The half step of a block's columns, and v.
    bool update_columns(const Block& block, const ScaledMarginal& columns, Sweep& result) {
        if (!sum_over_rows(block)) {
            if (absorbed_) return false;
            absorb_highest(block);
            if (!sum_over_rows(block)) return false;
        }
        Buffer<Scalar>& sum = worker_of(block).sum;
        sum.head(block.count) = sum.head(block.count).array().log();
        const Index first = block.first;
        const Scalar* log_sum = sum.data();
        const Scalar* G = G_.data() + first;
        Real* log_col_sum = result.log_col_sum.data() + first;
        Real* potential = result.col_potential.data() + first;
        for (Index i = 0; i < block.count; ++i) {
            log_col_sum[i] = static_cast<Real>(log_sum[i]) - static_cast<Real>(G[i]);
        }
        columns.half_steps(first, block.count, log_col_sum, potential, result.col_penalty.data() + first);
        const auto scale = [&] {
            subtract(potential, G, block.count, v_.data() + first);
            return exponentiate(v_.data() + first, block.count);
        };
        return scale() || (!absorbed_ && absorb_columns(block, potential) && scale());
    }

    /// Over all blocks: the columns' half step, if they are given; log_mass <- log M v; the values, if they are given.
    bool pass(const ScaledMarginal* columns, Sweep* result, const MatrixView<Scalar>* values, Buffer<Real>& log_mass) {
        if (values != nullptr) start_pooling(*values);
        for (Sums& sums : sums_) {
            sums.in_range = true;
            sums.row_mass.setZero(rows_);
            if (values != nullptr) sums.weighted.setZero(rows_);
        }
        for_each_block([&](const Block& block) {
            Sums& sums = sums_[static_cast<std::size_t>(block.part)];
            sums.in_range = sums.in_range && (columns == nullptr || update_columns(block, *columns, *result));
            if (!sums.in_range) return;
            add_sum_over_cols(block, sums.row_mass);
            if (values != nullptr) add_pooled(block, *values, sums.weighted);
        });
        return add_up_parts(values != nullptr) && take_logarithm(log_mass);
    }

    /// Into total_, in their order. Whether all was in range.
    bool add_up_parts(bool pooled) {
        std::swap(total_, sums_.front());
        for (std::size_t part = 1; part < sums_.size(); ++part) {
            if (!total_.in_range || !sums_[part].in_range) return false;
            for (Index d = 0; d < rows_; ++d) {
                total_.row_mass[d] += sums_[part].row_mass[d];
                if (pooled) total_.weighted[d] += sums_[part].weighted[d];
            }
        }
        return total_.in_range;
    }

    /// log_mass <- log M v. Whether that is in range.
    bool take_logarithm(Buffer<Real>& log_mass) {
        if (!within(total_.row_mass.data(), rows_, Real(Range::smallest_sum), Real(Range::largest_sum))) return false;
        auto logs = workers_.front().partial.head(rows_);
        std::copy_n(total_.row_mass.data(), rows_, logs.data());
        logs = logs.array().log();
        log_mass.resize(rows_);
        std::copy_n(logs.data(), rows_, log_mass.data());
        return true;
    }

    /// Values are weighed relative to those of one instance, so that shifted ones lose no digits.
    void start_pooling(const MatrixView<Scalar>& values) {
        reference_.resize(row_shift_.size());
        reference_.setZero();
        for (Index d = 0; d < rows_; ++d) reference_[d] = values(d, kernel_->instance(0));
    }

    /// to_d += sum_k M_dk v_k (value_dk - reference_d) of a block.
    void add_pooled(const Block& block, const MatrixView<Scalar>& values, RealVector& to) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        const Index lanes = this->lanes(block);
        const Scalar* M = block.M;
        const Scalar* v = v_.data() + block.first;
        Buffer<Scalar>& partial = worker_of(block).partial;
        partial.setZero();
        for (Index i = 0; i < items(block); ++i, M += lanes) {
            const Scalar* value = lane_values(values, block, i);
            if (by_instance_) {
                const P reference = pset1<P>(reference_[i]);
                P sum = pset1<P>(Scalar(0));
                for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
                    sum = pmadd(pmul(ploadu<P>(M + l), ploadu<P>(v + l)), psub(ploadu<P>(value + l), reference), sum);
                }
                partial[i] = predux(sum);
            } else {
                const P weight = pset1<P>(v[i]);
                for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
                    const P deviation = psub(ploadu<P>(value + l), ploadu<P>(reference_.data() + l));
                    const P sum = pmadd(pmul(ploadu<P>(M + l), weight), deviation, ploadu<P>(partial.data() + l));
                    pstoreu(partial.data() + l, sum);
                }
            }
        }
        add_partial(block, to);
    }

    /// log_scaling <- exp(log_scaling), unless it is out of range.
    static bool exponentiate(Scalar* log_scaling, Index size) {
        if (!within(log_scaling, size, Range::smallest_log_scaling, Range::largest_log_scaling)) return false;
        Eigen::Map<Vector<Scalar>> scaling(log_scaling, size);
        scaling = scaling.array().exp();
        return true;
    }

    const ScaledReward<Scalar>* kernel_ = nullptr;
    Execution execution_;
    Index rows_ = 0;
    Index cols_ = 0;
    bool by_instance_ = false;  ///< Whether the lanes are instances.
    Index block_ = 0;           ///< columns a block
    bool kept_ = false;
    bool absorbed_ = false;  ///< Whether M_ is M.
    InstanceParts parts_{1, 1};
    Scalar inverse_alpha0_ = 0;
    Buffer<Scalar> row_shift_, col_shift_;  ///< These and F, G, u, v are padded to whole registers.
    Buffer<Scalar> M_;                      ///< Where it is kept.
    Buffer<Scalar> F_, G_, u_, v_;
    Buffer<Scalar> reference_;
    std::vector<Worker> workers_;
    std::vector<Sums> sums_;  ///< One a part.
    Sums total_;
};

}  // namespace otpool::detail
