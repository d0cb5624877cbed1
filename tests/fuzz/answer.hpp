#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <sstream>
#include <string>

#include "any_problem.hpp"
#include "otpool/otpool.hpp"
#include "support/optimality.hpp"

// What must hold for every solution.

namespace fuzz {

using namespace otpool;
using tests::Wide;
using tests::WideVector;

/// A problem and what a solver made of it, in double whatever the scalar: the checks are compiled once.
struct Answer {
    RealMatrix reward, values;
    double alpha0, alpha1, alpha2;
    WideVector p, q;
    bool is_quadratic, is_relative;
    double epsilon, least, most;  ///< Of the scalar: the distance of 1 from the next number, the ends of its range.

    Status status;
    double residual;
    RealMatrix plan;
    RealVector f, g, pooled;

    template <class Scalar, class R>
    explicit Answer(const Solution<Scalar, R>& solution)
        : reward(solution.problem.reward.matrix().template cast<double>()),
          values(solution.problem.pooled_values().matrix().template cast<double>()),
          alpha0(solution.problem.alpha0),
          alpha1(solution.problem.features.alpha),
          alpha2(solution.problem.instances.alpha),
          p(tests::wide_prior(solution.problem.features, reward.rows())),
          q(tests::wide_prior(solution.problem.instances, reward.cols())),
          is_quadratic(std::same_as<R, Quadratic>),
          is_relative(std::same_as<R, RelativeEntropy>),
          epsilon(std::numeric_limits<Scalar>::epsilon()),
          least(std::numeric_limits<Scalar>::min()),
          most(std::numeric_limits<Scalar>::max()),
          status(solution.status),
          residual(solution.residual),
          plan(solution.plan().template cast<double>()),
          f(solution.feature_potential.template cast<double>()),
          g(solution.instance_potential.template cast<double>()),
          pooled(ConditionalReadout{}(solution).template cast<double>()) {
        if (std::isinf(alpha1) && std::isinf(alpha2)) q *= p.sum() / q.sum();  // Marginal::has_masses
    }

    bool allows(Index d, Index n) const { return q[n] > 0 && std::isfinite(reward(d, n)); }

    /// The largest of the numbers that potentials are sums of: their rounding is relative to it.
    double unit() const {
        double largest = least;
        for (const double alpha : {alpha0, alpha1, alpha2}) largest = std::max(largest, std::isinf(alpha) ? 0 : alpha);
        for (Index n = 0; n < reward.cols(); ++n) {
            for (Index d = 0; d < reward.rows(); ++d) {
                if (allows(d, n)) largest = std::max({largest, std::abs(reward(d, n)), std::abs(f[d]), std::abs(g[n])});
            }
        }
        return largest;
    }
};

/// Whether every feature pools between its lowest and its highest value that it may draw on.
inline bool is_between(const RealVector& pooled, const Answer& of) {
    for (Index d = 0; d < pooled.size(); ++d) {
        double low = inf;
        double high = -inf;
        for (Index n = 0; n < of.values.cols(); ++n) {
            if (!of.allows(d, n)) continue;
            low = std::min(low, of.values(d, n));
            high = std::max(high, of.values(d, n));
        }
        // Values that are not normal numbers have few digits, and their products with weights fewer.
        const double slack = 8 * std::max({of.epsilon * std::abs(low), of.epsilon * std::abs(high), of.least});
        if (!(pooled[d] >= low - slack && pooled[d] <= high + slack)) return false;
    }
    return true;
}

/// Checks |log(marginal / prior) + potential / alpha|, where numbers of the scalar can tell and there is mass to speak of,
/// as Solution::residual says.
inline bool has_marginal(const RealVector& marginal, const WideVector& prior, double alpha, const RealVector& potential,
                         const Answer& of, double allowed) {
    const double no_mass = marginal.maxCoeff() * std::exp(-700.0);
    for (Index i = 0; i < marginal.size(); ++i) {
        if (prior[i] == 0 && marginal[i] != 0) return false;
        if (prior[i] == 0 || alpha == 0 || std::abs(potential[i]) > of.most / 2) continue;
        if (std::isinf(of.alpha0) && std::isfinite(alpha)) continue;  // only the regulariser counts
        const Wide penalty = std::isinf(alpha) ? 0 : Wide(potential[i]) / alpha;
        const Wide rounding = of.epsilon * 16 * (1 + (std::isinf(alpha) ? 0 : Wide(of.unit()) / alpha));
        const Wide expected = prior[i] * std::exp(-penalty);
        if (rounding > 0.1L || expected < of.least / of.epsilon) continue;
        if (marginal[i] < no_mass && expected < no_mass) continue;
        if (!(std::abs(std::log(marginal[i] / expected)) <= allowed + rounding)) return false;
    }
    return true;
}

/// Checks the plan's distance from the one that its potentials generate, relative to the marginals, where numbers of the
/// scalar can tell. Free instances do not count, as in Solution::residual.
inline bool has_potentials(const Answer& of, const RealVector& r, const RealVector& c, double allowed) {
    if (of.alpha0 == 0 || std::isinf(of.alpha0)) return true;
    RealMatrix distance = RealMatrix::Zero(of.plan.rows(), of.plan.cols());
    const Wide largest = of.unit();
    double smallest_line = r.minCoeff();
    for (Index n = 0; n < of.plan.cols(); ++n) {
        if (of.q[n] > 0) smallest_line = std::min(smallest_line, c[n]);
        for (Index d = 0; d < of.plan.rows(); ++d) {
            Wide generated = 0;
            if (of.allows(d, n)) {
                const Wide f = of.f[d], g = of.g[n], x = of.reward(d, n);
                const Wide slack = (x + f + g) / of.alpha0;
                const Wide base = of.is_relative ? of.p[d] * of.q[n] : 1;
                generated = of.is_quadratic ? std::max(slack, Wide(0)) / 2 : base * std::exp(slack);
            }
            distance(d, n) = static_cast<double>(std::abs(generated - of.plan(d, n)));
        }
    }
    const Wide rounding = 16 * of.epsilon * (1 + largest / of.alpha0) / (of.is_quadratic ? Wide(smallest_line) / 8 : 1);
    if (largest > of.most / 2 || rounding > 0.1L || smallest_line < of.least / of.epsilon) return true;
    const RealVector rows = distance.rowwise().sum();
    const RealVector columns = distance.colwise().sum().transpose();
    for (Index d = 0; d < r.size(); ++d) {
        if (!(rows[d] <= (allowed + rounding) * r[d])) return false;
    }
    for (Index n = 0; n < c.size() && of.alpha2 > 0; ++n) {
        if (!(columns[n] <= (allowed + rounding) * c[n])) return false;
    }
    return true;
}

inline void check_answer(const Answer& of, double tolerance, const auto& expect) {
    expect(of.plan.allFinite() && (of.plan.array() >= 0).all(), "a plan");
    expect(of.f.allFinite() && of.g.allFinite(), "finite potentials");
    expect(std::isfinite(of.residual) && of.residual >= 0, "a finite residual");
    expect(is_between(of.pooled, of), "between the lowest and the highest value");
    if (of.status != Status::converged) return;
    expect(of.residual <= tolerance, "converged within the tolerance");
    const RealVector r = of.plan.rowwise().sum();
    const RealVector c = of.plan.colwise().sum().transpose();
    expect(has_marginal(r, of.p, of.alpha1, of.f, of, 2 * tolerance), "converged: the features' marginal");
    expect(has_marginal(c, of.q, of.alpha2, of.g, of, 2 * tolerance), "converged: the instances' marginal");
    expect(has_potentials(of, r, c, 4 * tolerance), "converged: the plan of the potentials");
}

inline std::string described(const Answer& of, const Options& options) {
    std::ostringstream text;
    text.precision(17);
    text << name(of.status) << ", residual " << of.residual << ", pooled " << of.pooled.transpose() << "\nf "
         << of.f.transpose() << "\ng " << of.g.transpose() << "\nplan\n"
         << of.plan << "\nmax_iterations " << *options.max_iterations << ", iterations "
         << options.iterations.value_or(0) << ", closed forms " << options.closed_forms;
    return text.str();
}

}  // namespace fuzz
