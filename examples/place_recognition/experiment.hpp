#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/progress.hpp"
#include "aggregators.hpp"
#include "world.hpp"

namespace place_recognition {

struct Experiment {
    WorldOptions world = {};
    std::vector<double> clutter = {0, 0.4, 0.8};
    Index places = 300;    ///< of the test, each with one view in the database and one query
    Index training = 150;  ///< other places, two views each
    Index slots = 16;
    int seeds = 1;
    std::uint64_t first_seed = 1;
};

/// A place is found at rank k if it is among the k images of the database that are most like the query.
inline constexpr std::array<Index, 3> ranks = {1, 5, 10};
using Recalls = std::array<double, ranks.size()>;

/// One method at one level of clutter.
struct Row {
    double clutter;
    Method method;
    Index numbers = 0;                    ///< of a descriptor
    std::vector<Recalls> recalls = {};    ///< one a seed
    std::vector<double> parameters = {};  ///< one a seed, as chosen
};

/// Part of the queries whose place is found at each rank. Column i of both matrices shows place i; likeness is the cosine
/// of columns of length 1, and ties count against the query.
inline Recalls recalls(const Matrix& database, const Matrix& queries) {
    const Matrix alike = database.transpose() * queries;
    Recalls found = {};
    for (Index q = 0; q < alike.cols(); ++q) {
        const auto better = (alike.col(q).array() >= alike(q, q)).count() - 1;
        for (std::size_t r = 0; r < ranks.size(); ++r) {
            found[r] += better < ranks[r] ? 1 / static_cast<double>(alike.cols()) : 0;
        }
    }
    return found;
}

/// Less a mean, and of length 1 again.
inline Matrix centred(Matrix vectors, const Vector& mean) {
    vectors.colwise() -= mean;
    vectors.colwise().normalize();
    return vectors;
}

/// Chooses the parameter by recall at 1 on the training places, and then looks at the test once.
inline void judge(Row& row, const Centres& centres, const std::vector<Images>& training,
                  const std::vector<Images>& test) {
    double best = -1, parameter = 0;
    Vector mean;
    for (const double candidate : candidates(row.method.aggregator)) {
        const Matrix database = pooled(row.method.aggregator, training[0].bags(), centres, candidate);
        const Matrix queries = pooled(row.method.aggregator, training[1].bags(), centres, candidate);
        const Vector mean_here = (database.rowwise().mean() + queries.rowwise().mean()) / 2;
        const double recall = recalls(centred(database, mean_here), centred(queries, mean_here))[0];
        if (recall <= best) continue;
        best = recall;
        parameter = candidate;
        mean = mean_here;
    }
    const Matrix database = centred(pooled(row.method.aggregator, test[0].bags(), centres, parameter), mean);
    const Matrix queries = centred(pooled(row.method.aggregator, test[1].bags(), centres, parameter), mean);
    row.numbers = database.rows();
    row.recalls.push_back(recalls(database, queries));
    row.parameters.push_back(parameter);
}

/// A row for each level of clutter and method.
inline std::vector<Row> run(const Experiment& experiment) {
    std::vector<Row> rows;
    support::ProgressBar progress(
        "recognising", experiment.clutter.size() * static_cast<std::size_t>(experiment.seeds) * all_methods.size());
    for (const double clutter : experiment.clutter) {
        const std::size_t first = rows.size();
        for (const Method method : all_methods) rows.push_back({clutter, method});
        for (int s = 0; s < experiment.seeds; ++s) {
            const auto seed = experiment.first_seed + static_cast<std::uint64_t>(s);
            WorldOptions options = experiment.world;
            options.clutter = clutter;
            World world(options, seed);
            const std::vector<Images> training = world.see(experiment.training, 2);
            const std::vector<Images> test = world.see(experiment.places, 2);
            const Centres of_all = learn_centres(training[0], Prototypes::of_all, experiment.slots, seed);
            const Centres of_landmarks = learn_centres(training[0], Prototypes::of_landmarks, experiment.slots, seed);
            for (std::size_t m = 0; m < all_methods.size(); ++m) {
                const bool landmarks = all_methods[m].prototypes == Prototypes::of_landmarks;
                judge(rows[first + m], landmarks ? of_landmarks : of_all, training, test);
                progress.advance();
            }
        }
    }
    return rows;
}

}  // namespace place_recognition
