// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/admm/admm_sweep_tape.hpp"
#include "otpool/kernel/feature_sums.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_duals.hpp"
#include "otpool/solver/admm/admm_step.hpp"

namespace otpool::detail {

/// The derivatives per element in the reverse of a step of AdmmSweep, in one pass over tiles of instances. x~ and Z~ are
/// the derivatives with respect to the reward and the dual. The pass adds to them:
///
///     u = P * what the features pass back      x~ += smooth slope u
///     q = Q * what the instances pass back     x~ += transport slope q,   Z~ -= q / rho
///     g = rho Z~ * e                           x~ += gap slope g,         Z~ -= g / rho
///
/// where P = softmax_n(log S) and Q = softmax_d(log T). g is part of the reverse of the step before, as its row sums have
/// to be known before that step's u: its rho, and e = exp(-|log T - log S|), are of the step before.
///
/// Cost: three exps an element and step, and those of AdmmDuals; x is read, x~ and Z~ are read and written. Four steps
/// take 3.5 exps a float element and step, 0.28 ns at best; 1.2 ns were measured on cores shared with other work, where
/// a step forward takes 0.5 ns. Half of it is transport(), a quarter smooth().
template <BagScalar Work>
class AdmmReverseTiles {
public:
    using Tiling = InstanceTiles<Work>;
    using L = Lanes<Work>;
    using R = Lanes<Real>;
    using Gap = typename AdmmDuals<Work>::Gap;
    static constexpr Index lanes = Tiling::lanes;

    /// Views the tape. `slope_unit`: x~ is in units of it.
    void start(const AdmmSweepTape<Work>& tape, Real slope_unit) {
        x_.set(tape.reward, tape.priors.active, tape.top);
        duals_ = &tape.duals;
        tape.set_gaps(gaps_);
        slope_unit_ = slope_unit;
        for (Buffer<Work>* matrix : {&of_reward_, &of_dual_}) matrix->resize(x_.size() * x_.count());
        for (LaneSums<Work>* sums : {&transport_lanes_, &gap_lanes_}) sums->start(x_.rows());
        gap_col_ = RealVector::Zero(padded_cols());
        scratch_.resize(x_.size());
    }

    /// Sums over all elements. Moments of u and q are with their step's exponents slope x, that of g with the step's
    /// transport slope x.
    struct Sums {
        Buffer<Real> transport_row, gap_row;  ///< Of q and g over instances.
        Real smooth_moment = 0;
        Real transport_moment = 0;
        Real gap_moment = 0;
        Real dual_moment = 0;  ///< Z~ times z

        void start(Index rows) {
            transport_row = gap_row = RealVector::Zero(rows);
            smooth_moment = transport_moment = gap_moment = dual_moment = 0;
        }
    };

    /// The reverse of step k. `log_col_sum`: LSE_d(log T) without the columns' part. For every tile, with its x:
    ///     factor(tile, x)           returns a function (d, P_d) whose value is u_d / P_d
    ///     instances(tile, sum_d u)  returns what the instances pass back
    ///     done(tile, x~)            is called at last
    template <class Factor, class Instances, class Done>
    const Sums& run(Index k, const AdmmStep& step, const Buffer<Real>& log_col_sum, const Factor& factor,
                    const Instances& instances, const Done& done) {
        begin(step, log_col_sum);
        const auto place = static_cast<std::size_t>(k);
        const Gap* const before = k == 0 ? nullptr : &gaps_[place - 1];
        for (Index tile = 0; tile < x_.count(); ++tile) {
            const Work* x = x_.tile(tile);
            if (tile % summed_tiles == 0) add_up();
            const R passed_back = instances(tile, smooth(tile, x, factor(tile, x)));
            const L of_shift = first_lanes(converted<Work>(passed_back), x_.used(tile), Work(0));
            if (before == nullptr) {
                transport<false>(tile, x, of_shift);
            } else {
                const Work* z = duals_->of_step(place - 1, gaps_, tile, x, scratch_.data());
                transport<true>(tile, x, of_shift, z, *before);
            }
            done(tile, of_reward(tile));
        }
        x_.all_filled();
        add_up();
        sums_.smooth_moment *= log_2;  // of exponents of two
        sums_.transport_moment *= log_2;
        if (before != nullptr) {
            const Real rho = Real(before->rho);
            for (Real& sum : sums_.gap_row) sum *= rho;
            sums_.gap_moment *= rho * log_2;
        }
        return sums_;
    }

    const Tiling& reward() const { return x_; }
    Index padded_cols() const { return x_.count() * lanes; }
    Work* of_reward(Index tile) { return of_reward_.data() + tile * x_.size(); }
    /// Sets a tile's x~ and Z~ to zero; in the pass of the last step.
    void clear(Index tile) {
        std::fill_n(of_reward(tile), x_.size(), Work(0));
        std::fill_n(of_dual(tile), x_.size(), Work(0));
    }
    /// sum_d g of a tile, from the last pass over it.
    R gap_col(Index tile) const { return R::load(gap_col_.data() + tile * lanes); }

private:
    static constexpr bool single = std::same_as<Work, float>;
    /// Lowest exponents of two of P and Q, and of e. They are far below what Work resolves beside 1, and their products
    /// are normal numbers: denormal ones take a hundred times as long.
    static constexpr Work lowest_power = single ? -58 : -430;
    static constexpr Work lowest_decay = single ? -29 : -58;
    static constexpr Real outside = -1e30;

    Work* of_dual(Index tile) { return of_dual_.data() + tile * x_.size(); }

    /// to_i = (from_i - level) log2 e
    static void set_in_base_two(const Real* from, Index size, Real level, Buffer<Work>& to) {
        to.resize(size);
        for (Index i = 0; i < size; ++i) to[i] = static_cast<Work>((from[i] - level) * log2_e);
    }

    void begin(const AdmmStep& step, const Buffer<Real>& log_col_sum) {
        rho_ = step.rho;
        smooth_slope_ = step.smooth.slope;
        transport_slope_ = step.transport.slope;
        sums_.start(x_.rows());
        const Real level = highest(step.smooth.col, x_.cols());
        set_in_base_two(step.log_row_sum, x_.rows(), level, smooth_row_);
        set_in_base_two(step.smooth.col, padded_cols(), level, smooth_col_);
        std::fill(smooth_col_.begin() + x_.cols(), smooth_col_.end(), static_cast<Work>(outside));
        set_in_base_two(step.transport.row, x_.rows(), 0, transport_row_);
        set_in_base_two(log_col_sum.data(), padded_cols(), 0, transport_col_);
    }

    static L in_base_two(Real slope) { return L(static_cast<Work>(slope * log2_e)); }
    L in_unit(Real slope) const { return L(static_cast<Work>(slope / slope_unit_)); }

    /// x~ += smooth slope u; sum_d u
    template <class Factor>
    R smooth(Index tile, const Work* x, Factor factor) {
        const L slope = in_base_two(smooth_slope_);
        const L reward_slope = in_unit(smooth_slope_);
        const L col = L::load(smooth_col_.data() + tile * lanes);
        Work* to_reward = of_reward(tile);
        L sum_of_u(Work(0));
        L moment(Work(0));
        const Work* row = smooth_row_.data();
        for (Index d = 0; d < x_.rows(); ++d) {
            const L exponent = slope * L::load(x + d * lanes);
            const L P = bounded_exp2(higher(exponent + col - L(row[d]), L(lowest_power)));
            const L u = P * factor(d, P);
            sum_of_u += u;
            moment = multiply_add(exponent, u, moment);
            multiply_add(u, reward_slope, L::load(to_reward + d * lanes)).store(to_reward + d * lanes);
        }
        sums_.smooth_moment += static_cast<Real>(sum(moment));
        return converted<Real>(sum_of_u);
    }

    /// x~ += transport slope q. In the first step Z = 0. In others, also x~ += gap slope g and Z~ -= q / rho + g / rho,
    /// given the Z that the step before started from, and its gap.
    template <bool has_dual>
    void transport(Index tile, const Work* x, const L& of_shift, const Work* dual_before = nullptr,
                   const Gap& before = {}) {
        const L slope = in_base_two(transport_slope_);
        const L reward_slope = in_unit(transport_slope_);
        const L gap_slope = in_unit(static_cast<Real>(before.slope) * log_2 * static_cast<Real>(before.rho));
        const L col = L::load(transport_col_.data() + tile * lanes);
        const L gap_col = has_dual ? before.of_cols(tile) : L(Work(0));
        const L before_slope(before.slope);
        const L before_rho(before.rho);
        const L before_dual_slope(before.dual_slope);
        const L minus_inverse_rho(static_cast<Work>(-1 / rho_));
        const L dual_slope(static_cast<Work>(-log2_e / rho_));
        const Work* before_row = before.row.data();
        const Work* row = transport_row_.data();
        Work* transport_sum = transport_lanes_.data();
        Work* gap_sums = gap_lanes_.data();
        Work* to_reward = of_reward(tile);
        Work* to_dual = of_dual(tile);
        L gap_sum(Work(0));
        L moment(Work(0));
        L gap_moment(Work(0));
        L dual_moment(Work(0));
        for (Index at = 0, d = 0; d < x_.rows(); ++d, at += lanes) {
            const L x_d = L::load(x + at);
            const L exponent = slope * x_d;
            L log2_Q = exponent + (L(row[d]) - col);
            L z, decay;
            if constexpr (has_dual) {
                const L z_before = L::load(dual_before + at);
                const L gap = multiply_add(x_d, before_slope,
                                           multiply_add(z_before, before_dual_slope, L(before_row[d]) + gap_col));
                decay = bounded_exp2(higher(negative_magnitude(gap), L(lowest_decay)));
                z = multiply_add(dual_change(gap, decay), before_rho, z_before);
                log2_Q = multiply_add(z, dual_slope, log2_Q);
            }
            const L q = bounded_exp2(higher(log2_Q, L(lowest_power))) * of_shift;
            L of_x = L::load(to_reward + at);
            if constexpr (has_dual) {
                const L of_z = multiply_add(q, minus_inverse_rho, L::load(to_dual + at));
                const L of_step = of_z * decay;  // g / rho
                (of_z - of_step).store(to_dual + at);
                of_x = multiply_add(of_step, gap_slope, of_x);
                (L::load(gap_sums + at) + of_step).store(gap_sums + at);
                gap_sum += of_step;
                gap_moment = multiply_add(exponent, of_step, gap_moment);
                dual_moment = multiply_add(of_z, z, dual_moment);
            }
            multiply_add(q, reward_slope, of_x).store(to_reward + at);
            (L::load(transport_sum + at) + q).store(transport_sum + at);
            moment = multiply_add(exponent, q, moment);
        }
        sums_.transport_moment += static_cast<Real>(sum(moment));
        if constexpr (has_dual) {
            (converted<Real>(gap_sum) * R(static_cast<Real>(before.rho))).store(gap_col_.data() + tile * lanes);
            sums_.gap_moment += static_cast<Real>(sum(gap_moment));
            sums_.dual_moment += static_cast<Real>(sum(dual_moment));
        }
    }

    void add_up() {
        transport_lanes_.move_to(sums_.transport_row);
        gap_lanes_.move_to(sums_.gap_row);
    }

    Tiling x_;
    const AdmmDuals<Work>* duals_ = nullptr;
    std::vector<Gap> gaps_;
    Real slope_unit_ = 1;
    Buffer<Work> of_reward_, of_dual_;  ///< x~ and Z~
    LaneSums<Work> transport_lanes_, gap_lanes_;
    Buffer<Real> gap_col_;
    Sums sums_;
    Buffer<Work> scratch_;

    // Of the present step; exponents are of two:
    Real rho_ = 1, smooth_slope_ = 0, transport_slope_ = 0;
    Buffer<Work> smooth_row_, transport_row_, smooth_col_, transport_col_;
};

}  // namespace otpool::detail
