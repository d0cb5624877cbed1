#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include <otpool/learning.hpp>

#include "../support/progress.hpp"
#include "parallel.hpp"
#include "plans.hpp"
#include "poolings.hpp"
#include "tasks.hpp"
#include "training.hpp"

namespace learn_pooling {

/// What to train: every pooling, on each task, with each seed.
struct Experiment {
    std::vector<Task> tasks;
    Index bags = 2000;
    int seeds = 1;
    TrainingOptions training = {};
};

/// The learned layer after an epoch, on one test bag.
struct Snapshot {
    int epoch;
    double alpha0;
    double validation;  ///< accuracy
    Matrix weights;
};

/// The learned layer of one seed.
struct Learned {
    int epoch = 0;  ///< the one that was chosen
    double alpha0 = 0, alpha1 = 0, alpha2 = 0;
    Character character, of_rule;  ///< over the test bags
    std::vector<Snapshot> history = {};
    Matrix rule_weights = {};  ///< of the bag of the history
};

/// All trainings of one task.
struct Outcome {
    Task task;
    std::array<std::vector<double>, pooling_names.size()> accuracies;  ///< on the test bags, one a seed
    std::vector<Learned> learned;                                      ///< one a seed
};

namespace detail {

inline Learned describe(Task task, const LearnedLayer& layer, const Data& test) {
    const auto parameters = layer.step_parameters().front();
    return {.alpha0 = parameters.alpha0,
            .alpha1 = parameters.alpha1,
            .alpha2 = parameters.alpha2,
            .character = average_character(test, [&](const Matrix& bag) { return weights_of(layer, bag); }),
            .of_rule = average_character(test, [&](const Matrix& bag) { return rule_weights(task, bag); })};
}

/// Its instances can be told apart in the picture best.
inline Index smallest_bag(const Data& data) {
    Index smallest = 0;
    for (Index b = 1; b < data.size(); ++b) {
        if (data.bag(b).cols() < data.bag(smallest).cols()) smallest = b;
    }
    return smallest;
}

/// Trains one pooling with one seed. Looks at the test bags only afterwards.
template <class Layer>
void run(const Layer& start, std::size_t pooling, std::size_t seed, const Experiment& experiment, Outcome& outcome,
         support::ProgressBar& progress) {
    const Split split(outcome.task, experiment.bags, seed + 1);
    TrainingOptions options = experiment.training;
    options.seed = seed + 1;
    std::vector<Snapshot> history;
    const Matrix shown = split.test.bag(smallest_bag(split.test));
    const auto trained = train(start, split, options, [&](int epoch, const Layer& layer, double validation) {
        if (epoch > 0) progress.advance();
        if constexpr (std::same_as<Layer, LearnedLayer>) {
            const double alpha0 = layer.step_parameters().front().alpha0;
            if (seed == 0) history.push_back({epoch, alpha0, validation, weights_of(layer, shown)});
        }
    });
    outcome.accuracies[pooling][seed] = judge(trained.layer, trained.classifier, split.test).accuracy;
    if constexpr (std::same_as<Layer, LearnedLayer>) {
        Learned& learned = outcome.learned[seed];
        learned = describe(outcome.task, trained.layer, split.test);
        learned.epoch = trained.epoch;
        learned.history = std::move(history);
        learned.rule_weights = rule_weights(outcome.task, shown);
    }
}

}  // namespace detail

/// Trains every pooling on every task with every seed, several at a time. The result does not depend on how many.
inline std::vector<Outcome> run(const Experiment& experiment) {
    const auto seeds = static_cast<std::size_t>(experiment.seeds);
    std::vector<Outcome> outcomes;
    for (const Task task : experiment.tasks) {
        outcomes.push_back({task, {}, std::vector<Learned>(seeds)});
        for (auto& accuracies : outcomes.back().accuracies) accuracies.resize(seeds);
    }
    const std::size_t trainings = outcomes.size() * seeds * pooling_names.size();
    support::ProgressBar progress("training", trainings * static_cast<std::size_t>(experiment.training.epochs));
    std::vector<std::function<void()>> jobs;
    for (Outcome& outcome : outcomes) {
        for (std::size_t seed = 0; seed < seeds; ++seed) {
            for_each_pooling(seed + 1, [&](std::size_t pooling, const auto& start) {
                jobs.push_back(
                    [&, seed, pooling, start] { detail::run(start, pooling, seed, experiment, outcome, progress); });
            });
        }
    }
    run_parallel(jobs);
    return outcomes;
}

}  // namespace learn_pooling
