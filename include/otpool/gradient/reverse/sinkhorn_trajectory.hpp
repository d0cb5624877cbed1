// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/gradient/reverse/sinkhorn_record.hpp"
#include "otpool/gradient/reverse/sinkhorn_reverse.hpp"
#include "otpool/gradient/reverse/trajectory.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/solver/steps/scaling.hpp"
#include "otpool/solver/steps/scaling_steps.hpp"

namespace otpool::detail {

/// K steps of Sinkhorn and their reverse. With y = X/a0, F = f/a0, G = g/a0, th = a0/a and k = 1/(1 + th) of each side,
/// a step is
///
///     s = LSE_n(y + G),   F = k1 (log p0 - s)
///     F' = F + T,         T = (LSE(log p0 - th1 F) - LSE(log q0 - th2 G)) / (th1 + th2)
///     u = LSE_d(y + F'),  G = k2 (log q0 - u)
///
/// Only s, u and T of every step are kept, which F' and G follow from. The plans exp(y + G - s) and exp(y + F' - u)
/// that the reverse needs are exp(y) scaled by vectors, and so is what they add to dL/dy: steps that share their
/// parameters share one exp an element, and their 2K rank-one updates are one product (KernelTerms). Memory: the D x N
/// gradient of the reward, and SinkhornRecord.
///
/// Where only the conditional mean is wanted, T is left out, as Sinkhorn does: the mean and its gradient do not see it.
template <BagScalar Scalar, EntropicRegularizer R>
class Trajectory<Sinkhorn, Scalar, R> {
public:
    RealVector mean;  ///< What is pooled.
    Outcome outcome;
    std::optional<Solution<Scalar, R>> solution;  ///< Unless it is only to pool.

    /// `steps`: empty, or one set of parameters for each of options.iterations.
    Trajectory(const Sinkhorn& solver, const UotProblem<Scalar, R>& problem, const std::vector<StepParameters>& steps,
               bool pooled_only, Workspace& workspace)
        : only_pools_(pooled_only && !solver.options.history) {
        validate_fields(problem);
        const int count = *solver.options.iterations;
        record_.of_all_steps = problem.alpha0;
        record_.parameters = steps;
        record_.values = problem.pooled_values();
        record_.relative = std::same_as<R, RelativeEntropy>;
        record_.resize(count);
        for (std::size_t k = 0; k < record_.problems.size(); ++k)
            require_interior(record_.alpha0(static_cast<Index>(k)));
        const Run<Scalar, R> given{.workspace = &workspace};
        SolverRun<Scalar, R> run(solver.options, problem, given);
        if (only_pools_ && steps.empty()) {
            if (pool_by_scalings(run, record_.problems.front(), record_.mean, &record_.log_sums)) {
                outcome = {.status = Status::iteration_limit, .iterations = count};
                mean = record_.mean;
                return;
            }
        } else {
            run.inspect();
        }
        take_steps(solver, problem, workspace.get<Inspection>(), run.any());
    }

    /// Throws UnsupportedProblem where the tape is only to pool and the readout is of more than the conditional mean.
    /// `found`: the solution, which may have been moved.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const std::optional<Solution<Scalar, R>>& found, const Readout& readout,
                const RealVector& dL_dy, Workspace& workspace) const {
        auto& reverse = workspace.get<SinkhornReverse<Scalar>>();
        reverse.start(record_, gradient);
        if constexpr (std::same_as<Readout, ConditionalReadout>) {
            reverse.plan(PlanCotangent::of_conditional_mean(record_.mean, dL_dy));
        } else {
            if (only_pools_) require_conditional_mean<Readout>();
            reverse.plan(pull_back_readout(readout, *found, dL_dy, gradient));
        }
        for (Index k = record_.steps() - 1; k >= 0; --k) {
            reverse.update_instances(k);
            reverse.translate(k);
            reverse.update_features(k);
            reverse.begin(k);
        }
        reverse.finish();
    }

private:
    /// The steps in double, of an inspected problem.
    void take_steps(const Sinkhorn& solver, const UotProblem<Scalar, R>& problem, Inspection& inspection,
                    const AnyRun& run) {
        Iterations iterations(run, 0);
        auto& scaling = run.workspace.get<Scaling<>>();
        LogSums& log_sums = record_.log_sums;
        log_sums.resize(inspection.features(), inspection.active_instances(), record_.steps());
        const auto keep = [](const Buffer<Real>& sums, Real* to) { std::copy(sums.begin(), sums.end(), to); };
        for (Index k = 0; iterations.again(); ++k) {
            if (k == 0 || !record_.shares_parameters()) begin(k, inspection, scaling);
            keep(scaling.log_row_sum(), log_sums.rows_of(k));
            scaling.update_features();
            if (solver.translation && !only_pools_) {
                record_.translation[static_cast<std::size_t>(k)] = scaling.translate();
            }
            scaling.update_instances();
            keep(scaling.log_col_sum(), log_sums.cols_of(k));
            if (iterations.wants_residual()) {
                iterations.record(scaling.feature_residual(), scaling.attainable());
            } else {
                iterations.skip();
            }
        }
        keep(scaling.log_row_sum(), log_sums.rows_of(record_.steps()));
        if (!only_pools_) {
            SolvedPlan found = scaling.solution(record_.alpha0(record_.steps() - 1));
            found.outcome = iterations.outcome();
            check_promise(found, record_.problems.back(), scaling.attainable(), run.tolerance);
            const auto& steps = record_.parameters;
            solution = solution_of(steps.empty() ? problem : with_parameters(problem, steps.back()), std::move(found));
        }
        outcome = iterations.outcome();
        scaling.pool(inspection.values, record_.mean);
        mean = record_.mean;
    }

    /// Starts the steps' parameters that begin at k, from the potential that step k - 1 left.
    void begin(Index k, Inspection& inspection, Scaling<>& scaling) {
        const auto place = static_cast<std::size_t>(k);
        ScaledProblem& scaled = record_.problems[place];
        if (!record_.shares_parameters()) {
            const StepParameters& step = record_.parameters[place];
            inspection.set_alphas(step.alpha0, step.alpha1, step.alpha2);
        }
        scaled.set(inspection);
        Buffer<Real> start;
        record_.start(k, start);
        scaling.start(scaled, start, {});
    }

    static void require_interior(Real alpha0) {
        if (alpha0 > 0 && std::isfinite(alpha0)) return;
        throw UnsupportedProblem("Unrolled Sinkhorn", "alpha0 = " + printed(alpha0), "alpha0 > 0 and finite");
    }

    bool only_pools_;
    SinkhornRecord record_;
};

}  // namespace otpool::detail
