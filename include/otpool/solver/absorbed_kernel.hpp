// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/execution.hpp"
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
    /// Logarithms of scalings: what underflows in M stays nothing when it is scaled up, what is scaled down stays normal.
    static constexpr Scalar smallest_log_scaling = single ? -60 : -460;
    static constexpr Scalar largest_log_scaling = single ? 20 : 230;
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
/// few, instances of one feature. Blocks are visited in parts (InstanceParts) that may run at the same time.
template <BagScalar Scalar>
class AbsorbedKernel {
public:
    /// `few_features`: below it, registers hold instances.
    explicit AbsorbedKernel(const ScaledReward<Scalar>& kernel, const Execution& execution = {},
                            Index few_features = 32)
        : kernel_(kernel),
          execution_(execution),
          rows_(kernel.rows()),
          cols_(kernel.cols()),
          by_instance_(rows_ < few_features),
          block_(std::min(padded(std::max<Index>(block_elements / rows_, 16)), padded(cols_))),
          kept_(rows_ * cols_ <= kept_elements),
          parts_(rows_, cols_, block_),
          row_shift_(with_padding(kernel.row_shift)),
          col_shift_(with_padding(kernel.col_shift)),
          inverse_alpha0_(static_cast<Scalar>(kernel.inverse_alpha0)),
          M_(kept_ ? block_size(padded(cols_)) : 0),
          F_(row_shift_.size()),
          G_(col_shift_.size()),
          u_(Vector<Scalar>::Zero(row_shift_.size())),
          v_(Vector<Scalar>::Zero(col_shift_.size())),
          workers_(static_cast<std::size_t>(parts_.count() > 1 ? execution.workers() : 1)),
          sums_(static_cast<std::size_t>(parts_.count())) {
        for (Worker& worker : workers_) {
            if (!kept_) worker.M.resize(block_size(block_));
            worker.sum.resize(block_);
            worker.partial.resize(row_shift_.size());
            worker.lane.setZero(std::max(block_, row_shift_.size()));
        }
    }

    /// log_row_sum_d <- LSE_k(z_dk + col_potential_k). Whether the range sufficed. Cost: one exp an element, one pass.
    bool log_row_sums(const RealVector& col_potential, RealVector& log_row_sum) {
        if (!absorb(RealVector::Zero(rows_), col_potential)) return false;
        v_.head(cols_).setOnes();
        start_sums(false);
        for_each_block([&](const Block& block) { add_row_mass(block); });
        return finish_sums(log_row_sum);
    }

    /// What Sweep does, given where the columns' potential stands in `result`. Whether the range sufficed. On the way pools
    /// `values`, if given, with the plan that results.
    bool sweep(const RealVector& row_potential, const ScaledMarginal& columns, Sweep& result,
               const MatrixView<Scalar>* values = nullptr) {
        const bool kept = absorbed_ && scalings(row_potential, F_, u_);
        if (!kept && !absorb(row_potential, result.col_potential)) return false;
        if (values != nullptr) start_pooling(*values);
        start_sums(values != nullptr);
        for_each_block([&](const Block& block) {
            Sums& sums = sums_of(block);
            sums.in_range = sums.in_range && update_columns(block, columns, result);
            if (!sums.in_range) return;
            add_row_mass(block);
            if (values != nullptr) add_pooled(block, *values);
        });
        if (!finish_sums(result.log_row_mass)) {
            absorbed_ = false;
            return false;
        }
        result.log_row_mass += row_potential - F_.head(rows_).template cast<Real>();
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
        auto log_scaling = scaling.head(potential.size());  // scaling may be padded
        log_scaling = (potential - absorbed.head(potential.size()).template cast<Real>()).template cast<Scalar>();
        return exponentiate(log_scaling);
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

    /// sum_k P_dk values_dk / sum_k P_dk, after a sweep that was given the values; not finite where they overflow Scalar.
    RealVector conditional_mean() const {
        return total_.weighted.cwiseQuotient(total_.row_mass) + reference_.head(rows_).template cast<Real>();
    }
    /// Of the residual, what rounding to Scalar may hide.
    static constexpr Real resolution() { return std::same_as<Scalar, Real> ? 0 : 3e-5; }

private:
    using Range = ExponentialRange<Scalar>;
    /// A block stays in the first-level cache, a kept kernel in the second; doubles' exponentials cost more than memory.
    static constexpr Index block_elements = (1 << 15) / sizeof(Scalar);
    static constexpr Index kept_elements = std::same_as<Scalar, float> ? 1 << 18 : 1 << 22;

    /// What a worker needs for itself.
    struct Worker {
        Vector<Scalar> M;  ///< Of its present block, where M is not kept.
        Vector<Scalar> sum, partial, lane;
        Vector<Scalar> weighted;  ///< M * (values - reference) of its present block
    };
    /// What a part adds up.
    struct Sums {
        RealVector row_mass;  ///< M v
        RealVector weighted;  ///< (M * (values - reference)) v
        bool in_range = true;
    };

    Worker& of_worker(Index worker) { return workers_[static_cast<std::size_t>(worker)]; }
    Worker& worker_of(const Block& block) { return of_worker(block.worker); }
    Sums& sums_of(const Block& block) { return sums_[static_cast<std::size_t>(block.part)]; }

    static Vector<Scalar> with_padding(const RealVector& vector) {
        Vector<Scalar> out = Vector<Scalar>::Zero(padded(vector.size()));
        out.head(vector.size()) = vector.template cast<Scalar>();
        return out;
    }

    /// Of M, so many columns.
    Index block_size(Index cols) const { return cols * (by_instance_ ? rows_ : padded(rows_)); }
    Index lanes(const Block& block) const { return padded(by_instance_ ? block.count : rows_); }
    Index items(const Block& block) const { return by_instance_ ? rows_ : block.count; }

    /// The numbers of `matrix` that the lanes of an item hold; where they have to be gathered, until the next call.
    const Scalar* lane_values(const MatrixView<Scalar>& matrix, const Block& block, Index item) {
        Vector<Scalar>& lane = worker_of(block).lane;
        if (by_instance_) {
            for (Index k = 0; k < block.count; ++k) lane[k] = matrix(item, kernel_.instance(block.first + k));
            return lane.data();
        }
        const auto column = matrix.contiguous_col(kernel_.instance(block.first + item), lane.head(rows_));
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
            const Scalar* x = lane_values(kernel_.reward, block, i);
            for (Index l = 0; l < lanes; l += register_lanes) {
                const Lanes z = (LanesView(x + l) - LanesView(lane_shift + l) - item_shift[i]) * inverse_alpha0_;
                Eigen::Map<Lanes>(M + l) =
                    bounded_exp((z + (LanesView(lane_potential + l) + item_potential[i])).min(Range::largest_exponent));
            }
        }
    }

    /// G_k <- -max_d(z_dk + F_d) in a block, for columns that their old potential leaves without a mass that Scalar can hold.
    void absorb_highest(const Block& block) {
        RealVector exponents(rows_);
        const RealVector F = F_.head(rows_).template cast<Real>();
        for (Index k = block.first; k < block.first + block.count; ++k) {
            kernel_.column(k, exponents);
            G_[k] = static_cast<Scalar>(
                -std::clamp((exponents + F).maxCoeff(), -Range::largest_potential, Range::largest_potential));
        }
        exponentiate(block);
    }

    /// sum <- sum_d M_dk u_d of a block. Whether it is in range.
    bool sum_over_rows(const Block& block) {
        Vector<Scalar>& sum = worker_of(block).sum;
        (by_instance_ ? multiply<Scalar> : multiply_transposed<Scalar>)(block.M, lanes(block), items(block), u_.data(),
                                                                        sum.data());
        return within(sum.head(block.count), Range::smallest_sum, Range::largest_sum);
    }

    /// sum_k M_dk v_k of a block, into partial; in Scalar, as it is all of a block.
    const Vector<Scalar>& sum_over_cols(const Block& block, const Scalar* M) {
        Vector<Scalar>& partial = worker_of(block).partial;
        (by_instance_ ? multiply_transposed<Scalar> : multiply<Scalar>)(M, lanes(block), items(block),
                                                                        v_.data() + block.first, partial.data());
        return partial;
    }

    /// The half step of a block's columns, and v.
    bool update_columns(const Block& block, const ScaledMarginal& columns, Sweep& result) {
        if (!sum_over_rows(block)) {
            if (absorbed_) return false;
            absorb_highest(block);
            if (!sum_over_rows(block)) return false;
        }
        const auto of_block = [&](auto& vector) { return vector.segment(block.first, block.count).array(); };
        auto sum = worker_of(block).sum.head(block.count).array();
        sum = sum.log();
        const auto G = of_block(G_).template cast<Real>();
        auto log_sum = of_block(result.log_col_sum);
        log_sum = sum.template cast<Real>() - G;
        of_block(result.col_penalty) = columns.penalties(block.first, log_sum);
        auto potential = of_block(result.col_potential);
        potential = columns.half_steps(block.first, log_sum);
        auto v = v_.segment(block.first, block.count);
        v = (potential - G).template cast<Scalar>();
        return exponentiate(v);
    }

    void start_sums(bool pools) {
        for (Sums& sums : sums_) {
            sums.in_range = true;
            sums.row_mass.setZero(rows_);
            if (pools) sums.weighted.setZero(rows_);
        }
    }

    void add_row_mass(const Block& block) {
        sums_of(block).row_mass += sum_over_cols(block, block.M).head(rows_).template cast<Real>();
    }

    /// Adds up the parts in their order; log_mass <- log M v. Whether all was in range.
    bool finish_sums(RealVector& log_mass) {
        std::swap(total_, sums_.front());
        bool in_range = total_.in_range;
        for (std::size_t part = 1; part < sums_.size(); ++part) {
            in_range = in_range && sums_[part].in_range;
            if (!in_range) break;
            total_.row_mass += sums_[part].row_mass;
            if (sums_[part].weighted.size() > 0) total_.weighted += sums_[part].weighted;
        }
        if (!in_range || !within(total_.row_mass, Real(Range::smallest_sum), Real(Range::largest_sum))) return false;
        auto logs = worker_partial().head(rows_);
        logs = total_.row_mass.template cast<Scalar>();
        logs = logs.array().log();
        log_mass = logs.template cast<Real>();
        return true;
    }
    Vector<Scalar>& worker_partial() { return workers_.front().partial; }

    /// Values are weighed relative to those of one instance, so that shifted ones lose no digits.
    void start_pooling(const MatrixView<Scalar>& values) {
        reference_.setZero(row_shift_.size());
        for (Index d = 0; d < rows_; ++d) reference_[d] = values(d, kernel_.instance(0));
        for (Worker& worker : workers_) worker.weighted.resize(block_size(block_));
    }

    /// weighted += (M * (values - reference)) v
    void add_pooled(const Block& block, const MatrixView<Scalar>& values) {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        const Index lanes = this->lanes(block);
        const Scalar* M = block.M;
        Scalar* const all = worker_of(block).weighted.data();
        Scalar* weighted = all;
        const auto weigh = [&](Index item, const auto& reference) {
            const Scalar* value = lane_values(values, block, item);
            for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
                pstoreu(weighted + l, pmul(ploadu<P>(M + l), psub(ploadu<P>(value + l), reference(l))));
            }
        };
        for (Index i = 0; i < items(block); ++i, M += lanes, weighted += lanes) {
            if (by_instance_) {
                weigh(i, [of_item = pset1<P>(reference_[i])](Index) { return of_item; });
            } else {
                weigh(i, [of_lane = reference_.data()](Index l) { return ploadu<P>(of_lane + l); });
            }
        }
        sums_of(block).weighted += sum_over_cols(block, all).head(rows_).template cast<Real>();
    }

    /// log_scaling <- exp(log_scaling), unless it is out of range.
    template <class LogScaling>
    static bool exponentiate(LogScaling& log_scaling) {
        if (!within(log_scaling, Range::smallest_log_scaling, Range::largest_log_scaling)) return false;
        log_scaling = log_scaling.array().exp();
        return true;
    }

    /// Whether all numbers are; NaN is not.
    template <class Numbers, class Number>
    static bool within(const Numbers& numbers, Number low, Number high) {
        // A vectorised sum, unlike a search that ends early.
        return (numbers.array() - numbers.array().max(low).min(high)).abs().sum() == 0;
    }

    const ScaledReward<Scalar>& kernel_;
    Execution execution_;
    Index rows_, cols_;
    bool by_instance_;  ///< Whether the lanes are instances.
    Index block_;       ///< columns a block
    bool kept_;
    InstanceParts parts_;
    bool absorbed_ = false;                 ///< Whether M_ is M.
    Vector<Scalar> row_shift_, col_shift_;  ///< These and F, G, u, v are padded to whole registers.
    Scalar inverse_alpha0_;
    Vector<Scalar> M_;  ///< Where it is kept.
    Vector<Scalar> F_, G_, u_, v_;
    Vector<Scalar> reference_;
    std::vector<Worker> workers_;
    std::vector<Sums> sums_;  ///< One a part.
    Sums total_;
};

}  // namespace otpool::detail
