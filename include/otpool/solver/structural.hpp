// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/options.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/solver.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/solver/steps/structural_plan.hpp"

namespace otpool {

namespace detail {

/// The same problem in double, without a reward.
template <BagScalar Scalar, class R>
UotProblem<Real, R> in_double(const UotProblem<Scalar, R>& problem) {
    const auto side = [](const Marginal<Scalar>& of) {
        return Marginal<Real>{.alpha = Real(of.alpha),
                              .prior = of.prior.template cast<Real>(),
                              .penalty = of.penalty,
                              .has_masses = of.has_masses,
                              .alphas = of.alphas.template cast<Real>()};
    };
    return {.reward = {},
            .alpha0 = Real(problem.alpha0),
            .features = side(problem.features),
            .instances = side(problem.instances),
            .mass = problem.mass,
            .regularizer = problem.regularizer};
}

}  // namespace detail

/// A problem with a structural term (Cheng & Xu, arXiv 2201.09191; fused Gromov-Wasserstein of Vayer et al., 2019):
///
///     min over P >= 0   -<X, P> - (alpha / 2) <C1 P C2, P> + alpha0 R(P) + the penalties of both marginals
///
/// C1 (D x D) says how features go together, C2 (N x N) how instances do; both are symmetric. The plan's mass must be
/// fixed, by a hard side or UotProblem::mass: else there may be no minimum. `inner` solves problems without the term,
/// one after the other (majorisation-minimisation, Lange, Hunter & Yang, 2000):
///
///     P+ = argmin of the inner problem with reward  X + alpha C1 P C2 + tau R'(P)  and  alpha0 + tau
///
/// The objective never rises. If alpha C1 and C2 are positive semidefinite, tau = 0 does; else tau is doubled until
/// -(alpha/2) <C1 E C2, E> <= tau D(P+, P), with E = P+ - P and D the Bregman divergence of R. The objective is not
/// convex: this is a stationary point, found from p0 q0^T (or the plan of the warm start).
///
/// Cost of an iteration: D N (D + N) multiplications and an inner solve. Memory: five D x N matrices besides the inner
/// solver's. Computes in double, for bags of float too.
template <class Inner = Sinkhorn>
struct Structural {
    static constexpr bool has_structural_term = true;  ///< Its solutions have a gradient of their own.

    /// When to stop, and what to record. max_iterations: 1000 if empty; iterations are those of the plan above.
    Options options = {};
    MatrixView<Real> feature_structure = {};   ///< C1, D x D, symmetric, finite.
    MatrixView<Real> instance_structure = {};  ///< C2, N x N, symmetric, finite.
    Real alpha = 1;                            ///< Of the term, finite.
    /// A solver of the problem without the term, in double. If its tolerance is empty, it is a tenth of this solver's.
    Inner inner = {};

    /// Solution::objective() has the term, and Solution::residual is that of the problem with the reward X + alpha C1 P
    /// C2; the plan's distance from the one that the potentials generate counts, too, relative to the marginals. Throws
    /// InvalidArgument if the problem or a structure is not well formed, UnsupportedProblem for a mass that is not
    /// fixed and alpha0 = 0 or inf, and what the inner solver throws. Thread-safe.
    template <BagScalar Scalar, ConvexRegularizer R>
    requires SolverOf<Inner, Real, R> Solution<Scalar, R> solve(const UotProblem<Scalar, R>& problem,
                                                                const Run<Scalar, R>& run = {})
    const {
        detail::SolverRun<Scalar, R> own(options, problem, run);
        own.inspect();
        validate(own.inspection());
        const detail::Structure structure{feature_structure, instance_structure, alpha};
        detail::StructuralPlan<R> plan(own.inspection(), structure);
        if (run.warm_start != nullptr) plan.start_from(*run.warm_start);

        Inner solver = inner;
        if constexpr (requires { solver.options.tolerance; }) {
            if (!solver.options.tolerance) solver.options.tolerance = own.any().tolerance / 10;
        }
        UotProblem<Real, R> majorant = detail::in_double(problem);
        if (own.inspection().lowest == -std::numeric_limits<Real>::infinity()) {
            // Where pairs are forbidden, a problem needs values of its own.
            majorant.values = RealMatrix(RealMatrix::Zero(problem.reward.rows(), problem.reward.cols()));
        }
        Solution<Real, R> found;
        detail::Iterations iterations(own.any(), 1000);
        while (iterations.again()) {
            do {
                majorant.reward = plan.reward();
                majorant.alpha0 = Real(problem.alpha0) + plan.tau();
                const bool is_first = found.feature_potential.size() == 0;
                found = solver.solve(majorant, {.warm_start = is_first ? nullptr : &found, .execution = run.execution});
            } while (!plan.accept(found));
            iterations.record(plan.residual(found), plan.attainable(found));
        }
        detail::SolvedPlan solved{.outcome = iterations.outcome(),
                                  .feature_potential = found.feature_potential,
                                  .instance_potential = found.instance_potential,
                                  .mass_potential = found.mass_potential,
                                  .log_mass = found.log_mass,
                                  .log_plan = std::move(found.log_plan)};
        detail::check_mass_range(solved, own.inspection().reward.is_float());
        Solution<Scalar, R> solution = detail::solution_of(problem, std::move(solved));
        solution.structural_term = plan.term();
        return solution;
    }

private:
    void validate(const detail::Inspection& problem) const {
        detail::require_structure(feature_structure, problem.features(), "feature_structure");
        detail::require_structure(instance_structure, problem.reward.cols(), "instance_structure");
        detail::require_that(std::isfinite(alpha), "alpha of the structural term", alpha, "finite");
        if (!problem.alpha1.all_hard() && !problem.alpha2.all_hard() && !problem.log_mass) {
            throw UnsupportedProblem("Structural", "no hard side and no mass",
                                     "a plan of fixed mass: hard features or instances, or UotProblem::mass");
        }
        if (!(problem.alpha0 > 0 && std::isfinite(problem.alpha0))) {
            throw UnsupportedProblem("Structural", "alpha0 = 0 or inf", "0 < alpha0 < inf");
        }
    }
};

}  // namespace otpool
