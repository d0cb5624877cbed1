// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <iterator>
#include <limits>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/packet.hpp"

namespace otpool::detail {

/// log(exp(a) + exp(b)); a or b may be -inf.
inline Real log_add(Real a, Real b) {
    const Real top = (std::max)(a, b);
    return std::isinf(top) ? top : top + std::log1p(std::exp((std::min)(a, b) - top));
}

/// What a pass over some columns of a bag adds up. The entries of the plan are
///
///     P_dk = exp((x_dk - highest_d) / alpha0 + rest_dk),
///     mass_d = sum_k P_dk exp(-top_d),   weighted_d = sum_k P_dk exp(-top_d) (unit v_dk - reference_d)
///
/// with a `highest` of these columns in the first pass, when the bag's is not known yet. Sums of other columns can be
/// added in the same form, without underflow and without losing digits to the level of rewards or values.
template <std::same_as<Real> Work = Real>
struct StreamedSums {
    /// Values are summed in this unit, so that sums of the largest numbers stay in range.
    static constexpr Real unit = 0x1p-40;
    /// `highest` of a feature without a finite reward.
    static constexpr Real no_reward = std::numeric_limits<Real>::lowest();
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    /// One number per feature each, padded to whole registers: the first two by zeros, sums by any numbers.
    Buffer<Real> highest, reference, top, mass, weighted;
    Buffer<Real> log_col_mass;   ///< Of each column, if asked for; not added up.
    Real log_asked = nothing;    ///< log of the mass that the instances ask for, sum_k q0_k exp(-g_k / alpha2)
    Real log_largest = nothing;  ///< log mass of the column with the largest mass
    Real largest_potential = 0;  ///< max |kernel potential of an instance with mass|
    Index active = 0;            ///< How many instances there are, without those left out.
    bool forbids_pairs = false;  ///< Whether a reward is -inf.

    Index rows() const { return rows_; }

    /// No columns.
    void start(Index rows) {
        highest.assign(padded(rows), 0);
        std::fill_n(highest.begin(), rows, no_reward);
        reference.assign(padded(rows), 0);
        start_sums(rows);
    }
    /// The same with these levels.
    void start(Index rows, const Buffer<Real>& highest_, const Buffer<Real>& reference_) {
        highest = highest_;
        reference = reference_;
        start_sums(rows);
    }

    /// The sums over columns, given their potentials (-inf for those left out) and penalties.
    void set_columns(const Buffer<Real>& log_prior, const Buffer<Real>& penalty, const Buffer<Real>& potential) {
        const auto for_each_column = [&](const auto& visit) {
            for (Index k = 0; k < potential.size(); ++k) {
                if (potential[k] != nothing)
                    visit(log_prior[k] - penalty[k], potential[k]);  // log mass: the half step's
            }
        };
        log_largest = nothing;
        for_each_column([&](Real log_mass, Real) { log_largest = (std::max)(log_largest, log_mass); });
        Real asked = 0;
        largest_potential = 0;
        for_each_column([&](Real log_mass, Real g) {
            asked += std::exp(log_mass - log_largest);
            if (log_mass > log_largest + log_no_mass) largest_potential = (std::max)(largest_potential, std::abs(g));
        });
        log_asked = asked > 0 ? log_largest + std::log(asked) : nothing;
    }

    /// Adds sums over other columns.
    void add(const StreamedSums& other, Real inverse_alpha0) {
        for (Index d = 0; d < rows(); ++d) add_row(d, other, inverse_alpha0);
        log_asked = log_add(log_asked, other.log_asked);
        add_largest(other.log_largest, other.largest_potential);
        active += other.active;
        forbids_pairs = forbids_pairs || other.forbids_pairs;
    }

    /// The sums as so many numbers, for messages; without log_col_mass.
    static Index numbers(Index rows) { return 5 * rows + 5; }
    void copy_to(Real* to) const {
        for (const Buffer<Real>* of_rows : {&highest, &reference, &top, &mass, &weighted})
            to = std::copy_n(of_rows->begin(), rows(), to);
        const Real others[] = {log_asked, log_largest, largest_potential, static_cast<Real>(active),
                               Real(forbids_pairs ? 1 : 0)};
        std::copy(std::begin(others), std::end(others), to);
    }
    void copy_from(Index rows, const Real* from) {
        start(rows);
        for (Buffer<Real>* of_rows : {&highest, &reference, &top, &mass, &weighted}) {
            std::copy_n(from, rows, of_rows->begin());
            from += rows;
        }
        log_asked = from[0];
        log_largest = from[1];
        largest_potential = from[2];
        active = static_cast<Index>(from[3]);
        forbids_pairs = from[4] != 0;
    }

    /// Columns of the other sums do not count if they have no mass beside these, and the other way round.
    void add_largest(Real other_log_largest, Real other_potential) {
        const Real log_both = (std::max)(log_largest, other_log_largest);
        Real potential = log_largest > log_both + log_no_mass ? largest_potential : 0;
        if (other_log_largest > log_both + log_no_mass) potential = (std::max)(potential, other_potential);
        largest_potential = potential;
        log_largest = log_both;
    }

    /// sum_k P_dk v_dk / sum_k P_dk
    Real mean(Index d) const { return (reference[d] + weighted[d] / mass[d]) / unit; }
    /// log sum_k P_dk
    Real log_mass(Index d) const { return top[d] + std::log(mass[d]); }

private:
    void start_sums(Index rows) {
        rows_ = rows;
        top.assign(padded(rows), nothing);
        for (Buffer<Real>* sums : {&mass, &weighted}) sums->assign(padded(rows), 0);
        log_asked = log_largest = nothing;
        largest_potential = 0;
        active = 0;
        forbids_pairs = false;
    }

    void add_row(Index d, const StreamedSums& other, Real inverse_alpha0) {
        if (other.mass[d] == 0) return;
        if (mass[d] == 0) return copy_row(d, other);
        const Real level = (std::max)(highest[d], other.highest[d]);
        const auto exponent = [&](const StreamedSums& sums) {
            return sums.top[d] + (std::max)((sums.highest[d] - level) * inverse_alpha0, lowest_exponent);
        };
        const Real here = exponent(*this);
        const Real there = exponent(other);
        const Real both = (std::max)(here, there);
        const Real factor = std::exp(here - both);
        const Real other_factor = std::exp(there - both);
        const Real origin = here >= there ? reference[d] : other.reference[d];
        const auto moved = [&](const StreamedSums& sums) {
            return sums.weighted[d] + sums.mass[d] * (sums.reference[d] - origin);
        };
        weighted[d] = factor * moved(*this) + other_factor * moved(other);
        mass[d] = factor * mass[d] + other_factor * other.mass[d];
        highest[d] = level;
        reference[d] = origin;
        top[d] = both;
    }

    void copy_row(Index d, const StreamedSums& other) {
        highest[d] = other.highest[d];
        reference[d] = other.reference[d];
        top[d] = other.top[d];
        mass[d] = other.mass[d];
        weighted[d] = other.weighted[d];
    }

    Index rows_ = 0;
};

}  // namespace otpool::detail
