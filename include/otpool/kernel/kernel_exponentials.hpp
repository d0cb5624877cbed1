// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/simd/prefetch.hpp"

namespace otpool::detail {

/// Columns [first, first + count) of a matrix M in memory: `items` times `lanes`, in whole registers. An item is an
/// instance, its lanes the features; or a feature, its lanes the instances.
template <BagScalar Work>
struct KernelBlock {
    Index first, count;
    bool by_instance;  ///< Whether registers hold instances.
    Index items, lanes;
    Work* M;
    Index part, worker;  ///< Its part and its worker.
    bool last;           ///< Whether the last of its part.
    // Set by fill() if the rewards have not been looked at:
    bool in_range = true;  ///< Whether they are finite and M is not too large; if not, M is unspecified.
    Real highest = 0;      ///< No reward of the block is above it.
};

/// The exponentials of a kernel's exponents z with absorbed potentials, computed in Work:
///
///     M_dk = exp(z_dk + F_d + G_k)
///
/// They are powers of two. The exponent is x_dk / alpha0 + row_part_d + col_part_k if the parts F_d - row_shift_d /
/// alpha0 and G_k - col_shift_k / alpha0 are small enough. If not, it is (x_dk - row_shift_d - col_shift_k) / alpha0 +
/// (F_d + G_k), summed in double if F and G are too large for the digits of a float.
template <BagScalar Work>
class KernelExponentials {
public:
    using Block = KernelBlock<Work>;

    /// Views the kernel; the potentials are zero.
    void set(const ScaledReward& kernel) {
        kernel_ = &kernel;
        inverse_alpha0_ = in_base_two(kernel.inverse_alpha0);
        set_padded(kernel.row_shift, row_shift_);
        set_padded(kernel.col_shift, col_shift_);
        for (Buffer<Work>* of_row : {&F_, &row_part_}) of_row->assign(padded_rows(), 0);
        for (Buffer<Work>* of_col : {&G_, &col_part_}) of_col->assign(padded_cols(), 0);
        row_parts_ = set_parts(F_, row_shift_, 0, kernel.rows(), row_part_);
    }

    Index padded_rows() const { return row_shift_.size(); }
    Index padded_cols() const { return col_shift_.size(); }

    /// F, G <- the potentials, rounded. Returns whether they and the kernel are in range; if not, F and G stay.
    bool absorb(const Real* row_potential, const Real* col_potential) {
        const auto in_range = [](const Real* potential, Index size) {
            return within(potential, size, -Range::largest_potential, Range::largest_potential);
        };
        const Index rows = kernel_->rows();
        const Index cols = kernel_->cols();
        if (!in_range(row_potential, rows) || !in_range(col_potential, cols)) return false;
        if (kernel_->inverse_alpha0 > Real(Range::largest_sum)) return false;
        std::transform(row_potential, row_potential + rows, F_.data(), in_base_two);
        std::transform(col_potential, col_potential + cols, G_.data(), in_base_two);
        row_parts_ = set_parts(F_, row_shift_, 0, kernel_->rows(), row_part_);
        return true;
    }
    /// Both in units of log 2.
    const Buffer<Work>& row_potential() const { return F_; }
    const Buffer<Work>& col_potential() const { return G_; }

    /// G <- potential in a block, unless out of range.
    bool absorb_columns(const Block& block, const Real* potential) {
        if (!within(potential, block.count, -Range::largest_potential, Range::largest_potential)) return false;
        std::transform(potential, potential + block.count, G_.data() + block.first, in_base_two);
        return true;
    }

    /// G_k <- -max_d(z_dk + potential_d) in a block, so that no column of M is nearly zero when its rows are scaled by
    /// the potential. This is in units of log 2; `rewards` are those in each item's lanes.
    void absorb_highest(const Block& block, const Work* const* rewards, const Buffer<Work>& potential) {
        const Work limit = in_base_two(Range::largest_potential);
        absorb_highest(block, rewards, potential, -limit, limit);
    }

    /// Likewise G_k <- -max_d z_dk in a block without absorbed potentials, but at least 0 and at most what scalings
    /// make up for.
    void raise_low(const Block& block, const Work* const* rewards) {
        // If rewards have not been looked at, parts have to be small.
        const Work limit = std::clamp(Range::largest_parts - row_parts_.magnitude(), Work(0),
                                      in_base_two(Real(Range::largest_log_raise)));
        absorb_highest(block, rewards, F_, 0, limit);
    }
    /// Computes M of a block; the padding is finite. Sets the block's in_range and highest if the rewards have not been
    /// looked at. Cost: one exp per element.
    void fill(Block& block, const Work* const* rewards) {
        const Extent cols = set_parts(G_, col_shift_, block.first, block.count, col_part_);
        const Work* lane_part = block.by_instance ? col_part_.data() + block.first : row_part_.data();
        const Work* item_part = block.by_instance ? row_part_.data() : col_part_.data() + block.first;
        const auto exponent = [=, inverse_alpha0 = inverse_alpha0_](const Work* x, Index l, Index i) {
            return multiply_add(L::load(x), L(inverse_alpha0), L::load(lane_part + l) + L(item_part[i]));
        };
        const Real lowest =
            (std::min)(0.0, kernel_->lowest * Real(inverse_alpha0_)) + Real(row_parts_.lowest) + Real(cols.lowest);
        const Real highest =
            (std::max)(0.0, kernel_->highest * Real(inverse_alpha0_)) + Real(row_parts_.highest) + Real(cols.highest);
        const bool small_parts = row_parts_.magnitude() + cols.magnitude() <= Range::largest_parts;
        if (!kernel_->looked_at()) {
            block.in_range = small_parts;
            if (small_parts) fill_looking(block, rewards, exponent, cols);
        } else if (!small_parts || !(highest < Real(Range::largest_exponent))) {
            fill_apart(block, rewards);
        } else if (lowest > Real(Range::smallest_exponent)) {
            fill(block, rewards, [=](auto... of) { return exp2_within(exponent(of...)); });
        } else {
            fill(block, rewards, [=](auto... of) { return exp2_or_zero(exponent(of...)); });
        }
    }

private:
    using Range = ExponentialRange<Work>;
    using L = Lanes<Work>;

    /// The range of numbers and of the zeros that pad them.
    struct Extent {
        Work lowest, highest;

        Work magnitude() const { return (std::max)(-lowest, highest); }
    };

    static Work in_base_two(Real exponent) { return static_cast<Work>(exponent * log2_e); }

    static void set_padded(const Buffer<Real>& vector, Buffer<Work>& out) {
        out.assign(padded(vector.size()), 0);
        for (Index i = 0; i < vector.size(); ++i) out[i] = static_cast<Work>(vector[i]);
    }

    /// part_i <- potential_i - shift_i / alpha0 for i in [first, first + count)
    Extent set_parts(const Buffer<Work>& potential, const Buffer<Work>& shift, Index first, Index count,
                     Buffer<Work>& part) const {
        const Work* F = potential.data() + first;
        const Work* shifts = shift.data() + first;
        Work* parts = part.data() + first;
        L low(Work(0));
        L high(Work(0));
        for_each_lanes(count, [&](Index i, Index lanes) {
            const L of_lanes =
                load_some(F + i, lanes, Work(0)) - load_some(shifts + i, lanes, Work(0)) * L(inverse_alpha0_);
            store_some(of_lanes, parts + i, lanes);
            low = lower(low, of_lanes);
            high = higher(high, of_lanes);
        });
        return {lowest(low), highest(high)};
    }

    /// The same with G_k in [lowest, highest].
    void absorb_highest(const Block& block, const Work* const* rewards, const Buffer<Work>& potential, Work lowest,
                        Work highest) {
        const Work* col_shift = col_shift_.data() + block.first;
        Work* top = G_.data() + block.first;
        std::fill_n(top, block.count, -highest);
        for (Index i = 0; i < block.items; ++i) {
            const Work* x = rewards[i];
            if (block.by_instance) {
                for (Index k = 0; k < block.count; ++k) {
                    top[k] = (std::max)(top[k], (x[k] - col_shift[k] - row_shift_[i]) * inverse_alpha0_ + potential[i]);
                }
            } else {
                top[i] = (std::max)(top[i], highest_exponent(x, col_shift[i], potential));
            }
        }
        for (Index k = 0; k < block.count; ++k) top[k] = -(std::min)(top[k], -lowest);
    }

    /// max_d((x_d - row_shift_d - col_shift) / alpha0 + potential_d) for an instance.
    Work highest_exponent(const Work* x, Work col_shift, const Buffer<Work>& potential) const {
        const L inverse_alpha0(inverse_alpha0_);
        L top(std::numeric_limits<Work>::lowest());
        for_each_lanes(kernel_->rows(), [&](Index d, Index lanes) {
            const L excess = load_some(x + d, lanes, Work(0)) - L::load(row_shift_.data() + d) - L(col_shift);
            const L exponent = excess * inverse_alpha0 + L::load(potential.data() + d);
            top = higher(top, first_lanes(exponent, lanes, std::numeric_limits<Work>::lowest()));
        });
        return highest(top);
    }

    /// M of a block, from differences of rewards and sums of potentials.
    void fill_apart(const Block& block, const Work* const* rewards) const {
        const auto are_small = [](const Work* potential, Index size) {
            const Work largest = in_base_two(Real(Range::largest_potential_summed));
            return within(potential, size, -largest, largest);
        };
        if constexpr (!std::same_as<Work, Real>) {
            if (are_small(F_.data(), kernel_->rows()) && are_small(G_.data() + block.first, block.count)) {
                return fill_apart<Work>(block, rewards);
            }
        }
        fill_apart<Real>(block, rewards);
    }

    /// The same, with exponents summed in Term.
    template <class Term>
    void fill_apart(const Block& block, const Work* const* rewards) const {
        const auto inverse_alpha0 = static_cast<Term>(kernel_->inverse_alpha0 * log2_e);
        const Work* lane_shift = block.by_instance ? col_shift_.data() + block.first : row_shift_.data();
        const Work* lane_potential = block.by_instance ? G_.data() + block.first : F_.data();
        const Work* item_shift = block.by_instance ? row_shift_.data() : col_shift_.data() + block.first;
        const Work* item_potential = block.by_instance ? F_.data() : G_.data() + block.first;
        fill(block, rewards, [=](const Work* x, Index l, Index i) {
            using T = Lanes<Term>;
            const auto at = [](const Work* first) { return converted<Term>(L::load(first)); };
            const T excess = at(x) - at(lane_shift + l) - T(Term(item_shift[i]));
            const T potential = at(lane_potential + l) + T(Term(item_potential[i]));
            const L exponent = converted<Work>(multiply_add(excess, T(inverse_alpha0), potential));
            return exp2_or_zero(lower(exponent, L(Range::largest_exponent)));
        });
    }

    /// M of a block, while looking at its rewards, without their padding.
    void fill_looking(Block& block, const Work* const* rewards, const auto& exponent, const Extent& cols) const {
        const Index lanes = block.by_instance ? block.count : kernel_->rows();
        const Index whole = lanes / register_lanes * register_lanes;
        L top(Work(0));
        L nothing(Work(0));  // NaN where an exponent is NaN or infinite
        const auto see = [&](const L& y) {
            top = higher(top, y);
            nothing = multiply_add(y, L(Work(0)), nothing);
        };
        fill(block, rewards, 0, whole, [&, exponent](auto... of) {
            const L y = exponent(of...);
            see(y);
            return exp2_or_zero(y);
        });
        if (whole < lanes) {
            fill(block, rewards, whole, block.lanes, [&, exponent](auto... of) {
                const L y = exponent(of...);
                see(first_lanes(y, lanes - whole, Work(0)));
                return exp2_or_zero(lower(y, L(Range::largest_exponent)));
            });
        }
        const Work highest_exponent = highest(top);
        block.highest = Real((highest_exponent - row_parts_.lowest - cols.lowest) / inverse_alpha0_);
        block.in_range = sum(nothing) == 0 && highest_exponent < Range::largest_exponent;
    }

    /// M of a block: power(x, l, i) gives item i's lanes from l, with rewards x.
    template <class Power>
    static void fill(const Block& block, const Work* const* rewards, const Power& power) {
        fill(block, rewards, 0, block.lanes, power);
    }
    /// Only lanes [first, end).
    template <class Power>
    static void fill(const Block& block, const Work* const* rewards, Index first, Index end, const Power& power) {
        Work* M = block.M;
        const Index lanes = block.lanes;
        for (Index i = 0; i < block.items; ++i, M += lanes) {
            const Work* x = rewards[i];
            for (Index l = first; l < end; l += register_lanes) {
                fetch_ahead(x + l);
                power(x + l, l, i).store(M + l);
            }
        }
    }

    const ScaledReward* kernel_ = nullptr;
    Work inverse_alpha0_ = 0;                     ///< In base two.
    Buffer<Work> row_shift_, col_shift_, F_, G_;  ///< padded to whole registers by zeros
    Buffer<Work> row_part_, col_part_;            ///< so are these
    Extent row_parts_ = {};
};

}  // namespace otpool::detail
