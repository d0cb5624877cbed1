#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "otpool/core/error.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

namespace tests {

using otpool::Marginal;
using otpool::Real;

/// A random problem whose features and instances mostly have alphas of their own. Not copyable: it views its bag.
template <class Scalar, class R = otpool::Entropy>
struct Mixed {
    Matrix<Scalar> bag;
    otpool::UotProblem<Scalar, R> problem;

    explicit Mixed(std::uint64_t seed, double least_alpha0 = 0.02, double most_alpha0 = 5) {
        Random random(seed);
        const BagKind kind = all_bag_kinds[static_cast<std::size_t>(random.integer(0, 1))];
        bag = random_bag<Scalar>(random, random.integer(1, 8), random.integer(1, 30), kind);
        const double unit = std::max(spread(bag), 1e-3);
        problem.reward = bag;
        problem.alpha0 = static_cast<Scalar>(unit * random.log_uniform(least_alpha0, most_alpha0));
        if (random.chance(0.5)) problem.features.prior = uneven_prior<Scalar>(random, bag.rows(), false);
        if (random.chance(0.5)) problem.instances.prior = uneven_prior<Scalar>(random, bag.cols(), true);
        do {
            draw(random, problem.features, bag.rows(), unit);
            draw(random, problem.instances, bag.cols(), unit);
        } while (!has_solution());
    }
    Mixed(const Mixed&) = delete;
    Mixed& operator=(const Mixed&) = delete;

    Real unit() const { return std::max(spread(bag), 1e-3); }

private:
    /// Alphas of kinds that are drawn first: all, or only some, of free, soft and hard.
    static void draw(Random& random, Marginal<Scalar>& marginal, Index size, double unit) {
        marginal.alpha = Scalar(-1);  // does not count
        marginal.alphas.resize(size);
        const bool may_be[] = {random.chance(0.5), random.chance(0.7), random.chance(0.6)};
        const double kinds[] = {0, 1, otpool::infinity};
        for (Index i = 0; i < size; ++i) {
            auto kind = static_cast<std::size_t>(random.integer(0, 2));
            if (!may_be[kind]) kind = may_be[2] ? 2 : 1;
            marginal.alphas[i] = static_cast<Scalar>(kind == 1 ? unit * random.log_uniform(0.05, 100) : kinds[kind]);
        }
        marginal.alpha = Scalar(1);
    }

    /// Whether some lines hold the mass, and hard ones go together.
    bool has_solution() const {
        const auto held = [](const Marginal<Scalar>& side) { return side.alphas.maxCoeff() > 0; };
        try {
            validate(problem);
        } catch (const otpool::InvalidArgument&) {
            return false;
        }
        return held(problem.features) || held(problem.instances);
    }
};

/// Checks that what a solver of a fixed number of steps pools is the conditional mean of its plan.
void check_pools_its_plan(const auto& steps) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        const Mixed<double> mixed(seed, 0.2, 5);
        const Matrix<double> plan = steps.solve(mixed.problem).plan();
        Vector<double> pooled(mixed.bag.rows());
        steps.pool(mixed.problem, pooled);
        const Vector<double> mean = (plan.cwiseProduct(mixed.bag).rowwise().sum()).cwiseQuotient(plan.rowwise().sum());
        CHECK((pooled - mean).cwiseAbs().maxCoeff() < 1e-10 * (1 + mixed.bag.cwiseAbs().maxCoeff()));
    }
}

}  // namespace tests
