#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include <otpool/otpool.hpp>
#include <otpool/pooling/streamed.hpp>

#include "../support/progress.hpp"
#include "bag_columns.hpp"
#include "bag_pooler.hpp"
#include "inputs.hpp"
#include "memory.hpp"
#include "names.hpp"
#include "parameters.hpp"
#include "results.hpp"
#include "settings.hpp"

// Pooling of bags that do not fit in memory.

namespace pool {

/// Why the settings ask for what cannot be streamed; empty if they do not.
inline std::string reason_not_to_stream(const Settings& settings) {
    if (settings.slots.wanted()) return "slots";
    if (settings.plan) return "--plan";
    if (settings.reward) return "--reward";
    if (settings.pooling == PoolingName::mixed) return "--pooling mixed";
    if (settings.regularizer == RegularizerName::quadratic) return "--regularizer quadratic";
    const SolverName solver = settings.solver.name;
    if (solver != SolverName::automatic && solver != SolverName::sinkhorn) {
        return "--solver " + name_of(solver_names, solver);
    }
    return {};
}

/// A streamed bag with its prior, and how it is streamed.
template <otpool::BagScalar Scalar>
using StreamedBag = otpool::Streamed<BagColumns<Scalar>>;

template <otpool::BagScalar Scalar>
using StreamPooler = std::function<PooledBag<Scalar>(const StreamedBag<Scalar>&)>;

/// The pooling that the settings ask for, by Sinkhorn where there is no closed form.
template <otpool::BagScalar Scalar>
StreamPooler<Scalar> make_stream_pooler(const Settings& settings, const Vector<Scalar>& p0) {
    const otpool::Sinkhorn solver{.options = settings.solver.options};
    const auto by = [&](auto pooling) -> StreamPooler<Scalar> {
        pooling.execution = execution(settings.threads);
        return [pooling = std::move(pooling)](const StreamedBag<Scalar>& bag) {
            const auto found = otpool::pool_streamed(pooling, bag);
            return PooledBag<Scalar>{.pooled = found.pooled,
                                     .status = found.outcome.status,
                                     .iterations = found.outcome.iterations,
                                     .residual = found.outcome.residual,
                                     .mass = otpool::detail::saturated_exp<Scalar>(found.log_mass),
                                     .log_mass = found.log_mass};
        };
    };
    if (settings.pooling != PoolingName::uot) return with_named_pooling<Scalar>(settings, solver, by);
    otpool::PoolingParameters<Scalar> of = parameters<Scalar>(settings);
    of.features.prior = p0;
    const auto of_regularizer = [&]<class R>(R) {
        if (settings.readout == ReadoutName::joint) {
            using Joint = otpool::Pooling<Scalar, otpool::Sinkhorn, R, otpool::JointReadout>;
            return by(Joint{.parameters = of, .solver = solver});
        }
        return by(otpool::Pooling<Scalar, otpool::Sinkhorn, R>{.parameters = of, .solver = solver});
    };
    if (settings.regularizer == RegularizerName::relative_entropy) return of_regularizer(otpool::RelativeEntropy());
    return of_regularizer(otpool::Entropy());
}

/// Whether the bags are streamed: they would not fit in --memory. Throws UsageError if they neither fit nor can be streamed.
inline bool streams(const Settings& settings, const InstanceFiles& input, Index bytes_of_number) {
    const std::int64_t limit = settings.memory.value_or(half_of_free_memory());
    const std::int64_t needed = bytes_in_memory(settings, input.features(), input.begins().back(), bytes_of_number);
    if (needed <= limit) return false;
    const std::string reason = reason_not_to_stream(settings);
    if (reason.empty()) return true;
    if (!settings.memory) return false;  // it may fit yet
    throw UsageError("--memory",
                     printed_bytes(static_cast<double>(*settings.memory)) + " for bags that take " +
                         printed_bytes(static_cast<double>(needed)),
                     "that much, or none of what needs it: " + reason);
}

/// Pools bag after bag, each read from its files as often as it takes.
template <otpool::BagScalar Scalar>
Results<Scalar> pool_streamed_bags(const Settings& settings, const InstanceFiles& input, const Inputs<Scalar>& inputs) {
    const StreamPooler<Scalar> pool_bag = make_stream_pooler<Scalar>(settings, inputs.p0);
    const auto bags = static_cast<Index>(inputs.offsets.size()) - 1;
    Results<Scalar> results;
    results.pooled.setZero(input.features(), bags);
    if (settings.wants_weights()) results.weights.resize(inputs.offsets.back());
    results.bags.resize(static_cast<std::size_t>(bags));
    const std::int64_t memory = settings.memory.value_or(half_of_free_memory());
    support::ProgressLine progress;
    for (Index b = 0; b < bags; ++b) {
        const Index first = inputs.offsets[static_cast<std::size_t>(b)];
        const Index size = inputs.offsets[static_cast<std::size_t>(b) + 1] - first;
        if (size == 0) continue;  // stays a row of zeros
        otpool::StreamOptions options{.memory = memory};
        options.progress = [&](const otpool::StreamProgress& at) {
            progress.show("bag " + std::to_string(b + 1) + " of " + std::to_string(bags) + ", pass " +
                          std::to_string(at.pass) + ": " + printed_bytes(static_cast<double>(at.bytes)) + " of " +
                          printed_bytes(static_cast<double>(at.total_bytes)));
        };
        if (settings.wants_weights()) {
            options.weights = [&](Index n, std::span<const double> weights) {
                for (const double weight : weights)
                    results.weights[first + n++] = otpool::detail::saturated<Scalar>(weight);
            };
        }
        StreamedBag<Scalar> bag{BagColumns<Scalar>(input, first, size), options};
        if (inputs.q0.size() > 0) bag.prior = inputs.q0.segment(first, size);
        try {
            PooledBag<Scalar>& pooled = results.bags[static_cast<std::size_t>(b)] = pool_bag(bag);
            results.pooled.col(b) = std::exchange(pooled.pooled, {});
        } catch (const otpool::InvalidArgument& error) {
            throw error.in("bag " + std::to_string(b));
        }
    }
    return results;
}

}  // namespace pool
