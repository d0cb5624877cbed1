#pragma once

#include <torch/torch.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data.hpp"
#include "model.hpp"
#include "training.hpp"

namespace train_mil {

/// A quantity over folds and seeds.
struct Sample {
    std::vector<double> values;

    double mean() const {
        double sum = 0;
        for (const double value : values) sum += value;
        return sum / static_cast<double>(values.size());
    }
    double deviation() const {
        double sum = 0;
        for (const double value : values) sum += (value - mean()) * (value - mean());
        return values.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(values.size() - 1));
    }
};

struct CrossValidation {
    Sample accuracy, area_under_curve, seconds_per_epoch;
    std::string in_words;  ///< what the last fold's pooling has learned
};

/// Every fold is tested once a seed. A fifth of the other bags, stratified, chooses the epoch; the rest train, and are
/// what the standardisation is made of.
inline CrossValidation cross_validate(const BagSet& bags, const std::string& pooling, std::int64_t hidden, int folds,
                                      int seeds, TrainingOptions options, const std::function<void()>& after_epoch) {
    CrossValidation result;
    for (int seed = 1; seed <= seeds; ++seed) {
        const auto parts = stratified_folds(bags.y, folds, static_cast<std::uint64_t>(seed));
        for (std::size_t test = 0; test < parts.size() && interrupted == 0; ++test) {
            std::vector<std::int64_t> others;
            for (std::size_t part = 0; part < parts.size(); ++part) {
                if (part != test) others.insert(others.end(), parts[part].begin(), parts[part].end());
            }
            const BagSet rest = bags.select(others);
            const auto fifths = stratified_folds(rest.y, 5, static_cast<std::uint64_t>(seed));
            std::vector<std::int64_t> rest_training;
            for (std::size_t part = 1; part < 5; ++part) {
                rest_training.insert(rest_training.end(), fifths[part].begin(), fifths[part].end());
            }
            const BagSet training = rest.select(rest_training);
            const Standardization standardized(training);

            options.seed = static_cast<std::uint64_t>(seed) * 1000 + test;
            torch::manual_seed(options.seed);
            Model model(bags.features(), hidden, pooling);
            const auto trained = train(model, standardized(training), standardized(rest.select(fifths[0])), options,
                                       [&](bool) { after_epoch(); });
            if (interrupted != 0) return result;  // the fold is not finished
            const BagSet tested = bags.select(parts[test]);
            const auto probability = predict(model, standardized(tested));
            result.accuracy.values.push_back(accuracy(probability, tested.y));
            const double area = area_under_curve(probability, tested.y);
            if (!std::isnan(area)) result.area_under_curve.values.push_back(area);
            result.seconds_per_epoch.values.push_back(trained.seconds_per_epoch);
            result.in_words = model->pooling.in_words();
        }
    }
    return result;
}

}  // namespace train_mil
