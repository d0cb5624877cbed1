#include "support/k_means.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"
#include "support/message_of.hpp"

namespace k_means_test {

using Eigen::Index;
using Eigen::MatrixXd;
using support::k_means;
using support::KMeans;

/// Points around `groups` places, at most `features`, that are far apart.
MatrixXd grouped(Index features, Index groups, Index each, std::uint64_t seed) {
    const MatrixXd places = 1000 * MatrixXd::Identity(features, groups);
    return places.replicate(1, each) + support::Generator(seed).normal(features, groups * each);
}

double distance_to_nearest(const MatrixXd& centres, const Eigen::VectorXd& point) {
    return (centres.colwise() - point).colwise().squaredNorm().minCoeff();
}

/// What must hold of every result, whatever the points are.
void check(const KMeans& found, const MatrixXd& points, Index centres) {
    REQUIRE(found.centres.rows() == points.rows());
    REQUIRE(found.centres.cols() == centres);
    REQUIRE(found.labels.size() == static_cast<std::size_t>(points.cols()));
    CHECK(found.centres.allFinite());
    const double scale = points.cwiseAbs().maxCoeff();
    double objective = 0;
    for (Index n = 0; n < points.cols(); ++n) {
        const Index k = found.labels[static_cast<std::size_t>(n)];
        REQUIRE(k >= 0);
        REQUIRE(k < centres);
        const double distance = ((points.col(n) - found.centres.col(k)) / scale).squaredNorm();
        CHECK(distance <= distance_to_nearest(found.centres / scale, points.col(n) / scale) + 1e-13);
        objective += distance;
    }
    CHECK(found.objective / scale / scale == Catch::Approx(objective).epsilon(1e-9).margin(1e-25));
}

std::set<Index> used(const KMeans& found) { return {found.labels.begin(), found.labels.end()}; }

TEST_CASE("No step of Lloyd raises the objective, and no centre is left without points") {
    std::mt19937 random(1);
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        const Index features = 1 + static_cast<Index>(random() % 6);
        const Index count = 1 + static_cast<Index>(random() % 200);
        const Index centres = 1 + static_cast<Index>(random() % static_cast<unsigned>(std::min<Index>(count, 30)));
        const double scale = std::pow(10.0, static_cast<int>(random() % 300) - 150);
        const double origin = seed % 3 == 0 ? 1e6 : 0;
        const MatrixXd points = scale * (support::Generator(seed).normal(features, count).array() + origin);
        double last = std::numeric_limits<double>::infinity();
        for (int steps = 0; steps < 12; ++steps) {
            const KMeans found = k_means(points, centres, {.steps = steps, .tolerance = 0, .seed = seed});
            CHECK(found.steps <= steps);
            CHECK(found.objective <= last * (1 + 1e-13));  // a sum of 200 numbers, rounded
            CHECK(found.distinct == centres);
            CHECK(used(found).size() == static_cast<std::size_t>(centres));
            check(found, points, centres);
            last = found.objective;
        }
    }
}

TEST_CASE("At the end every centre is the mean of its points") {
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
        const MatrixXd points = support::Generator(seed).normal(3, 150);
        const KMeans found = k_means(points, 7, {.steps = 1000, .tolerance = 0, .seed = seed});
        CHECK(found.steps < 1000);
        MatrixXd sums = MatrixXd::Zero(3, 7);
        Eigen::VectorXd sizes = Eigen::VectorXd::Zero(7);
        for (Index n = 0; n < points.cols(); ++n) {
            sums.col(found.labels[static_cast<std::size_t>(n)]) += points.col(n);
            ++sizes[found.labels[static_cast<std::size_t>(n)]];
        }
        CHECK((found.centres - sums * sizes.cwiseInverse().asDiagonal()).cwiseAbs().maxCoeff() < 1e-12);
    }
}

TEST_CASE("Groups that are far apart are found") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        const MatrixXd points = grouped(8, 5, 40, seed);
        const KMeans found = k_means(points, 5, {.seed = seed});
        for (Index n = 0; n < points.cols(); ++n) {
            CHECK(found.labels[static_cast<std::size_t>(n)] == found.labels[static_cast<std::size_t>(n % 5)]);
        }
        CHECK(used(found).size() == 5);
    }
}

TEST_CASE("The same seed gives the same centres, another one other numbers") {
    const MatrixXd points = support::Generator(3).normal(4, 300);
    CHECK(k_means(points, 9).centres == k_means(points, 9).centres);
    CHECK(k_means(points, 9, {.steps = 0, .seed = 1}).centres != k_means(points, 9, {.steps = 0, .seed = 2}).centres);
}

TEST_CASE("The start draws points, a far one with its probability") {
    // One point at 0, one at 1 and one at 3: if 0 is first, 3 is second with probability 9/10.
    MatrixXd points(1, 3);
    points << 0, 1, 3;
    int first = 0, far = 0;
    for (std::uint64_t seed = 0; seed < 6000; ++seed) {
        const KMeans found = k_means(points, 2, {.steps = 0, .seed = seed});
        if (std::abs(found.centres(0, 0)) > 1e-12) continue;
        ++first;
        far += found.centres(0, 1) > 2 ? 1 : 0;
    }
    CHECK(first / 6000.0 == Catch::Approx(1.0 / 3).margin(0.03));
    CHECK(far / static_cast<double>(first) == Catch::Approx(0.9).margin(0.03));
}

TEST_CASE("As many centres as points are the points") {
    for (const double scale : {1e-300, 1.0, 1e300}) {
        const MatrixXd points = scale * support::Generator(5).normal(3, 12);
        const KMeans found = k_means(points, 12);
        for (Index n = 0; n < 12; ++n) {
            CHECK(distance_to_nearest(found.centres / scale, points.col(n) / scale) < 1e-28);
        }
        CHECK(used(found).size() == 12);
    }
}

TEST_CASE("Of fewer different points than centres some centres are equal") {
    const MatrixXd different = support::Generator(2).normal(5, 4);
    const MatrixXd points = different.replicate(1, 10);
    const KMeans found = k_means(points, 7);
    CHECK(found.distinct == 4);
    CHECK(found.objective == 0);
    check(found, points, 7);
    CHECK(k_means(different.replicate(1, 3), 4).distinct == 4);
}

TEST_CASE("Equal points have one centre") {
    const KMeans found = k_means(MatrixXd::Constant(3, 6, 0.1), 6);
    CHECK(found.distinct == 1);
    CHECK(found.centres == MatrixXd::Constant(3, 6, 0.1));
    CHECK(k_means(MatrixXd::Zero(2, 4), 2).centres == MatrixXd::Zero(2, 2));
}

TEST_CASE("One centre is the mean") {
    const MatrixXd points = support::Generator(9).normal(4, 100);
    CHECK((k_means(points, 1).centres - points.rowwise().mean()).cwiseAbs().maxCoeff() < 1e-14);
}

TEST_CASE("k-means tells how far it is") {
    std::size_t done = 0;
    const KMeans found =
        k_means(support::Generator(4).normal(2, 500), 8, {.advance = [&](std::size_t more) { done += more; }});
    CHECK(done == 8 * (1 + static_cast<std::size_t>(found.steps)));
}

TEST_CASE("No centres, and more centres than points, are refused") {
    const MatrixXd points = MatrixXd::Random(3, 5);
    for (const Index centres : {-1, 0, 6}) {
        CHECK(tests::message_of<std::invalid_argument>([&] { k_means(points, centres); }) ==
              "number of centres: found " + std::to_string(centres) + ", allowed 1 to 5, the number of points");
    }
}

TEST_CASE("Drawn columns are different, in rising order and equally probable") {
    std::vector<int> counts(10, 0);
    for (std::uint64_t seed = 0; seed < 5000; ++seed) {
        const std::vector<Index> columns = support::drawn_columns(10, 4, seed);
        REQUIRE(columns.size() == 4);
        CHECK(std::is_sorted(columns.begin(), columns.end()));
        CHECK(std::set<Index>(columns.begin(), columns.end()).size() == 4);
        for (const Index n : columns) ++counts[static_cast<std::size_t>(n)];
    }
    for (const int count : counts) CHECK(count / 5000.0 == Catch::Approx(0.4).margin(0.03));
    CHECK(support::drawn_columns(5, 5, 1) == std::vector<Index>{0, 1, 2, 3, 4});
    CHECK(support::drawn_columns(5, 0, 1).empty());
}

}  // namespace k_means_test
