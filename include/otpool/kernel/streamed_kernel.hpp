// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <optional>

#include "otpool/core/any_columns.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/kernel/streamed_sums.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The kernel exp((X - shifts) / alpha0) of a bag that is read block by block, in the log domain: LogDomainKernel for one
/// block. A block's columns have their own potentials, which are computed from the features' and not kept.
///
/// Concurrent calls need a Columns and sums of their own.
template <std::same_as<Real> Work = Real>
class StreamedKernel {
public:
    using Sums = StreamedSums<Work>;

    const AnyColumns* source = nullptr;
    Real inverse_alpha0 = 0;
    Real prior_weight = 0;              ///< As in EntropicRegularizer.
    bool shifts_rows = true;            ///< As in ScaledReward.
    Side instances;                     ///< How each instance is held to its prior; without lines.
    Buffer<Real> log_prior;             ///< log q0, -inf for excluded instances; empty if uniform.
    Real uniform_log_prior = 0;         ///< Of every instance, if it is empty.
    Buffer<Real> row_shift, reference;  ///< StreamedSums::highest and reference of the whole bag, after its first pass.
    Real offset = 0;                    ///< The highest reward of all, likewise.
    bool forbids_pairs = false;         ///< Whether a reward is -inf, likewise.

    /// The columns of the block in work, and memory for one of them.
    struct Columns {
        Side side;
        Buffer<Real> potential;  ///< Kernel potentials; -inf for columns that are left out.
        Buffer<Real> penalty, log_sum;
        Buffer<Real> reward, value, entry;  ///< Of one column.
    };

    /// The first look: checks the block, and sums with g = 0. Throws InvalidArgument for the first entry that is not
    /// allowed.
    void look(const ColumnBlock& block, Columns& columns, Sums& sums) const {
        start(block, columns);
        sums.start(rows());
        for (Index k = 0; k < block.count; ++k) {
            look_at(block, k, columns, sums);
            if (is_left_out(columns, k)) continue;
            columns.potential[k] = prior_weight * columns.side.log_prior[k];
            columns.penalty[k] = 0;
            ++sums.active;
        }
        sum_rows(block, columns, nullptr, sums);
        sum_columns(block, columns, sums);
    }

    /// The half step of every column of the block, given the features' potentials, and the sums of the resulting plan.
    /// Cost: an exp per element; three if a feature has next to no mass in the block.
    void sweep(const ColumnBlock& block, const Real* row_potential, Columns& columns, Sums& sums) const {
        start(block, columns);
        sums.start(row_shift, reference);
        Real level = Sums::nothing;  // exp(level) is the unit of the sums
        for (Index k = 0; k < block.count; ++k) {
            if (is_left_out(columns, k)) continue;
            read(block, k, columns);
            if (forbids_pairs && highest(columns.reward.data(), rows()) == Sums::nothing) {
                columns.potential[k] = Sums::nothing;
                continue;
            }
            const Real top = set_exponents(columns, k, row_potential);
            const Real sum = exponentiate(top, columns.entry.data());
            columns.log_sum[k] = top + std::log(sum);
            columns.side.half_steps(k, 1, &columns.log_sum[k], &columns.potential[k], &columns.penalty[k]);
            ++sums.active;

            const Real log_unit = top + columns.potential[k];  // P_dk = entry_d exp(log_unit)
            if (log_unit > level) {
                const Real factor = std::exp((std::max)(level - log_unit, least_exponent));
                for (Buffer<Real>* scaled : {&sums.mass, &sums.weighted}) {
                    for (Real& number : *scaled) number *= factor;
                }
                level = log_unit;
            }
            add_column(std::exp((std::max)(log_unit - level, least_exponent)), columns, sums);
        }
        sum_columns(block, columns, sums);
        if (sums.active == 0) return;
        if (lowest(sums.mass.data(), rows()) > least_mass) {
            std::fill(sums.top.begin(), sums.top.end(), level);
        } else {
            sum_rows(block, columns, row_potential, sums);
        }
    }

    /// sweep(), and the columns' log mass of the resulting plan; -inf for those left out.
    void sweep_columns(const ColumnBlock& block, const Real* row_potential, Columns& columns, Sums& sums) const {
        sweep(block, row_potential, columns, sums);
        sums.log_col_mass.assign(block.count, Sums::nothing);
        for (Index k = 0; k < block.count; ++k) {
            if (!is_left_out(columns, k)) sums.log_col_mass[k] = columns.log_sum[k] + columns.potential[k];
        }
    }

    /// mass_d = sum_k expm1((x_dk - highest_d) / alpha0), which keeps its digits where alpha0 is large; at alpha0 = inf
    /// sum_k unit (x_dk - highest_d).
    void excess(const ColumnBlock& block, Columns& columns, Sums& sums) const {
        start(block, columns);
        sums.start(row_shift, reference);
        std::fill(sums.top.begin(), sums.top.end(), 0);
        for (Index k = 0; k < block.count; ++k) {
            if (is_left_out(columns, k)) continue;
            read(block, k, columns);
            if (forbids_pairs && highest(columns.reward.data(), rows()) == Sums::nothing) continue;
            for (Index d = 0; d < rows(); ++d) {
                const Real below = Sums::unit * columns.reward[d] - Sums::unit * row_shift[d];
                sums.mass[d] += inverse_alpha0 == 0 ? below : std::expm1(below / Sums::unit * inverse_alpha0);
            }
        }
    }

private:
    Index rows() const { return source->rows(); }
    static bool is_left_out(const Columns& columns, Index k) { return columns.potential[k] == Sums::nothing; }

    /// Sets the block's priors, and the potentials of its excluded columns.
    void start(const ColumnBlock& block, Columns& columns) const {
        Side& side = columns.side;
        side.common = instances.common;
        for (Buffer<Real>* of_columns : {&side.log_prior, &side.anchor, &columns.potential, &columns.log_sum})
            of_columns->resize(block.count);
        columns.penalty.assign(block.count, 0);
        for (Buffer<Real>* of_rows : {&columns.reward, &columns.value, &columns.entry}) of_rows->resize(rows());
        if (log_prior.size() == 0) {
            std::fill(side.log_prior.begin(), side.log_prior.end(), uniform_log_prior);
        } else {
            std::copy_n(log_prior.data() + block.first, block.count, side.log_prior.data());
        }
        for (Index k = 0; k < block.count; ++k) {
            columns.potential[k] = (std::min)(side.log_prior[k], Real(0));  // of excluded ones -inf, of others any
            side.anchor[k] = prior_weight == 0 ? 0 : prior_weight * side.log_prior[k];
        }
    }

    /// columns.reward and columns.value <- column k
    void read(const ColumnBlock& block, Index k, Columns& columns) const {
        source->rewards(block, k, columns.reward.data());
        if (!source->rewards_are_values()) source->values(block, k, columns.value.data());
    }
    const Buffer<Real>& value(const Columns& columns) const {
        return source->rewards_are_values() ? columns.reward : columns.value;
    }

    /// Checks column k, and raises the highest rewards to it.
    void look_at(const ColumnBlock& block, Index k, Columns& columns, Sums& sums) const {
        source->values(block, k, columns.value.data());
        require_finite_column(columns.value, block.first + k, source->rewards_are_values() ? "reward" : "bag");
        if (is_left_out(columns, k)) return;
        if (source->rewards_are_values()) {
            columns.reward.swap(columns.value);
        } else {
            read_transformed(block, k, columns, sums);
            if (is_left_out(columns, k)) return;
        }
        const Real* const x = columns.reward.data();
        const Real* const v = value(columns).data();
        for (Index d = 0; d < rows(); ++d) {
            if (!(x[d] > sums.highest[d])) continue;
            sums.highest[d] = x[d];
            sums.reference[d] = Sums::unit * v[d];
        }
    }

    static void require_finite_column(const Buffer<Real>& column, Index n, const char* name) {
        if (all_finite(column.data(), column.size())) return;
        for (Index d = 0; d < column.size(); ++d) {
            require_that(std::isfinite(column[d]), text(name, " at feature ", d, ", instance ", n), column[d],
                         "finite numbers");
        }
    }

    /// columns.reward <- the functor's rewards, which may be -inf. A column of which all are is left out.
    void read_transformed(const ColumnBlock& block, Index k, Columns& columns, Sums& sums) const {
        const Index n = block.first + k;
        try {
            source->rewards(block, k, columns.reward.data());
        } catch (const InvalidArgument& error) {
            throw error.in("instance " + printed(n));
        }
        if (all_finite(columns.reward.data(), rows())) return;
        for (Index d = 0; d < rows(); ++d) {
            require_that(columns.reward[d] < std::numeric_limits<Real>::infinity(),
                         text("reward at feature ", d, ", instance ", n), columns.reward[d],
                         "finite numbers, or -inf for a pair that is forbidden");
        }
        require_that(inverse_alpha0 > 0, "alpha0", std::numeric_limits<Real>::infinity(),
                     "finite, as the reward has entries of -inf");
        sums.forbids_pairs = true;
        if (highest(columns.reward.data(), rows()) > Sums::nothing) return;
        require_that(!instances.common.is_hard(), text("reward of instance ", n), "-inf at all features",
                     "a finite reward, as its marginal is hard");
        columns.potential[k] = Sums::nothing;
    }

    /// columns.entry <- (x - shifts) / alpha0 + row_potential of the column that was read; returns the highest.
    Real set_exponents(Columns& columns, Index k, const Real* row_potential) const {
        if (shifts_rows) return set_exponents(columns, row_shift.data(), 0, row_potential);
        const Real shift = highest(columns.reward.data(), rows());
        columns.side.anchor[k] += (std::max)((shift - offset) * inverse_alpha0, lowest_exponent);
        return set_exponents(columns, nullptr, shift, row_potential);
    }
    Real set_exponents(Columns& columns, const Real* shift, Real col_shift, const Real* row_potential) const {
        using L = Lanes<Real>;
        const Real* const x = columns.reward.data();
        Real* const entry = columns.entry.data();
        L top(std::numeric_limits<Real>::lowest());
        for_each_lanes(rows(), [&](Index d, Index count) {
            L z = load_some(x + d, count, Real(0)) - L(col_shift);
            if (shift != nullptr) z = z - load_some(shift + d, count, Real(0));
            z = higher(z * L(inverse_alpha0), L(lowest_exponent));
            if (row_potential != nullptr) z += load_some(row_potential + d, count, Real(0));
            top = higher(top, first_lanes(z, count, std::numeric_limits<Real>::lowest()));
            store_some(z, entry + d, count);
        });
        return highest(top);
    }

    /// entry <- exp(entry - top); returns the sum.
    Real exponentiate(Real top, Real* entry) const {
        using L = Lanes<Real>;
        L total(0);
        for_each_lanes(rows(), [&](Index d, Index count) {
            const L z = load_some(entry + d, count, Real(0)) - L(top);
            const L power = bounded_exp(higher(z, L(least_exponent)));
            total += first_lanes(power, count, Real(0));
            store_some(power, entry + d, count);
        });
        return sum(total);
    }

    /// Adds `weight` times the column's entries.
    void add_column(Real weight, const Columns& columns, Sums& sums) const {
        using L = Lanes<Real>;
        const Real* const entry = columns.entry.data();
        const Real* const v = value(columns).data();
        for_each_lanes(rows(), [&](Index d, Index count) {
            const auto load = [&](const Real* from) { return load_some(from + d, count, Real(0)); };
            const L mass = L(weight) * load(entry);
            const L excess = load(v) * L(Sums::unit) - load(sums.reference.data());
            store_some(load(sums.mass.data()) + mass, sums.mass.data() + d, count);
            store_some(multiply_add(mass, excess, load(sums.weighted.data())), sums.weighted.data() + d, count);
        });
    }

    /// The sums of the rows, each in the unit of its largest entry; columns have their potentials. For any range.
    void sum_rows(const ColumnBlock& block, Columns& columns, const Real* row_potential, Sums& sums) const {
        using L = Lanes<Real>;
        for (Buffer<Real>* of_rows : {&sums.mass, &sums.weighted}) std::fill(of_rows->begin(), of_rows->end(), 0);
        std::fill(sums.top.begin(), sums.top.end(), Sums::nothing);
        const auto for_each_column = [&](const auto& visit) {
            for (Index k = 0; k < block.count; ++k) {
                if (is_left_out(columns, k)) continue;
                read(block, k, columns);
                const Real shift = shifts_rows ? 0 : highest(columns.reward.data(), rows());
                const bool by_rows = shifts_rows || row_potential == nullptr;  // the first look is by rows
                set_exponents(columns, by_rows ? sums.highest.data() : nullptr, by_rows ? 0 : shift, row_potential);
                visit(L(columns.potential[k]));
            }
        };
        Real* const entry = columns.entry.data();
        Real* const top = sums.top.data();
        const auto load = [](const Real* from, Index count) { return load_some(from, count, Real(0)); };
        for_each_column([&](const L& potential) {
            for_each_lanes(rows(), [&](Index d, Index count) {
                store_some(higher(load(top + d, count), load(entry + d, count) + potential), top + d, count);
            });
        });
        for_each_column([&](const L& potential) {
            for_each_lanes(rows(), [&](Index d, Index count) {
                // Added in the same order as above, so that rounding leaves no exponent above 0.
                const L z = (load(entry + d, count) + potential) - load(top + d, count);
                store_some(exp_or_zero(z), entry + d, count);
            });
            add_column(1, columns, sums);
        });
    }

    /// The sums over columns.
    void sum_columns(const ColumnBlock& block, Columns& columns, Sums& sums) const {
        Real log_largest = Sums::nothing;
        for (Index k = 0; k < block.count; ++k) {
            if (is_left_out(columns, k)) continue;
            log_largest = (std::max)(log_largest, columns.side.log_prior[k] - columns.penalty[k]);
        }
        Real largest = 0;
        Real asked = 0;
        for (Index k = 0; k < block.count; ++k) {
            if (is_left_out(columns, k)) continue;
            const Real log_mass = columns.side.log_prior[k] - columns.penalty[k];  // as its half step makes it
            asked += std::exp(log_mass - log_largest);
            if (log_mass > log_largest + log_no_mass) largest = (std::max)(largest, std::abs(columns.potential[k]));
        }
        sums.log_asked = asked > 0 ? log_largest + std::log(asked) : Sums::nothing;
        sums.log_largest = log_largest;
        sums.largest_potential = largest;
    }
};

}  // namespace otpool::detail
