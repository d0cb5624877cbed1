// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Cholesky>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/solver/sparse/quadratic_side.hpp"

namespace otpool::detail {

/// Newton's direction on the semi-dual of a Quadratic problem (QuadraticNewton has the formulas). It solves
/// (H + damping) direction = gradient, H scaled to unit diagonal. Damped, because H is singular where parts of the plan
/// do not touch. Free rows do not move: they leave the system.
template <std::same_as<Real> Work = Real>
class QuadraticDirection {
public:
    /// `plan`: a column after the other. At least `damping` is added to H.
    Vector<Work> operator()(const QuadraticSide<Work>& row, const QuadraticSide<Work>& col,
                            const std::vector<Work>& plan, const Vector<Work>& gradient, Work damping) {
        Vector<Work> root(row.size());
        for (Index i = 0; i < row.size(); ++i) {
            const Work of_penalty = row.line(i).is_soft() ? row.target(i) / row.line(i).alpha : 0;
            // A row without entries counts as if it had one.
            root[i] = std::sqrt((std::max)(row.support[row.place(i)], Work(1)) + of_penalty);
        }
        set_hessian(row, col, plan, root);
        for (;; damping *= 10) {
            Matrix<Work> damped = hessian_;
            damped.diagonal().array() += damping;
            cholesky_.compute(damped);
            if (cholesky_.info() == Eigen::Success || damping > 1) break;
        }
        Vector<Work> direction = gradient.cwiseQuotient(root);
        cholesky_.solveInPlace(direction);
        return direction.cwiseQuotient(root);
    }

private:
    /// The lower triangle of H, divided by the roots of its diagonal. Cost: the sum of squared supports of the columns.
    void set_hessian(const QuadraticSide<Work>& row, const QuadraticSide<Work>& col, const std::vector<Work>& plan,
                     const Vector<Work>& root) {
        const Index rows = row.size();
        hessian_.setZero(rows, rows);
        std::vector<Index> present;
        for (Index k = 0; k < col.size(); ++k) {
            const Work support = col.support[col.place(k)];
            if (col.line(k).is_free() || support == 0) continue;
            const Work weight = 1 / (support + (col.line(k).is_soft() ? col.mass(k) / col.line(k).alpha : 0));
            const Work* const column = plan.data() + k * rows;
            present.clear();
            for (Index i = 0; i < rows; ++i) {
                if (column[i] > 0 && !row.line(i).is_free()) present.push_back(i);
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
