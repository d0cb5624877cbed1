// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <optional>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/exponential_range.hpp"
#include "otpool/kernel/kernel_pass.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/scaling_half_step.hpp"

namespace otpool::detail {

/// The log sums of every scaling step, one column per step.
struct LogSums {
    /// LSE_k(z_dk + col_potential_k), before every step and after the last one.
    RealMatrix of_rows;
    RealMatrix of_cols;  ///< LSE_d(z_dk + row_potential_d)

    void resize(Index rows, Index cols, Index steps) {
        of_rows.resize(rows, steps + 1);
        of_cols.resize(cols, steps);
    }
    Real* rows_of(Index step) { return of_rows.data() + step * of_rows.rows(); }
    Real* cols_of(Index step) { return of_cols.data() + step * of_cols.rows(); }
};

/// Scaling steps from the priors, without potentials, when only the last one's pooled vector or plan is needed:
///
///     u <- a (M v)^-k1,   v <- b (M^T u)^-k2,     M_dk = exp(z_dk + G_k)
///
/// as in Chizat, Peyre, Schmitzer & Vialard, "Scaling Algorithms for Unbalanced Optimal Transport Problems" (arXiv
/// 1607.05816), Algorithm 1. a and b are ScalingHalfStep's. The kernel absorbs G, which makes up for instances whose
/// rewards are all low. If the scalar's range does not suffice for M, its sums and scalings, there is no result, and
/// Scaling has to take over.
///
/// These steps are apart from Scaling because they take one power per line in the bag's scalar. Scaling takes a
/// logarithm and an exponential in double, and keeps potentials, which no pooled vector needs.
template <BagScalar Work>
class ScalingSteps {
public:
    /// mean <- the conditional mean of the values, or the reward if they are empty, after `steps` steps. Returns
    /// whether the range sufficed; if not, mean is unchanged. Rewards that have not been looked at may be any numbers;
    /// this looks at them. Keeps log sums, if given memory of their size. Cost: steps + 1 passes, with one exp per
    /// element in the first, or in each if exponentials are not kept (KernelBlocks).
    bool pool(ScaledProblem& problem, int steps, const AnyView& values, const Execution& execution, RealVector& mean,
              LogSums* kept = nullptr) {
        if (!take(problem, steps, false, execution, &values, kept) || !pass_.pooled_finite()) return false;
        if (kept != nullptr) log_of_normal(pass_.row_mass(), problem.kernel.rows(), kept->rows_of(steps));
        mean.resize(problem.kernel.rows());
        pass_.conditional_mean(mean.data());
        return true;
    }

    /// f, g <- the kernel potentials after `steps` steps, in each of which the features are first, or the instances.
    /// Otherwise as pool().
    bool solve(ScaledProblem& problem, int steps, bool instances_first, const Execution& execution, Buffer<Real>& f,
               Buffer<Real>& g) {
        if (!take(problem, steps, instances_first, execution, nullptr, nullptr)) return false;
        f.resize(problem.kernel.rows());
        g.resize(problem.kernel.cols());
        features_.potentials(f.data());
        instances_.potentials(g.data());
        return true;
    }

private:
    using Block = typename KernelPass<Work>::Block;

    /// Returns whether the range sufficed.
    bool take(ScaledProblem& problem, int steps, bool instances_first, const Execution& execution,
              const AnyView* values, LogSums* kept) {
        ScaledReward& kernel = problem.kernel;
        pass_.set(kernel, execution);
        KernelBlocks<Work>& blocks = pass_.blocks;
        features_.set(problem.features, blocks.row_potential());
        instances_.set(problem.instances, blocks.col_potential());
        const Index rows = kernel.rows();
        features_.follow_absorbed(0, rows);
        row_sums_.resize(rows);
        if (instances_first && !features_.start(pass_.u.data())) return false;
        const auto start = [&](Block& block) {
            instances_.follow_absorbed(block.first, block.count);
            return instances_first ? update_instances(block) : start_instances(block, problem.instances.anchor);
        };
        if (!pass_(start, nullptr)) return false;
        if (!kernel.looked_at()) kernel.highest = pass_.highest();
        for (int step = 0; step < steps; ++step) {
            std::transform(pass_.row_mass(), pass_.row_mass() + rows, row_sums_.data(),
                           [](Real sum) { return static_cast<Work>(sum); });
            if (!features_(0, rows, row_sums_.data(), pass_.u.data())) return false;
            const bool last = step + 1 == steps;
            if (instances_first && last) return true;
            if (kept != nullptr) features_.log_sums(0, rows, kept->rows_of(step));
            const auto update = [&](Block& block) { return update_instances(block); };
            if (!pass_(update, last ? values : nullptr)) return false;
            if (kept != nullptr) instances_.log_sums(0, kernel.cols(), kept->cols_of(step));
        }
        return true;
    }

    /// Sets v of a block before the first step. Returns whether it is in range.
    bool start_instances(const Block& block, const Buffer<Real>& anchor) {
        const Index first = block.first;
        const Work* absorbed = pass_.blocks.col_potential().data() + first;
        return set_scaling(anchor.data() + first, absorbed, block.count, pass_.v.data() + first,
                           ExponentialRange<Work>::least_log_scaling);
    }

    /// The same in a step.
    bool update_instances(Block& block) {
        const auto in_range = [&] {
            const Work* sums = pass_.sum_over_rows(block);
            return sums != nullptr && instances_(block.first, block.count, sums, pass_.v.data() + block.first);
        };
        if (in_range()) return true;
        pass_.blocks.absorb_highest(block, features_.log_scaling());
        instances_.follow_absorbed(block.first, block.count);
        return in_range();
    }

    KernelPass<Work> pass_;
    ScalingHalfStep<Work> features_, instances_;
    Buffer<Work> row_sums_;
};

/// Calls take(steps) -> bool with the ScalingSteps of the run's workspace. `scaled` becomes the problem as they see it:
/// after a glance at the reward, or, if that does not suffice, after looking at all of it. Returns whether scalings resolve
/// the steps; if not, all of the reward has been inspected. Throws InvalidArgument, as validate() does.
template <BagScalar Scalar, EntropicRegularizer R, class Take>
bool take_scaling_steps(SolverRun<Scalar, R>& run, ScaledProblem& scaled, const Take& take) {
    const auto take_scaled = [&] {
        scaled.set(run.inspection());
        return take(run.workspace().template get<ScalingSteps<Scalar>>());
    };
    run.glance();
    if (take_scaled()) return true;
    if (run.inspection().looked_at_all) return false;
    run.inspect();  // the highest rewards may be far above those of the glance
    return take_scaled();
}

/// mean <- the conditional mean of the values after the run's number of Sinkhorn steps from the priors. Keeps log sums, if
/// given. Otherwise as take_scaling_steps().
template <BagScalar Scalar, EntropicRegularizer R>
bool pool_by_scalings(SolverRun<Scalar, R>& run, ScaledProblem& scaled, RealVector& mean, LogSums* kept = nullptr) {
    const int count = *run.any().options.iterations;
    return take_scaling_steps(run, scaled, [&](ScalingSteps<Scalar>& steps) {
        if (kept != nullptr) kept->resize(scaled.kernel.rows(), scaled.kernel.cols(), count);
        return steps.pool(scaled, count, run.inspection().values, run.any().execution, mean, kept);
    });
}

/// The plan after these steps, if scalings resolve them. It views the reward.
template <BagScalar Scalar, EntropicRegularizer R>
std::optional<LogPlan> plan_by_scalings(SolverRun<Scalar, R>& run, ScaledProblem& scaled, bool instances_first) {
    Buffer<Real> f, g;
    const bool resolved = take_scaling_steps(run, scaled, [&](ScalingSteps<Scalar>& steps) {
        return steps.solve(scaled, *run.any().options.iterations, instances_first, run.any().execution, f, g);
    });
    if (!resolved) return {};
    return exponential_plan(scaled.kernel, g, f.vector().array() + scaled.mass_shift);
}

}  // namespace otpool::detail
