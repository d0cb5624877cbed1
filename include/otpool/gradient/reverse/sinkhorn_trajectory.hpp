// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
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
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/sinkhorn.hpp"
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
    /// `steps`: empty, or one set of parameters for each of options.iterations.
    Trajectory(const Sinkhorn& solver, const UotProblem<Scalar, R>& problem, const std::vector<StepParameters>& steps,
               bool pooled_only, Workspace& workspace)
        : only_pools_(pooled_only && !solver.options.history), record_{problem.alpha0, steps} {
        validate_fields(problem);
        record_.resize(*solver.options.iterations);
        for (Index k = 0; k < std::max<Index>(1, static_cast<Index>(steps.size())); ++k)
            require_interior(record_.alpha0(k));
        if (only_pools_ && steps.empty() && pool_by_scalings(problem, *solver.options.iterations, workspace)) return;
        auto& pass = workspace.get<FirstPass<Scalar>>();
        pass.set(problem, {});
        const double tolerance = tolerance_or_default<Scalar>(solver.options);
        const Observer none;
        Iterations iterations(solver.options, tolerance, 0, none);
        auto& scaling = workspace.get<Scaling<Scalar, Scalar>>();
        Buffer<Real> start;
        record_.log_sums.resize(problem.reward.rows(), static_cast<Index>(pass.priors.active.size()), record_.steps());
        for (Index k = 0; iterations.again(); ++k) {
            if (k == 0 || !steps.empty()) begin(k, problem, pass, scaling, start);
            record_.log_sums.of_rows.col(k) = scaling.log_row_sum();
            scaling.update_features();
            if (solver.translation && !only_pools_) record_.translation[k] = scaling.translate();
            scaling.update_instances(iterations.is_last() ? &problem.values : nullptr);
            record_.log_sums.of_cols.col(k) = scaling.log_col_sum();
            if (iterations.wants_residual()) {
                iterations.record(scaling.feature_residual(), scaling.attainable());
            } else {
                iterations.skip();
            }
        }
        record_.log_sums.of_rows.rightCols(1) = scaling.log_row_sum();
        const UotProblem<Scalar, R> last = steps.empty() ? problem : with_parameters(problem, steps.back());
        RealVector mean;
        if (scaling.pooled()) scaling.conditional_mean(mean);
        if (only_pools_ && scaling.pooled()) {
            solution = pooled_solution<Scalar, R>(std::move(mean));
            solution.problem = last;
            iterations.report(solution);
            return;
        }
        solution = scaling.solution(last);
        if (scaling.pooled()) solution.conditional_mean = std::move(mean);
        iterations.report(solution);
        check_promise(solution, record_.problems.back(), std::max(scaling.attainable(), scaling.resolution()),
                      tolerance);
    }

    /// Where it is only to pool, without the translations: of a multiple of the plan.
    Solution<Scalar, R> solution;

    /// `found`: the solution, which may have been moved. Throws UnsupportedProblem where the tape is only to pool and
    /// the readout is of more than the conditional mean.
    template <class Readout>
    void add_to(BagGradient<Scalar>& gradient, const Solution<Scalar, R>& found, const Readout& readout,
                const RealVector& dL_dy, Workspace& workspace) const {
        if (only_pools_) require_conditional_mean<Readout>();
        auto& reverse = workspace.get<SinkhornReverse<Scalar, R>>();
        reverse.start(record_, found, gradient);
        reverse.plan(pull_back_readout(readout, found, dL_dy, gradient));
        for (Index k = record_.steps() - 1; k >= 0; --k) {
            reverse.update_instances(k);
            reverse.translate(k);
            reverse.update_features(k);
            reverse.begin(k);
        }
        reverse.finish(workspace);
    }

private:
    /// The steps, as Sinkhorn takes those that only pool. Whether scalings resolve them.
    bool pool_by_scalings(const UotProblem<Scalar, R>& problem, int steps, Workspace& workspace) {
        RealVector mean;
        ScaledProblem<Scalar>& scaled = record_.problems.front();
        if (!detail::pool_by_scalings(problem, steps, {}, workspace, scaled, mean, &record_.log_sums)) return false;
        solution = pooled_solution<Scalar, R>(std::move(mean), steps);
        solution.problem = problem;
        return true;
    }

    /// Starts the steps' parameters that begin at k, from the potential that step k - 1 left.
    void begin(Index k, const UotProblem<Scalar, R>& problem, const FirstPass<Scalar>& pass,
               Scaling<Scalar, Scalar>& scaling, Buffer<Real>& start) {
        const auto& parameters = record_.parameters;
        ScaledProblem<Scalar>& scaled = record_.problems[static_cast<std::size_t>(k)];
        scaled.set(parameters.empty() ? problem : with_parameters(problem, parameters[static_cast<std::size_t>(k)]),
                   pass);
        record_.start(k, start);
        scaling.start(scaled, start);
    }

    static void require_interior(Real alpha0) {
        if (alpha0 > 0 && std::isfinite(alpha0)) return;
        throw UnsupportedProblem("Unrolled Sinkhorn", "alpha0 = " + printed(alpha0), "alpha0 > 0 and finite");
    }

    bool only_pools_;
    SinkhornRecord<Scalar> record_;
};

}  // namespace otpool::detail
