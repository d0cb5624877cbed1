#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <otpool/otpool.hpp>
#include <otpool/streamed/shared.hpp>
#include <otpool/streamed/spread_bags.hpp>

#include "../support/progress.hpp"
#include "bag_columns.hpp"
#include "bag_pooler.hpp"
#include "checkpoint.hpp"
#include "inputs.hpp"
#include "memory.hpp"
#include "names.hpp"
#include "parameters.hpp"
#include "processes.hpp"
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

/// This process's part of a bag with its prior, and how it is streamed.
template <otpool::BagScalar Scalar>
using StreamedBag = otpool::Shared<BagColumns<Scalar>>;

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

/// Whether the bags are streamed: they would not fit in --memory, are shared by several processes, or have a checkpoint.
/// Throws UsageError if they can not be streamed and have to.
inline bool streams(const Settings& settings, const InstanceFiles& input, Index bytes_of_number,
                    const otpool::AnyRanks& ranks) {
    const std::string reason = reason_not_to_stream(settings);
    if (ranks.size() > 1 && !reason.empty()) {
        throw UsageError("mpirun", std::to_string(ranks.size()) + " processes",
                         "one, or none of what one process does alone: " + reason);
    }
    if (settings.checkpoint && !reason.empty()) {
        throw UsageError("--checkpoint", "with " + reason, "a pooling of one vector by sinkhorn");
    }
    if (ranks.size() > 1 || settings.checkpoint) return true;
    const std::int64_t limit = settings.memory.value_or(half_of_free_memory());
    const std::int64_t needed = bytes_in_memory(settings, input.features(), input.begins().back(), bytes_of_number);
    if (needed <= limit) return false;
    if (reason.empty()) return true;
    if (!settings.memory) return false;  // it may fit yet
    throw UsageError("--memory",
                     printed_bytes(static_cast<double>(*settings.memory)) + " for bags that take " +
                         printed_bytes(static_cast<double>(needed)),
                     "that much, or none of what needs it: " + reason);
}

/// Pools bag after bag, each read from its files as often as it takes. Several processes share every bag, if there are few,
/// or else the bags; all have all results, with the bits of one process.
template <otpool::BagScalar Scalar>
class StreamedPooling {
public:
    StreamedPooling(const Settings& settings, const InstanceFiles& input, const Inputs<Scalar>& inputs,
                    const Processes& processes)
        : settings_(settings),
          input_(input),
          inputs_(inputs),
          ranks_(processes.ranks()),
          memory_(settings.memory.value_or(half_of_free_memory() / processes.on_this_machine())),
          pool_bag_(make_stream_pooler<Scalar>(settings, inputs.p0)),
          checkpoint_(settings, ranks_) {}

    Results<Scalar> operator()() {
        results_.pooled.setZero(input_.features(), bags());
        if (settings_.wants_weights()) results_.weights.resize(inputs_.offsets.back());
        results_.bags.resize(static_cast<std::size_t>(bags()));
        if (bags() < 4 * ranks_.size() || ranks_.size() == 1) {
            start_ = checkpoint_.wanted() ? checkpoint_.read(input_.features()) : otpool::RealVector();
            for (Index b = 0; b < bags(); ++b) pool(b, ranks_);
        } else {
            otpool::on_every_rank(ranks_, [&] {
                const otpool::BagRange own = bags_of(ranks_.rank());
                for (Index b = own.first; b < own.end; ++b) pool(b, otpool::AnyRanks());
            });
            gather_bags();
        }
        return std::move(results_);
    }

private:
    Index bags() const { return static_cast<Index>(inputs_.offsets.size()) - 1; }
    Index first_of(Index b) const { return inputs_.offsets[static_cast<std::size_t>(b)]; }
    Index size_of(Index b) const { return first_of(b + 1) - first_of(b); }
    otpool::BagRange bags_of(Index rank) const { return otpool::bags_of_rank(inputs_.offsets, rank, ranks_.size()); }

    /// Pools a bag that these ranks share.
    void pool(Index b, const otpool::AnyRanks& ranks) {
        if (size_of(b) == 0) return;  // stays a row of zeros
        const otpool::ColumnRange own =
            otpool::columns_of_rank(input_.features(), size_of(b), ranks.rank(), ranks.size());
        const Index first = first_of(b) + own.first;
        std::optional<StreamedBag<Scalar>> bag;
        otpool::on_every_rank(ranks, [&] {
            bag.emplace(StreamedBag<Scalar>{BagColumns<Scalar>(input_, first, own.count), ranks, options_of(b)});
            if (inputs_.q0.size() > 0) bag->prior = inputs_.q0.segment(first, own.count);
        });
        try {
            PooledBag<Scalar>& pooled = results_.bags[static_cast<std::size_t>(b)] = pool_bag_(*bag);
            results_.pooled.col(b) = std::exchange(pooled.pooled, {});
        } catch (const otpool::InvalidArgument& error) {
            throw error.in("bag " + std::to_string(b));
        }
        if (settings_.wants_weights() && ranks.size() > 1) gather_weights(b);
    }

    otpool::StreamOptions options_of(Index b) {
        otpool::StreamOptions options{.memory = memory_};
        options.progress = [this, b](const otpool::StreamProgress& at) {
            if (ranks_.rank() != 0) return;
            progress_.show("bag " + std::to_string(b + 1) + " of " + std::to_string(bags()) + ", pass " +
                           std::to_string(at.pass) + ": " + printed_bytes(static_cast<double>(at.bytes)) + " of " +
                           printed_bytes(static_cast<double>(at.total_bytes)));
        };
        if (settings_.wants_weights()) {
            options.weights = [this, b](Index n, std::span<const double> weights) {
                for (const double weight : weights)
                    results_.weights[first_of(b) + n++] = otpool::detail::saturated<Scalar>(weight);
            };
        }
        if (checkpoint_.wanted()) {
            options.start = start_;
            options.potential = [this](std::span<const double> f) { checkpoint_.keep(f); };
        }
        return options;
    }

    /// Every process's weights of a bag that all share.
    void gather_weights(Index b) {
        std::vector<Index> counts;
        Index first = first_of(b);
        for (Index r = 0; r < ranks_.size(); ++r) {
            counts.push_back(otpool::columns_of_rank(input_.features(), size_of(b), r, ranks_.size()).count);
            if (r < ranks_.rank()) first += counts.back();
        }
        gather(results_.weights, first_of(b), first, counts);
    }

    /// Every process's results, where each has pooled some bags.
    void gather_bags() {
        const otpool::BagRange own = bags_of(ranks_.rank());
        constexpr Index facts = 5;
        Matrix<double> of_bags(facts, own.end - own.first);
        for (Index b = own.first; b < own.end; ++b) {
            const PooledBag<Scalar>& bag = results_.bags[static_cast<std::size_t>(b)];
            of_bags.col(b - own.first) << static_cast<double>(bag.status), bag.iterations, bag.residual, bag.mass,
                bag.log_mass;
        }
        std::vector<Index> counts, instances;
        for (Index r = 0; r < ranks_.size(); ++r) {
            const otpool::BagRange range = bags_of(r);
            counts.push_back(range.end - range.first);
            instances.push_back(first_of(range.end) - first_of(range.first));
        }
        const Matrix<Scalar> pooled = results_.pooled.middleCols(own.first, own.end - own.first);
        results_.pooled = otpool::gather_columns(ranks_, pooled, counts);
        const Matrix<double> all = otpool::gather_columns(ranks_, of_bags, counts);
        for (Index b = 0; b < bags(); ++b) {
            results_.bags[static_cast<std::size_t>(b)] = {.status = static_cast<otpool::Status>(all(0, b)),
                                                          .iterations = static_cast<int>(all(1, b)),
                                                          .residual = all(2, b),
                                                          .mass = all(3, b),
                                                          .log_mass = all(4, b)};
        }
        if (settings_.wants_weights()) gather(results_.weights, 0, first_of(own.first), instances);
    }

    /// Gathers numbers in place, from `begin` on, of which this process has those from `first` on.
    void gather(Vector<Scalar>& numbers, Index begin, Index first, const std::vector<Index>& counts) const {
        const Index count = counts[static_cast<std::size_t>(ranks_.rank())];
        const Matrix<Scalar> own = numbers.segment(first, count).transpose();
        const Matrix<Scalar> all = otpool::gather_columns(ranks_, own, counts);
        numbers.segment(begin, all.cols()) = all.transpose();
    }

    const Settings& settings_;
    const InstanceFiles& input_;
    const Inputs<Scalar>& inputs_;
    const otpool::AnyRanks& ranks_;
    std::int64_t memory_;
    StreamPooler<Scalar> pool_bag_;
    Checkpoint checkpoint_;
    otpool::RealVector start_;
    Results<Scalar> results_;
    support::ProgressLine progress_;
};

}  // namespace pool
