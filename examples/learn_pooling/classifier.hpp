#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include <otpool/learning.hpp>

#include "tasks.hpp"

namespace learn_pooling {

/// Logistic regression on pooled vectors: label 1 with probability sigmoid(<weights, y> + bias).
struct Classifier {
    Vector weights = Vector::Zero(features);
    Vector bias = Vector::Zero(1);

    /// One score a column of `pooled`; above 0 it says 1.
    Vector scores(const Matrix& pooled) const { return (pooled.transpose() * weights).array() + bias[0]; }

    /// Given dL/dscores.
    Classifier gradient(const Matrix& pooled, const Vector& dL_dscores) const {
        return {pooled * dL_dscores, Vector::Constant(1, dL_dscores.sum())};
    }
    Matrix gradient_of_pooled(const Vector& dL_dscores) const { return weights * dL_dscores.transpose(); }

    template <class Visit>
    void for_each_array(const Visit& visit) {
        visit("weights", weights);
        visit("bias", bias);
    }
};

/// How good the scores are, and the derivative of the loss.
struct Verdict {
    double loss = 0;      ///< Mean cross-entropy: log(1 + exp(-score)) of a label 1, log(1 + exp(score)) of a 0.
    double accuracy = 0;  ///< Part of the bags whose label is found.
    Vector dL_dscores = {};
};

inline Verdict judge(const Vector& scores, const Vector& labels) {
    Verdict verdict{.dL_dscores = Vector(scores.size())};
    const auto count = static_cast<double>(scores.size());
    for (Index b = 0; b < scores.size(); ++b) {
        const double toward = labels[b] > 0.5 ? scores[b] : -scores[b];
        verdict.loss += (std::max(0.0, -toward) + std::log1p(std::exp(-std::abs(toward)))) / count;
        verdict.accuracy += ((scores[b] > 0) == (labels[b] > 0.5) ? 1 : 0) / count;
        verdict.dL_dscores[b] = (1 / (1 + std::exp(-scores[b])) - labels[b]) / count;
    }
    return verdict;
}

}  // namespace learn_pooling
