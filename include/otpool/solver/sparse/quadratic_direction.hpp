// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/marginal_line.hpp"
#include "otpool/solver/sparse/oriented_problem.hpp"

namespace otpool::detail {

/// Newton's direction on the semi-dual of a Quadratic problem (QuadraticNewton has the formulas). It solves
/// (H + damping) direction = gradient, H scaled to unit diagonal. Damped, because H is singular where parts of the plan
/// do not touch. Free rows do not move: they leave the system.
template <std::same_as<Real> Work = Real>
class QuadraticDirection {
public:
    /// The plan, a column after the other, and how many entries its rows and columns have.
    struct Plan {
        const std::vector<Work>& entries;
        const std::vector<Work>& log_col_mass;
        const std::vector<Work>& row_support;
        const std::vector<Work>& col_support;
    };

    /// `target`: the mass that each row's potential asks for. At least `damping` is added to H.
    Vector<Work> operator()(const OrientedProblem<Work>& problem, const Plan& plan, const std::vector<Work>& target,
                            const Vector<Work>& gradient, Work damping) {
        Vector<Work> root(problem.rows);
        for (std::size_t i = 0; i < target.size(); ++i) {
            const MarginalLine& line = problem.row_lines[i];
            // A row without entries counts as if it had one.
            root[static_cast<Index>(i)] =
                std::sqrt((std::max)(plan.row_support[i], Work(1)) + (line.is_soft() ? target[i] / line.alpha : 0));
        }
        set_hessian(problem, plan, root);
        for (;; damping *= 10) {
            Matrix<Work> damped = hessian_;
            damped.diagonal().array() += damping;
            cholesky_.compute(damped);
            if (cholesky_.info() == Eigen::Success || damping > 1) break;
        }
        Vector<Work> direction = gradient.cwiseQuotient(root);
        cholesky_.solveInPlace(direction);
        direction = direction.cwiseQuotient(root);
        // Along a singular direction, the step is far too long.
        const Work largest = *std::max_element(plan.entries.begin(), plan.entries.end());
        const Work longest = 20 * (std::max)(problem.largest_reward, largest);
        const Work length = direction.cwiseAbs().maxCoeff();
        if (length > longest) direction *= longest / length;
        return direction;
    }

private:
    /// The lower triangle of H, divided by the roots of its diagonal. Cost: the sum of squared supports of the columns.
    void set_hessian(const OrientedProblem<Work>& problem, const Plan& plan, const Vector<Work>& root) {
        const Index rows = problem.rows;
        hessian_.setZero(rows, rows);
        std::vector<Index> present;
        for (std::size_t k = 0; k < plan.col_support.size(); ++k) {
            const MarginalLine& line = problem.col_lines[k];
            if (line.is_free() || plan.col_support[k] == 0) continue;
            const Work c = std::exp((std::min)(plan.log_col_mass[k], Work(600)));
            const Work weight = 1 / (plan.col_support[k] + (line.is_soft() ? c / line.alpha : 0));
            const Work* const column = plan.entries.data() + static_cast<Index>(k) * rows;
            present.clear();
            for (Index i = 0; i < rows; ++i) {
                const bool is_free = problem.row_lines[static_cast<std::size_t>(i)].is_free();
                if (column[i] > 0 && !is_free) present.push_back(i);
            }
            for (auto a = present.begin(); a != present.end(); ++a) {
                Work* const of_column = hessian_.data() + *a * rows;
                for (auto b = a; b != present.end(); ++b) of_column[*b] -= weight;
            }
        }
        for (Index j = 0; j < rows; ++j) {
            for (Index i = j; i < rows; ++i) hessian_(i, j) /= root[i] * root[j];
            hessian_(j, j) += 1;
        }
    }

    Matrix<Work> hessian_;
    Eigen::LLT<Matrix<Work>> cholesky_;
};

}  // namespace otpool::detail
