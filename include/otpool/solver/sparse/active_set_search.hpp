// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/solver/sparse/forest.hpp"
#include "otpool/solver/sparse/held_lines.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"

namespace otpool::detail {

/// The dual active-set method at alpha0 = 0. It keeps potentials with X + f + g <= 0 and a forest of entries where this
/// is tight. A tree can only move as a whole, f + t and g - t; its best t balances the masses that its lines ask for.
/// Trees move to their best t, or until a new entry becomes tight: that one joins two trees. When all trees are at their
/// best, the plan on each tree follows from its lines' masses, leaf by leaf. An entry that would be negative leaves the
/// forest; if there is none, plan and potentials are optimal. Both kinds of change are pivots; none lowers the dual.
///
/// Where rewards tie, a change of about 1e-14 of their range decides; it depends only on an entry's place.
template <std::same_as<Real> Work = Real>
class ActiveSetSearch {
public:
    /// Views the problem, whose range should be about 1. Starts from these potentials of the rows, or from 0 if null.
    ActiveSetSearch(const OrientedProblem<Work>& problem, const Work* start)
        : problem_(problem), reward_(problem.reward), forest_(problem.rows, problem.cols) {
        for (std::size_t i = 0; i < reward_.size(); ++i) reward_[i] += tie_breaker * hash(i);
        lines_ = problem.row_lines;
        lines_.insert(lines_.end(), problem.col_lines.begin(), problem.col_lines.end());
        potential_.assign(lines_.size(), 0);
        flow_.resize(lines_.size());
        log_marginal_.assign(lines_.size(), nothing);
        row_speed_.assign(at(problem.rows), 0);
        set_start(start);
    }

    /// Whether plan and potentials are optimal, up to rounding.
    bool is_done() const { return is_done_; }

    /// Adds an entry to the forest, or takes one out; or finds that it is done.
    void pivot() {
        forest_.set_trees();
        std::optional<Edge> change = move_trees();
        if (change) return forest_.add(*change);
        settle_potentials(reward_);
        change = most_negative_entry();
        if (change) return forest_.remove(*change);
        is_done_ = true;
    }

    /// Ends the search: computes the plan, and the potentials without the tie breaker.
    void set_plan() {
        forest_.set_trees();
        settle_potentials(problem_.reward);
        log_plan_.assign(reward_.size(), nothing);
        std::vector<Flow> marginal(lines_.size());
        for (Index tree = 0; tree < forest_.trees(); ++tree) {
            set_flows(tree, [&](const Edge& edge, const Flow& flow) {
                if (!(flow.mass > 0)) return;
                log_plan_[place(edge)] = flow.log_mass();
                marginal[at(edge.row)].add(flow);
                marginal[of_col(edge.col)].add(flow);
            });
        }
        for (std::size_t i = 0; i < lines_.size(); ++i) log_marginal_[i] = marginal[i].log_mass();
    }

    /// The largest violation of the optimality conditions, in log-marginal units, and the largest X + f + g. Call after
    /// set_plan(), whose entries are where X + f + g is 0 up to rounding.
    Work residual() const {
        Work largest = 0;
        const auto add = [&](Work violation) { largest = larger_violation(largest, violation); };
        for (std::size_t i = 0; i < lines_.size(); ++i) add(lines_[i].violation(log_marginal_[i], potential_[i]));
        for (Index k = 0; k < problem_.cols; ++k) {
            const Work* reward = problem_.column(k);
            for (Index i = 0; i < problem_.rows; ++i) add(reward[i] + potential_[at(i)] + potential_[of_col(k)]);
        }
        return largest;
    }

    SolvedPlan solution() const {
        return problem_.solution(potential_.data(), potential_.data() + problem_.rows, std::vector<Work>(log_plan_));
    }

private:
    using Edge = typename Forest<>::Edge;

    static constexpr Work tie_breaker = 3e-14;
    static constexpr Work nothing = -std::numeric_limits<Work>::infinity();
    static constexpr Work epsilon = std::numeric_limits<Work>::epsilon();

    /// mass exp(level), and the rounding error of the mass. The level is that of the largest mass added: so lines far
    /// lighter than others, as soft ones can be, keep their digits.
    struct Flow {
        Work mass = 0;
        Work rounded = 0;
        Work level = nothing;

        void add(const Flow& other) {
            if (other.level == nothing) return;
            const Work higher = (std::max)(level, other.level);
            const Work factor = std::exp(level - higher);
            const Work of_other = std::exp(other.level - higher);
            mass = mass * factor + other.mass * of_other;
            rounded = rounded * factor + other.rounded * of_other;
            level = higher;
        }
        Work log_mass() const { return mass > 0 ? std::log(mass) + level : nothing; }
    };

    static std::size_t at(Index i) { return static_cast<std::size_t>(i); }
    std::size_t of_col(Index k) const { return at(problem_.rows + k); }
    std::size_t place(const Edge& edge) const { return at(edge.col * problem_.rows + edge.row); }

    /// In [0, 1), by the place (the finalizer of MurmurHash3).
    static Work hash(std::uint64_t place) {
        place = (place + 1) * 0x9e3779b97f4a7c15U;
        place = (place ^ (place >> 33U)) * 0xff51afd7ed558ccdU;
        place = (place ^ (place >> 33U)) * 0xc4ceb9fe1a85ec53U;
        return static_cast<Work>((place ^ (place >> 33U)) >> 11U) * 0x1p-53;
    }

    /// Sets the largest potentials of the columns that rows' potentials allow, and each column's tight entry.
    void set_start(const Work* start) {
        for (Index i = 0; i < problem_.rows; ++i) {
            if (start != nullptr && !lines_[at(i)].is_free()) potential_[at(i)] = start[i];
        }
        for (Index k = 0; k < problem_.cols; ++k) {  // a free column's potential is 0
            for (Index i = 0; i < problem_.rows && lines_[of_col(k)].is_free(); ++i) {
                potential_[at(i)] = (std::min)(potential_[at(i)], -reward_[at(k * problem_.rows + i)]);
            }
        }
        for (Index k = 0; k < problem_.cols; ++k) {
            if (lines_[of_col(k)].is_free()) continue;
            const Work* reward = reward_.data() + k * problem_.rows;
            Index best = 0;
            const auto gain = [&](Index i) { return reward[i] + potential_[at(i)]; };
            for (Index i = 1; i < problem_.rows; ++i) best = gain(i) > gain(best) ? i : best;
            if (gain(best) == nothing) continue;
            potential_[of_col(k)] = -gain(best);
            forest_.add({best, k});
        }
    }

    HeldLines rows_of(Index tree) const {
        const Index* first = forest_.begin(tree);
        const Index* last = first_col(tree);
        return {lines_.data(), potential_.data(), first, last - first};
    }
    HeldLines cols_of(Index tree) const {
        const Index* first = first_col(tree);
        return {lines_.data(), potential_.data(), first, forest_.end(tree) - first};
    }
    const Index* first_col(Index tree) const {
        return std::lower_bound(forest_.begin(tree), forest_.end(tree), problem_.rows);
    }

    /// How far a tree is from its best place; infinite if it gains without end.
    Work way(Index tree) const {
        const HeldLines rows = rows_of(tree);
        const HeldLines cols = cols_of(tree);
        if (rows.any_free() || cols.any_free()) return 0;
        if (rows.size == 0) return nothing;
        if (cols.size == 0) return -nothing;
        const HeldMass<Work> of_rows(rows);
        const HeldMass<Work> of_cols(cols);
        if (!rows.all_hard() || !cols.all_hard()) return balancing_shift<Work>(of_rows, of_cols);
        const Work excess = of_rows.at(0).log - of_cols.at(0).log;
        return std::abs(excess) < 1e-13 ? 0 : excess > 0 ? -nothing : nothing;
    }

    /// Moves trees that gain without end as far as possible, or else all trees to their best place. Returns the entry
    /// that stops them, if one does.
    std::optional<Edge> move_trees() {
        speed_.resize(at(forest_.trees()));
        for (Index tree = 0; tree < forest_.trees(); ++tree) speed_[at(tree)] = way(tree);
        const bool any_endless = std::any_of(speed_.begin(), speed_.end(), [](Work t) { return std::isinf(t); });
        for (Work& t : speed_) {
            if (any_endless) t = std::isinf(t) ? std::copysign(Work(1), t) : 0;
        }
        for (Index i = 0; i < problem_.rows; ++i) row_speed_[at(i)] = speed_[at(forest_.tree_of(i))];
        const Work fastest = *std::max_element(row_speed_.begin(), row_speed_.end());
        Work length = any_endless ? -nothing : 1;
        std::optional<Edge> stop;
        for (Index k = 0; k < problem_.cols; ++k) {
            const Work speed = speed_[at(forest_.tree_of(problem_.rows + k))];
            if (speed < fastest) find_stop(k, speed, length, stop);
        }
        if (any_endless && !stop) return {};  // only if hard marginals cannot be met
        for (Index node = 0; node < forest_.size(); ++node) {
            const Work t = length * speed_[at(forest_.tree_of(node))];
            potential_[at(node)] += forest_.is_row(node) ? t : -t;
        }
        return stop;
    }

    /// Shortens `length` to where the first entry of column k, which moves at this speed, becomes tight, if that is
    /// before. (Within a tree all move alike.)
    void find_stop(Index k, Work speed, Work& length, std::optional<Edge>& stop) const {
        const Work* reward = reward_.data() + k * problem_.rows;
        const Work potential = potential_[of_col(k)];
        for (Index i = 0; i < problem_.rows; ++i) {
            const Work rate = row_speed_[at(i)] - speed;
            if (!(rate > 0)) continue;
            const Work room = (std::max)(-(reward[i] + potential_[at(i)] + potential), Work(0));
            if (!(room < length * rate)) continue;
            length = room / rate;
            stop = Edge{i, k};
        }
    }

    /// Sets the potentials of every tree anew from its entries, which are tight: so rounding does not add up.
    void settle_potentials(const std::vector<Work>& reward) {
        for (Index tree = 0; tree < forest_.trees(); ++tree) {
            forest_.for_each_from_root(root_of(tree), [&](Index node, Index parent) {
                if (parent < 0) return;
                potential_[at(node)] = -reward[place(forest_.between(node, parent))] - potential_[at(parent)];
            });
            const Work t = way(tree);
            if (std::isinf(t)) continue;
            for (const Index* node = forest_.begin(tree); node != forest_.end(tree); ++node) {
                potential_[at(*node)] += forest_.is_row(*node) ? t : -t;
            }
        }
    }

    /// The line that takes up what rounding leaves of a tree's balance: a free one, or that of the largest mass.
    Index root_of(Index tree) const {
        Index root = *forest_.begin(tree);
        for (const Index* node = forest_.begin(tree); node != forest_.end(tree); ++node) {
            if (log_mass(*node) > log_mass(root)) root = *node;
        }
        return root;
    }
    Work log_mass(Index node) const {
        const MarginalLine& line = lines_[at(node)];
        return line.is_free() ? -nothing : line.log_mass(potential_[at(node)]);
    }

    /// Computes a tree's entries, and calls visit(entry, flow) for each.
    template <class Visit>
    void set_flows(Index tree, const Visit& visit) {
        for (const Index* node = forest_.begin(tree); node != forest_.end(tree); ++node) flow_[at(*node)] = {};
        // A line leaves to its parent what its other entries, flow_, do not take of its mass.
        forest_.for_each_to_root(root_of(tree), [&](Index node, Index parent) {
            if (parent < 0) return;
            Flow flow = flow_[at(node)];
            flow.rounded += epsilon * std::abs(flow.mass);
            const bool is_free = lines_[at(node)].is_free();
            flow.mass = is_free ? 0 : -flow.mass;
            if (!is_free) flow.add({1, epsilon, log_mass(node)});
            if (std::abs(flow.mass) <= 2 * flow.rounded) flow.mass = 0;
            flow_[at(parent)].add(flow);
            visit(forest_.between(node, parent), flow);
        });
    }

    /// The entry that is most negative relative to the lighter of its lines.
    std::optional<Edge> most_negative_entry() {
        std::optional<Edge> found;
        Work lowest = -1e-12;
        for (Index tree = 0; tree < forest_.trees(); ++tree) {
            set_flows(tree, [&](const Edge& edge, const Flow& flow) {
                if (!(flow.mass < 0)) return;
                const Work lighter = (std::min)(log_mass(edge.row), log_mass(problem_.rows + edge.col));
                const Work relative = flow.mass * std::exp((std::min)(flow.level - lighter, Work(700)));
                if (!(relative < lowest)) return;
                lowest = relative;
                found = edge;
            });
        }
        return found;
    }

    const OrientedProblem<Work>& problem_;
    std::vector<Work> reward_;         ///< With the tie breaker.
    std::vector<MarginalLine> lines_;  ///< Of all nodes: rows, then columns.
    std::vector<Work> potential_;
    Forest<> forest_;
    std::vector<Work> speed_;      ///< Of each tree.
    std::vector<Work> row_speed_;  ///< Of each row's tree.
    std::vector<Flow> flow_;       ///< Of each node.
    std::vector<Work> log_marginal_, log_plan_;
    bool is_done_ = false;
};

}  // namespace otpool::detail
