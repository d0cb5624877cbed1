// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "otpool/closed_form/closed_form_of.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/conditional_mean.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"

namespace otpool {

/// What a solver takes besides the problem.
template <BagScalar Scalar, Regularizer R>
struct Run {
    /// Start from the potentials of this solution, of a problem of the same shape, instead of from the priors.
    const Solution<Scalar, R>* warm_start = nullptr;
    Observer observer = {};  ///< Called after every iteration, if set.
    /// How passes over a large bag run in Sinkhorn, closed forms and AdmmSweep (BregmanAdmm).
    Execution execution = {};
    /// Memory to work in, which the next solve may reuse; null: the solve's own.
    Workspace* workspace = nullptr;
};

/// Where to put a pooled vector of D numbers. (Templates do not deduce its scalar, so that any vector converts.)
template <BagScalar Scalar>
using PooledVector = typename std::type_identity<Eigen::Ref<Vector<Scalar>>>::type;

/// A solver: a value type of options whose solve() is const and thread-safe. It may also have
/// pool(problem, pooled, run) -> Outcome, which sets `pooled` to the conditional mean of the values, with no Solution.
template <class S, class Scalar, class R>
concept SolverOf = requires(const S& solver, const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) {
    { solver.solve(problem) } -> std::same_as<Solution<Scalar, R>>;
    { solver.solve(problem, run) } -> std::same_as<Solution<Scalar, R>>;
};

namespace detail {

/// Options::tolerance where it is empty.
template <BagScalar Scalar>
inline constexpr double default_tolerance = std::same_as<Scalar, double> ? 1e-8 : 1e-6;

/// A solver's run, for any scalar and regulariser.
struct AnyRun {
    const Options& options;
    double tolerance;
    const Observer& observer;
    const Execution& execution;
    Workspace& workspace;
};

/// A pooled vector in a workspace.
struct PooledMean {
    RealVector values;
};

/// A solver's run: its workspace, the inspected problem and its AnyRun. Throws InvalidArgument if any input is not well
/// formed, UnsupportedProblem for alpha0 = inf with a penalty other than KullbackLeibler, and for a fixed mass at alpha0 = 0
/// or with a regulariser that is not entropic.
template <BagScalar Scalar, Regularizer R>
class SolverRun {
public:
    SolverRun(const Options& options, const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run)
        : problem_(problem),
          given_(run),
          workspace_(run.workspace != nullptr ? *run.workspace : own_),
          inspection_(workspace_.get<Inspection>()),
          any_{options, options.tolerance.value_or(default_tolerance<Scalar>), run.observer, run.execution,
               workspace_} {
        validate(options);
        if (std::isinf(problem.alpha0) && !is_kullback_leibler(problem)) {
            throw UnsupportedProblem("A solver", "alpha0 = inf and a penalty other than KullbackLeibler",
                                     "alpha0 finite, or KullbackLeibler");
        }
        if (fixed_mass(problem) && !(problem.alpha0 > 0)) {
            throw UnsupportedProblem("A solver", "alpha0 = 0 and a fixed mass", "alpha0 > 0, no mass, or a hard side");
        }
        if (!EntropicRegularizer<R>) require_free_mass("A solver of sparse plans", problem);
        if (run.warm_start == nullptr) return;
        const auto& other = run.warm_start->problem.reward;
        require_that(other.rows() == problem.reward.rows() && other.cols() == problem.reward.cols(),
                     "shape of the warm start", shape_text(other.rows(), other.cols()),
                     text(shape_text(problem.reward.rows(), problem.reward.cols()), ", the shape of the reward"));
    }
    SolverRun(const SolverRun&) = delete;
    SolverRun& operator=(const SolverRun&) = delete;

    /// inspect() looks at all of the reward; glance() at a few instances, if possible.
    void inspect() { inspection_.set(problem_, given_.execution, workspace_); }
    void glance() { inspection_.glance(problem_, given_.execution, workspace_); }

    const UotProblem<Scalar, R>& problem() const { return problem_; }
    const Inspection& inspection() const { return inspection_; }
    const AnyRun& any() const { return any_; }
    Workspace& workspace() const { return workspace_; }
    const Solution<Scalar, R>* warm_start() const { return given_.warm_start; }
    /// The potentials f and g of the warm start, in double; empty without one.
    std::pair<std::vector<Real>, std::vector<Real>> warm_potentials() const {
        const Solution<Scalar, R>* from = warm_start();
        if (from == nullptr) return {};
        const auto& f = from->feature_potential;
        const auto& g = from->instance_potential;
        return {{f.begin(), f.end()}, {g.begin(), g.end()}};
    }
    /// Memory for the pooled vector, in double.
    RealVector& mean() const { return workspace_.get<PooledMean>().values; }

    /// Whether the number of steps is fixed, and nobody sees more of them than the last one's result.
    bool takes_unseen_steps() const {
        return any_.options.iterations && !any_.options.history && !any_.observer && warm_start() == nullptr;
    }

private:
    const UotProblem<Scalar, R>& problem_;
    const Run<Scalar, R>& given_;
    Workspace own_;
    Workspace& workspace_;
    Inspection& inspection_;
    AnyRun any_;
};

/// Whether the run takes a closed form instead of iterating.
template <BagScalar Scalar, Regularizer R>
bool takes_closed_form(const SolverRun<Scalar, R>& run) {
    return run.any().options.closed_forms && has_closed_form(run.problem());
}

/// The closed-form solution of an inspected problem that has one.
template <BagScalar Scalar, Regularizer R>
Solution<Scalar, R> solve_closed_form(const SolverRun<Scalar, R>& run) {
    return solution_of(run.problem(), closed_form_of<R>(run.inspection(), run.any().tolerance));
}

/// mean <- what that solution pools.
template <BagScalar Scalar, Regularizer R>
Outcome pool_closed_form(const SolverRun<Scalar, R>& run, RealVector& mean) {
    return ClosedFormOf<R>::template pool<Scalar>(run.inspection(), run.any().tolerance, run.any().execution,
                                                  run.workspace(), mean);
}

/// pooled <- mean, as Scalar.
template <BagScalar Scalar>
void set_pooled(const RealVector& mean, Eigen::Ref<Vector<Scalar>> pooled) {
    for (Index d = 0; d < mean.size(); ++d) pooled[d] = saturated<Scalar>(mean[d]);
}

/// pooled <- what an inspected run pools: by its closed form, or else by the plan that find() returns.
template <BagScalar Scalar, Regularizer R>
Outcome pool_plan(const SolverRun<Scalar, R>& run, bool closed_form, const auto& find,
                  Eigen::Ref<Vector<Scalar>> pooled) {
    Outcome outcome;
    if (closed_form) {
        outcome = pool_closed_form(run, run.mean());
    } else {
        const SolvedPlan found = find();
        run.mean() = conditional_mean(found.log_plan, run.inspection().pooled_values());
        outcome = found.outcome;
    }
    set_pooled<Scalar>(run.mean(), pooled);
    return outcome;
}

inline void require_positive_alpha0(const std::string& solver, const Inspection& problem) {
    if (!(problem.alpha0 > 0)) {
        throw UnsupportedProblem(solver, "alpha0 = 0 and no closed form",
                                 "alpha0 > 0 (ActiveSet, Automatic and BregmanAdmm take alpha0 = 0)");
    }
}

}  // namespace detail
}  // namespace otpool
