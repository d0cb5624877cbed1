// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/scaling_steps.hpp"

namespace otpool::detail {

/// The tape of K steps of Sinkhorn: their log sums, which say what the potentials were. Memory: D + N numbers a step.
///
/// Where the instances' half step comes first, step 0 has no other: its features' potential is 0. After the last step is
/// then one more half step of the features, from the last of the log sums over instances.
struct SinkhornTape {
    ParameterSets parameters = {};
    Real prior_weight = 0;  ///< The regulariser's.
    bool instances_first = false;
    bool translates = false;                   ///< Whether a step has a translation, if that moves its sides.
    std::vector<ScaledProblem> problems = {};  ///< One for each set of parameters.
    LogSums log_sums = {};                     ///< s and u
    std::vector<Real> translation = {};        ///< T of every step

    Index steps() const { return static_cast<Index>(translation.size()); }
    const ScaledProblem& scaled(Index k) const { return problems[parameters.place(k)]; }
    ScaledProblem& scaled(Index k) { return problems[parameters.place(k)]; }

    /// Of the sums that step k starts from; after the last step, those that it ends with.
    const Real* log_row_sum(Index k) const { return log_sums.of_rows.data() + k * log_sums.of_rows.rows(); }
    const Real* log_col_sum(Index k) const { return log_sums.of_cols.data() + k * log_sums.of_cols.rows(); }

    /// Whether step k has a half step of the features.
    bool has_features(Index k) const { return k > 0 || !instances_first; }

    /// potential <- the features' kernel potential after the translation of step k.
    void features(Index k, Buffer<Real>& potential) const {
        const Side& side = scaled(k).features;
        if (!has_features(k)) {
            potential = side.anchor;
            return;
        }
        half_step(side, log_row_sum(k), potential);
        const Real t = translation[static_cast<std::size_t>(k)];
        for (Index d = 0; d < potential.size(); ++d) potential[d] += side.line(d).is_free() ? 0 : t;
    }
    /// potential <- the instances' after step k.
    void instances(Index k, Buffer<Real>& potential) const {
        half_step(scaled(k).instances, log_col_sum(k), potential);
    }
    /// potential <- the instances' that step k starts from: that of step k - 1, in units of its own alpha0.
    void start(Index k, Buffer<Real>& potential) const {
        const Buffer<Real>& anchor = scaled(k).instances.anchor;
        if (k == 0) {
            potential = anchor;
            return;
        }
        instances(k - 1, potential);
        if (parameters.shared()) return;
        const Buffer<Real>& anchor_before = scaled(k - 1).instances.anchor;
        const Real ratio = parameters[k - 1].alpha0 / parameters[k].alpha0;
        for (Index i = 0; i < potential.size(); ++i)
            potential[i] = anchor[i] + (potential[i] - anchor_before[i]) * ratio;
    }

    /// Throws InvalidArgument, which names the bag, if a gradient has fewer than six digits. A half step rounds its
    /// potentials by up to 1.1e-16 times the largest. The gradient is then right for log-priors that are off by as much
    /// in that step: 1e-7 of what all steps add up to, if no potential is above 1e9.
    void require_digits(Index bag) const {
        constexpr Real largest = 1e9;
        Buffer<Real> potential;
        for (Index k = 0; k < steps(); ++k) {
            Real found = 0;
            for (const auto set : {&SinkhornTape::start, &SinkhornTape::features, &SinkhornTape::instances}) {
                (this->*set)(k, potential);
                found = (std::max)(found, largest_magnitude(potential.data(), potential.size()));
            }
            const Real alpha0 = parameters[k].alpha0;
            require_that(found <= largest, text("alpha0 at bag ", bag), alpha0,
                         text("about ", alpha0 * found / largest, " or more, if a gradient is taken"));
        }
    }

private:
    /// As Side::half_steps().
    static void half_step(const Side& side, const Real* log_sum, Buffer<Real>& potential) {
        potential.resize(side.size());
        side.with_lines([&](const auto& line_of) {
            for (Index i = 0; i < side.size(); ++i) {
                const Stiffness& line = line_of(i);
                potential[i] = line.damping * (side.log_prior[i] - log_sum[i]) + line.relaxation * side.anchor[i];
            }
        });
    }
};

}  // namespace otpool::detail
