// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/gmres.hpp"
#include "otpool/gradient/reverse/optimum.hpp"
#include "otpool/gradient/reverse/optimum_gradient.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/structural.hpp"

namespace otpool {

/// The derivatives of a number L of the plan of Structural.
struct StructuralGradient {
    ProblemGradient<Real> problem;       ///< Of everything in the problem, through the plan; no values.
    RealMatrix feature_structure = {};   ///< dL/dC1 for symmetric changes, itself symmetric.
    RealMatrix instance_structure = {};  ///< dL/dC2, likewise.
    Real alpha = 0;                      ///< dL/dalpha of the term.
};

namespace detail {

/// J^T C: the gradient of the inner optimum with reward X + alpha C1 P C2, for dL/dP = C.
template <BagScalar Scalar, class R>
class InnerGradient {
public:
    /// Views the solution.
    InnerGradient(const Solution<Scalar, R>& solution, RealMatrix reward)
        : like_(in_double(solution.problem)), optimum_(solution) {
        like_.reward = std::move(reward);
        optimum_.reward = like_.reward;
        log_row_sum_ = log_row_sums(solution.log_plan);
        mass_ = (log_row_sum_ + solution.log_plan.log_scale()).array().exp();
    }

    ProblemGradient<Real> operator()(const RealMatrix& C) const {
        const RealVector none = RealVector::Zero(mass_.size());
        const PlanGradient of_plan{mass_, none, MatrixView<Real>(C), none, log_row_sum_};
        ProblemGradient<Real> gradient;
        gradient.resize(like_, like_.reward.cols(), 1);
        SharedGradients<Real> shared(gradient, 1);
        BagGradient<Real> all(gradient, shared, 0, 0, like_.reward.cols());
        all.reward.sum();
        OptimumGradient<>(optimum_, of_plan).add_to(all);
        all.saturate();
        shared.add_to(gradient, 1);
        return gradient;
    }

private:
    UotProblem<Real, R> like_;
    Optimum optimum_;
    RealVector log_row_sum_, mass_;
};

}  // namespace detail

/// The derivatives of L through the plan that `solver` found, given Gamma = dL/dP (D x N; 0 at excluded instances).
/// With J the Jacobian of the inner optimum with respect to its reward, dP = J (dX + alpha C1 dP C2 + ...), so X' =
/// dL/dX solves
///
///     X' = J^T (Gamma + alpha C1 X' C2)
///
/// by GMRES, in some ten products with J^T; dL/dalpha = <X', C1 P C2>, dL/dC1 = alpha X' C2 P^T and dL/dC2 = alpha P^T
/// C1 X', made symmetric. Throws InvalidArgument for a solution that has not converged, or another shape of Gamma,
/// UnsupportedProblem for a mass that is fixed without a hard side. Cost: a linear system as in Implicit for each
/// product, and D N (D + N) multiplications.
template <class Inner, BagScalar Scalar, ConvexRegularizer R>
StructuralGradient structural_gradient(const Structural<Inner>& solver, const Solution<Scalar, R>& solution,
                                       const RealMatrix& dL_dP) {
    detail::require_that(solution.converged() || solution.status == Status::mass_out_of_range, "status of the solution",
                         name(solution.status), "converged");
    detail::require_free_mass("structural_gradient()", solution.problem);
    const Index rows = solution.problem.reward.rows();
    const Index cols = solution.problem.reward.cols();
    detail::require_that(dL_dP.rows() == rows && dL_dP.cols() == cols, "shape of dL/dP",
                         detail::shape_text(dL_dP.rows(), dL_dP.cols()), detail::shape_text(rows, cols));
    const detail::Structure structure{solver.feature_structure, solver.instance_structure, solver.alpha};
    const RealMatrix plan = solution.plan().template cast<Real>();
    const RealMatrix C1 = structure.features.matrix();
    const RealMatrix C2 = structure.instances.matrix();
    const RealMatrix pull = structure.pull(plan);
    const detail::InnerGradient<Scalar, R> gradient_of(solution,
                                                       solution.problem.reward.matrix().template cast<Real>() + pull);
    const auto as_vector = [](const RealMatrix& matrix) { return RealVector(matrix.reshaped()); };
    const auto as_matrix = [&](const RealVector& numbers) { return RealMatrix(numbers.reshaped(rows, cols)); };

    const auto apply = [&](const RealVector& x) {
        return RealVector(x - as_vector(gradient_of(structure.pull(as_matrix(x))).reward));
    };
    const RealMatrix X = as_matrix(detail::gmres(apply, as_vector(gradient_of(dL_dP).reward), 1e-13, 200));
    StructuralGradient gradient{gradient_of(dL_dP + structure.pull(X))};
    const RealMatrix& of_reward = gradient.problem.reward;
    const RealMatrix of_C1 = solver.alpha * (of_reward * C2) * plan.transpose();
    const RealMatrix of_C2 = solver.alpha * plan.transpose() * (C1 * of_reward);
    gradient.feature_structure = (of_C1 + of_C1.transpose()) / 2;
    gradient.instance_structure = (of_C2 + of_C2.transpose()) / 2;
    gradient.alpha = (of_reward.array() * ((C1 * plan) * C2).array()).sum();
    return gradient;
}

}  // namespace otpool
