#pragma once

#include <algorithm>
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
    Matrix<Scalar> pooled;                ///< D x B
    Matrix<Scalar> plan;                  ///< D x sum N, or empty
    Vector<Scalar> weights;               ///< sum N, or empty
    std::vector<PooledBag<Scalar>> bags;  ///< without their vectors, plans and weights

    Index count(auto&& condition) const { return std::count_if(bags.begin(), bags.end(), condition); }

    /// The number of bags that did not reach the tolerance, if there is one.
    Index missed(const Settings& settings) const {
        if (settings.options.iterations) return 0;
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
        nlohmann::ordered_json entry;
        if (!names.empty()) entry["file"] = names[b];
        entry["instances"] = offsets[b + 1] - offsets[b];
        entry["status"] = empty ? "empty" : otpool::name(bag.status);
        entry["iterations"] = bag.iterations;
        entry["residual"] = bag.residual;
        entry["mass"] = bag.mass;
        entry["log_mass"] = empty ? nlohmann::json() : nlohmann::json(bag.log_mass);
        bags.push_back(std::move(entry));
    }
    return {{"pooling", name_of(pooling_names, settings.pooling)},
            {"solver", name_of(solver_names, settings.solver)},
            {"dtype", std::numeric_limits<Scalar>::digits == 24 ? "float32" : "float64"},
            {"features", results.pooled.rows()},
            {"not_converged", results.missed(settings)},
            {"empty", empty_bags},
            {"bags", std::move(bags)}};
}

/// Warns on stderr, one line each, of what the user should know of the results.
template <otpool::BagScalar Scalar>
void print_warnings(const Settings& settings, const Results<Scalar>& results, Index files_left_out) {
    if (files_left_out > 0) {
        std::fprintf(stderr, "pool: files of the folder that are neither .npy nor .npz and are left out: %td\n",
                     files_left_out);
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
    if (saturated > 0 && (settings.plan || settings.weights || settings.readout == ReadoutName::joint)) {
        std::fprintf(
            stderr,
            "pool: the mass of %s is out of the range of %s; their plans, weights and joint readouts saturate\n",
            of_bags(saturated).c_str(), std::numeric_limits<Scalar>::digits == 24 ? "float32" : "float64");
    }
}

/// The pooled bags as text, one per line: with all digits for programs, or the first ones as a table for people.
template <otpool::BagScalar Scalar>
void print_pooled(std::ostream& stream, const Matrix<Scalar>& pooled, bool for_eyes) {
    const Index bags = for_eyes ? std::min<Index>(pooled.cols(), 20) : pooled.cols();
    const Index features = for_eyes ? std::min<Index>(pooled.rows(), 7) : pooled.rows();
    stream.precision(for_eyes ? 4 : std::numeric_limits<Scalar>::max_digits10);
    for (Index b = 0; b < bags; ++b) {
        for (Index d = 0; d < features; ++d) {
            if (d > 0) stream << ' ';
            if (for_eyes) stream.width(11);
            stream << pooled(d, b);
        }
        stream << (features < pooled.rows() ? " ...\n" : "\n");
    }
    if (bags < pooled.cols() || features < pooled.rows()) {
        stream << "(" << pooled.cols() << " bags, " << pooled.rows() << " features; --output Y.npy writes them all)\n";
    }
}

}  // namespace pool
