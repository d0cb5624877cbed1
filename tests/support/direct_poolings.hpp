#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "otpool/core/matrix.hpp"

// The poolings as their formulas say, written out with loops in long double: what the library's are held to.

namespace tests::direct {

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;

using Number = long double;
using Numbers = std::vector<Number>;

inline Number sum(const Numbers& x) { return std::accumulate(x.begin(), x.end(), Number(0)); }
inline Number mean(const Numbers& x) { return sum(x) / static_cast<Number>(x.size()); }
inline Number max(const Numbers& x) { return *std::max_element(x.begin(), x.end()); }
inline Number min(const Numbers& x) { return *std::min_element(x.begin(), x.end()); }

/// sum_n q_n x_n
inline Number weighted(const Numbers& q, const Numbers& x) {
    return std::inner_product(q.begin(), q.end(), x.begin(), Number(0));
}

/// exp(s_n) / sum_m exp(s_m)
inline Numbers softmax_weights(const Numbers& scores) {
    Numbers weights;
    for (const Number s : scores) weights.push_back(std::exp(s - max(scores)));
    const Number total = sum(weights);
    for (Number& weight : weights) weight /= total;
    return weights;
}

/// sum_n v_n exp(x_n / t) / sum_n exp(x_n / t), v's mean over the largest x at t = 0
inline Number softmax(const Numbers& x, Number t, const Numbers& v) {
    if (t == 0) {
        Number total = 0;
        Number count = 0;
        for (std::size_t n = 0; n < x.size(); ++n) {
            if (x[n] < max(x)) continue;
            total += v[n];
            count += 1;
        }
        return total / count;
    }
    Numbers scores;
    for (const Number entry : x) scores.push_back(std::isinf(t) ? 0 : (entry - max(x)) / t);
    return weighted(softmax_weights(scores), v);
}
inline Number softmax(const Numbers& x, Number t) { return softmax(x, t, x); }

/// t log (1/N) sum_n exp(x_n / t), the max at t = 0, the mean at t = inf
inline Number log_mean_exp(const Numbers& x, Number t) {
    if (t == 0) return max(x);
    if (std::isinf(t)) return mean(x);
    Number total = 0;
    for (const Number entry : x) total += std::expm1((entry - max(x)) / t);
    return max(x) + t * std::log1p(total / static_cast<Number>(x.size()));
}

/// ((1/N) sum_n x_n^p)^(1/p) for x >= 0; the geometric mean at p = 0, min and max at -inf and inf
inline Number power_mean(const Numbers& x, Number p) {
    if (p == std::numeric_limits<Number>::infinity()) return max(x);
    if (p == -std::numeric_limits<Number>::infinity()) return min(x);
    if (p <= 0 && min(x) == 0) return 0;
    Numbers powers;
    for (const Number entry : x) powers.push_back(p == 0 ? std::log(entry) : std::pow(entry, p));
    return p == 0 ? std::exp(mean(powers)) : std::pow(mean(powers), 1 / p);
}

template <class Derived>
Numbers numbers(const Eigen::MatrixBase<Derived>& entries) {
    Numbers out;
    for (Index i = 0; i < entries.size(); ++i) out.push_back(static_cast<Number>(entries(i)));
    return out;
}

/// `pool` of every feature's numbers.
template <class Derived, class Pool>
Vector<Number> by_feature(const Eigen::MatrixBase<Derived>& bag, const Pool& pool) {
    Vector<Number> pooled(bag.rows());
    for (Index d = 0; d < bag.rows(); ++d) pooled[d] = pool(numbers(bag.row(d)));
    return pooled;
}

/// Ilse et al. 2018: eq. 8, scores w^T tanh(V x_n); with a U, eq. 9, w^T (tanh(V x_n) * sigmoid(U x_n)).
template <class Scalar>
Numbers attention_weights(const Matrix<Scalar>& bag, const Matrix<Scalar>& V, const Vector<Scalar>& w,
                          const Matrix<Scalar>* U = nullptr) {
    const auto product = [&](const Matrix<Scalar>& A, Index l, Index n) {
        Number total = 0;
        for (Index d = 0; d < bag.rows(); ++d) total += static_cast<Number>(A(l, d)) * static_cast<Number>(bag(d, n));
        return total;
    };
    Numbers scores;
    for (Index n = 0; n < bag.cols(); ++n) {
        Number score = 0;
        for (Index l = 0; l < V.rows(); ++l) {
            const Number gate = U == nullptr ? 1 : 1 / (1 + std::exp(-product(*U, l, n)));
            score += static_cast<Number>(w[l]) * std::tanh(product(V, l, n)) * gate;
        }
        scores.push_back(score);
    }
    return softmax_weights(scores);
}

/// Yan et al. 2018: scores from 0, updated by s_n += <x_n, squash(y)>, squash(y) = |y|^2 / (1 + |y|^2) y / |y|.
template <class Scalar>
Vector<Number> dynamic_routing(const Matrix<Scalar>& bag, int iterations) {
    Numbers scores(static_cast<std::size_t>(bag.cols()), 0);
    const auto pooled = [&] {
        const Numbers weights = softmax_weights(scores);
        return by_feature(bag, [&](const Numbers& x) { return weighted(weights, x); });
    };
    Vector<Number> y = pooled();
    for (int i = 0; i < iterations; ++i) {
        Number square = 0;
        for (Index d = 0; d < y.size(); ++d) square += y[d] * y[d];
        const Number factor = square == 0 ? 0 : square / (1 + square) / std::sqrt(square);
        for (Index n = 0; n < bag.cols(); ++n) {
            for (Index d = 0; d < y.size(); ++d) {
                scores[static_cast<std::size_t>(n)] += static_cast<Number>(bag(d, n)) * factor * y[d];
            }
        }
        y = pooled();
    }
    return y;
}

/// The largest error of a pooled vector, in units of its feature's spread over the instances. The rounding of the
/// result to Scalar, and of numbers as large as the feature's largest, is not counted.
template <class Scalar, class Derived>
double pooled_error(const Vector<Scalar>& pooled, const Vector<Number>& expected,
                    const Eigen::MatrixBase<Derived>& bag) {
    if (pooled.size() != expected.size()) return std::numeric_limits<double>::infinity();
    double worst = 0;
    for (Index d = 0; d < pooled.size(); ++d) {
        const Numbers x = numbers(bag.row(d));
        const Number largest = std::max(std::abs(max(x)), std::abs(min(x)));
        const Number rounding = largest * static_cast<Number>(std::numeric_limits<Scalar>::epsilon());
        const Number error = std::abs(static_cast<Number>(pooled[d]) - expected[d]);
        const Number range = max(x) - min(x);
        if (!(error <= rounding)) {
            worst = std::max(worst, range > 0 ? static_cast<double>((error - rounding) / range)
                                              : std::numeric_limits<double>::infinity());
        }
        if (std::isnan(pooled[d])) return std::numeric_limits<double>::infinity();
    }
    return worst;
}

}  // namespace tests::direct
