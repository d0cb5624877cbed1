#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include <otpool/learning.hpp>

namespace learn_pooling {

/// How an array is stepped.
struct StepSize {
    double rate;       ///< About the length of a step of every number; > 0.
    double decay = 0;  ///< The part of a number that goes with every step is rate * decay; >= 0.
};

/// Adam (Kingma & Ba, ICLR 2015) with the weight decay apart from the gradient (Loshchilov & Hutter, ICLR 2019), for
/// arrays that each have a step size of their own.
class Adam {
public:
    using Arrays = std::vector<otpool::NamedArray<double>>;

    double mean_memory = 0.9, square_memory = 0.999;

    /// Steps `parameters` against `gradients`, the same arrays in the same order at every call; `schedule` multiplies
    /// every rate.
    void step(Arrays parameters, const Arrays& gradients, const std::vector<StepSize>& sizes, double schedule = 1) {
        if (moments_.empty()) {
            for (const auto& array : parameters) {
                const Eigen::ArrayXd zero = Eigen::ArrayXd::Zero(array.values.size());
                moments_.push_back({zero, zero});
            }
        }
        ++steps_;
        const double mean_part = 1 - std::pow(mean_memory, steps_);
        const double square_part = 1 - std::pow(square_memory, steps_);
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const auto gradient = gradients[i].values.array();
            auto& [mean, square] = moments_[i];
            mean += (1 - mean_memory) * (gradient - mean);
            square += (1 - square_memory) * (gradient.square() - square);
            const double rate = schedule * sizes[i].rate;
            auto values = parameters[i].values.array();
            values -= rate * ((mean / mean_part) / ((square / square_part).sqrt() + 1e-8) + sizes[i].decay * values);
        }
    }

private:
    struct Moments {
        Eigen::ArrayXd mean, square;
    };

    std::vector<Moments> moments_;
    int steps_ = 0;
};

}  // namespace learn_pooling
