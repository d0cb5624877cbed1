#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <otpool/otpool.hpp>

#include "any_solver.hpp"
#include "execution.hpp"
#include "inputs.hpp"
#include "settings.hpp"

namespace pool {

/// The result of pooling one bag.
template <otpool::BagScalar Scalar>
struct PooledBag {
    Vector<Scalar> pooled;   ///< D
    Matrix<Scalar> plan;     ///< D x N, or empty if not asked for.
    Vector<Scalar> weights;  ///< N, the instance marginal sum_d P_dn, or empty if not asked for.
    otpool::Status status = otpool::Status::converged;
    int iterations = 0;
    double residual = 0;
    double mass = 0;
    double log_mass = 0;
};

/// What to compute besides the pooled vector.
struct Extras {
    bool plan = false;
    bool weights = false;

    explicit Extras(const Settings& settings) : plan(settings.plan), weights(settings.weights) {}
};

template <otpool::BagScalar Scalar>
using BagPooler = std::function<PooledBag<Scalar>(const otpool::Bag<Scalar>&)>;

namespace detail {

/// The option's value in the problem's scalar. Throws UsageError if that becomes 0 or inf and the value is not.
template <class Scalar>
Scalar scalar(double value, const std::string& option) {
    const auto converted = static_cast<Scalar>(std::isinf(value) ? value : std::min(value, 1e300));
    if (std::isinf(converted) == std::isinf(value) && (converted == 0) == (value == 0)) return converted;
    throw UsageError(option, printed(value), "0, 1.5e-45 to 3.4e+38 and inf with --dtype float");
}

template <class Scalar, class Pooling>
PooledBag<Scalar> pool_bag(const Pooling& pooling, const otpool::Bag<Scalar>& bag, const Extras& extras) {
    const auto solution = pooling.solve(bag);
    return {.pooled = pooling.read(solution),
            .plan = extras.plan ? solution.plan() : Matrix<Scalar>(),
            .weights = extras.weights ? solution.instance_marginal() : Vector<Scalar>(),
            .status = solution.status,
            .iterations = solution.iterations,
            .residual = solution.residual,
            .mass = solution.mass(),
            .log_mass = solution.log_mass};
}

/// Two levels: the worst status and residual of the problems, and their iterations together. The plan says how much of
/// every instance is in the pooled vector, through all inner poolings: sum_m Q_dm P^m_dn / sum_n P^m_dn, where Q is the
/// outer plan.
template <class Scalar, class Outer, class... Inner>
PooledBag<Scalar> pool_bag(const otpool::TwoLevelPooling<Scalar, Outer, Inner...>& pooling,
                           const otpool::Bag<Scalar>& bag, Extras extras) {
    const bool weights = std::exchange(extras.weights, false);
    extras.plan = extras.plan || weights;
    const std::vector<PooledBag<Scalar>> inner =
        std::apply([&](const auto&... level) { return std::vector{pool_bag(level, bag, extras)...}; }, pooling.inner);
    Matrix<Scalar> vectors(bag.instances.rows(), static_cast<Index>(inner.size()));
    for (Index m = 0; m < vectors.cols(); ++m) vectors.col(m) = inner[static_cast<std::size_t>(m)].pooled;

    PooledBag<Scalar> outer = pool_bag(pooling.outer, otpool::Bag<Scalar>{.instances = vectors}, extras);
    for (const PooledBag<Scalar>& part : inner) {
        outer.iterations += part.iterations;
        outer.residual = std::max(outer.residual, part.residual);
        if (outer.status == otpool::Status::converged) outer.status = part.status;
    }
    if (extras.plan) {
        const Matrix<Scalar> outer_plan =
            std::exchange(outer.plan, Matrix<Scalar>::Zero(bag.instances.rows(), bag.instances.cols()));
        for (Index m = 0; m < outer_plan.cols(); ++m) {
            const Matrix<Scalar>& plan = inner[static_cast<std::size_t>(m)].plan;
            const Vector<Scalar> share = outer_plan.col(m).cwiseQuotient(plan.rowwise().sum());
            outer.plan += share.asDiagonal() * plan;
        }
    }
    if (weights) outer.weights = outer.plan.colwise().sum().transpose();
    return outer;
}

template <class Scalar, class Pooling>
BagPooler<Scalar> bag_pooler(Pooling pooling, const otpool::Execution& execution, const Extras& extras) {
    pooling.execution = execution;
    return [pooling = std::move(pooling), extras](const otpool::Bag<Scalar>& bag) {
        return pool_bag<Scalar>(pooling, bag, extras);
    };
}

/// --pooling uot, with all of its options.
template <class R, class Scalar>
BagPooler<Scalar> uot_pooler(const Settings& settings, const AnySolver& solver, const Vector<Scalar>& p0) {
    const otpool::PoolingParameters<Scalar> parameters{
        .alpha0 = scalar<Scalar>(settings.alpha0, "--alpha0"),
        .features = {.alpha = scalar<Scalar>(settings.alpha1, "--alpha1"), .prior = p0},
        .instances = {.alpha = scalar<Scalar>(settings.alpha2, "--alpha2")}};
    const Extras extras(settings);
    const auto threads = execution(settings.threads);
    if (settings.readout == ReadoutName::joint) {
        using Joint = otpool::Pooling<Scalar, AnySolver, R, otpool::JointReadout>;
        return bag_pooler<Scalar>(Joint{.parameters = parameters, .solver = solver}, threads, extras);
    }
    using Conditional = otpool::Pooling<Scalar, AnySolver, R>;
    return bag_pooler<Scalar>(Conditional{.parameters = parameters, .solver = solver}, threads, extras);
}

}  // namespace detail

/// The pooling that the settings ask for, as a function of one bag. Throws UsageError.
template <otpool::BagScalar Scalar>
BagPooler<Scalar> make_bag_pooler(const Settings& settings, const Vector<Scalar>& p0) {
    const AnySolver solver{settings.options, settings.solver, settings.rho};
    const Extras extras(settings);
    const auto temperature = detail::scalar<Scalar>(settings.temperature, "--temperature");
    const auto threads = execution(settings.threads);
    const auto by = [&](auto pooling) { return detail::bag_pooler<Scalar>(std::move(pooling), threads, extras); };
    switch (settings.pooling) {
        case PoolingName::mean: return by(otpool::mean_pooling<Scalar>(solver));
        case PoolingName::max: return by(otpool::max_pooling<Scalar>(solver));
        case PoolingName::min: return by(otpool::min_pooling<Scalar>(solver));
        case PoolingName::sum: return by(otpool::sum_pooling<Scalar>(solver));
        case PoolingName::softmax: return by(otpool::softmax_pooling<Scalar>(temperature, solver));
        case PoolingName::lse: return by(otpool::log_sum_exp_pooling<Scalar>(temperature, solver));
        case PoolingName::attention: return by(otpool::attention_pooling<Scalar>(otpool::UniformPrior{}, solver));
        case PoolingName::mixed: return by(otpool::mixed_pooling<Scalar>(static_cast<Scalar>(settings.weight), solver));
        case PoolingName::uot: break;
    }
    switch (settings.regularizer) {
        case RegularizerName::relative_entropy:
            return detail::uot_pooler<otpool::RelativeEntropy>(settings, solver, p0);
        case RegularizerName::quadratic: return detail::uot_pooler<otpool::Quadratic>(settings, solver, p0);
        case RegularizerName::entropy: break;
    }
    return detail::uot_pooler<otpool::Entropy>(settings, solver, p0);
}

}  // namespace pool
