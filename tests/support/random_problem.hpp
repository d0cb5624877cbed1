#pragma once

#include <algorithm>
#include <cstdint>

#include "otpool/problem/uot_problem.hpp"
#include "support/random_bags.hpp"

namespace tests {

/// What a random problem is drawn from; alphas are in units of the bag's spread.
struct ProblemRange {
    Index most_features = 64;
    Index most_instances = 300;
    double least_alpha0 = 1e-3;
    double most_alpha0 = 1e3;
    double least_alpha = 1e-3;
    double most_alpha = 1e3;
    double limits = 0.2;  ///< chance of a marginal to be hard; as much to be free
    bool zeros = true;    ///< q0 may exclude instances
};

/// A problem with the bag that it views. Not copyable: the problem would view the other's bag.
template <class Scalar, otpool::Regularizer R = otpool::Entropy>
struct RandomProblem {
    Case drawn;
    Matrix<Scalar> bag;
    otpool::UotProblem<Scalar, R> problem;

    RandomProblem(std::uint64_t seed, const ProblemRange& range) {
        Random random(seed);
        drawn.seed = seed;
        drawn.D = static_cast<Index>(random.log_uniform(1, static_cast<double>(range.most_features) + 0.99));
        drawn.N = static_cast<Index>(random.log_uniform(1, static_cast<double>(range.most_instances) + 0.99));
        drawn.kind = all_bag_kinds[static_cast<std::size_t>(random.integer(0, 5))];
        bag = random_bag<Scalar>(random, drawn.D, drawn.N, drawn.kind);
        const double unit = std::max(spread(bag), 1e-20);  // of a bag of zeros, too
        problem.reward = bag;
        problem.alpha0 = static_cast<Scalar>(unit * random.log_uniform(range.least_alpha0, range.most_alpha0));
        const auto alpha = [&] {
            return random_alpha<Scalar>(random, unit * range.least_alpha, unit * range.most_alpha, range.limits);
        };
        problem.features.alpha = alpha();
        problem.instances.alpha = alpha();
        drawn.feature_prior = random.chance(0.5);
        drawn.instance_prior = random.chance(0.5);
        if (drawn.feature_prior) problem.features.prior = uneven_prior<Scalar>(random, drawn.D, false);
        if (drawn.instance_prior) problem.instances.prior = uneven_prior<Scalar>(random, drawn.N, range.zeros);
        drawn.alpha0 = static_cast<double>(problem.alpha0);
        drawn.alpha1 = static_cast<double>(problem.features.alpha);
        drawn.alpha2 = static_cast<double>(problem.instances.alpha);
    }
    RandomProblem(const RandomProblem&) = delete;
    RandomProblem& operator=(const RandomProblem&) = delete;

    /// The same problem in double, of the same numbers.
    otpool::UotProblem<double, R> in_double() const {
        return {
            .reward = bag.template cast<double>().eval(),
            .alpha0 = static_cast<double>(problem.alpha0),
            .features = {static_cast<double>(problem.features.alpha), problem.features.prior.template cast<double>()},
            .instances = {static_cast<double>(problem.instances.alpha),
                          problem.instances.prior.template cast<double>()}};
    }
};

}  // namespace tests
