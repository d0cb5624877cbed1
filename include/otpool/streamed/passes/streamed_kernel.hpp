// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/log_domain_kernel.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/streamed/any_columns.hpp"
#include "otpool/streamed/passes/streamed_checks.hpp"
#include "otpool/streamed/passes/streamed_sums.hpp"

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
    Buffer<Real> log_prior;             ///< log q0 of the source's columns, -inf for excluded ones; empty if uniform.
    Real uniform_log_prior = 0;         ///< Of every instance, if it is empty.
    Buffer<Real> row_shift, reference;  ///< StreamedSums::highest and reference of the whole bag, after its first pass.
    Real offset = 0;                    ///< The highest reward of all, likewise.
    bool forbids_pairs = false;         ///< Whether a reward is -inf, likewise.

    /// The columns of the block in work, and memory for one of them.
    struct Columns {
        Side side;
        Buffer<Real> potential;  ///< Kernel potentials; -inf for columns that are left out.
        Buffer<Real> penalty, log_sum;
        Buffer<Real> reward, value, entry;  ///< Of one column, padded to whole registers; rewards and values by zeros.
        Buffer<Real> zeros;                 ///< As many.
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
        if (source->rewards_are_values()) {
            for (Index d = 0; d < rows(); ++d) sums.reference[d] = Sums::unit * sums.highest[d];
        }
        const bool alike = log_prior.size() == 0 || prior_weight == 0;  // every feature's largest entry is then known
        if (alike) {
            std::fill(sums.top.begin(), sums.top.end(), prior_weight * uniform_log_prior);
        } else {
            set_tops(block, columns, columns.zeros.data(), sums);
        }
        sum_rows(block, columns, columns.zeros.data(), sums);
        sums.set_columns(columns.side.log_prior, columns.penalty, columns.potential);
    }

    /// The half step of every column of the block, given the features' potentials, and the sums of the resulting plan.
    /// `row_potential` is padded by the lowest number, so that the padding has no mass.
    /// Cost: an exp per element; three if a feature has next to no mass in the block.
    void sweep(const ColumnBlock& block, const Real* row_potential, Columns& columns, Sums& sums) const {
        start(block, columns);
        sums.start(rows(), row_shift, reference);
        Real level = Sums::nothing;  // exp(level) is the unit of the sums
        for (Index k = 0; k < block.count; ++k) {
            if (is_left_out(columns, k)) continue;
            read(block, k, columns);
            if (forbids_pairs && highest(columns.reward.data(), rows()) == Sums::nothing) {
                columns.potential[k] = Sums::nothing;
                continue;
            }
            const Real top = set_exponents(columns, k, row_potential);
            const Real sum = exponentiate(top, columns.entry);
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
        sums.set_columns(columns.side.log_prior, columns.penalty, columns.potential);
        if (sums.active == 0) return;
        if (lowest(sums.mass.data(), rows()) > least_mass) {
            std::fill(sums.top.begin(), sums.top.end(), level);
        } else {
            set_tops(block, columns, row_potential, sums);
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
        sums.start(rows(), row_shift, reference);
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
    using L = Lanes<Real>;

    Index rows() const { return source->rows(); }
    static bool is_left_out(const Columns& columns, Index k) { return columns.potential[k] == Sums::nothing; }

    /// Sets the block's priors, and the potentials of its excluded columns.
    void start(const ColumnBlock& block, Columns& columns) const {
        Side& side = columns.side;
        side.common = instances.common;
        for (Buffer<Real>* of_columns : {&side.log_prior, &side.anchor, &columns.potential, &columns.log_sum})
            of_columns->resize(block.count);
        columns.penalty.assign(block.count, 0);
        columns.entry.resize(padded(rows()));
        for (Buffer<Real>* of_rows : {&columns.reward, &columns.value, &columns.zeros})
            of_rows->assign(padded(rows()), 0);
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
        require_finite_column(columns.value.data(), rows(), source->number(block.first + k),
                              source->rewards_are_values() ? "reward" : "bag");
        if (is_left_out(columns, k)) return;
        if (source->rewards_are_values()) return raise(columns.value.data(), sums.highest);
        read_transformed(block, k, columns, sums);
        if (is_left_out(columns, k)) return;
        const Real* const x = columns.reward.data();
        const Real* const v = columns.value.data();
        for (Index d = 0; d < rows(); ++d) {
            if (!(x[d] > sums.highest[d])) continue;
            sums.highest[d] = x[d];
            sums.reference[d] = Sums::unit * v[d];
        }
    }

    /// highest <- max(highest, x)
    static void raise(const Real* x, Buffer<Real>& highest) {
        Real* const top = highest.data();
        for (Index d = 0; d < highest.size(); d += register_lanes)
            higher(L::load(top + d), L::load(x + d)).store(top + d);
    }

    /// columns.reward <- the functor's rewards, which may be -inf. A column of which all are is left out.
    void read_transformed(const ColumnBlock& block, Index k, Columns& columns, Sums& sums) const {
        const Index n = source->number(block.first + k);
        try {
            source->rewards(block, k, columns.reward.data());
        } catch (const InvalidArgument& error) {
            throw error.in("instance " + printed(n));
        }
        const Allowed allowed =
            allowed_features(columns.reward.data(), rows(), n, inverse_alpha0 == 0, instances.common.is_hard());
        sums.forbids_pairs = sums.forbids_pairs || allowed != Allowed::all;
        if (allowed == Allowed::none) columns.potential[k] = Sums::nothing;
    }

    /// columns.entry <- (x - shifts) / alpha0 + row_potential of the column that was read; returns the highest.
    Real set_exponents(Columns& columns, Index k, const Real* row_potential) const {
        if (shifts_rows) return set_exponents(columns, &row_shift, 0, row_potential);
        const Real shift = highest(columns.reward.data(), rows());
        columns.side.anchor[k] += (std::max)((shift - offset) * inverse_alpha0, lowest_exponent);
        return set_exponents(columns, nullptr, shift, row_potential);
    }
    Real set_exponents(Columns& columns, const Buffer<Real>* shift, Real col_shift, const Real* row_potential) const {
        const Real* const x = columns.reward.data();
        const Real* const row_shift_of = shift != nullptr ? shift->data() : columns.zeros.data();
        Real* const entry = columns.entry.data();
        L top(std::numeric_limits<Real>::lowest());
        for (Index d = 0; d < columns.entry.size(); d += register_lanes) {
            const L below = (L::load(x + d) - L(col_shift)) - L::load(row_shift_of + d);
            const L z = higher(below * L(inverse_alpha0), L(lowest_exponent)) + L::load(row_potential + d);
            top = higher(top, z);
            z.store(entry + d);
        }
        return highest(top);
    }

    /// entry <- exp(entry - top); returns the sum. The padding has no mass to speak of.
    Real exponentiate(Real top, Buffer<Real>& entries) const {
        Real* const entry = entries.data();
        L total(0);
        for (Index d = 0; d < entries.size(); d += register_lanes) {
            const L power = bounded_exp(higher(L::load(entry + d) - L(top), L(least_exponent)));
            total += power;
            power.store(entry + d);
        }
        return sum(total);
    }

    /// Adds `weight` times the column's entries.
    void add_column(Real weight, const Columns& columns, Sums& sums) const {
        const Real* const entry = columns.entry.data();
        const Real* const v = value(columns).data();
        const Real* const reference_of = sums.reference.data();
        Real* const mass = sums.mass.data();
        Real* const weighted = sums.weighted.data();
        for (Index d = 0; d < columns.entry.size(); d += register_lanes) {
            const L m = L(weight) * L::load(entry + d);
            const L excess = L::load(v + d) * L(Sums::unit) - L::load(reference_of + d);
            (L::load(mass + d) + m).store(mass + d);
            multiply_add(m, excess, L::load(weighted + d)).store(weighted + d);
        }
    }

    /// visit(potential) for every column that is not left out; columns.entry has its exponents without the potential.
    void for_each_column(const ColumnBlock& block, Columns& columns, const Real* row_potential, const Sums& sums,
                         const auto& visit) const {
        const bool by_rows = shifts_rows || row_potential == columns.zeros.data();  // the first look is by rows
        for (Index k = 0; k < block.count; ++k) {
            if (is_left_out(columns, k)) continue;
            read(block, k, columns);
            const Real col_shift = by_rows ? 0 : highest(columns.reward.data(), rows());
            set_exponents(columns, by_rows ? &sums.highest : nullptr, col_shift, row_potential);
            visit(L(columns.potential[k]));
        }
    }

    /// sums.top <- the largest exponent of each row; columns have their potentials.
    void set_tops(const ColumnBlock& block, Columns& columns, const Real* row_potential, Sums& sums) const {
        std::fill(sums.top.begin(), sums.top.end(), Sums::nothing);
        const Real* const entry = columns.entry.data();
        Real* const top = sums.top.data();
        for_each_column(block, columns, row_potential, sums, [&](const L& potential) {
            for (Index d = 0; d < columns.entry.size(); d += register_lanes)
                higher(L::load(top + d), L::load(entry + d) + potential).store(top + d);
        });
    }

    /// The sums of the rows in the unit exp(sums.top). For any range.
    void sum_rows(const ColumnBlock& block, Columns& columns, const Real* row_potential, Sums& sums) const {
        for (Buffer<Real>* of_rows : {&sums.mass, &sums.weighted}) std::fill(of_rows->begin(), of_rows->end(), 0);
        Real* const entry = columns.entry.data();
        const Real* const top = sums.top.data();
        for_each_column(block, columns, row_potential, sums, [&](const L& potential) {
            // Added in the same order as in set_tops(), so that rounding leaves no exponent above 0.
            for (Index d = 0; d < columns.entry.size(); d += register_lanes)
                exp_or_zero((L::load(entry + d) + potential) - L::load(top + d)).store(entry + d);
            add_column(1, columns, sums);
        });
    }
};

}  // namespace otpool::detail
