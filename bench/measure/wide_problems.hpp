// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <otpool/otpool.hpp>

#include "measure/problems.hpp"
#include "random.hpp"

namespace measure {

namespace detail {

/// How a wide problem is made.
struct WideDraw {
    bool masked = false;  ///< Some pairs are forbidden, with rewards of -inf.
    int prior = 0;        ///< 0: uniform, 1: uneven, 2: from 1e-30 to 1.
    bool zeros = false;   ///< Some instances are excluded.
    bool masses = false;  ///< Priors are masses of any sum.
};

/// 0 or infinity, with the given chances, or log-uniform over eight decades.
inline double wide_alpha(bench::Random& random, double chance_of_zero, double chance_of_infinity) {
    const double chance = random.uniform();
    const double soft = random.log_uniform(1e-4, 1e4);
    if (chance < chance_of_zero) return 0;
    return chance < chance_of_zero + chance_of_infinity ? infinity : soft;
}

inline otpool::RealVector wide_weights(bench::Random& random, Index size, int prior) {
    otpool::RealVector weights(size);
    for (double& weight : weights) {
        weight = prior == 0 ? 1 : prior == 1 ? std::exp(random.normal()) : random.log_uniform(1e-30, 1);
    }
    return weights;
}

/// Forbids a random share of the pairs, but none on a cycle through all features and instances. Sets priors
/// to the marginals of a plan on the other pairs, so that they can be met if both are hard.
inline void forbid_pairs(bench::Random& random, otpool::RealMatrix& reward, otpool::RealVector& p,
                         otpool::RealVector& q) {
    otpool::RealMatrix plan = p * q.transpose();
    const double share = random.uniform(0.1, 0.9);
    for (Index n = 0; n < plan.cols(); ++n) {
        for (Index d = 0; d < plan.rows(); ++d) {
            const bool on_cycle = d == n % plan.rows() || d == (n + 1) % plan.rows() || n == d % plan.cols();
            if (!on_cycle && random.uniform() < share) plan(d, n) = 0;
            if (plan(d, n) == 0) reward(d, n) = -infinity;
        }
    }
    p = plan.rowwise().sum();
    q = plan.colwise().sum().transpose();
}

}  // namespace detail

/// Problem `index` of those that Automatic is measured with. Numbers and properties are drawn independently, but alpha0,
/// alpha1 and alpha2 are not all 0: no such plan is best. The same for float and double but for rounding.
template <class Scalar>
Case<Scalar> wide_case(std::size_t index) {
    bench::Random random(std::uint64_t{1000000} + index);
    const auto chance = [&](double probability) { return random.uniform() < probability; };
    detail::WideDraw draw{.masked = chance(0.15)};
    draw.prior = static_cast<int>(random.uniform(0, draw.masked ? 2 : 3));
    draw.zeros = !draw.masked && chance(0.3);
    draw.masses = chance(0.3);

    const auto D = static_cast<Index>(random.log_uniform(1, 65));
    const auto N = static_cast<Index>(random.log_uniform(1, 301));
    otpool::RealMatrix reward = random.normal_matrix<double>(D, N);
    if (chance(0.2)) reward = reward.cwiseMax(0);
    if (chance(0.2)) reward = (2 * reward.array()).round();
    const double scale = chance(0.3) ? random.log_uniform(1e-30, 1e30) : 1;
    const double offset = chance(0.2) ? random.uniform(-1000, 1000) : 0;

    Case<Scalar> made;
    made.spread = scale * detail::standard_deviation(reward);
    reward = scale * (reward.array() + offset);
    otpool::RealVector p = detail::wide_weights(random, D, draw.prior);
    otpool::RealVector q = detail::wide_weights(random, N, draw.prior);
    if (draw.masked) {
        made.values = reward.cast<Scalar>();
        detail::forbid_pairs(random, reward, p, q);
    }
    const auto kept = static_cast<Index>(random.uniform() * static_cast<double>(N));
    for (Index n = 0; n < N; ++n) {
        if (draw.zeros && n != kept && chance(0.2)) q[n] = 0;
    }
    made.reward = reward.cast<Scalar>();

    const double alpha0 = detail::wide_alpha(random, 0.15, 0);
    const double alpha1 = detail::wide_alpha(random, 0.15, 0.2);
    double alpha2 = detail::wide_alpha(random, 0.15, 0.2);
    if (alpha0 == 0 && alpha1 == 0 && alpha2 == 0) alpha2 = infinity;
    made.alpha0 = static_cast<Scalar>(made.spread * alpha0);
    made.features.alpha = static_cast<Scalar>(made.spread * alpha1);
    made.instances.alpha = static_cast<Scalar>(made.spread * alpha2);
    const bool both_hard = std::isinf(alpha1) && std::isinf(alpha2);
    const double mass_of_p = draw.masses ? random.log_uniform(1e-3, 1e3) : 1;
    const double mass_of_q = draw.masses && !both_hard ? random.log_uniform(1e-3, 1e3) : mass_of_p;
    made.features.has_masses = made.instances.has_masses = draw.masses;
    if (draw.masked || draw.prior > 0 || draw.masses) made.features.prior = (mass_of_p / p.sum() * p).cast<Scalar>();
    if (draw.masked || draw.prior > 0 || draw.masses || draw.zeros) {
        made.instances.prior = (mass_of_q / q.sum() * q).cast<Scalar>();
    }
    return made;
}

}  // namespace measure
