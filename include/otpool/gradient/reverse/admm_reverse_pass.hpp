// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/admm_sweep_record.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/solver/steps/admm_duals.hpp"
#include "otpool/solver/steps/swept_step.hpp"

namespace otpool::detail {

/// What the reverse of one step of AdmmSweep does an element, in one pass over tiles of instances. With the step's
///
///     P = softmax_n(log S),  Q = softmax_d(log T),  e = exp(-|log T - log S|) of the step before
///
/// the two matrices in flight, the cotangents x~ of the reward and Z~ of the dual, take up
///
///     u = P * what the features pass back      x~ += smooth slope u
///     q = Q * what the instances pass back     x~ += transport slope q,   Z~ -= q / rho
///     g = rho Z~ * e                           x~ += gap slope g,         Z~ -= g / rho
///
/// with the rho of the step that q, or g, is of. g belongs to the step before, but its row sums have to be known before
/// that one's u.
///
/// Cost: three exps an element and step, and those of AdmmDuals; x is read, x~ and Z~ are read and written. Of 4 steps'
/// 3.5 exps a float element take 0.28 ns at best; measured are 1.2, on cores shared with other work, where a step
/// forward takes 0.5. Half of it is transport_and_gap(): some hundred instructions to 16 elements, two exps among them,
/// the others what is made of z, q and g, five sums, and the loads and stores of x~ and Z~; a quarter is smooth().
/// Vectors and the gradient's layout are 0.2 ns an element and step more at D = 64, N = 100, and less in larger bags.
template <BagScalar Scalar, BagScalar Work>
class AdmmReversePass {
public:
    using Tiling = InstanceTiles<Scalar, Work>;
    using Tiles = typename Tiling::Tiles;
    using Tile = typename Tiling::Tile;
    using MutableTile = typename Tiling::MutableTile;
    using Lanes = typename Tiling::Lanes;
    using Gap = typename AdmmDuals<Scalar, Work>::Gap;
    using RealLanes = Eigen::Array<Real, Tiling::lanes, 1>;
    static constexpr Index lanes = Tiling::lanes;

    /// Views the reward and the record. `slope_unit`: x~ is in units of it.
    void start(const AdmmSweepRecord<Scalar, Work>& record, Real slope_unit) {
        x_.set(record.reward, record.priors.active, record.top);
        duals_ = &record.duals;
        record.set_gaps(gaps_);
        slope_unit_ = slope_unit;
        for (Buffer<Work>* cotangents : {&of_reward_, &of_dual_}) cotangents->resize(lanes * x_.rows() * x_.count());
        for (Tiles* sums : {&transport_lanes_, &gap_lanes_}) sums->setZero(lanes, x_.rows());
        gap_col_.resize(x_.count() * lanes);
        gap_col_.setZero();
        scratch_.resize(lanes, x_.rows());
    }

    /// Sums over all elements, u and q times their step's exponents slope x; g times the step's transport slope x.
    struct Sums {
        RealVector transport_row, gap_row;  ///< of q and g over instances
        Real smooth_moment = 0;
        Real transport_moment = 0;
        Real gap_moment = 0;
        Real dual_moment = 0;  ///< Z~ times z
    };

    /// The reverse of step k. `log_col_sum`: LSE_d(log T) without the columns' part; factor(tile, x) gives a function
    /// of (d, P_d) whose value is u_d / P_d; instances(tile, sum_d u) what the instances pass back; done(tile, x~) sees
    /// x~.
    template <class Factor, class Instances, class Done>
    const Sums& run(Index k, const SweptStep& step, const Buffer<Real>& log_col_sum, const Factor& factor,
                    const Instances& instances, const Done& done) {
        begin(step, log_col_sum);
        const auto place = static_cast<std::size_t>(k);
        const Gap* const before = k == 0 ? nullptr : &gaps_[place - 1];
        for (Index tile = 0; tile < x_.count(); ++tile) {
            const Tile x = x_.tile(tile);
            if (tile % summed_tiles == 0) add_up();
            Lanes of_shift = instances(tile, smooth(tile, x, factor(tile, x))).template cast<Work>();
            const Index beyond = std::max<Index>(0, (tile + 1) * lanes - x_.cols());
            of_shift.tail(beyond).setZero();
            if (before == nullptr) {
                transport(tile, x, of_shift);
            } else {
                transport_and_gap(tile, x, of_shift, duals_->of_step(place - 1, gaps_, tile, x, scratch_), *before);
            }
            done(tile, reward_tile(tile));
        }
        x_.all_filled();
        add_up();
        sums_.smooth_moment *= log_2;  // of exponents of two
        sums_.transport_moment *= log_2;
        if (before != nullptr) {
            const Real rho = before->rho;
            sums_.gap_row *= rho;
            sums_.gap_moment *= rho * log_2;
        }
        return sums_;
    }

    const Tiling& reward() const { return x_; }
    MutableTile reward_tile(Index tile) { return tile_of(of_reward_, tile); }
    /// Before the pass of the last step.
    void clear(Index tile) {
        reward_tile(tile).setZero();
        dual_tile(tile).setZero();
    }
    /// sum_d g, of the step before the one whose pass has been over the tile.
    auto gap_col(Index tile) const { return gap_col_.segment<lanes>(tile * lanes).array(); }

private:
    static constexpr bool single = std::same_as<Work, float>;
    /// Lowest exponents of two of P and Q, and of e: far below what Work resolves beside 1, and products of them stay
    /// normal numbers, which others take a hundred times as long as.
    static constexpr Work lowest_power = single ? -58 : -430;
    static constexpr Work lowest_decay = single ? -29 : -58;
    static constexpr Real outside = -1e30;

    MutableTile tile_of(Buffer<Work>& all, Index tile) const {
        return {all.data() + tile * lanes * x_.rows(), lanes, x_.rows()};
    }
    MutableTile dual_tile(Index tile) { return tile_of(of_dual_, tile); }

    void begin(const SweptStep& step, const Buffer<Real>& log_col_sum) {
        numbers_ = step.numbers;
        sums_.transport_row.setZero(x_.rows());
        sums_.gap_row.setZero(x_.rows());
        sums_.smooth_moment = sums_.transport_moment = sums_.gap_moment = sums_.dual_moment = 0;
        const Real level = step.smooth_col.head(x_.cols()).maxCoeff();
        smooth_row_ = ((step.log_row_sum.array() - level) * log2_e).template cast<Work>();
        smooth_col_ = ((step.smooth_col.array() - level) * log2_e).template cast<Work>();
        smooth_col_.tail(smooth_col_.size() - x_.cols()).setConstant(static_cast<Work>(outside));
        transport_row_ = (step.transport_row * log2_e).template cast<Work>();
        transport_col_ = (log_col_sum * log2_e).template cast<Work>();
    }

    Work in_unit(Real slope) const { return static_cast<Work>(slope / slope_unit_); }

    /// x~ += smooth slope u; sum_d u
    template <class Factor>
    RealLanes smooth(Index tile, Tile x, Factor factor) {
        const Work slope = static_cast<Work>(numbers_.smooth_slope * log2_e);
        const Work reward_slope = in_unit(numbers_.smooth_slope);
        const Lanes col = smooth_col_.template segment<lanes>(tile * lanes).array();
        auto of_reward = reward_tile(tile);
        Lanes sum = Lanes::Zero();
        Lanes moment = Lanes::Zero();
        const Work* row = smooth_row_.data();
        for (Index d = 0; d < x.cols(); ++d) {
            const Lanes exponent = slope * x.col(d);
            const Lanes P = bounded_exp2((exponent + col - row[d]).max(lowest_power));
            const Lanes u = P * factor(d, P);
            sum += u;
            moment = multiply_add(exponent, u, moment);
            of_reward.col(d) = multiply_add(u, reward_slope, of_reward.col(d));
        }
        add(sums_.smooth_moment, moment);
        return sum.template cast<Real>();
    }

    /// x~ += transport slope q,  Z = 0
    void transport(Index tile, Tile x, const Lanes& of_shift) {
        const Work slope = static_cast<Work>(numbers_.transport_slope * log2_e);
        const Work reward_slope = in_unit(numbers_.transport_slope);
        const Lanes col = transport_col_.template segment<lanes>(tile * lanes).array();
        auto of_reward = reward_tile(tile);
        Lanes moment = Lanes::Zero();
        MutableTile transport_lanes(transport_lanes_.data(), lanes, x.cols());
        const Work* row = transport_row_.data();
        for (Index d = 0; d < x.cols(); ++d) {
            const Lanes exponent = slope * x.col(d);
            const Lanes q = bounded_exp2((exponent + row[d] - col).max(lowest_power)) * of_shift;
            moment = multiply_add(exponent, q, moment);
            transport_lanes.col(d) += q;
            of_reward.col(d) = multiply_add(q, reward_slope, of_reward.col(d));
        }
        add(sums_.transport_moment, moment);
    }

    /// x~ += transport slope q + gap slope g,  Z~ -= q / rho + g / rho of the step before
    void transport_and_gap(Index tile, Tile x, const Lanes& of_shift, Tile dual_before, const Gap& before) {
        const Work slope = static_cast<Work>(numbers_.transport_slope * log2_e);
        const Work reward_slope = in_unit(numbers_.transport_slope);
        const Work gap_slope = in_unit(static_cast<Real>(before.slope) * log_2 * static_cast<Real>(before.rho));
        const Lanes col = transport_col_.template segment<lanes>(tile * lanes).array();
        const Lanes gap_col = before.tile_of_col(tile);
        const Work before_slope = before.slope;
        const Work before_rho = before.rho;
        const Work before_dual_slope = before.dual_slope;
        const Work inverse_rho = static_cast<Work>(1 / numbers_.rho);
        const Work dual_slope = static_cast<Work>(-log2_e / numbers_.rho);
        const Work* before_row = before.row.data();
        const Work* row = transport_row_.data();
        MutableTile transport_lanes(transport_lanes_.data(), lanes, x.cols());
        MutableTile gap_lanes(gap_lanes_.data(), lanes, x.cols());
        auto of_reward = reward_tile(tile);
        auto of_dual = dual_tile(tile);
        Lanes gap_sum = Lanes::Zero();
        Lanes moment = Lanes::Zero();
        Lanes gap_moment = Lanes::Zero();
        Lanes dual_moment = Lanes::Zero();
        for (Index d = 0; d < x.cols(); ++d) {
            const Lanes gap = multiply_add(
                x.col(d), before_slope, multiply_add(dual_before.col(d), before_dual_slope, before_row[d] + gap_col));
            const Lanes decay = bounded_exp2(negative_magnitude(gap).max(lowest_decay));
            const Lanes z = multiply_add(dual_step(gap, decay), before_rho, dual_before.col(d));
            const Lanes exponent = slope * x.col(d);
            const Lanes log2_Q = multiply_add(z, dual_slope, exponent + (row[d] - col));
            const Lanes q = bounded_exp2(log2_Q.max(lowest_power)) * of_shift;
            const Lanes of_z = multiply_add(q, -inverse_rho, of_dual.col(d));
            const Lanes of_step = of_z * decay;  // g / rho
            of_dual.col(d) = of_z - of_step;
            of_reward.col(d) = multiply_add(q, reward_slope, multiply_add(of_step, gap_slope, of_reward.col(d)));
            transport_lanes.col(d) += q;
            gap_lanes.col(d) += of_step;
            gap_sum += of_step;
            moment = multiply_add(exponent, q, moment);
            gap_moment = multiply_add(exponent, of_step, gap_moment);
            dual_moment = multiply_add(of_z, z, dual_moment);
        }
        gap_col_.segment<lanes>(tile * lanes) = gap_sum.matrix().template cast<Real>() * before.rho;
        add(sums_.transport_moment, moment);
        add(sums_.gap_moment, gap_moment);
        add(sums_.dual_moment, dual_moment);
    }

    /// By value: what is only passed on by its value stays in registers.
    static void add(Real& sum, const Lanes lane_sums) { sum += static_cast<Real>(lane_sums.sum()); }

    void add_up() {
        add_up_lanes(transport_lanes_, sums_.transport_row);
        add_up_lanes(gap_lanes_, sums_.gap_row);
    }

    Tiling x_;
    const AdmmDuals<Scalar, Work>* duals_ = nullptr;
    std::vector<Gap> gaps_;
    Real slope_unit_ = 1;
    Buffer<Work> of_reward_, of_dual_;  ///< x~ and Z~
    Tiles transport_lanes_, gap_lanes_;
    Buffer<Real> gap_col_;
    SweptStep::Numbers numbers_ = {};
    Sums sums_;
    Vector<Work> smooth_row_, transport_row_;
    Buffer<Work> smooth_col_, transport_col_;
    Tiles scratch_;
};

}  // namespace otpool::detail
