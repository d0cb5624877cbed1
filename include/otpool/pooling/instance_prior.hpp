// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/marginal.hpp"

namespace otpool {

// Functors from a bag (D x N) to its instance prior q0: N entries >= 0 that sum to 1, or an empty vector for uniform.
// If a bag has its own prior, the two multiply: see own_prior.hpp.

/// q0_n = 1/N
struct UniformPrior {
    /// An empty vector, which stands for uniform.
    template <BagScalar Scalar>
    Vector<Scalar> operator()(const MatrixView<Scalar>&) const {
        return {};
    }
};

/// The same q0 for every bag; all bags must have its number of instances.
template <BagScalar Scalar>
struct FixedPrior {
    static constexpr bool by_place = true;  ///< See PriorByPlace.
    Vector<Scalar> prior;                   ///< q0, N entries >= 0 that sum to 1.

    /// q0
    Vector<Scalar> operator()(const MatrixView<Scalar>&) const { return prior; }
};

/// softmax(scores)_n = exp(s_n) / sum_m exp(s_m). Throws InvalidArgument for scores that are not finite.
template <BagScalar Scalar>
Vector<Scalar> softmax(const Vector<Scalar>& scores) {
    for (Index n = 0; n < scores.size(); ++n) {
        detail::require_that(std::isfinite(scores[n]), detail::text("scores[", n, "]"), scores[n], "finite numbers");
    }
    if (scores.size() == 0) return {};
    const Real highest = static_cast<Real>(*std::max_element(scores.begin(), scores.end()));
    std::vector<Real> weight(static_cast<std::size_t>(scores.size()));
    std::transform(scores.begin(), scores.end(), weight.begin(),
                   [&](Scalar score) { return std::exp(static_cast<Real>(score) - highest); });
    const Real sum = std::accumulate(weight.begin(), weight.end(), Real(0));
    Vector<Scalar> softmax(scores.size());
    std::transform(weight.begin(), weight.end(), softmax.begin(), [&](Real w) { return static_cast<Scalar>(w / sum); });
    return softmax;
}

/// q0 = [w, 1 - w] for the two instances [mean, max], w = sigmoid(<weights, mean> + bias).
template <BagScalar Scalar>
struct MeanMaxGate {
    static constexpr bool by_place = true;  ///< See PriorByPlace.
    Vector<Scalar> weights;                 ///< D
    Scalar bias = 0;                        ///< Added to the score of the mean.

    /// q0 = [w, 1 - w]
    Vector<Scalar> operator()(const MatrixView<Scalar>& mean_and_max) const { return softmax(scores(mean_and_max)); }

    /// [<weights, mean> + bias, 0]
    Vector<Scalar> scores(const MatrixView<Scalar>& mean_and_max) const {
        detail::require_that(weights.size() == mean_and_max.rows(), "length of the gate's weights", weights.size(),
                             detail::printed(mean_and_max.rows()) + ", the number of features");
        detail::require_that(mean_and_max.cols() == 2, "number of instances at the gate", mean_and_max.cols(),
                             "2, the mean and the max");
        return Vector<Scalar>{{weights.dot(mean_and_max.matrix().col(0)) + bias, Scalar(0)}};
    }

    /// Returns the gradient of weights and bias, given dL/dscores; adds the bag's gradient to `dL_dbag`.
    MeanMaxGate pull_back(const MatrixView<Scalar>& mean_and_max, const Vector<Scalar>& dL_dscores,
                          Eigen::Ref<Matrix<Scalar>> dL_dbag) const {
        dL_dbag.col(0) += dL_dscores[0] * weights;
        return {dL_dscores[0] * mean_and_max.matrix().col(0), dL_dscores[0]};
    }

    /// visit(name, array) for every parameter.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        visit("weights", weights);
        Eigen::Map<Vector<Scalar>> as_array(&bias, 1);
        visit("bias", as_array);
    }
};

/// The prior of an Eigen expression has its scalar.
template <class Derived>
FixedPrior(const Eigen::MatrixBase<Derived>&) -> FixedPrior<typename Derived::Scalar>;

}  // namespace otpool
