// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <otpool/otpool.hpp>
#include <otpool/plan/dual_bound.hpp>
#include <otpool/solver/structural.hpp>
#include <string>
#include <type_traits>

#include "measure/problems.hpp"
#include "measure/tally.hpp"

// Rows of the accuracy table for KSparse and Structural, which have references of their own: the dual, and the
// conditions of a stationary point.

namespace measure {

/// The problems of the regime "0.1 to 10, Quadratic" with at most 1, 2, 4 or 8 slots per instance, in turn. The error
/// is the objective's gap to the dual bound / (spread * mass). not_exact is a bound where the dual has a gap.
template <class Scalar>
Tally k_sparse_row(std::size_t problems, double tolerance) {
    Tally tally;
    const auto quadratic = std::ranges::find_if(regimes(), &Regime::quadratic);
    const auto regime = static_cast<std::size_t>(quadratic - regimes().begin());
    for (std::size_t i = 0; i < problems; ++i) {
        const Case<Scalar> made = random_case<Scalar>(*quadratic, regime, i);
        auto problem = made.template problem<otpool::KSparse>();
        problem.regularizer.most = Index{1} << (i / 8 % 4);
        const auto solution = otpool::Newton{{.tolerance = tolerance}}.solve(problem);
        const double gap = static_cast<double>(solution.objective()) - otpool::dual_bound(solution);
        const double mass = std::exp(solution.log_mass);
        tally.add({.failure = solution.converged() ? "" : otpool::name(solution.status),
                   .error = solution.converged() && std::is_same_v<Scalar, double>
                                ? std::abs(gap) / (made.spread * mass)
                                : std::numeric_limits<double>::quiet_NaN(),
                   .residual = solution.residual,
                   .iterations = solution.iterations,
                   .marginals = made.marginals});
    }
    return tally;
}

/// Problems of the first regime with a hard side and a structural term of random symmetric matrices, positive
/// semidefinite ones in turn; alpha = the spread, over the largest possible term. The error is the plan's distance from
/// stationarity: from exp((X + alpha C1 P C2 + f + g) / alpha0), relative to the plan's mass.
template <class Scalar>
Tally structural_row(std::size_t problems, double tolerance) {
    Tally tally;
    for (std::size_t i = 0; i < problems; ++i) {
        const Case<Scalar> made = random_case<Scalar>(regimes()[0], 0, i);
        if (!std::isinf(made.features.alpha) && !std::isinf(made.instances.alpha)) continue;
        bench::Random random(std::uint64_t{900000} + i);
        const auto structure = [&](Index size) {
            const otpool::RealMatrix x = random.normal_matrix<double>(size, size);
            const otpool::RealMatrix c =
                i % 2 == 0 ? otpool::RealMatrix(x * x.transpose()) : otpool::RealMatrix(x + x.transpose());
            return otpool::RealMatrix(c / c.cwiseAbs().maxCoeff());
        };
        const otpool::RealMatrix C1 = structure(made.reward.rows());
        const otpool::RealMatrix C2 = structure(made.reward.cols());
        const auto problem = made.template problem<otpool::Entropy>();
        const otpool::Structural<otpool::Newton> solver{.options = {.tolerance = tolerance},
                                                        .feature_structure = C1,
                                                        .instance_structure = C2,
                                                        .alpha = made.spread};
        const auto solution = solver.solve(problem);
        const otpool::RealMatrix plan = solution.plan().template cast<double>();
        const otpool::RealMatrix pull = made.spread * ((C1 * plan) * C2);
        double off = 0;
        for (Index n = 0; n < plan.cols(); ++n) {
            if (problem.instances.prior.size() > 0 && problem.instances.prior[n] == 0) continue;
            for (Index d = 0; d < plan.rows(); ++d) {
                const double slack = static_cast<double>(problem.reward(d, n)) + pull(d, n) +
                                     static_cast<double>(solution.feature_potential[d]) +
                                     static_cast<double>(solution.instance_potential[n]);
                off += std::abs(plan(d, n) - std::exp(slack / static_cast<double>(problem.alpha0)));
            }
        }
        tally.add({.failure = solution.converged() ? "" : otpool::name(solution.status),
                   .error = off / plan.sum(),
                   .residual = solution.residual,
                   .iterations = solution.iterations,
                   .marginals = made.marginals});
    }
    return tally;
}

/// Both rows of the accuracy table.
template <class Scalar>
std::string sparse_and_structural_rows(std::size_t problems, double tolerance) {
    return "| 0.1 to 10, KSparse | Newton | " + k_sparse_row<Scalar>(problems, tolerance).cells() +
           " |\n| 0.1 to 10, structural term | Structural | " + structural_row<Scalar>(problems, tolerance).cells() +
           " |\n";
}

}  // namespace measure
