#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <otpool/adapter/torch.hpp>
#include <otpool/learning.hpp>

namespace train_mil {

/// A pooling to train, as a module, and what it has learned in words.
struct Pooling {
    torch::nn::AnyModule module;
    std::function<std::string()> in_words;
    std::int64_t slots = 1;  ///< How many vectors it pools to, one after the other.
};

inline const std::vector<std::string>& pooling_names() {
    static const std::vector<std::string> names = {"mean",  "max",          "attention", "gated-attention",
                                                   "mixed", "uot-sinkhorn", "uot-badmm", "uot-badmm-quadratic",
                                                   "slots"};
    return names;
}

namespace detail {

template <class Layer>
Pooling pooling(const Layer& layer, std::function<std::string(const Layer&)> in_words) {
    auto module = std::make_shared<otpool::TorchLayer<float, Layer>>(layer);
    return {.module = torch::nn::AnyModule(module),
            .in_words = [module, in_words] { return in_words(module->layer()); }};
}

/// The attention of Ilse et al. 2018, from small random weights.
inline otpool::Attention<float> attention(std::int64_t features, int hidden = 32) {
    const float scale = 1 / std::sqrt(static_cast<float>(features));
    const auto random = [&](std::int64_t rows, std::int64_t cols) -> otpool::Matrix<float> {
        const auto values = torch::randn({cols, rows}) * scale;
        return otpool::detail::as_matrix<float>(values);
    };
    return {random(hidden, features), otpool::Vector<float>::Zero(hidden)};
}

inline std::string number(double value) { return (std::ostringstream() << std::setprecision(2) << value).str(); }

/// How strongly a marginal is held, in a word.
inline std::string held(double alpha) {
    if (alpha < 0.02) return "free";
    return alpha > 50 ? "hard" : "soft (" + number(alpha) + ")";
}

/// What the parameters of a UOT layer amount to; `temperature` is comparable to the spread of the features, about 1.
inline std::string uot_in_words(double temperature, double alpha1, double alpha2, bool sparse) {
    std::string text = "temperature " + number(temperature) + ", feature marginal " + held(alpha1) +
                       ", instance marginal " + held(alpha2) + ": ";
    const bool instances_held = alpha2 > 10 * temperature;
    if (instances_held && temperature > 5) return text + "near attention pooling by the instance prior";
    if (instances_held) return text + "near balanced transport";
    if (temperature > 5) return text + "near mean pooling";
    if (temperature < 0.05) return text + "near max pooling";
    return text + (sparse ? "near sparsemax pooling" : "near softmax pooling");
}

template <class Solver, class Regularizer>
Pooling uot(std::int64_t features) {
    using Layer = otpool::UotLayer<float, Solver, Regularizer>;
    const Layer layer{.parameters = Layer::start(features)};
    return pooling<Layer>(layer, [features](const Layer& learned) {
        double alpha0 = 0;
        double alpha1 = 0;
        double alpha2 = 0;
        const auto steps = learned.step_parameters();
        for (const auto& step : steps) {
            alpha0 += step.alpha0 / static_cast<double>(steps.size());
            alpha1 += step.alpha1 / static_cast<double>(steps.size());
            alpha2 += step.alpha2 / static_cast<double>(steps.size());
        }
        constexpr bool sparse = std::is_same_v<Regularizer, otpool::Quadratic>;
        // 2 alpha0 P with P of mass 1/D a feature: the sparsemax at temperature 2 alpha0 / D
        return uot_in_words(sparse ? 2 * alpha0 / static_cast<double>(features) : alpha0, alpha1, alpha2, sparse);
    });
}

/// Four slots, from random prototypes. The instances are soft: slots need not draw on all of them.
inline Pooling slots(std::int64_t features) {
    using Layer = otpool::SlotLayer<float>;
    constexpr std::int64_t count = 4;
    const auto prototypes = torch::randn({count, features});
    const Layer layer{.parameters = Layer::start(otpool::detail::as_matrix<float>(prototypes)), .alpha2 = 1};
    Pooling result = pooling<Layer>(layer, [](const Layer& learned) {
        const auto parameters = learned.pooling().parameters;
        const auto& alphas = parameters.features.alphas;
        return std::to_string(count) + " slots at temperature " + number(parameters.alpha0) + ", marginals from " +
               held(alphas.minCoeff()) + " to " + held(alphas.maxCoeff());
    });
    result.slots = count;
    return result;
}

}  // namespace detail

/// The pooling of a name of pooling_names(), for so many features, as it starts.
inline Pooling make_pooling(const std::string& name, std::int64_t features) {
    using namespace otpool;
    using detail::pooling;
    const auto nothing = [](const auto&) { return std::string("nothing to learn"); };
    if (name == "mean") return pooling<FixedLayer<float>>(mean_layer<float>(), nothing);
    if (name == "max") return pooling<FixedLayer<float>>(max_layer<float>(), nothing);
    const auto attends = [](const auto& layer) {
        return "scores of norm " + detail::number(layer.parameters.prior.w.norm()) + " (0: the mean)";
    };
    if (name == "attention") {
        const auto layer = attention_layer<float>(detail::attention(features));
        return pooling<std::decay_t<decltype(layer)>>(layer, attends);
    }
    if (name == "gated-attention") {
        const auto tanh = detail::attention(features);
        const auto layer = attention_layer<float>(GatedAttention<float>{tanh.V, detail::attention(features).V, tanh.w});
        return pooling<std::decay_t<decltype(layer)>>(layer, attends);
    }
    if (name == "mixed") {
        const auto layer = mixed_layer<float>();
        return pooling<std::decay_t<decltype(layer)>>(layer, [](const auto& learned) {
            const auto weights = softmax(learned.outer.parameters.prior.logits);
            return detail::number(weights[0]) + " mean + " + detail::number(weights[1]) + " max";
        });
    }
    if (name == "uot-sinkhorn") return detail::uot<Sinkhorn, Entropy>(features);
    if (name == "uot-badmm") return detail::uot<BregmanAdmm, Entropy>(features);
    if (name == "uot-badmm-quadratic") return detail::uot<BregmanAdmm, Quadratic>(features);
    if (name == "slots") return detail::slots(features);
    throw std::invalid_argument("pooling is " + name + "; allowed: see --help");
}

}  // namespace train_mil
