// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <optional>
#include <otpool/otpool.hpp>

namespace measure {

// What a solution's plan and potentials say, computed here from the problem in the plainest way.

namespace detail {

template <class Scalar>
otpool::RealVector prior_or_uniform(const otpool::Marginal<Scalar>& marginal, otpool::Index size) {
    if (marginal.prior.size() == 0) return otpool::RealVector::Constant(size, 1 / static_cast<double>(size));
    const otpool::RealVector in_double = marginal.prior.template cast<double>();
    return marginal.has_masses ? in_double : otpool::RealVector(in_double / in_double.sum());
}

template <class Scalar>
double alpha_of(const otpool::Marginal<Scalar>& side, otpool::Index i) {
    return static_cast<double>(side.alphas.size() > 0 ? side.alphas[i] : side.alpha);
}

/// max |log(marginal / prior) + potential / alpha| over the entries of prior > 0 and alpha > 0.
template <class Scalar>
double marginal_violation(const otpool::Marginal<Scalar>& side, const otpool::RealVector& marginal,
                          const otpool::RealVector& prior, const otpool::Vector<Scalar>& potential) {
    double largest = 0;
    for (otpool::Index i = 0; i < prior.size(); ++i) {
        const double alpha = alpha_of(side, i);
        if (prior[i] == 0 || alpha == 0) continue;
        const double penalty = std::isinf(alpha) ? 0 : static_cast<double>(potential[i]) / alpha;
        largest = std::max(largest, std::abs(std::log(marginal[i] / prior[i]) + penalty));
    }
    return largest;
}

/// The plan entry that the potentials generate; nothing where alpha0 = 0, where they generate none.
template <class R>
double generated_entry(double slack, double alpha0, double prior_product) {
    if constexpr (std::same_as<R, otpool::Quadratic>) {
        return std::max(slack, 0.0) / (2 * alpha0);
    } else {
        return std::exp(slack / alpha0) * (std::same_as<R, otpool::RelativeEntropy> ? prior_product : 1);
    }
}

}  // namespace detail

/// Priors, potentials and slack x_dn + f_d + g_n + lambda of a solution, in double.
template <class Scalar, class R>
struct Recomputed {
    const otpool::Solution<Scalar, R>& solution;
    otpool::RealVector p, q;
    otpool::RealMatrix plan;
    otpool::RealMatrix slack;

    explicit Recomputed(const otpool::Solution<Scalar, R>& of) : solution(of) {
        const auto& problem = of.problem;
        p = detail::prior_or_uniform(problem.features, problem.reward.rows());
        q = detail::prior_or_uniform(problem.instances, problem.reward.cols());
        // The masses of two hard marginals differ by rounding.
        const bool own_alphas = problem.features.alphas.size() > 0 || problem.instances.alphas.size() > 0;
        if (!own_alphas && std::isinf(problem.features.alpha) && std::isinf(problem.instances.alpha))
            q *= p.sum() / q.sum();
        plan = otpool::RealMatrix::Zero(p.size(), q.size());
        of.log_plan.for_each_log_column([&](otpool::Index, otpool::Index n, const otpool::RealVector& log_column) {
            for (otpool::Index d = 0; d < plan.rows(); ++d) plan(d, n) = std::exp(log_column[d]);
        });
        slack = problem.reward.matrix().template cast<double>();
        slack.colwise() += of.feature_potential.template cast<double>();
        slack.rowwise() += of.instance_potential.template cast<double>().transpose();
        slack.array() += static_cast<double>(of.mass_potential);
    }

    /// The residual as Solution::residual defines it.
    double residual() const {
        const auto& problem = solution.problem;
        const otpool::RealVector r = plan.rowwise().sum();
        const otpool::RealVector c = plan.colwise().sum();
        double largest = std::max(detail::marginal_violation(problem.features, r, p, solution.feature_potential),
                                  detail::marginal_violation(problem.instances, c, q, solution.instance_potential));
        if (problem.mass) largest = std::max(largest, std::abs(std::log(plan.sum() / double(*problem.mass))));
        otpool::RealMatrix gap = otpool::RealMatrix::Zero(plan.rows(), plan.cols());
        for (otpool::Index n = 0; n < plan.cols(); ++n) {
            if (q[n] == 0) continue;
            for (otpool::Index d = 0; d < plan.rows(); ++d) {
                if (std::isinf(slack(d, n)) && plan(d, n) == 0) continue;  // a forbidden pair
                if (problem.alpha0 > 0) {
                    gap(d, n) =
                        std::abs(plan(d, n) - detail::generated_entry<R>(slack(d, n), problem.alpha0, p[d] * q[n]));
                } else {  // nowhere above zero, and zero where the plan has mass, in the reward's unit
                    largest = std::max(largest, slack(d, n) / alpha_unit());
                    gap(d, n) = plan(d, n) * std::abs(slack(d, n)) / alpha_unit();
                }
            }
            if (detail::alpha_of(problem.instances, n) > 0) largest = std::max(largest, gap.col(n).sum() / c[n]);
        }
        const bool rows_count = problem.features.alpha > 0 || problem.alpha0 > 0;
        return rows_count ? std::max(largest, (gap.rowwise().sum().array() / r.array()).maxCoeff()) : largest;
    }

    /// Whether doubles hold the plan's marginals and products of them.
    bool is_representable() const {
        const double limit = 0.5 * std::log(std::numeric_limits<double>::max());
        return std::abs(solution.log_mass) < limit && plan.rowwise().sum().minCoeff() > std::exp(-limit) &&
               smallest_active_mass() > std::exp(-limit);
    }

    /// What the rounding of reward, potentials and plan to Scalar may add to residual().
    double rounding() const {
        const auto& problem = solution.problem;
        double largest = 0;
        for (const Scalar x : problem.reward.matrix().reshaped()) {
            if (std::isfinite(x)) largest = std::max<double>(largest, std::abs(x));
        }
        largest = std::max<double>(largest, solution.feature_potential.cwiseAbs().maxCoeff());
        largest = std::max<double>(largest, std::abs(solution.mass_potential));
        for (otpool::Index n = 0; n < q.size(); ++n) {
            if (q[n] > 0) largest = std::max<double>(largest, std::abs(solution.instance_potential[n]));
        }
        const double epsilon = 8 * std::numeric_limits<Scalar>::epsilon();
        if constexpr (std::same_as<R, otpool::Quadratic>) {
            // every entry of a row or column takes the rounding of its slack
            const double entries = static_cast<double>(std::max(plan.rows(), plan.cols()));
            const double smallest_mass = std::min(plan.rowwise().sum().minCoeff(), smallest_active_mass());
            if (problem.alpha0 > 0) return epsilon * (1 + largest / problem.alpha0 * entries / smallest_mass);
        }
        // the unit that residual() compares slacks in
        double smallest_alpha = problem.alpha0 > 0 ? static_cast<double>(problem.alpha0) : alpha_unit();
        for (const auto* side : {&problem.features, &problem.instances}) {
            for (otpool::Index i = 0; i < std::max<otpool::Index>(1, side->alphas.size()); ++i) {
                const double alpha = detail::alpha_of(*side, i);
                if (alpha > 0) smallest_alpha = std::min(smallest_alpha, alpha);
            }
        }
        return epsilon * (1 + largest / smallest_alpha);
    }

    /// (objective of the plan - dual objective of the potentials) / (spread * mass): how far the plan can be from
    /// optimal, by weak duality. For Quadratic and for alpha0 = 0, where the potentials are first made feasible.
    double duality_gap(double spread) const {
        const auto& problem = solution.problem;
        otpool::RealVector f = solution.feature_potential.template cast<double>();
        double regularizer = 0;
        double conjugate = 0;
        if (problem.alpha0 == 0) {
            f -= active_slack().rowwise().maxCoeff();
        } else {
            regularizer = problem.alpha0 * plan.squaredNorm();
            conjugate = active_slack().cwiseMax(0).squaredNorm() / (4 * static_cast<double>(problem.alpha0));
        }
        const otpool::RealVector g = solution.instance_potential.template cast<double>();
        const double primal = regularizer - plan.cwiseProduct(problem.reward.matrix().template cast<double>()).sum() +
                              divergence(problem.features.alpha, plan.rowwise().sum(), p) +
                              divergence(problem.instances.alpha, plan.colwise().sum(), q);
        const double dual =
            dual_term(problem.features.alpha, f, p) + dual_term(problem.instances.alpha, g, q) - conjugate;
        return std::abs(primal - dual) / (spread * plan.sum());
    }

private:
    /// The unit of potentials where alpha0 = 0: rho's, a tenth of the spread.
    double alpha_unit() const { return otpool::BregmanAdmm::default_rho(solution.problem); }

    double smallest_active_mass() const {
        double smallest = std::numeric_limits<double>::infinity();
        for (otpool::Index n = 0; n < q.size(); ++n) {
            if (q[n] > 0) smallest = std::min(smallest, plan.col(n).sum());
        }
        return smallest;
    }

    otpool::RealMatrix active_slack() const {
        otpool::RealMatrix active = slack;
        for (otpool::Index n = 0; n < q.size(); ++n) {
            if (q[n] == 0) active.col(n).setConstant(-std::numeric_limits<double>::max());
        }
        return active;
    }

    /// alpha KL(marginal | prior), without the term that is infinite.
    static double divergence(double alpha, const otpool::RealVector& marginal, const otpool::RealVector& prior) {
        if (std::isinf(alpha)) return 0;
        double sum = 0;
        for (otpool::Index i = 0; i < prior.size(); ++i) {
            if (marginal[i] > 0) sum += marginal[i] * std::log(marginal[i] / prior[i]);
            sum += prior[i] - marginal[i];
        }
        return alpha * sum;
    }

    /// min over marginals of  alpha KL(marginal | prior) + <potential, marginal>
    static double dual_term(double alpha, const otpool::RealVector& potential, const otpool::RealVector& prior) {
        double sum = 0;
        for (otpool::Index i = 0; i < prior.size(); ++i) {
            if (prior[i] == 0) continue;
            sum += prior[i] * (std::isinf(alpha) ? potential[i] : -alpha * std::expm1(-potential[i] / alpha));
        }
        return sum;
    }
};

}  // namespace measure
