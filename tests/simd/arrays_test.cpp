#include "otpool/simd/arrays.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Functions of any number of numbers, at any address, held to those of the standard library.

namespace arrays_test {

using namespace otpool;
using detail::register_lanes;
using tests::Random;

/// visit(x, size) of random numbers at every alignment, between numbers that are NaN.
template <class Scalar>
void for_each_size(double lowest, double highest, const auto& visit) {
    Random random(1);
    for (Index size = 1; size <= 5 * register_lanes; ++size) {
        for (Index offset = 1; offset <= 3; ++offset) {
            Vector<Scalar> numbers(size + offset + 1);
            numbers.setConstant(std::numeric_limits<Scalar>::quiet_NaN());
            for (Scalar& number : numbers.segment(offset, size)) {
                number = static_cast<Scalar>(random.uniform(lowest, highest));
            }
            visit(numbers.data() + offset, size);
        }
    }
}

/// Whether to_i = exact(x_i), and what is beside it stays.
template <class Scalar>
void check_function(double lowest, double highest, const auto& set, const auto& exact) {
    for_each_size<Scalar>(lowest, highest, [&](Scalar* x, Index size) {
        std::vector<Scalar> to(static_cast<std::size_t>(size) + 1, Scalar(-100));
        set(x, size, to.data());
        const std::vector<Scalar> from(x, x + size);
        set(x, size, x);
        bool near = to.back() == -100 && std::isnan(x[-1]) && std::isnan(x[size]);
        for (std::size_t i = 0; i < from.size(); ++i) {
            const auto expected = static_cast<double>(exact(static_cast<long double>(from[i])));
            near &= std::abs(static_cast<double>(to[i]) - expected) <=
                    20 * std::numeric_limits<Scalar>::epsilon() * std::abs(expected);
            near &= x[i] == to[i];
        }
        CHECK(near);
    });
}

TEMPLATE_TEST_CASE("Exponentials and logarithms of any number of numbers", "", float, double) {
    using Scalar = TestType;
    check_function<Scalar>(
        -20, 3, [](const Scalar* x, Index size, Scalar* to) { detail::bounded_exp(x, size, to); },
        [](long double x) { return std::exp(x); });
    check_function<Scalar>(
        -20, 3, [](const Scalar* x, Index size, Scalar* to) { detail::bounded_exp(x, size, to, Scalar(2)); },
        [](long double x) { return std::exp(x - 2); });
    check_function<Scalar>(
        -20, 3, [](const Scalar* x, Index size, Scalar* to) { detail::exp_or_zero(x, size, to); },
        [](long double x) { return std::exp(x); });
    check_function<Scalar>(
        0.01, 30, [](const Scalar* x, Index size, Scalar* to) { detail::log_of_normal(x, size, to); },
        [](long double x) { return std::log(x); });
}

TEMPLATE_TEST_CASE("The highest and the lowest number, wherever they are", "", float, double) {
    using Scalar = TestType;
    Random random(1);
    for (Index size = 1; size <= 5 * register_lanes; ++size) {
        for (Index at = 0; at < size; ++at) {
            for (const Scalar outlier : {Scalar(9), Scalar(-9)}) {
                for (const Scalar level : {Scalar(-20), Scalar(0), Scalar(20)}) {
                    Vector<Scalar> numbers(size);
                    for (Scalar& number : numbers) number = level + static_cast<Scalar>(random.normal());
                    numbers[at] += outlier;
                    const auto [lowest, highest] = std::minmax_element(numbers.begin(), numbers.end());
                    CHECK(detail::highest(numbers.data(), size) == *highest);
                    CHECK(detail::lowest(numbers.data(), size) == *lowest);
                    const Scalar magnitude = std::max(std::abs(*lowest), std::abs(*highest));
                    CHECK(detail::largest_magnitude(numbers.data(), size) == magnitude);
                }
            }
        }
    }
    CHECK(detail::largest_magnitude(static_cast<const Scalar*>(nullptr), 0) == 0);
}

TEMPLATE_TEST_CASE("Numbers are finite or one of them is not", "", float, double) {
    using Scalar = TestType;
    using Limits = std::numeric_limits<Scalar>;
    for (Index size = 1; size <= 3 * register_lanes; ++size) {
        Vector<Scalar> numbers = Vector<Scalar>::Constant(size, Limits::max());
        numbers[0] = -Limits::max();
        numbers[size / 2] = Limits::denorm_min();
        CHECK(detail::all_finite(numbers.data(), size));
        for (const Scalar wrong : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()}) {
            for (Index i = 0; i < size; ++i) {
                Vector<Scalar> with_wrong = numbers;
                with_wrong[i] = wrong;
                CHECK(!detail::all_finite(with_wrong.data(), size));
            }
        }
    }
}

TEMPLATE_TEST_CASE("Logarithms of sums of exponentials do not overflow", "", float, double) {
    using Scalar = TestType;
    for (const double level : {-1e4, 0.0, 1e4}) {
        for_each_size<Scalar>(level - 5, level + 5, [](const Scalar* x, Index size) {
            const long double top = *std::max_element(x, x + size);
            long double sum = 0;
            for (Index i = 0; i < size; ++i) sum += std::exp(x[i] - top);
            const auto expected = static_cast<double>(top + std::log(sum));
            CHECK(std::abs(static_cast<double>(detail::log_sum_exp(x, size)) - expected) <=
                  20 * std::numeric_limits<Scalar>::epsilon() * (1 + std::abs(expected)));
        });
    }
    constexpr Scalar nothing = -std::numeric_limits<Scalar>::infinity();
    CHECK(detail::log_sum_exp(Vector<Scalar>::Constant(21, nothing).eval().data(), 21) == nothing);
}

}  // namespace arrays_test
