// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/plan/sparse_solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/reward_spread.hpp"

namespace otpool::detail {

/// Whether an oriented problem's rows are features: if there are at most as many as active instances, or if instances,
/// which then must be columns, have a limit (KSparse).
inline bool features_are_rows(const Inspection& problem) {
    return problem.features() <= problem.active_instances() || problem.regularizer.most > 0;
}

/// A problem's rewards as a matrix, in a unit of its own and less an offset, so that potentials are numbers of moderate
/// size. Its rows are the smaller side, or features (features_are_rows()).
///
///     reward' = (reward - offset) / unit,   potential' = (potential + share offset) / unit,   alpha' = alpha / unit
///
/// The shares of the two sides add up to 1: alpha1 / (alpha1 + alpha2) and the rest. Priors make up for them on a soft
/// side; if lines have alphas of their own and no side is hard, there is no offset. The plan is the same. A reward of
/// -inf stays one, and means that the entry has no mass.
template <std::same_as<Real> Work = Real>
struct OrientedProblem {
    static constexpr Work largest = 1e280;  ///< Rewards and potentials are clamped to it.

    bool features_are_rows = true;
    Index rows = 0, cols = 0;
    std::vector<Work> reward;  ///< A column after the other.
    Work largest_reward = 0;   ///< The largest |reward'| of those that matter (lowest_that_matters()).
    std::vector<MarginalLine> row_lines, col_lines;

    OrientedProblem(const Inspection& problem, Work unit, Work offset) : problem_(&problem), unit_(unit) {
        const Priors& priors = problem.priors;
        const Alphas& alpha1 = problem.alpha1;
        const Alphas& alpha2 = problem.alpha2;
        features_are_rows = detail::features_are_rows(problem);
        rows = features_are_rows ? problem.features() : problem.active_instances();
        cols = features_are_rows ? problem.active_instances() : problem.features();
        offset_ = sum_of_alphas(alpha1, alpha2) > 0 ? offset : 0;
        // Each of them by itself: the small one has digits that the other's difference from 1 has not.
        feature_share_ = share(alpha1, alpha2);
        instance_share_ = alpha1.all_hard() ? 0 : share(alpha2, alpha1);
        set_reward();
        set_lines(priors.log_p.data(), problem.features(), alpha1, features_are_rows ? row_lines : col_lines);
        set_lines(priors.log_q.data(), problem.active_instances(), alpha2, features_are_rows ? col_lines : row_lines);
    }

    const Work* column(Index k) const { return reward.data() + k * rows; }

    /// row'_i of a potential in the reward's unit: f of a feature or g of an instance.
    Work row_potential(Work potential) const {
        const Work scaled = (potential + (features_are_rows ? feature_share_ : instance_share_) * offset_) / unit_;
        return std::clamp(scaled, -largest, largest);
    }

    /// Potentials of the rows, in the reward's unit.
    std::vector<Work> given_rows(std::vector<Work> potential) const {
        set_given(potential, features_are_rows ? problem_->alpha1 : problem_->alpha2,
                  features_are_rows ? feature_share_ : instance_share_);
        return potential;
    }

    /// The solution with these potentials and log P, both in this problem's layout. The caller sets the outcome.
    SolvedPlan solution(const Work* row, const Work* col, std::vector<Work>&& log_plan) const {
        std::vector<Work> f =
            features_are_rows ? std::vector<Work>(row, row + rows) : std::vector<Work>(col, col + cols);
        std::vector<Work> g =
            features_are_rows ? std::vector<Work>(col, col + cols) : std::vector<Work>(row, row + rows);
        set_given(f, problem_->alpha1, feature_share_);
        set_given(g, problem_->alpha2, instance_share_);
        return sparse_solution(*problem_, features_are_rows ? std::move(log_plan) : transposed(log_plan), f.data(),
                               g.data());
    }

private:
    /// alpha / (alpha + other)
    static Work share(const Alphas& alpha, const Alphas& other) {
        if (alpha.all_hard()) return 1;
        if (other.all_hard() || alpha.differ() || alpha.common() == 0) return 0;
        return 1 / (1 + other.common() / alpha.common());
    }

    /// Brings potentials to the reward's unit.
    void set_given(std::vector<Work>& potential, const Alphas& alphas, Work share) const {
        for (std::size_t i = 0; i < potential.size(); ++i) {
            const bool is_free = alphas[static_cast<Index>(i)] == 0;
            const Work scaled = potential[i] == 0 ? 0 : potential[i] * unit_;
            potential[i] = is_free ? 0 : scaled - share * offset_;
        }
    }

    Work in_unit(Work x) const { return std::clamp((x / 2 - offset_ / 2) / (unit_ / 2), -largest, largest); }

    void set_reward() {
        largest_reward = (std::max)(std::abs(in_unit(problem_->highest_of_all())),
                                    std::abs(in_unit(lowest_that_matters<Work>(*problem_))));
        reward.resize(static_cast<std::size_t>(rows * cols));
        std::vector<Work> x(static_cast<std::size_t>(problem_->features()));
        const Index of_feature = features_are_rows ? 1 : rows;
        const Index of_instance = features_are_rows ? rows : 1;
        for (Index n = 0; n < problem_->active_instances(); ++n) {
            problem_->reward.copy_column(problem_->priors.active[static_cast<std::size_t>(n)], x.data());
            for (std::size_t d = 0; d < x.size(); ++d) {
                const Work scaled = in_unit(x[d]);
                const bool has_reward = x[d] >= std::numeric_limits<Work>::lowest();
                reward[static_cast<std::size_t>(static_cast<Index>(d) * of_feature + n * of_instance)] =
                    has_reward ? scaled : -std::numeric_limits<Work>::infinity();
            }
        }
    }

    void set_lines(const Work* log_prior, Index size, const Alphas& alphas, std::vector<MarginalLine>& lines) const {
        // The mass grows with the offset, unless a hard side fixes it.
        const bool is_fixed = problem_->alpha1.all_hard() || problem_->alpha2.all_hard();
        const Work growth =
            is_fixed ? Work(0) : log_growth(offset_, problem_->alpha1.common(), problem_->alpha2.common());
        for (Index i = 0; i < size; ++i) {
            MarginalLine line{log_prior[i], alphas[i]};
            if (line.is_soft()) line.log_prior += growth;
            lines.push_back(line.in_units_of(unit_));
        }
    }

    /// A column of features after the other, from one of instances.
    std::vector<Work> transposed(const std::vector<Work>& log_plan) const {
        std::vector<Work> other(log_plan.size());
        for (Index d = 0; d < cols; ++d) {
            for (Index n = 0; n < rows; ++n) {
                other[static_cast<std::size_t>(n * cols + d)] = log_plan[static_cast<std::size_t>(d * rows + n)];
            }
        }
        return other;
    }

    const Inspection* problem_;
    Work unit_, offset_ = 0, feature_share_ = 0, instance_share_ = 0;
};

/// The highest reward minus the lowest one, without those of -inf.
template <std::same_as<Real> Work = Real>
Work range_of_rewards(const Inspection& problem) {
    const Work lowest = lowest_that_matters<Work>(problem);
    return (std::min)(problem.highest_of_all() / 2 - lowest / 2, (std::numeric_limits<Work>::max)() / 2) * 2;
}

/// The potentials of an oriented problem's rows, in the reward's unit, from those of features and instances.
template <std::same_as<Real> Work>
std::vector<Work> starting_rows(const Inspection& problem, const std::vector<Work>& f, const std::vector<Work>& g) {
    if (features_are_rows(problem)) return f;
    std::vector<Work> row;
    for (const Index n : problem.priors.active) {
        const Work potential = g[static_cast<std::size_t>(n)];
        row.push_back(potential > -1e300 ? potential : 0);  // where it was excluded, it is the lowest number
    }
    return row;
}

}  // namespace otpool::detail
