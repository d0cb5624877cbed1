#include "otpool/plan/slot_means.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/backwards.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

namespace slot_means_test {

using namespace otpool;
using namespace tests;
using detail::LogPlan;
using detail::SlotMeans;

/// A plan of these scores, one column per active instance.
LogPlan plan_of(const Matrix<double>& score, const std::vector<Index>& active, const Vector<double>& log_scale) {
    return {[score](Index k, double* out) { std::copy_n(score.col(k).data(), score.rows(), out); }, log_scale, active};
}

/// sum_n exp(score_kn) v_dn / sum_n exp(score_kn), and the logarithm of the denominator, in long double.
std::pair<long double, long double> direct(const auto& score, const auto& values, const std::vector<Index>& active) {
    const long double top = score.maxCoeff();
    long double weights = 0;
    long double sum = 0;
    for (Index k = 0; k < score.size(); ++k) {
        const long double weight = std::exp(static_cast<long double>(score[k]) - top);
        weights += weight;
        sum += weight * static_cast<long double>(values[active[static_cast<std::size_t>(k)]]);
    }
    return {sum / weights, top + std::log(weights)};
}

template <class Scalar>
struct Case {
    Matrix<double> score;
    Matrix<Scalar> values;
    std::vector<Index> active;

    /// `offset`: of every row of values; `decades`: over which the weights of a slot, and the sizes of values, range.
    Case(Random& random, Index slots, Index rows, Index size, double offset, double decades) : values(rows, size) {
        for (Index n = 0; n < size; ++n) {
            if (n == size / 2 || random.uniform(0, 1) > 0.1) active.push_back(n);
        }
        values.setConstant(std::numeric_limits<Scalar>::quiet_NaN());
        for (const Index n : active) {
            for (Index d = 0; d < rows; ++d) {
                const double scale = d % 2 == 0 ? 1 : std::pow(10, random.uniform(-decades / 20, decades / 20));
                values(d, n) = static_cast<Scalar>(offset + scale * random.normal());
            }
        }
        score.resize(slots + 1, static_cast<Index>(active.size()));
        for (Index k = 0; k < score.rows(); ++k) {
            for (Index i = 0; i < score.cols(); ++i) {
                const double rising = k % 3 == 0 ? double(i) / double(score.cols()) : random.uniform(0, 1);
                score(k, i) = random.normal() + std::log(10) * decades * rising;
            }
        }
    }
};

template <class Scalar>
void check(const Case<Scalar>& of, const MatrixView<Scalar>& values) {
    const bool single = std::same_as<Scalar, float>;
    const Index slots = of.score.rows() - 1;
    const Vector<double> log_scale = Vector<double>::LinSpaced(slots + 1, -3, 3);
    const LogPlan plan = plan_of(of.score, of.active, log_scale);
    const SlotMeans<> found(plan, slots, values, {});
    const SlotMeans<> other(plan, slots, values, Backwards{});
    CHECK(found.mean == other.mean);
    CHECK(found.mass == other.mass);
    REQUIRE(found.mean.rows() == values.rows());
    REQUIRE(found.mean.cols() == slots);
    double worst = 0;  // relative to the spread; what rounding the level of the values in double adds does not count
    double worst_mass = 0;
    for (Index d = 0; d < values.rows(); ++d) {
        const Vector<double> row = values.matrix().row(d).template cast<double>();
        double low = row[of.active[0]];
        double high = low;
        for (const Index n : of.active) {
            low = std::min(low, row[n]);
            high = std::max(high, row[n]);
        }
        const double rounding = 4e-16 * std::max(std::abs(low), std::abs(high));
        for (Index k = 0; k < slots; ++k) {
            const auto [mean, log_weight] = direct(of.score.row(k), row, of.active);
            const double off = static_cast<double>(std::abs(static_cast<long double>(found.mean(d, k)) - mean));
            if (off > rounding) worst = std::max(worst, (off - rounding) / (high - low));
            const auto mass = static_cast<double>(std::exp(log_weight + static_cast<long double>(log_scale[k])));
            worst_mass = std::max(worst_mass, std::abs(found.mass[k] / mass - 1));
        }
    }
    CHECK(worst < (single ? 1e-5 : 1e-13));
    CHECK(worst_mass < (single ? 1e-6 : 1e-13));
}

TEMPLATE_TEST_CASE("slots draw the mean of what their weights say, to the digits of the values' spread", "", double,
                   float) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        if (!in_sample(seed / 3)) continue;  // three kinds of offset
        INFO("seed " << seed);
        Random random(seed);
        const Index size = seed % 4 == 0 ? random.integer(1, 5) : random.integer(100, 4000);
        const double offset = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 1e6 : -1e4;
        const double decades = seed % 5 == 0 ? 90 : 3;
        const Case<TestType> of(random, random.integer(1, 20), random.integer(1, 40), size, offset, decades);
        check<TestType>(of, of.values);
        const Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> by_row = of.values;
        if (size > 5) check<TestType>(of, by_row);
    }
}

TEMPLATE_TEST_CASE("slots draw the mean of values at the ends of the scalar's range", "", double, float) {
    constexpr TestType largest = std::numeric_limits<TestType>::max();
    Random random(7);
    Case<TestType> of(random, 5, 3, 300, 0, 2);
    for (const Index n : of.active) {
        of.values(0, n) = n % 2 == 0 ? largest : -largest;
        of.values(1, n) = largest;
        of.values(2, n) = n % 2 == 0 ? largest : std::numeric_limits<TestType>::min();
    }
    const SlotMeans<> found(plan_of(of.score, of.active, Vector<double>::Zero(6)), 5, MatrixView<TestType>(of.values),
                            {});
    for (Index d = 0; d < 3; ++d) {
        for (Index k = 0; k < 5; ++k) {
            const auto mean = direct(of.score.row(k), of.values.row(d), of.active).first;
            CHECK(std::abs(static_cast<double>(found.mean(d, k) / largest - mean / largest)) < 1e-13);
        }
    }
}

TEST_CASE("a slot without mass draws the mean where its vanishing mass would be") {
    Random random(8);
    const Case<double> of(random, 2, 4, 50, 0, 1);
    const Vector<double> log_scale{{-std::numeric_limits<double>::infinity(), 0, 0}};
    const SlotMeans<> found(plan_of(of.score, of.active, log_scale), 2, MatrixView<double>(of.values), {});
    CHECK(found.mass[0] == 0);
    CHECK(found.mean.allFinite());
}

TEST_CASE("values that are not finite are refused where an instance counts") {
    Random random(9);
    Case<float> of(random, 2, 4, 50, 0, 1);
    of.values(3, of.active[7]) = std::numeric_limits<float>::infinity();
    const LogPlan plan = plan_of(of.score, of.active, Vector<double>::Zero(3));
    CHECK(message_of<InvalidArgument>([&] { SlotMeans<>(plan, 2, MatrixView<float>(of.values), {}); }) ==
          "value at feature 3, instance " + std::to_string(of.active[7]) + " is inf; allowed: finite numbers");
}

}  // namespace slot_means_test
