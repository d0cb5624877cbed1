#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/direct_poolings.hpp"
#include "support/random_bags.hpp"

// Closed forms and readouts near the largest and the smallest numbers of a type, held to the formulas in long double,
// whose range neither end leaves.

namespace extremes_test {

using namespace otpool;
using tests::Random;
using tests::direct::by_feature;
using tests::direct::Number;
using tests::direct::Numbers;

/// Bags of entries up to `largest`, of both signs, or not below 0.
template <class Scalar>
Matrix<Scalar> bag_up_to(Random& random, Scalar largest, bool negative) {
    Matrix<Scalar> bag(2, random.integer(1, 12));
    for (Index i = 0; i < bag.size(); ++i) {
        bag.data()[i] = largest * static_cast<Scalar>(random.uniform(negative ? -1 : 0, 1));
    }
    bag(0, 0) = largest;
    bag(1, bag.cols() - 1) = negative ? -largest : largest;
    return bag;
}

/// The result as a Scalar, which may be as far off as `epsilons` roundings of the largest entry.
template <class Scalar>
void check(const Vector<Scalar>& pooled, const Vector<Number>& expected, Scalar largest, int epsilons) {
    using Limits = std::numeric_limits<Scalar>;
    const Number most = Limits::max();
    const Number rounding = std::max<Number>(Number(largest) * Limits::epsilon(), Limits::denorm_min());
    REQUIRE(pooled.size() == expected.size());
    for (Index d = 0; d < pooled.size(); ++d) {
        const Number right = std::clamp(expected[d], -most, most);
        INFO("feature " << d << ": " << pooled[d] << ", right: " << static_cast<double>(right));
        CHECK(std::isfinite(pooled[d]));
        CHECK(std::abs(Number(pooled[d]) - right) <= epsilons * rounding);
    }
}

/// By pool(), which may go around a solution, and by solve() and the readout.
template <class Scalar, class Pooling, class Formula>
void check_pooling(const Pooling& pooling, const Matrix<Scalar>& bag, Scalar largest, const Formula& formula,
                   int epsilons = 40) {
    const Vector<Number> expected = by_feature(bag, formula);
    check<Scalar>(pooling(bag), expected, largest, epsilons);
    check<Scalar>(pooling.read(pooling.solve(Bag<Scalar>{bag})), expected, largest, epsilons);
}

template <class Scalar>
std::vector<Scalar> ends() {
    using Limits = std::numeric_limits<Scalar>;
    return {Limits::max(), Limits::max() / 2, Limits::max() / 1024, Limits::min() * 8, Limits::min() / 1024};
}

template <class Scalar>
auto sparsemax(Scalar alpha0) {
    return Pooling<Scalar, BregmanAdmm, Quadratic>{.parameters = {.alpha0 = alpha0}};
}

/// y of max_p <x, p> - alpha0 |p|^2 with p on the simplex of mass 1/2 (of two features), divided by the mass.
Number sparsemax_by_formula(const Numbers& x, Number alpha0) {
    Numbers sorted = x;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const Number mass = 0.5L;
    Number sum = 0;
    Number threshold = 0;
    for (std::size_t k = 0; k < sorted.size(); ++k) {
        sum += sorted[k];
        const Number t = (sum - 2 * alpha0 * mass) / static_cast<Number>(k + 1);
        if (sorted[k] > t) threshold = t;
    }
    Number pooled = 0;
    for (const Number entry : x) pooled += std::max<Number>(0, (entry - threshold) / (2 * alpha0)) / mass * entry;
    return pooled;
}

TEMPLATE_TEST_CASE("Poolings are right at both ends of their type's range", "", float, double) {
    using Scalar = TestType;
    for (const Scalar largest : ends<Scalar>()) {
        for (std::uint64_t seed = 1; seed <= 8; ++seed) {
            Random random(seed);
            const bool negative = seed % 2 == 0;
            const Matrix<Scalar> bag = bag_up_to(random, largest, negative);
            INFO("largest " << largest << ", seed " << seed);
            check_pooling<Scalar>(mean_pooling<Scalar>(), bag, largest, tests::direct::mean);
            check_pooling<Scalar>(max_pooling<Scalar>(), bag, largest, tests::direct::max);
            check_pooling<Scalar>(min_pooling<Scalar>(), bag, largest, tests::direct::min);
            check_pooling<Scalar>(
                sum_pooling<Scalar>(), bag, largest, [](const Numbers& x) { return tests::direct::sum(x); }, 200);
            for (const Scalar factor : {Scalar(0.25), Scalar(1)}) {
                const Scalar t = factor * largest;
                INFO("temperature " << t);
                check_pooling<Scalar>(softmax_pooling<Scalar>(t), bag, largest,
                                      [&](const Numbers& x) { return tests::direct::softmax(x, t); });
                check_pooling<Scalar>(log_sum_exp_pooling<Scalar>(t), bag, largest,
                                      [&](const Numbers& x) { return tests::direct::log_mean_exp(x, t); });
                const Pooling<Scalar, ClosedForm, RelativeEntropy> relative{.parameters = {.alpha0 = t}};
                check_pooling<Scalar>(relative, bag, largest,
                                      [&](const Numbers& x) { return tests::direct::softmax(x, t); });
                check_pooling<Scalar>(sparsemax<Scalar>(t), bag, largest,
                                      [&](const Numbers& x) { return sparsemax_by_formula(x, t); });
            }
            check_pooling<Scalar>(log_sum_exp_pooling<Scalar>(infinity), bag, largest, tests::direct::mean);
            check_pooling<Scalar>(attention_pooling<Scalar>(), bag, largest, tests::direct::mean);
            const Pooling<Scalar, ClosedForm, Entropy, JointReadout> joint{.parameters = {.alpha0 = infinity}};
            check_pooling<Scalar>(joint, bag, largest, tests::direct::mean);
            check<Scalar>(
                mixed_pooling<Scalar>(Scalar(0.25))(bag),
                by_feature(bag,
                           [](const Numbers& x) { return tests::direct::mean(x) / 4 + 3 * tests::direct::max(x) / 4; }),
                largest, 40);
        }
    }
}

TEMPLATE_TEST_CASE("Equal entries of any size pool to themselves", "", float, double) {
    using Scalar = TestType;
    using Limits = std::numeric_limits<Scalar>;
    const Scalar rounding = 4 * Limits::epsilon();
    for (const Scalar entry : {static_cast<Scalar>(std::is_same_v<Scalar, float> ? 3e38 : 1.7e308), Limits::max(),
                               Limits::min(), Limits::denorm_min()}) {
        for (const Index N : {1, 3, 100}) {
            INFO(entry << " x " << N);
            const Matrix<Scalar> bag = Matrix<Scalar>::Constant(1, N, entry);
            const auto is_entry = [&](const auto& pooling, Scalar allowed) {
                return std::abs(pooling(bag)[0] - entry) <= std::max(allowed * entry, Scalar(0));
            };
            CHECK(is_entry(mean_pooling<Scalar>(), rounding));
            CHECK(is_entry(max_pooling<Scalar>(), Scalar(0)));
            CHECK(is_entry(min_pooling<Scalar>(), rounding));
            CHECK(is_entry(softmax_pooling<Scalar>(1), rounding));
            CHECK(is_entry(log_sum_exp_pooling<Scalar>(1), rounding));
            CHECK(is_entry(mixed_pooling<Scalar>(Scalar(0.5)), rounding));
            CHECK(is_entry(dynamic_routing_pooling<Scalar>(3), rounding));
            for (const Scalar power : {Scalar(-3), Scalar(0), Scalar(0.5), Scalar(3)}) {
                // exp(log x) in double: 709 roundings at most.
                const Scalar exponent = std::is_same_v<Scalar, float> ? rounding : 1000 * Limits::epsilon();
                CHECK(is_entry(generalized_mean_pooling<Scalar>(power), exponent));
            }
        }
    }
}

TEMPLATE_TEST_CASE("Dynamic routing goes to the largest scores, however large", "", float, double) {
    using Scalar = TestType;
    const Scalar most = std::numeric_limits<Scalar>::max();
    // The first instance has the highest score from the first update on, also where all sums of scores overflow.
    const Matrix<Scalar> bag{{most, -most, most / 2}, {most, most / 2, most / 4}};
    CHECK(dynamic_routing_pooling<Scalar>(4)(bag) == bag.col(0));
    const Matrix<Scalar> tiny = std::numeric_limits<Scalar>::min() / bag.array().max(Scalar(1));
    CHECK(dynamic_routing_pooling<Scalar>(4)(tiny).allFinite());
}

}  // namespace extremes_test
