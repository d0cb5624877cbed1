#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/k_means.hpp"
#include "../support/progress.hpp"
#include "inputs.hpp"
#include "settings.hpp"
#include "slot_systems.hpp"

// Prototypes of slots where the user gives none.

namespace pool {

template <otpool::BagScalar Scalar>
struct Prototypes {
    Matrix<Scalar> vectors;           ///< D x K
    Index distinct = vectors.cols();  ///< How many different ones the instances allow: K, or less.
};

namespace detail {

/// The instances that are not excluded.
template <class Scalar>
std::vector<Index> instances_in_use(const Inputs<Scalar>& inputs) {
    std::vector<Index> in_use;
    for (Index n = 0; n < inputs.instances.cols(); ++n) {
        if (inputs.q0.size() == 0 || inputs.q0[n] > 0) in_use.push_back(n);
    }
    return in_use;
}

/// So many of them, or all if they are fewer.
inline std::vector<Index> sampled(const std::vector<Index>& instances, Index count, int seed) {
    const auto total = static_cast<Index>(instances.size());
    std::vector<Index> sample = support::drawn_columns(total, std::min(count, total), static_cast<std::uint64_t>(seed));
    for (Index& n : sample) n = instances[static_cast<std::size_t>(n)];
    return sample;
}

/// Refuses numbers whose squared distances Scalar cannot hold.
template <class Scalar>
void check_magnitudes(const Inputs<Scalar>& inputs, const std::vector<Index>& in_use) {
    Scalar largest = inputs.prototypes.size() > 0 ? inputs.prototypes.cwiseAbs().maxCoeff() : Scalar(0);
    for (const Index n : in_use) largest = std::max(largest, inputs.instances.col(n).cwiseAbs().maxCoeff());
    if (std::isfinite(4 * largest * largest * static_cast<Scalar>(inputs.instances.rows()))) return;
    throw UsageError("--slots", "numbers up to " + printed(largest),
                     "numbers whose squared distances are finite as " + to_string(support::dtype_of<Scalar>()));
}

}  // namespace detail

/// Refuses bags that do not go with the slots, before any work. Throws UsageError.
template <otpool::BagScalar Scalar>
void check_bags(const Settings& settings, const Inputs<Scalar>& inputs) {
    const SlotSettings& slots = settings.slots;
    if (!slots.wanted()) return;
    const Matrix<Scalar> any_prototype = Matrix<Scalar>::Zero(1, 1);
    const auto pooling = slot_pooling(settings, any_prototype);  // refuses options that Scalar cannot hold
    const std::vector<Index> in_use = detail::instances_in_use(inputs);
    const auto instances = static_cast<Index>(in_use.size());
    if (slots.count && !settings.reward && inputs.slots > instances) {
        throw UsageError(
            "--slots", detail::printed(inputs.slots),
            "at most " + detail::printed(instances) + ", the number of instances, or a file of prototypes");
    }
    if (!settings.reward) detail::check_magnitudes(inputs, in_use);
    if (!std::holds_alternative<otpool::Dustbin>(pooling.dummy.dummy)) return;
    for (std::size_t b = 0; b + 1 < inputs.offsets.size(); ++b) {
        const Index first = inputs.offsets[b];
        const Index size = inputs.offsets[b + 1] - first;
        const Index used = inputs.q0.size() == 0 ? size : (inputs.q0.segment(first, size).array() > 0).count();
        if (size == 0 || used > inputs.slots) continue;
        throw UsageError("--dustbin", detail::printed(used) + " instances in bag " + detail::printed(b),
                         "more instances than the " + detail::printed(inputs.slots) + " slots in every bag");
    }
}

/// The prototypes of a file, or those made of the instances: by k-means of a sample, or the sample itself.
template <otpool::BagScalar Scalar>
Prototypes<Scalar> make_prototypes(const Settings& settings, const Inputs<Scalar>& inputs) {
    const SlotSettings& slots = settings.slots;
    if (!slots.wanted() || slots.file) return {inputs.prototypes};
    const Index count = inputs.slots;
    // With rewards nothing reads the prototypes but their number.
    if (settings.reward) return {Matrix<Scalar>::Zero(inputs.instances.rows(), count)};
    const std::vector<Index> in_use = detail::instances_in_use(inputs);
    if (slots.prototypes == PrototypesName::sample) {
        return {inputs.instances(Eigen::all, detail::sampled(in_use, count, slots.seed))};
    }
    // The centres of more instances would be hardly better, and take longer.
    const Index most = std::clamp<Index>(256 * count, 10000, std::max<Index>(100000, count));
    const Matrix<Scalar> sample = inputs.instances(Eigen::all, detail::sampled(in_use, most, slots.seed));
    support::KMeansOptions options{.seed = static_cast<std::uint64_t>(slots.seed)};
    support::ProgressBar progress("k-means", static_cast<std::size_t>(count * (options.steps + 2)));
    options.advance = [&](std::size_t done) { progress.advance(done); };
    const support::KMeans found = support::k_means(sample.template cast<double>(), count, options);
    Prototypes<Scalar> prototypes{found.centres.cast<Scalar>(), found.distinct};
    if (slots.unit) detail::make_unit(prototypes.vectors);
    return prototypes;
}

}  // namespace pool
