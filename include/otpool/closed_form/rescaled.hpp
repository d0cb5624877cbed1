// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/problem/inspection.hpp"

namespace otpool::detail {

/// A problem whose numbers are near the ends of double's range, in another unit: reward and alphas divided by a power
/// of two. It has the same plan, and its potentials are divided by the same number.
template <std::same_as<Real> Work = Real>
class Rescaled {
public:
    /// Whether differences of rewards, 1 / alpha0 or 2 alpha0 may leave the range of double.
    static bool is_needed(const Inspection& problem) {
        return has_large_reward(problem) || (problem.alpha0 > 0 && problem.alpha0 < smallest_alpha) ||
               has_large_alpha0(problem);
    }
    /// Whether 2 alpha0 does.
    static bool has_large_alpha0(const Inspection& problem) {
        return std::isfinite(problem.alpha0) && problem.alpha0 > (std::numeric_limits<Work>::max)() / 4;
    }

    explicit Rescaled(const Inspection& given) : problem_(given), is_float_(given.reward.is_float()) {
        const Work largest = largest_reward(given);
        exponent_ = has_large_alpha0(given) && !has_large_reward(given)
                        ? 2  // leaves small alphas in range, too
                        : std::ilogb(largest > 0 ? largest : given.alpha0) + 1;
        // Where reward / alpha is in range, no alpha is cut off.
        const int excess = exponent_ - (std::ilogb(least_alpha(given)) - std::ilogb(smallest_alpha));
        if (has_large_reward(given) && excess > 0 && excess <= most_excess) exponent_ -= excess;
        RealMatrix reward = RealMatrix::Zero(given.features(), given.reward.cols());
        for (const Index n : given.priors.active) {
            Work* const column = reward.data() + n * reward.rows();
            given.reward.copy_column(n, column);
            for (Index d = 0; d < reward.rows(); ++d) column[d] = std::ldexp(column[d], -exponent_);
        }
        problem_.reward = AnyView(MatrixView<Real>(std::move(reward)));
        for (Work& highest : problem_.highest) highest = std::ldexp(highest, -exponent_);
        problem_.lowest = std::ldexp(given.lowest, -exponent_);
        problem_.alpha0 = alpha(given.alpha0);
        for (Alphas* alphas : {&problem_.alpha1, &problem_.alpha2})
            alphas->transform([&](Work of_line) { return alpha(of_line); });
    }

    /// The problem in the other unit. Its plan views no memory but its own.
    const Inspection& problem() const { return problem_; }

    /// Potentials to start from, in its unit.
    std::vector<Work> potentials(std::vector<Work> given) const {
        for (Work& potential : given) potential = std::ldexp(potential, -exponent_);
        return given;
    }
    /// Its solution in the unit that was given.
    SolvedPlan restored(SolvedPlan found) const {
        found.mass_potential = saturated(std::ldexp(found.mass_potential, exponent_), is_float_);
        for (RealVector* potentials : {&found.feature_potential, &found.instance_potential}) {
            for (Work& potential : *potentials) {
                const bool excluded = potential == std::numeric_limits<Work>::lowest();
                potential = saturated(excluded ? potential : std::ldexp(potential, exponent_), is_float_);
            }
        }
        return found;
    }

private:
    static constexpr Work smallest_alpha = 0x1p-1000;
    static constexpr int most_excess = 24;  ///< 2^24 / 2^-1000 is the end of the range.

    static bool has_large_reward(const Inspection& problem) { return largest_reward(problem) > 1 / smallest_alpha; }
    static Work largest_reward(const Inspection& problem) {
        const Work lowest = std::isfinite(problem.lowest) ? problem.lowest : 0;  // -inf stays so in any unit
        return (std::max)(std::abs(problem.highest_of_all()), std::abs(lowest));
    }

    /// The least alpha that is not 0, or the largest number.
    static Work least_alpha(const Inspection& problem) {
        Work least = (std::numeric_limits<Work>::max)();  // not infinity, which has no exponent
        const auto add = [&](Work of_line) { least = of_line > 0 ? (std::min)(least, of_line) : least; };
        add(problem.alpha0);
        for (Index d = 0; d < problem.features(); ++d) add(problem.alpha1[d]);
        for (Index k = 0; k < problem.active_instances(); ++k) add(problem.alpha2[k]);
        return least;
    }

    /// 0 and infinity stay; no other alpha becomes one of them.
    Work alpha(Work given) const {
        if (given == 0 || std::isinf(given)) return given;
        return std::clamp(std::ldexp(given, -exponent_), smallest_alpha, (std::numeric_limits<Work>::max)());
    }

    Inspection problem_;
    bool is_float_;
    int exponent_ = 0;
};

}  // namespace otpool::detail
