#pragma once

#include <cmath>
#include <utility>

#include <otpool/learning.hpp>

#include "poolings.hpp"
#include "tasks.hpp"

namespace learn_pooling {

/// How every feature weighs the instances of one bag: the plan, every row divided by its sum.
inline Matrix weights_of(const LearnedLayer& layer, const Matrix& bag) {
    Matrix weights = layer.solve(bag).plan();
    weights.array().colwise() /= weights.rowwise().sum().array().eval();
    return weights;
}

/// What kind of pooling weights are, in two numbers. Feature 0 is left out: no label depends on it.
struct Character {
    double drawn_on = 0;  ///< Instances that a feature draws on: exp of the entropy of its weights; 1 to N.
    double shared = 0;    ///< Weight that two features put on the same instances, on average over pairs; 0 to 1.

    Character& operator+=(const Character& other) {
        drawn_on += other.drawn_on;
        shared += other.shared;
        return *this;
    }
    Character operator/(double count) const { return {drawn_on / count, shared / count}; }
};

inline Character character_of(const Matrix& weights) {
    const Index last = weights.rows() - 1;
    Character character;
    for (Index d = 1; d <= last; ++d) {
        const Eigen::ArrayXd w = weights.row(d).transpose();
        const double entropy = -(w * w.max(1e-300).log()).sum();
        character.drawn_on += std::exp(entropy) / static_cast<double>(last);
        for (Index e = 1; e < d; ++e) {
            const double both = weights.row(d).cwiseMin(weights.row(e)).sum();
            character.shared += both / static_cast<double>(last * (last - 1) / 2);
        }
    }
    return character;
}

/// The average over the bags, of the weights that weights(bag) gives.
template <class Weights>
Character average_character(const Data& data, const Weights& weights) {
    Character sum;
    for (Index b = 0; b < data.size(); ++b) sum += character_of(weights(data.bag(b)));
    return sum / static_cast<double>(data.size());
}

}  // namespace learn_pooling
