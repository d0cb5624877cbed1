#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>

#include "otpool/problem/uot_problem.hpp"
#include "support/random_bags.hpp"

namespace tests {

/// Random problems for the solvers of sparse plans: 1..64 x 1..300; marginals hard, weak, strong and mixed in turn; every
/// second eight with rewards max(0, normal), so with many ties; every second sixteen with uneven priors and excluded
/// instances. Alphas are in units of the rewards' standard deviation. Views its bag.
template <class Scalar, otpool::Regularizer R>
struct SparseProblem {
    Case drawn;
    const char* marginals = "";
    Matrix<Scalar> bag;
    otpool::UotProblem<Scalar, R> problem;

    /// The reward is `scale` times (normal + offset). alpha0 = 0 if the most is 0.
    SparseProblem(std::uint64_t seed, double least_alpha0, double most_alpha0, double scale = 1, double offset = 0) {
        Random random(seed);
        drawn.seed = seed;
        drawn.D = static_cast<Index>(random.log_uniform(1, 65));
        drawn.N = static_cast<Index>(random.log_uniform(1, 301));
        drawn.kind = seed / 8 % 2 == 0 ? BagKind::normal : BagKind::relu;
        const Matrix<double> x = random_bag<double>(random, drawn.D, drawn.N, drawn.kind);
        bag = (scale * (x.array() + offset)).template cast<Scalar>();
        const double deviation = std::sqrt((x.array() - x.mean()).square().mean());
        const double unit = scale * (deviation > 0 ? deviation : 1);
        const double soft = random.log_uniform(0.1, 100);
        const bool hard_features = random.chance(0.5);
        constexpr double hard = std::numeric_limits<double>::infinity();
        const std::size_t kind = seed / 2 % 4;
        const std::array<double, 4> alpha1 = {hard, 0.1, 100, hard_features ? hard : soft};
        const std::array<double, 4> alpha2 = {hard, 0.1, 100, hard_features ? soft : hard};
        marginals = std::array{"hard", "weak", "strong", "mixed"}[kind];
        drawn.alpha0 = most_alpha0 > 0 ? unit * random.log_uniform(least_alpha0, most_alpha0) : 0;
        drawn.alpha1 = unit * alpha1[kind];
        drawn.alpha2 = unit * alpha2[kind];
        problem.reward = bag;
        problem.alpha0 = static_cast<Scalar>(drawn.alpha0);
        problem.features.alpha = static_cast<Scalar>(drawn.alpha1);
        problem.instances.alpha = static_cast<Scalar>(drawn.alpha2);
        drawn.feature_prior = drawn.instance_prior = seed / 16 % 2 == 1;
        if (!drawn.feature_prior) return;
        problem.features.prior = uneven_prior<Scalar>(random, drawn.D, false);
        problem.instances.prior = uneven_prior<Scalar>(random, drawn.N, true);
    }
    SparseProblem(const SparseProblem&) = delete;
    SparseProblem& operator=(const SparseProblem&) = delete;

    /// Whether all rewards are the same, so that they give no unit to measure in.
    bool is_constant() const { return bag.maxCoeff() == bag.minCoeff(); }

    friend std::ostream& operator<<(std::ostream& out, const SparseProblem& made) {
        return out << made.drawn << ", " << made.marginals;
    }
};

/// The seed of a problem with 21 features and 97 instances, strong marginals and uneven priors.
inline constexpr std::uint64_t sizeable_seed = 1460;

}  // namespace tests
