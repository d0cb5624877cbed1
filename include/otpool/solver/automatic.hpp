// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/reward_spread.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/active_set.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/closed_form.hpp"
#include "otpool/solver/newton.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

/// Chooses the solver by the problem, and goes on to the next one if it does not converge:
///
/// | problem | solvers, in this order |
/// |---|---|
/// | entropic, alpha0 > 0 | Sinkhorn for b = 80 + 2 min(D, N) iterations, Newton, BregmanAdmm |
/// | Quadratic, alpha0 > 0 | Newton, BregmanAdmm |
/// | KSparse | Newton |
/// | TopK | ClosedForm |
/// | alpha0 = 0 | ActiveSet, BregmanAdmm |
/// | a regulariser of your own | BregmanAdmm |
/// | a penalty of your own | Sinkhorn if entropic with alpha0 > 0, BregmanAdmm |
/// | a fixed mass | the same without BregmanAdmm |
/// | a fixed number of iterations | Sinkhorn if entropic with alpha0 > 0, else BregmanAdmm |
///
/// So many iterations of Sinkhorn take half as long as Newton takes on the whole where Sinkhorn is slow. It is left out
/// if it is likely to need more than b: with s the reward's spread, it takes about 3 (s / alpha0)^0.7 iterations where
/// both alphas are above s / 2. (bench/solver_choice measures both.) If none converges, the result is the one with the
/// smallest residual. Iterations are counted over all solvers, and so are max_iterations.
///
/// Whoever uses it compiles all of these solvers.
struct Automatic {
    Options options = {};  ///< When to stop, and what to record.

    /// Throws what the solvers throw. Thread-safe.
    template <BagScalar Scalar, Regularizer R>
    Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run = {}) const {
        std::optional<Solution<Scalar, R>> best;
        Attempts attempts(options, run.observer);
        for_each_solver(problem, attempts, [&](const auto& solver) {
            Solution<Scalar, R> solution = solver.solve(problem, attempts.run(run));
            attempts.add(solution.status, solution.iterations, solution.history);
            if (!best || solution.residual < best->residual) best.emplace(std::move(solution));
        });
        best->iterations = attempts.iterations();
        best->history = attempts.history();
        return *std::move(best);
    }

    /// pooled <- the conditional mean of the values under the plan, D numbers. Throws as solve() does.
    template <BagScalar Scalar, Regularizer R>
    Outcome pool(const UotProblem<Scalar, R>& problem, PooledVector<Scalar> pooled,
                 const Run<Scalar, R>& run = {}) const {
        std::optional<Outcome> best;
        Attempts attempts(options, run.observer);
        Vector<Scalar> found(pooled.size());
        for_each_solver(problem, attempts, [&](const auto& solver) {
            Outcome outcome = solver.pool(problem, found, attempts.run(run));
            attempts.add(outcome.status, outcome.iterations, outcome.history);
            if (best && !(outcome.residual < best->residual)) return;
            best = std::move(outcome);
            pooled = found;
        });
        best->iterations = attempts.iterations();
        best->history = attempts.history();
        return *std::move(best);
    }

private:
    /// Solves of one problem, one after the other: their iterations and history, which go on from solver to solver.
    class Attempts {
    public:
        Attempts(const Options& options, const Observer& observer) : options_(options) {
            if (!observer) return;
            observer_ = [this, &observer](int iteration, double residual) {
                return observer(iterations_ + iteration, residual);
            };
        }
        Attempts(const Attempts&) = delete;
        Attempts& operator=(const Attempts&) = delete;

        /// Whether another solver is to try.
        bool again() const { return !ended_ && left() > 0; }
        /// The options of the next solver, which may take at most `most` iterations.
        Options options(std::optional<int> most = {}) const {
            Options next = options_;
            if (options_.max_iterations) next.max_iterations = left();
            if (most) next.max_iterations = (std::min)(next.max_iterations.value_or(*most), *most);
            return next;
        }
        template <class Run>
        Run run(Run given) const {
            given.observer = observer_;
            return given;
        }
        void add(Status status, int iterations, const std::vector<double>& history) {
            ended_ = options_.iterations || status == Status::converged || status == Status::stopped ||
                     status == Status::mass_out_of_range;
            iterations_ += iterations;
            history_.insert(history_.end(), history.begin(), history.end());
        }
        int iterations() const { return iterations_; }
        const std::vector<double>& history() const { return history_; }

    private:
        int left() const { return options_.max_iterations.value_or(iterations_ + 1) - iterations_; }

        const Options& options_;
        Observer observer_;
        bool ended_ = false;
        int iterations_ = 0;
        std::vector<double> history_;
    };

    /// Whether Sinkhorn is likely to need more than so many iterations.
    template <BagScalar Scalar, Regularizer R>
    static bool needs_more(int iterations, const UotProblem<Scalar, R>& problem, const Options& options) {
        if (options.closed_forms && detail::has_closed_form(problem)) return false;
        const detail::Inspection inspection(problem);
        const auto likely = [&](Real spread) { return 3 * std::pow(spread / inspection.alpha0, 0.7); };
        if (likely(inspection.range()) <= iterations) return false;  // the spread is less
        const Real spread = detail::RewardSpread<>().standard_deviation(inspection, {});
        const auto is_stiff = [&](const detail::Alphas& alphas) {
            return !alphas.differ() && alphas.common() > spread / 2;
        };
        return is_stiff(inspection.alpha1) && is_stiff(inspection.alpha2) && likely(spread) > iterations;
    }

    /// Calls solve(solver) with one solver after the other, as long as there is a need.
    template <BagScalar Scalar, Regularizer R>
    static void for_each_solver(const UotProblem<Scalar, R>& problem, const Attempts& attempts, const auto& solve) {
        if constexpr (LimitedRegularizer<R>) {
            using Only = std::conditional_t<NewtonRegularizer<R>, Newton, ClosedForm>;
            solve(Only{attempts.options()});
        } else {
            for_each_convex_solver(problem, attempts, solve);
        }
    }

    template <BagScalar Scalar, ConvexRegularizer R>
    static void for_each_convex_solver(const UotProblem<Scalar, R>& problem, const Attempts& attempts,
                                       const auto& solve) {
        const bool is_limit = problem.alpha0 == 0;
        const bool takes_newton = detail::is_kullback_leibler(problem) && !attempts.options().iterations;
        if constexpr (EntropicRegularizer<R>) {
            const Index smaller = (std::min)(problem.reward.rows(), problem.reward.cols());
            const auto budget = static_cast<int>(80 + 2 * (std::min)(smaller, Index{4000}));
            const bool left_out = is_limit || (takes_newton && needs_more(budget, problem, attempts.options()));
            if (!left_out) solve(Sinkhorn{attempts.options(takes_newton ? budget : std::optional<int>())});
        }
        if constexpr (NewtonRegularizer<R>) {
            if (attempts.again() && !is_limit && takes_newton) solve(Newton{attempts.options()});
        }
        if (attempts.again() && is_limit && takes_newton) solve(ActiveSet{attempts.options()});
        const bool is_last = EntropicRegularizer<R> && !is_limit && detail::fixed_mass(problem);
        if (attempts.again() && !is_last) solve(BregmanAdmm{attempts.options()});
    }
};

}  // namespace otpool
