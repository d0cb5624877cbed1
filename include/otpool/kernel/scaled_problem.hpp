// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/side.hpp"

namespace otpool::detail {

/// No exponent is below it: far under what any exp() resolves, and far from the overflow of double.
inline constexpr Real lowest_exponent = -1e100;

/// The exponents z_dk = (x_dk - row_shift_d - col_shift_k) / alpha0 of the kernel, computed a column at a time from
/// the reward in place.
struct ScaledReward {
    AnyView reward;
    std::vector<Index> active;  ///< The instances of prior > 0; every loop over instances k runs over these.
    bool shifts_rows = true;    ///< Whether row_shift is each feature's highest reward, else col_shift each instance's.
    Buffer<Real> row_shift;
    Buffer<Real> col_shift;
    Real inverse_alpha0 = 0;
    /// No reward of an active instance is below or above, if they have been looked at.
    Real lowest = -std::numeric_limits<Real>::infinity();
    Real highest = std::numeric_limits<Real>::infinity();

    Index rows() const { return reward.rows(); }
    Index cols() const { return static_cast<Index>(active.size()); }
    bool looked_at() const { return highest < std::numeric_limits<Real>::infinity(); }
    Index instance(Index k) const { return active[static_cast<std::size_t>(k)]; }

    /// z_k, rows() numbers.
    void column(Index k, Real* out) const {
        reward.copy_column(instance(k), out);
        const Real* shift = row_shift.data();
        for (Index d = 0; d < rows(); ++d) {
            out[d] = std::max(((out[d] - shift[d]) - col_shift[k]) * inverse_alpha0, lowest_exponent);
        }
    }
};

/// A UOT problem in units of alpha0, the form in which Sinkhorn and Newton solve it:
///
///     log P_dk = z_dk + feature_potential_d + instance_potential_k + mass_shift,   z <= 0
///
/// The potentials here are "kernel potentials", f/alpha0 + anchor. Taking each feature's largest reward out of the
/// kernel (or each instance's, where the features are free and only instances compare features) leaves differences of
/// rewards, so shifted rewards lose no digits. Taking the largest of all out of the problem changes the free mass by
/// a known factor: the plan with reward X + c has exp(c / (alpha0 + alpha1 + alpha2)) times the mass.
///
/// Where the inspection was a glance, the largest rewards are those of a few instances, and z may be above 0; nothing
/// else changes.
struct ScaledProblem {
    ScaledReward kernel;
    Side features;
    Side instances;
    Real offset = 0;      ///< max_dk x_dk
    Real mass_shift = 0;  ///< offset / (alpha0 + alpha1 + alpha2)

    /// What a hard side's potential has to take of the offset, as its mass is given: the features' if both are hard.
    Real offset_of_features() const { return offset; }
    Real offset_of_instances() const { return features.is_hard() ? 0 : offset; }

    /// A feature and an instance whose reward is the largest of all. Cost: O(D + N).
    std::pair<Index, Index> highest() const {
        const auto place_of_highest = [](const auto& v) { return std::max_element(v.begin(), v.end()) - v.begin(); };
        if (!kernel.shifts_rows) {
            const Index n = kernel.instance(place_of_highest(kernel.col_shift));
            std::vector<Real> column(static_cast<std::size_t>(kernel.rows()));
            kernel.reward.copy_column(n, column.data());
            return {place_of_highest(column), n};
        }
        const Index d = place_of_highest(kernel.row_shift);
        return {d, *std::find_if(kernel.active.begin(), kernel.active.end(),
                                 [&](Index n) { return kernel.reward(d, n) >= offset; })};
    }

    ScaledProblem() = default;
    explicit ScaledProblem(const Inspection& problem) { set(problem); }

    void set(const Inspection& problem) {
        const Real alpha0 = problem.alpha0;
        const Priors& priors = problem.priors;
        kernel.reward = problem.reward;
        kernel.active = priors.active;
        kernel.inverse_alpha0 = std::min(1 / alpha0, std::numeric_limits<Real>::max());
        kernel.row_shift.resize(kernel.rows());
        kernel.col_shift.resize(kernel.cols());
        features.set(problem.alpha1, alpha0);
        instances.set(problem.alpha2, alpha0);
        copy(priors.log_p, features.log_prior);
        copy(priors.log_q, instances.log_prior);
        for (Buffer<Real>* one_each : {&kernel.row_shift, &kernel.col_shift}) fill(*one_each, 0);
        kernel.shifts_rows = features.alpha > 0 || instances.alpha == 0;
        if (kernel.shifts_rows) {
            copy(problem.highest, kernel.row_shift);
        } else {
            std::vector<Real> column(static_cast<std::size_t>(kernel.rows()));
            for (Index k = 0; k < kernel.cols(); ++k) {
                kernel.reward.copy_column(kernel.instance(k), column.data());
                kernel.col_shift[k] = *std::max_element(column.begin(), column.end());
            }
        }
        const Buffer<Real>& shift = kernel.shifts_rows ? kernel.row_shift : kernel.col_shift;
        offset = *std::max_element(shift.begin(), shift.end());
        set_anchor(features, kernel.row_shift, kernel.shifts_rows, problem.relative);
        set_anchor(instances, kernel.col_shift, !kernel.shifts_rows, problem.relative);
        const Real infinity = std::numeric_limits<Real>::infinity();
        kernel.lowest = problem.looked_at_all ? problem.lowest : -infinity;
        kernel.highest = problem.looked_at_all ? offset : infinity;
        const Real stiffness = alpha0 + problem.alpha1 + problem.alpha2;
        mass_shift = stiffness > 0 ? std::clamp(offset / stiffness, lowest_exponent, -lowest_exponent) : 0;
    }

private:
    static void fill(Buffer<Real>& numbers, Real number) { std::fill(numbers.begin(), numbers.end(), number); }
    static void copy(const auto& from, Buffer<Real>& to) {
        to.resize(from.size());
        std::copy(from.begin(), from.end(), to.begin());
    }

    /// RelativeEntropy is Entropy with reward X + alpha0 log(p0 q0^T).
    void set_anchor(Side& side, const Buffer<Real>& shift, bool shifts, bool relative) const {
        side.anchor.resize(shift.size());
        for (Index i = 0; i < shift.size(); ++i) {
            side.anchor[i] = shifts ? std::max((shift[i] - offset) * kernel.inverse_alpha0, lowest_exponent) : 0;
            if (relative) side.anchor[i] += side.log_prior[i];
        }
    }
};

}  // namespace otpool::detail
