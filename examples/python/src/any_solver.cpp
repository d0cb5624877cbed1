// Copyright (c) 2026 the otpool authors. MIT licence.
#include "any_solver.hpp"

#include <otpool/pooling/readout.hpp>
#include <otpool/slots/plasma_alignment.hpp>
#include <otpool/slots/sp2ot_assignment.hpp>
#include <otpool/solver/automatic.hpp>

#include "assignments.hpp"

namespace otpool_python {

namespace {

using namespace otpool;

Sinkhorn sinkhorn_of(const AnySolver& solver) {
    return {.options = solver.options,
            .translation = solver.translation,
            .acceleration = {.memory = solver.memory},
            .first = solver.instances_first ? HalfStep::instances : HalfStep::features};
}

/// by(solver), with the solver that has the name. Throws UnsupportedProblem if it does not take the regulariser.
template <Regularizer R>
auto with_solver(const AnySolver& solver, const auto& by) {
    if constexpr (EntropicRegularizer<R>) {
        if (solver.name == SolverName::sinkhorn) return by(sinkhorn_of(solver));
    }
    if constexpr (NewtonRegularizer<R>) {
        if (solver.name == SolverName::newton) return by(Newton{solver.options});
    }
    if constexpr (ConvexRegularizer<R>) {
        if (solver.name == SolverName::active_set) return by(ActiveSet{solver.options});
        if (solver.name == SolverName::bregman_admm) {
            return by(BregmanAdmm{.options = solver.options, .rho = solver.rho});
        }
    }
    switch (solver.name) {
        case SolverName::closed_form: return by(ClosedForm{solver.options});
        case SolverName::automatic: return by(Automatic{solver.options});
        case SolverName::sinkhorn:
            throw UnsupportedProblem("Sinkhorn", "this regularizer", "Entropy or RelativeEntropy");
        case SolverName::newton:
            throw UnsupportedProblem("Newton", "TopK", "another regularizer (ClosedForm takes TopK)");
        default:
            throw UnsupportedProblem("The solver", "KSparse or TopK",
                                     "Entropy, RelativeEntropy or Quadratic (Newton takes KSparse, ClosedForm TopK)");
    }
}

}  // namespace

template <BagScalar Scalar, Regularizer R>
Solution<Scalar, R> AnySolver::solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) const {
    return with_solver<R>(*this, [&](const auto& solver) { return solver.solve(problem, run); });
}

template <BagScalar Scalar, Regularizer R>
Outcome AnySolver::pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                        const Run<Scalar, R>& run) const {
    if (name == SolverName::closed_form || (options.closed_forms && detail::has_closed_form(problem))) {
        return ClosedForm{options}.pool(problem, pooled, run);
    }
    if constexpr (EntropicRegularizer<R>) {
        const bool takes_steps = name == SolverName::automatic && options.iterations && problem.alpha0 > 0;
        if (name == SolverName::sinkhorn || takes_steps) return sinkhorn_of(*this).pool(problem, pooled, run);
        if (name == SolverName::bregman_admm) {
            return BregmanAdmm{.options = options, .rho = rho}.pool(problem, pooled, run);
        }
    }
    const Solution<Scalar, R> solution = solve(problem, run);
    pooled = ConditionalReadout{}(solution);
    return {solution.status, solution.iterations, solution.residual, solution.history};
}

template <BagScalar Scalar, Regularizer R>
detail::LogPlan AnySolver::log_plan(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) const {
    if constexpr (EntropicRegularizer<R>) {
        if (name == SolverName::sinkhorn) return sinkhorn_of(*this).log_plan(problem, run);
    }
    return solve(problem, run).log_plan;
}

/// Compiles all of it for these types.
template <BagScalar Scalar, Regularizer R>
struct Compiled {
    static constexpr auto solve = &AnySolver::solve<Scalar, R>;
    static constexpr auto pool = &AnySolver::pool<Scalar, R>;
    static constexpr auto log_plan = &AnySolver::log_plan<Scalar, R>;
};

template struct Compiled<double, Entropy>;
template struct Compiled<double, RelativeEntropy>;
template struct Compiled<double, Quadratic>;
template struct Compiled<double, KSparse>;
template struct Compiled<double, TopK>;
template struct Compiled<float, Entropy>;
template struct Compiled<float, RelativeEntropy>;

Matrix<double> sinkhorn_assignment(const MatrixView<double>& scores, double alpha0, int iterations) {
    return otpool::sinkhorn_assignment(scores, alpha0, iterations);
}

Matrix<double> ppot_assignment(const MatrixView<double>& log_probabilities, double rho, double alpha0) {
    return otpool::ppot_assignment(log_probabilities, rho, alpha0);
}

SoftMoe<double> soft_moe(const MatrixView<double>& scores) { return otpool::soft_moe(scores); }

PlasmaAlignment<double> plasma_alignment(const MatrixView<double>& query, const MatrixView<double>& candidate,
                                         const PlasmaOptions<double>& options) {
    return otpool::plasma_alignment(query, candidate, options);
}

}  // namespace otpool_python
