#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "data.hpp"
#include "model.hpp"

namespace train_mil {

struct TrainingOptions {
    int epochs = 60;
    int batch = 16;
    double learning_rate = 2e-3;
    double weight_decay = 1e-3;
    std::uint64_t seed = 1;
};

/// Set by the first interrupt; training ends after the batch it is at.
inline volatile std::sig_atomic_t interrupted = 0;

/// Mean loss of the bags' labels under a model.
inline torch::Tensor loss(Model& model, const BagSet& bags) {
    return torch::nn::functional::binary_cross_entropy_with_logits(model->forward(bags), bags.y);
}

/// Probabilities of the label 1, (B).
inline torch::Tensor predict(Model& model, const BagSet& bags) {
    const torch::NoGradGuard no_grad;
    model->eval();
    return torch::sigmoid(model->forward(bags));
}

/// Adam, with a larger step for the alphas and rho, which are logarithms, and without decay of them.
inline torch::optim::AdamW make_optimizer(Model& model, const TrainingOptions& options) {
    std::vector<torch::Tensor> weights;
    std::vector<torch::Tensor> logarithms;
    for (const auto& parameter : model->named_parameters()) {
        const bool is_logarithm =
            parameter.key().find("alpha") != std::string::npos || parameter.key().find("rho") != std::string::npos;
        (is_logarithm ? logarithms : weights).push_back(parameter.value());
    }
    using Options = torch::optim::AdamWOptions;
    std::vector<torch::optim::OptimizerParamGroup> groups;
    groups.emplace_back(weights,
                        std::make_unique<Options>(Options(options.learning_rate).weight_decay(options.weight_decay)));
    if (!logarithms.empty()) {
        groups.emplace_back(logarithms, std::make_unique<Options>(Options(10 * options.learning_rate).weight_decay(0)));
    }
    return torch::optim::AdamW(groups, Options(options.learning_rate));
}

struct TrainingResult {
    int best_epoch = 0;
    double seconds_per_epoch = 0;
};

/// Trains, and leaves the model as it was after the epoch of the lowest loss on `validation`. Calls after_epoch(whether
/// it is the best so far).
inline TrainingResult train(Model& model, const BagSet& training, const BagSet& validation,
                            const TrainingOptions& options, const std::function<void(bool)>& after_epoch) {
    auto optimizer = make_optimizer(model, options);
    std::mt19937_64 random(options.seed);
    std::vector<std::int64_t> order(static_cast<std::size_t>(training.size()));
    std::iota(order.begin(), order.end(), 0);
    double lowest = std::numeric_limits<double>::infinity();
    std::vector<torch::Tensor> best;
    TrainingResult result;
    double seconds = 0;
    int done = 0;
    for (int epoch = 1; epoch <= options.epochs && interrupted == 0; ++epoch) {
        const auto start = std::chrono::steady_clock::now();
        model->train();
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
        for (std::size_t first = 0; first < order.size() && interrupted == 0;) {
            const std::size_t last = std::min(order.size(), first + static_cast<std::size_t>(options.batch));
            const BagSet batch = training.select({order.begin() + static_cast<std::ptrdiff_t>(first),
                                                  order.begin() + static_cast<std::ptrdiff_t>(last)});
            optimizer.zero_grad();
            loss(model, batch).backward();
            optimizer.step();
            first = last;
        }
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        ++done;

        const torch::NoGradGuard no_grad;
        model->eval();
        const double now = loss(model, validation).item<double>();
        const bool better = now < lowest;
        if (better) {
            lowest = now;
            best.clear();
            for (const auto& parameter : model->parameters()) best.push_back(parameter.clone());
            result.best_epoch = epoch;
        }
        after_epoch(better);
    }
    const torch::NoGradGuard no_grad;
    const auto parameters = model->parameters();
    for (std::size_t i = 0; i < best.size(); ++i) parameters[i].detach().copy_(best[i]);
    result.seconds_per_epoch = seconds / std::max(1, done);
    return result;
}

/// Share of bags whose label is the more probable one.
inline double accuracy(const torch::Tensor& probability, const torch::Tensor& y) {
    return ((probability > 0.5) == (y > 0.5)).to(torch::kDouble).mean().item<double>();
}

/// The probability that a positive bag ranks above a negative one, ties counted half.
inline double area_under_curve(const torch::Tensor& probability, const torch::Tensor& y) {
    const auto positive = probability.masked_select(y > 0.5).unsqueeze(1);
    const auto negative = probability.masked_select(y < 0.5).unsqueeze(0);
    if (positive.numel() == 0 || negative.numel() == 0) return std::nan("");
    return ((positive > negative).to(torch::kDouble) + 0.5 * (positive == negative).to(torch::kDouble))
        .mean()
        .item<double>();
}

}  // namespace train_mil
