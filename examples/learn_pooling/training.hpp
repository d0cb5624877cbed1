#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <otpool/learning.hpp>

#include "adam.hpp"
#include "classifier.hpp"
#include "tasks.hpp"

namespace learn_pooling {

/// Three quarters of the bags to train with, a quarter to choose the epoch by, and as many again to test with in the
/// end.
struct Split {
    Data training, validation, test;

    Split(Task task, Index bags, std::uint64_t seed) {
        const Data all = make_data(task, 2 * bags, seed);
        const auto range = [&](Index from, Index to) {
            std::vector<Index> chosen;
            for (Index b = from; b < to; ++b) chosen.push_back(b);
            return all.subset(chosen);
        };
        training = range(0, bags * 3 / 4);
        validation = range(bags * 3 / 4, bags);
        test = range(bags, 2 * bags);
    }
};

/// The same for every pooling.
struct TrainingOptions {
    int epochs = 20;         ///< > 0
    Index batch = 32;        ///< bags; > 0
    std::uint64_t seed = 1;  ///< of the order of the bags
    /// Pooled vectors may be small (a mean of 40 is a sixth of an entry), so the classifier's weights must become
    /// large. If they learn slowly, the layer learns to pool what is large instead of what is right.
    StepSize classifier = {.rate = 0.3};
    StepSize alphas = {.rate = 0.2};  ///< They are logarithms. Also for the logits of mixtures.
    /// The attention overfits most easily. It starts uniform, and decays back to that.
    StepSize attention = {.rate = 0.05, .decay = 0.15};
};

/// A layer and its classifier after the best of the epochs.
template <class Layer>
struct Trained {
    Layer layer;
    Classifier classifier;
    int epoch = 0;
    Verdict validation = {.loss = std::numeric_limits<double>::infinity()};
};

template <class Layer>
Verdict judge(const Layer& layer, const Classifier& classifier, const Data& data) {
    return judge(classifier.scores(layer(data.bags())), data.labels);
}

namespace detail {

/// 0, ..., count - 1 in random order.
inline std::vector<Index> shuffled(Index count, Generator& generator) {
    std::vector<Index> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    for (Index i = count; i-- > 1;) {
        std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(generator.integer(0, i))]);
    }
    return order;
}

/// The arrays of the layer, then those of the classifier: parameters, or their gradients.
template <class LayerOrGradient>
Adam::Arrays arrays_of(LayerOrGradient& layer, Classifier& classifier) {
    auto arrays = otpool::named_arrays<double>(layer);
    for (auto& array : otpool::named_arrays<double>(classifier)) arrays.push_back(std::move(array));
    return arrays;
}

inline std::vector<StepSize> step_sizes(const Adam::Arrays& parameters, const TrainingOptions& options) {
    std::vector<StepSize> sizes;
    for (const auto& [name, values] : parameters) {
        const bool attention = name == "prior.V" || name == "prior.w";
        const bool classifier = name == "weights" || name == "bias";
        sizes.push_back(attention ? options.attention : classifier ? options.classifier : options.alphas);
    }
    return sizes;
}

}  // namespace detail

/// Trains layer and classifier together, by Adam with rates that fall to 0 along a cosine, and returns them as they
/// were after the epoch of the least loss on the validation bags. observe(epoch, layer, validation accuracy) is called
/// before the first epoch, as 0, and after each.
template <class Layer, class Observe>
Trained<Layer> train(Layer layer, const Split& split, const TrainingOptions& options, const Observe& observe) {
    Classifier classifier;
    Trained<Layer> best{layer, classifier};
    const auto look = [&](int epoch) {
        const Verdict validation = judge(layer, classifier, split.validation);
        observe(epoch, layer, validation.accuracy);
        if (validation.loss < best.validation.loss) best = {layer, classifier, epoch, validation};
    };
    look(0);

    Generator generator(options.seed);
    Adam adam;
    const auto parameters = detail::arrays_of(layer, classifier);
    const auto sizes = detail::step_sizes(parameters, options);
    const Index bags = split.training.size();
    const double all_steps = std::ceil(static_cast<double>(bags) / static_cast<double>(options.batch)) * options.epochs;
    double steps = 0;
    for (int epoch = 1; epoch <= options.epochs; ++epoch) {
        const std::vector<Index> order = detail::shuffled(bags, generator);
        for (Index first = 0; first < bags; first += options.batch) {
            const Index last = std::min(bags, first + options.batch);
            const Data batch = split.training.subset({order.begin() + first, order.begin() + last});
            const auto instances = batch.bags();
            const auto forward = layer.forward(instances);
            const Verdict verdict = judge(classifier.scores(forward.pooled), batch.labels);
            auto of_classifier = classifier.gradient(forward.pooled, verdict.dL_dscores);
            auto of_layer = layer.backward(forward, classifier.gradient_of_pooled(verdict.dL_dscores));
            const double schedule = 0.5 * (1 + std::cos(std::numbers::pi * steps++ / all_steps));
            adam.step(parameters, detail::arrays_of(of_layer, of_classifier), sizes, schedule);
        }
        look(epoch);
    }
    return best;
}

}  // namespace learn_pooling
