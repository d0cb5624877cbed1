// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/feature_sums.hpp"
#include "otpool/kernel/instance_tiles.hpp"
#include "otpool/kernel/reference_values.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/admm/admm_step.hpp"

namespace otpool::detail {

/// Sums over the exponential plan of a LogPlane, S_dn = exp(slope x_dn + row_d + col_n), where x is the reward minus
/// anchors per feature and instance, in tiles of instances. Tiles are visited in parts (InstanceParts) that may run at
/// the same time. Entries are computed in Work, sums over all instances in double.
template <BagScalar Work>
class TiledPlan {
public:
    static constexpr Index lanes = register_lanes;
    /// Sums of S, without row_d, over a part of the instances.
    using Part = FeatureSums<Work>;

    /// Views the problem.
    void start(const Inspection& problem, const Execution& execution) {
        problem_ = &problem;
        execution_ = execution;
        x_.set(problem.reward, problem.priors.active, problem.highest, execution.workers());
        row_anchor_.resize(rows());
        std::copy_n(problem.highest.data(), rows(), row_anchor_.data());
        col_anchor_.assign(padded_cols(), 0);
        tiles_ = InstanceParts(x_.size(), x_.count());
        parts_.resize(static_cast<std::size_t>(tiles_.count()));
        gaps_.resize(parts_.size());
        has_moved_ = false;
        has_row_units_ = false;
    }

    /// x_dn is the reward minus row_anchor_d minus col_anchor_n. At first these are the feature's highest reward and 0.
    const Buffer<Real>& row_anchor() const { return row_anchor_; }
    const Buffer<Real>& col_anchor() const { return col_anchor_; }
    /// Calls move(row_anchor, col_anchor), which changes them; then the reward is read again.
    template <class Move>
    void move_anchors(const Move& move) {
        move(row_anchor_, col_anchor_);
        x_.set_anchors(row_anchor_, col_anchor_);
        has_moved_ = true;
        has_row_units_ = false;
    }

    Index rows() const { return x_.rows(); }
    Index cols() const { return x_.cols(); }
    Index count() const { return x_.count(); }
    Index padded_cols() const { return x_.count() * lanes; }
    Index tile_size() const { return x_.size(); }

    /// Call this before adding sums. `pools`: sums of values, too.
    void start_sums(bool pools) {
        for (Part& part : parts_) part.start(rows(), pools);
        if (!pools) return;
        if (problem_->values.empty()) {
            reference_.set(problem_->highest);
        } else {
            reference_.set(problem_->values, problem_->reward, problem_->priors.active);
        }
        if (pools_x()) return;
        values_.set(problem_->pooled_values(), problem_->priors.active, reference_.numbers(), execution_.workers());
    }

    /// Calls visit(tile, worker, x, part) for every tile, then adds up the parts' sums.
    template <class Visit>
    void for_each_tile(const Visit& visit) {
        execution_.for_each(tiles_.count(), [&](Index p, Index worker) {
            Part& part = parts_[static_cast<std::size_t>(p)];
            for (Index tile = tiles_.first(p); tile < tiles_.end(p); ++tile) {
                visit(tile, worker, x_.tile(tile, worker), part);
            }
            part.add_up();
        });
        x_.all_filled();
        Part::add_up(parts_);
    }

    /// Adds a tile's entries to the row sums.
    void add(const LogPlane& S, Index tile, const Work* x, Part& part) const {
        Work* weight = part.weight_lanes.data();
        for_each_entry(S, tile, part, [=](Index at, const L& slope, const L& rest, const auto& power) {
            const L entry = power(multiply_add(L::load(x + at), slope, rest));
            (L::load(weight + at) + entry).store(weight + at);
        });
    }

    /// The same, and adds entries times values.
    void add_pooled(const LogPlane& S, Index tile, Index worker, const Work* x, Part& part) {
        const Work* values = pools_x() ? x : values_.tile(tile, worker);
        Work* weight = part.weight_lanes.data();
        Work* value = part.value_lanes.data();
        for_each_entry(S, tile, part, [=](Index at, const L& slope, const L& rest, const auto& power) {
            const L entry = power(multiply_add(L::load(x + at), slope, rest));
            (L::load(weight + at) + entry).store(weight + at);
            multiply_add(entry, L::load(values + at), L::load(value + at)).store(value + at);
        });
    }

    /// LSE_n(slope x_dn + col_n), from the sums. False if Work cannot hold a row's mass. In double, sums that are not
    /// pooled are taken again instead, each row in a unit of its own.
    bool log_row_sums(const LogPlane& S, bool pools, Buffer<Real>& log_sums) {
        if (!has_all_rows()) {
            if (single || pools) return false;
            sum_in_row_units(S);
        }
        log_of_normal(parts_.front().weight().data(), rows(), log_sums.data());
        for (Index d = 0; d < rows(); ++d) {
            log_sums[d] += has_row_units_ ? static_cast<Real>(row_unit_[d]) * log_2 : parts_.front().level();
            if (has_row_units_) row_unit_[d] = static_cast<Work>(log_sums[d] * log2_e);
        }
        return true;
    }

    /// The conditional mean, from the sums. False if values are too large for sums in Work.
    bool mean(RealVector& mean) const {
        const Part& sums = parts_.front();
        mean.resize(rows());
        bool finite = true;
        for (Index d = 0; d < rows(); ++d) {
            mean[d] = sums.value()[d] / sums.weight()[d] + static_cast<Real>(reference_.numbers()[d]);
            finite = finite && std::isfinite(mean[d]);
        }
        return finite;
    }

    /// How far S is from another plan.
    struct Gap {
        Real of_rows = 0;  ///< The largest sum of |P - S| over a row, relative to its mass.
        Real of_cols = 0;  ///< The same over a column.
        Real mean_x = 0;   ///< sum_dn S_dn x_dn
    };

    /// The gap between S, of mass 1, and P, given log_r = LSE_n(log S); log_c <- LSE_d(log S). `in_limit`: alpha0 = 0,
    /// where P's plane is not log P but X + f + g, which should be 0 where S has mass and nowhere above. Cost: two exps
    /// per element, one pass. Marginals of S below exp(-300) lose digits.
    Gap gap(const LogPlane& S, const LogPlane& P, bool in_limit, const Buffer<Real>& log_r, Buffer<Real>& log_c) {
        for (Part& part : parts_) part.start(rows(), in_limit);
        std::fill(gaps_.begin(), gaps_.end(), Gap{});
        for_each_tile([&](Index tile, Index, const Work* x, Part& part) {
            Gap& of_part = gaps_[static_cast<std::size_t>(&part - parts_.data())];
            if (in_limit) {
                add_gap<true>(S, P, tile, x, part, log_c, of_part);
            } else {
                add_gap<false>(S, P, tile, x, part, log_c, of_part);
            }
        });
        Gap all;
        for (const Gap& part : gaps_) {
            all.of_cols = (std::max)(all.of_cols, part.of_cols);
            all.mean_x += part.mean_x;
        }
        const Part& sums = parts_.front();
        for (Index d = 0; d < rows(); ++d) {
            all.of_rows = (std::max)(all.of_rows, sums.weight()[d] * std::exp(-log_r[d]) + sums.value()[d]);
        }
        return all;
    }

private:
    using L = Lanes<Work>;
    static constexpr bool single = std::same_as<Work, float>;
    /// Lower row sums have lost digits to the smallest numbers that exp() gives.
    static constexpr Real smallest_sum = single ? 1e-25 : 1e-280;
    static constexpr Real largest_sum = single ? 1e35 : 1e300;

    /// Whether x is what is pooled, minus the reference.
    bool pools_x() const { return problem_->values.empty() && !has_moved_; }

    /// A tile's col_n minus a level, in base two; very low in lanes without an instance.
    L col_in_base_two(const LogPlane& plane, Index tile, Real level = 0) const {
        std::array<Work, lanes> numbers;
        const Real* col = plane.col + tile * lanes;
        for (std::size_t i = 0; i < lanes; ++i) numbers[i] = static_cast<Work>((col[i] - level) * log2_e);
        return first_lanes(L::load(numbers.data()), x_.used(tile), Work(-1e30));
    }
    static L in_base_two(Real exponent) { return L(static_cast<Work>(exponent * log2_e)); }

    /// Calls visit(d * lanes, slope, rest, power): in the unit of row sums, S_dn is power(slope x_dn + rest). The unit
    /// is the part's level, or each row's own (has_row_units_).
    template <class Visit>
    void for_each_entry(const LogPlane& S, Index tile, Part& part, const Visit& visit) const {
        const L slope = in_base_two(S.slope);
        const Real top = has_row_units_ ? 0 : highest(S.col + tile * lanes, x_.used(tile));
        const L col = col_in_base_two(S, tile, part.begin_tile(top));
        const Index size = x_.size();
        if (!has_row_units_) {
            const auto power = [](const L& exponent) { return bounded_exp2(exponent); };
            for (Index at = 0; at < size; at += lanes) visit(at, slope, col, power);
            return;
        }
        const L most(ExponentialRange<Work>::largest_exponent);
        const auto power = [most](const L& exponent) { return bounded_exp2(lower(exponent, most)); };
        const Work* unit = row_unit_.data();
        for (Index at = 0; at < size; at += lanes, ++unit) visit(at, slope, col - L(*unit), power);
    }

    /// Sums rows again, each in units of its highest entry.
    void sum_in_row_units(const LogPlane& S) {
        std::vector<Buffer<Work>> tops(parts_.size());
        for (Buffer<Work>& top : tops) top.assign(x_.size(), std::numeric_limits<Work>::lowest());
        has_row_units_ = true;
        row_unit_.assign(rows(), 0);
        start_sums(false);
        for_each_tile([&](Index tile, Index, const Work* x, Part& part) {
            Work* top = tops[static_cast<std::size_t>(&part - parts_.data())].data();
            for_each_entry(S, tile, part, [=](Index at, const L& slope, const L& rest, const auto&) {
                higher(L::load(top + at), multiply_add(L::load(x + at), slope, rest)).store(top + at);
            });
        });
        for (Index d = 0; d < rows(); ++d) {
            row_unit_[d] = std::numeric_limits<Work>::lowest();
            for (const Buffer<Work>& top : tops) {
                row_unit_[d] = (std::max)(row_unit_[d], highest(L::load(top.data() + d * lanes)));
            }
        }
        start_sums(false);
        for_each_tile([&](Index tile, Index, const Work* x, Part& part) { add(S, tile, x, part); });
    }

    bool has_all_rows() const {
        const Buffer<Real>& weight = parts_.front().weight();
        return lowest(weight.data(), rows()) > smallest_sum && highest(weight.data(), rows()) < largest_sum;
    }

    /// Adds a tile's |P - S| to the row sums; in the limit, |X + f + g| S to these and max(X + f + g, 0) to those of
    /// values.
    template <bool in_limit>
    void add_gap(const LogPlane& plane_of_S, const LogPlane& plane_of_P, Index tile, const Work* x, Part& part,
                 Buffer<Real>& log_c, Gap& of_part) const {
        const L none(Work(0));
        const L most(ExponentialRange<Work>::largest_exponent);
        const L slope = in_base_two(plane_of_S.slope);
        const L slope_of_P = in_base_two(plane_of_P.slope);
        const L col = col_in_base_two(plane_of_S, tile);
        const L col_of_P = col_in_base_two(plane_of_P, tile);
        const Index used = x_.used(tile);
        Work* of_rows = part.weight_lanes.data();
        Work* above_zero = part.value_lanes.data();
        L mass = none;
        L gap = none;
        L above = none;
        L moment = none;
        for (Index d = 0, at = 0; d < rows(); ++d, at += lanes) {
            const L of_x = L::load(x + at);
            const L S = bounded_exp2(multiply_add(of_x, slope, in_base_two(plane_of_S.row[d]) + col));
            const L of_P = multiply_add(of_x, slope_of_P, in_base_two(plane_of_P.row[d]) + col_of_P);
            L apart;
            if constexpr (in_limit) {
                const L slack = first_lanes(of_P * L(Work(log_2)), used, Work(0));
                const L positive = higher(slack, none);
                (L::load(above_zero + at) + positive).store(above_zero + at);
                above += positive;
                apart = none - negative_magnitude(slack * S);
            } else {
                apart = none - negative_magnitude(bounded_exp2(lower(of_P, most)) - S);
            }
            (L::load(of_rows + at) + apart).store(of_rows + at);
            mass += S;
            gap += apart;
            moment = multiply_add(of_x, S, moment);
        }
        converted<Real>(log_of_normal(mass)).store(log_c.data() + tile * lanes);
        of_part.of_cols = (std::max)(of_part.of_cols, static_cast<Real>(highest(gap / mass + above)));
        of_part.mean_x += static_cast<Real>(sum(first_lanes(moment, used, Work(0))));
    }

    const Inspection* problem_ = nullptr;
    Execution execution_;
    InstanceTiles<Work> x_;
    Buffer<Real> row_anchor_, col_anchor_;  ///< col_anchor is padded to whole tiles.
    bool has_moved_ = false;                ///< Whether the anchors are no more the first ones.
    InstanceTiles<Work> values_;            ///< Minus the reference, unless x is that.
    ReferenceValues<Work> reference_;       ///< Subtracted from values before weighing.
    InstanceParts tiles_{1, 1};
    std::vector<Part> parts_;
    std::vector<Gap> gaps_;       ///< One per part.
    bool has_row_units_ = false;  ///< Whether each row has its own unit, 2^row_unit.
    Buffer<Work> row_unit_;
};

}  // namespace otpool::detail
