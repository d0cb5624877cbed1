#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include <otpool/otpool.hpp>

#include "reproduce/comparison.hpp"
#include "reproduce/made_up.hpp"
#include "reproduce/poolings.hpp"
#include "reproduce/transport.hpp"
#include "support/catch.hpp"

using reproduce::Generator;
using reproduce::Matrix;
using reproduce::Vector;

namespace reproduce_test {

/// The value of exact transport, by trying all ways to hand lcm(D, N) equal units to features and instances.
double value_by_enumeration(const Matrix& reward) {
    const Eigen::Index total = std::lcm(reward.rows(), reward.cols());
    std::vector<Eigen::Index> instance_of_unit(static_cast<std::size_t>(total));
    for (Eigen::Index u = 0; u < total; ++u) {
        instance_of_unit[static_cast<std::size_t>(u)] = u / (total / reward.cols());
    }
    double best = -std::numeric_limits<double>::infinity();
    do {
        double value = 0;
        for (Eigen::Index u = 0; u < total; ++u) {
            value += reward(u / (total / reward.rows()), instance_of_unit[static_cast<std::size_t>(u)]);
        }
        best = std::max(best, value / static_cast<double>(total));
    } while (std::next_permutation(instance_of_unit.begin(), instance_of_unit.end()));
    return best;
}

struct Shape {
    Eigen::Index features, instances;
};

TEST_CASE("The made-up bag is the same everywhere") {
    // The seed for which the C++ standard gives the 10000th number, 9981545732273789042.
    Generator generator(5489);
    for (int i = 1; i < 10000; ++i) generator.uniform();
    CHECK(generator.uniform() == static_cast<double>(9981545732273789042u >> 11) * 0x1p-53);
}

TEST_CASE("Exact transport finds the best of all plans") {
    for (const Shape shape : {Shape{1, 1}, {1, 4}, {4, 1}, {5, 5}, {2, 3}, {3, 2}, {3, 6}, {8, 2}, {2, 8}}) {
        CAPTURE(shape.features, shape.instances);
        for (std::uint64_t seed = 0; seed < 10; ++seed) {
            const Matrix reward = Generator(seed).normal(shape.features, shape.instances);
            const Matrix plan = reproduce::ExactTransport(reward).plan();
            CHECK(plan.minCoeff() >= 0);
            const Vector features = plan.rowwise().sum() * static_cast<double>(shape.features);
            const Vector instances = plan.colwise().sum() * static_cast<double>(shape.instances);
            CHECK((features.array() - 1).abs().maxCoeff() < 1e-14);
            CHECK((instances.array() - 1).abs().maxCoeff() < 1e-14);
            CHECK(std::abs(plan.cwiseProduct(reward).sum() - value_by_enumeration(reward)) < 1e-13);
        }
    }
}

TEST_CASE("Exact transport tells one best plan from several") {
    const Matrix reward = Generator(1).normal(4, 6);
    CHECK(reproduce::has_one_best_plan(reward));
    Matrix twins = reward;
    twins.row(1) = twins.row(0);
    CHECK_FALSE(reproduce::has_one_best_plan(twins));
    CHECK_FALSE(reproduce::has_one_best_plan(Matrix::Ones(2, 2)));
    CHECK_FALSE(reproduce::has_one_best_plan(twins.array() + 1e6));
}

TEST_CASE("Ties share the max equally") {
    const reproduce::Pooled max = reproduce::direct::max(Matrix{{1, 3, 3}, {5, 0, 1}});
    CHECK(max.vector == Vector{{3, 5}});
    CHECK(max.plan == Matrix{{0, 0.25, 0.25}, {0.5, 0, 0}});
}

TEST_CASE("Solvers that iterate reproduce every pooling they accept") {
    const Matrix instances = reproduce::made_up_bag(6, 41);
    const otpool::Bags bags(instances, {0, 1, 13, 41});
    const auto comparisons = reproduce::compare(bags, {.tolerance = 1e-10, .closed_forms = false});
    REQUIRE(comparisons.size() == reproduce::pooling_names.size());
    for (const auto& comparison : comparisons) {
        CHECK(comparison.plan.rows() == 6);
        CHECK(std::abs(comparison.plan.sum() - 1) < 1e-14);
        for (std::size_t s = 0; s < comparison.outcomes.size(); ++s) {
            const auto& outcome = comparison.outcomes[s];
            CAPTURE(to_string(comparison.name), reproduce::solver_names[s]);
            using enum reproduce::PoolingName;
            const bool regularized =
                comparison.name == mean || comparison.name == softmax || comparison.name == attention;
            const bool accepted = s == 1 || regularized;
            CHECK(outcome.refusal.empty() == accepted);
            if (!accepted) continue;
            CHECK(outcome.error < 1e-9);
            CHECK((outcome.plan - comparison.plan).cwiseAbs().maxCoeff() < 1e-8);
            CHECK(outcome.bags == std::map<otpool::Status, int>{{otpool::Status::converged, 3}});
        }
    }
}

}  // namespace reproduce_test
