#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <otpool/otpool.hpp>

#include "any_slots.hpp"
#include "any_solver.hpp"
#include "execution.hpp"
#include "inputs.hpp"
#include "parameters.hpp"
#include "settings.hpp"
#include "slot_systems.hpp"

namespace pool {

/// The result of pooling one bag.
template <otpool::BagScalar Scalar>
struct PooledBag {
    Vector<Scalar> pooled = {};       ///< D, or of slots D K: one slot after the other
    Matrix<Scalar> plan = {};         ///< D x N or K x N, or empty if not asked for.
    Vector<Scalar> weights = {};      ///< N, the sums of the plan's columns, or empty if not asked for.
    Vector<Scalar> slot_masses = {};  ///< K, the sums of the plan's rows, or empty if there are no slots.
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

    explicit Extras(const Settings& settings) : plan(settings.plan), weights(settings.wants_weights()) {}
};

template <otpool::BagScalar Scalar>
using BagPooler = std::function<PooledBag<Scalar>(const otpool::Bag<Scalar>&)>;

namespace detail {

/// How a solve ended.
template <class Scalar, class R>
PooledBag<Scalar> outcome_of(const otpool::Solution<Scalar, R>& solution) {
    return {.status = solution.status,
            .iterations = solution.iterations,
            .residual = solution.residual,
            .mass = solution.mass(),
            .log_mass = solution.log_mass};
}

template <class Scalar, class Pooling>
PooledBag<Scalar> pool_bag(const Pooling& pooling, const otpool::Bag<Scalar>& bag, const Extras& extras) {
    const auto solution = pooling.solve(bag);
    PooledBag<Scalar> result = outcome_of(solution);
    result.pooled = pooling.read(solution);
    if (extras.plan) result.plan = solution.plan();
    if (extras.weights) result.weights = solution.instance_marginal();
    return result;
}

/// Slots. Plan, weights and masses are without the dummy slot, which is the last row.
template <class Scalar, class R>
PooledBag<Scalar> pool_bag(const AnySlotPooling<Scalar, R>& pooling, const otpool::Bag<Scalar>& bag,
                           const Extras& extras) {
    const auto solution = pooling.solve(bag);
    const Matrix<Scalar> pooled = pooling.read(solution, bag);
    PooledBag<Scalar> result = outcome_of(solution);
    result.pooled = pooled.reshaped();
    result.slot_masses = solution.feature_marginal().head(pooled.cols());
    if (!extras.plan && !extras.weights) return result;
    Matrix<Scalar> plan = solution.plan().topRows(pooled.cols());
    if (extras.weights) result.weights = plan.colwise().sum().transpose();
    if (extras.plan) result.plan = std::move(plan);
    return result;
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
BagPooler<Scalar> uot_pooler(const Settings& settings, const Vector<Scalar>& p0, const Matrix<Scalar>& prototypes) {
    const Extras extras(settings);
    const auto threads = execution(settings.threads);
    if (settings.slots.wanted()) {
        auto pooling = slot_pooling<R>(settings, prototypes);
        pooling.parameters.features.prior = p0;
        pooling.solver = settings.solver;
        return bag_pooler<Scalar>(std::move(pooling), threads, extras);
    }
    otpool::PoolingParameters<Scalar> of = parameters<Scalar>(settings);
    of.features.prior = p0;
    if (settings.readout == ReadoutName::joint) {
        using Joint = otpool::Pooling<Scalar, AnySolver, R, otpool::JointReadout>;
        return bag_pooler<Scalar>(Joint{.parameters = of, .solver = settings.solver}, threads, extras);
    }
    using Conditional = otpool::Pooling<Scalar, AnySolver, R>;
    return bag_pooler<Scalar>(Conditional{.parameters = of, .solver = settings.solver}, threads, extras);
}

}  // namespace detail

/// by(pooling), where the pooling is the one that the settings name: not uot, and not mixed, which is two of them. Throws
/// UsageError.
template <otpool::BagScalar Scalar>
auto with_named_pooling(const Settings& settings, const auto& solver, const auto& by) {
    const auto temperature = scalar<Scalar>(settings.temperature, "--temperature");
    switch (settings.pooling) {
        case PoolingName::max: return by(otpool::max_pooling<Scalar>(solver));
        case PoolingName::min: return by(otpool::min_pooling<Scalar>(solver));
        case PoolingName::sum: return by(otpool::sum_pooling<Scalar>(solver));
        case PoolingName::softmax: return by(otpool::softmax_pooling<Scalar>(temperature, solver));
        case PoolingName::lse: return by(otpool::log_sum_exp_pooling<Scalar>(temperature, solver));
        case PoolingName::attention: return by(otpool::attention_pooling<Scalar>(otpool::UniformPrior{}, solver));
        default: return by(otpool::mean_pooling<Scalar>(solver));
    }
}

/// The pooling that the settings ask for, as a function of one bag; to the prototypes, if to slots. Throws UsageError.
template <otpool::BagScalar Scalar>
BagPooler<Scalar> make_bag_pooler(const Settings& settings, const Vector<Scalar>& p0,
                                  const Matrix<Scalar>& prototypes) {
    const AnySolver& solver = settings.solver;
    const Extras extras(settings);
    const auto threads = execution(settings.threads);
    const auto by = [&](auto pooling) { return detail::bag_pooler<Scalar>(std::move(pooling), threads, extras); };
    if (settings.pooling == PoolingName::mixed) {
        return by(otpool::mixed_pooling<Scalar>(static_cast<Scalar>(settings.weight), solver));
    }
    if (settings.pooling != PoolingName::uot) return with_named_pooling<Scalar>(settings, solver, by);
    switch (settings.regularizer) {
        case RegularizerName::relative_entropy:
            return detail::uot_pooler<otpool::RelativeEntropy>(settings, p0, prototypes);
        case RegularizerName::quadratic: return detail::uot_pooler<otpool::Quadratic>(settings, p0, prototypes);
        case RegularizerName::entropy: break;
    }
    return detail::uot_pooler<otpool::Entropy>(settings, p0, prototypes);
}

}  // namespace pool
