#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <otpool/otpool.hpp>

#include "bag_pooler.hpp"
#include "names.hpp"
#include "offsets.hpp"
#include "settings.hpp"

namespace pool {

/// All bags, pooled.
template <otpool::BagScalar Scalar>
struct Results {
    Index slots = 0;                           ///< K, or 0 without slots
    Matrix<Scalar> pooled = {};                ///< D x B, or of slots (D K) x B
    Matrix<Scalar> plan = {};                  ///< D or K x sum N, or empty
    Vector<Scalar> weights = {};               ///< sum N, or empty
    std::vector<PooledBag<Scalar>> bags = {};  ///< without their vectors, plans and weights

    Index distinct_prototypes = 0;  ///< How many different ones the instances allow: K, or less.

    /// (B, D), or of slots (B, K, D).
    std::vector<std::int64_t> shape() const {
        if (slots == 0) return {pooled.cols(), pooled.rows()};
        return {pooled.cols(), slots, features()};
    }
    Index features() const { return pooled.rows() / std::max<Index>(slots, 1); }

    Index count(auto&& condition) const { return std::count_if(bags.begin(), bags.end(), condition); }

    /// The number of bags that did not reach the tolerance, if there is one.
    Index missed(const Settings& settings) const {
        if (settings.solver.options.iterations) return 0;
        return count([](const auto& bag) {
            return bag.status != otpool::Status::converged && bag.status != otpool::Status::mass_out_of_range;
        });
    }
};

/// The JSON of --report. `names` are the files of the bags, if each has its own.
template <otpool::BagScalar Scalar>
nlohmann::ordered_json report(const Settings& settings, const Results<Scalar>& results, const Offsets& offsets,
                              const std::vector<std::string>& names) {
    nlohmann::ordered_json bags = nlohmann::ordered_json::array();
    Index empty_bags = 0;
    for (std::size_t b = 0; b < results.bags.size(); ++b) {
        const PooledBag<Scalar>& bag = results.bags[b];
        const bool empty = offsets[b + 1] == offsets[b];
        empty_bags += empty ? 1 : 0;
        // Not made by its first member, which without memory would leave it broken.
        nlohmann::ordered_json entry = nlohmann::ordered_json::object();
        if (!names.empty()) entry["file"] = names[b];
        entry["instances"] = offsets[b + 1] - offsets[b];
        entry["status"] = empty ? "empty" : otpool::name(bag.status);
        entry["iterations"] = bag.iterations;
        entry["residual"] = bag.residual;
        entry["mass"] = bag.mass;
        entry["log_mass"] = empty ? nlohmann::json() : nlohmann::json(bag.log_mass);
        if (results.slots > 0)
            entry["slot_masses"] = std::vector<Scalar>(bag.slot_masses.begin(), bag.slot_masses.end());
        bags.push_back(std::move(entry));
    }
    nlohmann::ordered_json all = nlohmann::ordered_json::object();
    all["pooling"] = name_of(pooling_names, settings.pooling);
    if (settings.slots.system) all["system"] = name_of(system_names, *settings.slots.system);
    all["solver"] = name_of(solver_names, settings.solver.name);
    all["dtype"] = std::numeric_limits<Scalar>::digits == 24 ? "float32" : "float64";
    if (results.slots > 0) all["slots"] = results.slots;
    all["features"] = results.features();
    all["not_converged"] = results.missed(settings);
    all["empty"] = empty_bags;
    all["bags"] = std::move(bags);
    return all;
}

/// Warns on stderr, one line each, of what the user should know of the results.
template <otpool::BagScalar Scalar>
void print_warnings(const Settings& settings, const Results<Scalar>& results, Index files_left_out) {
    if (files_left_out > 0) {
        std::fprintf(stderr, "pool: files of the folder that are neither .npy, .npz nor .h5 and are left out: %td\n",
                     files_left_out);
    }
    if (results.distinct_prototypes < results.slots) {
        std::fprintf(stderr, "pool: only %td different instances for %td prototypes; some prototypes are equal\n",
                     results.distinct_prototypes, results.slots);
    }
    const auto of_bags = [&](Index count) {
        return std::to_string(count) + " of " + std::to_string(results.bags.size()) + " bags";
    };
    if (const Index missed = results.missed(settings); missed > 0) {
        double largest = 0;
        for (const auto& bag : results.bags) largest = std::max(largest, bag.residual);
        std::fprintf(stderr,
                     "pool: %s did not reach the tolerance, the largest residual is %.3g; the results are written "
                     "(more --max-iterations or another --solver may help)\n",
                     of_bags(missed).c_str(), largest);
    }
    const Index saturated =
        results.count([](const auto& bag) { return bag.status == otpool::Status::mass_out_of_range; });
    if (saturated > 0 && (settings.plan || settings.wants_weights() || settings.reads_mass)) {
        std::fprintf(
            stderr,
            "pool: the mass of %s is out of the range of %s; their plans, weights and joint readouts saturate\n",
            of_bags(saturated).c_str(), std::numeric_limits<Scalar>::digits == 24 ? "float32" : "float64");
    }
}

/// The pooled vectors as text, one per line, slot after slot and bag after bag: with all digits for programs, or the first
/// ones as a table for people.
template <otpool::BagScalar Scalar>
void print_pooled(std::ostream& stream, const Results<Scalar>& results, bool for_eyes) {
    const Index all = results.pooled.cols() * std::max<Index>(results.slots, 1);
    const Eigen::Map<const Matrix<Scalar>> pooled(results.pooled.data(), results.features(), all);
    const Index vectors = for_eyes ? std::min<Index>(all, 20) : all;
    const Index features = for_eyes ? std::min<Index>(pooled.rows(), 7) : pooled.rows();
    stream.precision(for_eyes ? 4 : std::numeric_limits<Scalar>::max_digits10);
    for (Index b = 0; b < vectors; ++b) {
        for (Index d = 0; d < features; ++d) {
            if (d > 0) stream << ' ';
            if (for_eyes) stream.width(11);
            stream << pooled(d, b);
        }
        stream << (features < pooled.rows() ? " ...\n" : "\n");
    }
    if (vectors < all || features < pooled.rows()) {
        stream << "(" << results.pooled.cols() << " bags, ";
        if (results.slots > 0) stream << results.slots << " slots, ";
        stream << pooled.rows() << " features; --output Y.npy writes them all)\n";
    }
}

}  // namespace pool
