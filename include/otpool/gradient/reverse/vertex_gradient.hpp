// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/optimum.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/solver/sparse/forest.hpp"

namespace otpool::detail {

/// The gradient of an optimum at alpha0 = 0 without a free side, whose plan is a vertex: its entries form a forest, on
/// which X + f + g = 0. The forest stays; potentials and masses move. With C = dL/dP, r and c the marginals,
/// theta = 1/alpha (0 if hard), multipliers and H = dL/dX on the entries solve
///
///     lambda_d + mu_n = C_dn,   sum_n H_dn = theta1 r_d lambda_d,   sum_d H_dn = theta2 c_n mu_n
///
///     dL/dlog p0 = r lambda     dL/dalpha1_d = -theta1_d r_d lambda_d log(r_d/p0_d)    and so for q0, alpha2.
///
/// (an alpha of each line or one for all). They are solved tree by tree: multipliers from a root, up to a constant
/// (t, -t); it balances the tree; then H from the leaves. A free line has lambda = 0 and no second equation: it is the
/// root, and t = 0. The derivatives with respect to alpha0 and to an alpha of 0 are 0, as in the closed forms. Where
/// rewards tie there is no derivative, and this is one of those from a side. Cost: O(D N) to read the plan, O(D + N) for
/// the rest.
template <std::same_as<Real> Work = Real>
class VertexGradient {
public:
    /// Views both. Throws UnsupportedProblem if the plan's entries do not form a forest.
    VertexGradient(const Optimum& optimum, const PlanGradient& of_plan)
        : optimum_(optimum), of_plan_(of_plan), forest_(optimum.rows(), optimum.cols()) {
        const std::size_t nodes = static_cast<std::size_t>(forest_.size());
        log_mass_.assign(nodes, nothing);
        multiplier_.assign(nodes, 0);
        of_log_mass_.assign(nodes, 0);
        read_plan();
        for (Index tree = 0; tree < forest_.trees(); ++tree) solve(tree);
    }

    template <BagScalar Scalar>
    void add_to(BagGradient<Scalar>& gradient) {
        for (std::size_t i = 0; i < of_reward_.size(); ++i) {
            const Edge& edge = forest_.edges()[i];
            gradient.reward.sum(optimum_.instance(edge.col))[edge.row] += saturated<Scalar>(of_reward_[i]);
        }
        RealVector log_p(optimum_.rows());
        RealVector log_q(optimum_.cols());
        for (Index d = 0; d < log_p.size(); ++d) log_p[d] = of_log_mass_[at(d)];
        for (Index k = 0; k < log_q.size(); ++k) log_q[k] = of_log_mass_[at(optimum_.rows() + k)];
        const Index last = gradient.alpha0.size() - 1;
        for (Index d = 0; d < log_p.size(); ++d) {
            of_line(gradient.alphas1, gradient.alpha1[last], d) += alpha_derivative(d, optimum_.priors.log_p[d]);
        }
        for (Index k = 0; k < log_q.size(); ++k) {
            of_line(gradient.alphas2, gradient.alpha2[last], optimum_.instance(k)) +=
                alpha_derivative(optimum_.rows() + k, optimum_.priors.log_q[k]);
        }
        add_prior_gradients(optimum_.priors, log_p, log_q, gradient);
    }

private:
    using Edge = typename Forest<>::Edge;

    static constexpr Work nothing = -std::numeric_limits<Work>::infinity();

    static std::size_t at(Index node) { return static_cast<std::size_t>(node); }
    Real alpha(Index node) const {
        return forest_.is_row(node) ? optimum_.alpha1[node] : optimum_.alpha2[node - optimum_.rows()];
    }

    void read_plan() {
        const RealVector& scale = optimum_.log_plan.log_scale();
        const Index most = forest_.size();
        std::vector<Work> value(at(optimum_.rows()));
        std::vector<Work> log_column;
        for (Index d = 0; d < optimum_.rows(); ++d) log_mass_[at(d)] = of_plan_.log_row_sum[d] + scale[d];
        optimum_.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            of_plan_.values.copy_column(n, value.data());
            log_column.clear();
            for (Index d = 0; d < score.size(); ++d) {
                if (score[d] + scale[d] == nothing) continue;
                if (static_cast<Index>(forest_.edges().size()) == most) refuse();
                forest_.add({d, k});
                of_row_share_.push_back(of_plan_.slope[d] * value[at(d)] - of_plan_.offset[d]);
                log_column.push_back(score[d] + scale[d]);
            }
            if (log_column.empty()) return;
            log_mass_[at(optimum_.rows() + k)] = log_sum_exp(log_column.data(), static_cast<Index>(log_column.size()));
        });
        forest_.set_trees();
        if (static_cast<Index>(forest_.edges().size()) + forest_.trees() != forest_.size()) refuse();
        of_reward_.assign(forest_.edges().size(), 0);
        first_edge_.assign(at(optimum_.cols()) + 1, 0);
        for (const Edge& edge : forest_.edges()) ++first_edge_[at(edge.col) + 1];
        for (std::size_t k = 1; k < first_edge_.size(); ++k) first_edge_[k] += first_edge_[k - 1];
    }

    [[noreturn]] static void refuse() {
        throw UnsupportedProblem(
            "Implicit", "alpha0 = 0 and no closed form",
            "alpha0 > 0, a free side, or ActiveSet's solution; Unrolled differentiates BregmanAdmm's steps");
    }

    /// The place of an entry among the edges, which are sorted by columns.
    std::size_t place(const Edge& edge) const {
        const auto first = forest_.edges().begin();
        const auto end = first + first_edge_[at(edge.col) + 1];
        return static_cast<std::size_t>(std::find(first + first_edge_[at(edge.col)], end, edge) - first);
    }

    /// Masses are relative to the tree's largest, and multipliers relative to 1 / that: their products count.
    void solve(Index tree) {
        Work level = nothing;
        for (const Index* node = forest_.begin(tree); node != forest_.end(tree); ++node) {
            level = (std::max)(level, log_mass_[at(*node)]);
        }
        if (level == nothing) return;
        const auto mass = [&](Index node) { return std::exp(log_mass_[at(node)] - level); };
        const auto is_free = [&](Index node) { return alpha(node) == 0; };
        const auto theta = [&](Index node) { return is_free(node) ? 0 : 1 / alpha(node); };
        const Index* const free = std::find_if(forest_.begin(tree), forest_.end(tree), is_free);
        const bool has_free = free != forest_.end(tree);
        const Index root = has_free ? *free : *forest_.begin(tree);
        forest_.for_each_from_root(root, [&](Index node, Index parent) {
            if (parent < 0) return;
            const Edge edge = forest_.between(node, parent);
            multiplier_[at(node)] = of_row_share_[place(edge)] / mass(edge.row) - multiplier_[at(parent)];
        });
        // The t of lambda + t, mu - t for which the tree's rows and columns ask for the same sum of H.
        Work excess = 0;
        Work stiffness = 0;
        for (const Index* node = forest_.begin(tree); node != forest_.end(tree); ++node) {
            const Work weight = theta(*node) * mass(*node);
            excess += (forest_.is_row(*node) ? -weight : weight) * multiplier_[at(*node)];
            stiffness += weight;
        }
        const Work t = stiffness > 0 && !has_free ? excess / stiffness : 0;
        for (const Index* node = forest_.begin(tree); node != forest_.end(tree); ++node) {
            of_log_mass_[at(*node)] = mass(*node) * (multiplier_[at(*node)] + (forest_.is_row(*node) ? t : -t));
            multiplier_[at(*node)] = theta(*node) * of_log_mass_[at(*node)];
        }
        forest_.for_each_to_root(root, [&](Index node, Index parent) {
            if (parent < 0) return;
            of_reward_[place(forest_.between(node, parent))] = multiplier_[at(node)];
            multiplier_[at(parent)] -= multiplier_[at(node)];
        });
    }

    Work alpha_derivative(Index node, Work log_prior) const {
        const Work log_excess = log_mass_[at(node)] - log_prior;
        if (alpha(node) == 0 || std::isinf(alpha(node)) || !std::isfinite(log_excess)) return 0;
        return saturated<Work>(-of_log_mass_[at(node)] * log_excess / alpha(node));
    }

    const Optimum& optimum_;
    const PlanGradient& of_plan_;
    Forest<> forest_;
    std::vector<Work> of_row_share_;  ///< r_d dL/dP_dn of each entry.
    std::vector<Work> of_reward_;     ///< H of each entry.
    std::vector<Index> first_edge_;   ///< Of each column.
    std::vector<Work> log_mass_;      ///< log r and log c, of each node.
    std::vector<Work> multiplier_;    ///< lambda and mu, then what is left of the node's sum of H.
    std::vector<Work> of_log_mass_;   ///< r lambda and c mu.
};

}  // namespace otpool::detail
