// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>
#include <utility>

#include "otpool/closed_form/entropic.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/absorbed_kernel.hpp"
#include "otpool/kernel/kernel.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/acceleration.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/solver/steps/scaling.hpp"
#include "otpool/solver/steps/scaling_steps.hpp"

namespace otpool {

/// The half step that comes first in each of Sinkhorn's iterations.
enum class HalfStep : unsigned char {
    features,  ///< f, then g: the instances' condition holds at the end.
    instances  ///< g, then f: the features' condition holds at the end.
};

namespace detail {

/// A tape of Sinkhorn's steps that keeps nothing.
struct NoTape {
    void begin(const auto& /*scaling*/) const {}
    void keep(const auto& /*scaling*/, Real /*translation*/) const {}
};

/// Sinkhorn's iterations. Each calls tape.begin(scaling) first, which may restart the scaling, and
/// tape.keep(scaling, t / alpha0) last. If they end on the features, the last one leaves out its half step of the
/// instances; only a scaling with end_on_features() may.
template <class Scaling, class Tape>
void sinkhorn_steps(Scaling& scaling, Iterations& iterations, bool translation, bool ends_on_features,
                    int anderson_memory, Workspace& workspace, Tape&& tape) {
    auto& anderson = workspace.get<AndersonSteps<>>();
    anderson.set(anderson_memory, scaling.log_row_sum().size());
    Real residual = (std::numeric_limits<Real>::max)();
    while (iterations.again()) {
        tape.begin(scaling);
        if constexpr (requires { scaling.end_on_features(); }) {
            if (ends_on_features && iterations.is_last()) {
                iterations.record(scaling.end_on_features(), scaling.attainable());
                break;
            }
        }
        scaling.update_features();
        const Real t = translation ? scaling.translate() : 0;
        if (anderson.active()) scaling.move_features(anderson.step(scaling.features().kernel.data(), residual));
        scaling.update_instances();
        residual = scaling.feature_residual();
        iterations.record(residual, scaling.attainable());
        tape.keep(scaling, t);
    }
}

}  // namespace detail

/// Sinkhorn scaling in the log domain, for entropic problems with alpha0 > 0:
///
///     f <- k1 a0 (log p0 - LSE_n((X + g)/a0)),  k1 = a1/(a1+a0)
///     f <- f + t,  g <- g - t                   with KullbackLeibler, unless a side is free or both are hard
///     g <- k2 a0 (log q0 - LSE_d((X + f)/a0)),  k2 = a2/(a2+a0)
///
/// The translation t maximises the dual along its one slow direction: Sejourne, Vialard & Peyre, "Faster Unbalanced
/// Optimal Transport" (arXiv 2201.00730). Other penalties have other half steps: see MarginalPenalty. If the mass is fixed,
/// the half step of f comes with the multiplier lambda for which the plan has that mass.
///
/// An iteration costs one pass over exponentials, which are kept if D N is at most 2^20 floats or 2^22 doubles
/// (AbsorbedKernel); otherwise one pass over the reward and one exp per element. Other memory is O(D + N). A fixed
/// number of iterations that only pools runs in scalings (ScalingSteps), in the bag's scalar if its range suffices, and
/// without the translation, which does not change the mean. (With an alpha for each line it does: then potentials run.)
/// log_plan() says when a pooling to slots does.
/// Everything else is computed in double. The number of iterations grows as alpha0 falls; prefer Newton if it is far below
/// the reward's spread.
///
/// Solves to a tolerance are accelerated (Anderson), in f after its translation. An iteration is then a pass, whether
/// or not its extrapolation is kept. From alpha0 = 10 to 0.01 times the spread, this takes 1 to 10 times fewer
/// iterations.
struct Sinkhorn {
    Options options = {};  ///< When to stop, and what to record.
    /// Whether to take the translation step; without it, strong soft marginals need orders of magnitude more
    /// iterations.
    bool translation = true;
    /// For solves to a tolerance; a fixed number of iterations is not accelerated.
    Anderson acceleration = {};
    /// Which half step comes first in an iteration; it matters for a fixed number of iterations. A warm start gives g, so
    /// the features' half step is first then. Without one, the first half step of all reads the other side's potential
    /// as -S if that side is hard (S: the largest reward), as -alpha S / (alpha0 + alpha1 + alpha2) if it is soft, both
    /// sides have one alpha each and KullbackLeibler, and as 0 in other cases. So a shift of the reward changes a plan of
    /// few steps by a factor, like the optimum. (Hard features give the same plan from any constant.)
    HalfStep first = HalfStep::features;

    /// Options::max_iterations where it is empty.
    static constexpr int default_limit = 10000;

    /// Throws InvalidArgument if the problem is not well formed, UnsupportedProblem for alpha0 = 0 without a closed
    /// form and for alpha0 = inf with a penalty other than KullbackLeibler. Thread-safe.
    template <BagScalar Scalar, EntropicRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        return solve_over<detail::AbsorbedKernel<>>(problem, run);
    }

    /// pooled <- the conditional mean of the values under the plan, D numbers. Throws as solve() does.
    template <BagScalar Scalar, EntropicRegularizer R>
    Outcome pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                 const Run<Scalar, R>& run = {}) const {
        return pool_over<detail::AbsorbedKernel<>>(problem, pooled, run);
    }

    /// log P, for poolings that need no Solution. A fixed number of iterations without translation, with one alpha for each
    /// side, of which at least one is hard, runs in scalings, as pool() does. Else as solve(). The plan views the reward.
    template <BagScalar Scalar, EntropicRegularizer R>
    detail::LogPlan log_plan(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        detail::validate(acceleration);
        if (takes_plan_of_scalings(own)) {
            auto& scaled = own.workspace().template get<detail::ScaledProblem>();
            auto plan = detail::plan_by_scalings(own, scaled, first == HalfStep::instances);
            if (plan) return std::move(*plan);
        }
        return solve(problem, run).log_plan;
    }

private:
    template <class K>
    friend struct SinkhornOver;

    template <Kernel K, BagScalar Scalar, EntropicRegularizer R>
    Solution<Scalar, R> solve_over(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        detail::validate(acceleration);
        own.inspect();
        if (detail::takes_closed_form(own)) return detail::solve_closed_form(own);
        auto& scaled = own.workspace().template get<detail::ScaledProblem>();
        scaled.set(own.inspection());
        auto& scaling = start<K>(own, scaled);
        detail::Iterations iterations(own.any(), default_limit);
        iterate(scaling, iterations, own);
        detail::SolvedPlan found = scaling.solution(Real(problem.alpha0));
        found.outcome = iterations.outcome();
        detail::check_promise(found, scaled, scaling.attainable(), own.any().tolerance);
        return detail::solution_of(problem, std::move(found));
    }

    template <Kernel K, BagScalar Scalar, EntropicRegularizer R>
    Outcome pool_over(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                      const Run<Scalar, R>& run) const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        detail::validate(acceleration);
        const Outcome outcome = pool<K>(own);
        detail::set_pooled<Scalar>(own.mean(), pooled);
        return outcome;
    }

    template <Kernel K, BagScalar Scalar, EntropicRegularizer R>
    Outcome pool(detail::SolverRun<Scalar, R>& run) const {
        auto& scaled = run.workspace().template get<detail::ScaledProblem>();
        const bool closed = detail::takes_closed_form(run);
        const bool by_scalings = !closed && takes_scalings<K>(run);
        if constexpr (has_scalings<K>) {
            if (by_scalings && detail::pool_by_scalings(run, scaled, run.mean()))
                return {.status = Status::iteration_limit, .iterations = *options.iterations};
        }
        if (!by_scalings) run.inspect();
        if (closed) return detail::pool_closed_form(run, run.mean());
        scaled.set(run.inspection());
        auto& scaling = start<K>(run, scaled);
        detail::Iterations iterations(run.any(), default_limit);
        iterate(scaling, iterations, run);
        scaling.pool(run.inspection().values, run.mean());
        return iterations.outcome();
    }

    /// Scalings are of absorbed exponentials.
    template <class K>
    static constexpr bool has_scalings = std::same_as<K, detail::AbsorbedKernel<>>;

    /// Whether iterations may run in scalings, without potentials, as far as the run goes.
    template <BagScalar Scalar, EntropicRegularizer R>
    static bool goes_without_potentials(const detail::SolverRun<Scalar, R>& run) {
        return run.problem().alpha0 > 0 && run.takes_unseen_steps() && detail::is_kullback_leibler(run.problem());
    }

    /// Whether iterations that pool may.
    template <class K, BagScalar Scalar, EntropicRegularizer R>
    bool takes_scalings(const detail::SolverRun<Scalar, R>& run) const {
        return has_scalings<K> && first == HalfStep::features && goes_without_potentials(run) &&
               !((translation || run.problem().mass) && detail::has_own_alphas(run.problem()));
    }

    /// Whether iterations that find a plan may. Both sides hard have no translation. If neither is, the mass after some
    /// steps depends on the offset of the reward, and a glance finds another offset.
    template <BagScalar Scalar, EntropicRegularizer R>
    bool takes_plan_of_scalings(const detail::SolverRun<Scalar, R>& run) const {
        if (!goes_without_potentials(run) || detail::takes_closed_form(run)) return false;
        if (detail::has_own_alphas(run.problem())) return false;
        const bool features_hard = std::isinf(run.problem().features.alpha);
        const bool instances_hard = std::isinf(run.problem().instances.alpha);
        return translation ? features_hard && instances_hard : features_hard || instances_hard;
    }

    /// The state before the first iteration: from the priors, or the run's warm start.
    template <Kernel K, BagScalar Scalar, EntropicRegularizer R>
    detail::Scaling<K>& start(const detail::SolverRun<Scalar, R>& run, const detail::ScaledProblem& scaled) const {
        detail::require_positive_alpha0("Sinkhorn", run.inspection());
        auto& scaling = run.workspace().template get<detail::Scaling<K>>();
        if (run.warm_start() == nullptr) {
            scaling.start(scaled, scaled.instances.anchor, run.any().execution);
            if (first == HalfStep::instances) scaling.start_on_instances();
        } else {
            scaling.start(scaled, detail::kernel_potential_of(scaled, run.warm_start()->instance_potential),
                          run.any().execution);
        }
        return scaling;
    }

    void iterate(auto& scaling, detail::Iterations& iterations, const auto& run) const {
        const int memory = options.iterations ? 0 : acceleration.memory;
        const bool ends_on_features = options.iterations && first == HalfStep::instances && run.warm_start() == nullptr;
        detail::sinkhorn_steps(scaling, iterations, translation, ends_on_features, memory, run.workspace(),
                               detail::NoTape());
    }
};

/// Sinkhorn over another Kernel, such as one of your own. All iterations are in double, with potentials.
template <class K>
struct SinkhornOver {
    static_assert(Kernel<K>,
                  "otpool: a kernel has set(), log_row_sums() and sweep(), as otpool/kernel/kernel.hpp says");

    Sinkhorn sinkhorn = {};  ///< Its options.

    /// As Sinkhorn's.
    template <BagScalar Scalar, EntropicRegularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        return sinkhorn.template solve_over<K>(problem, run);
    }
    /// As Sinkhorn's.
    template <BagScalar Scalar, EntropicRegularizer R>
    Outcome pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                 const Run<Scalar, R>& run = {}) const {
        return sinkhorn.template pool_over<K>(problem, pooled, run);
    }
};

}  // namespace otpool
