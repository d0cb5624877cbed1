#include "otpool/core/exponential.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>

#include "support/catch.hpp"

namespace exponential_test {

/// The largest error of random numbers, in units of what is promised.
template <class Scalar>
double largest_error(double lowest, double highest, double promised) {
    std::mt19937_64 engine(1);
    double largest = 0;
    for (int round = 0; round < 20'000; ++round) {
        Eigen::Array<Scalar, 8, 1> x;
        for (Scalar& entry : x) {
            entry = static_cast<Scalar>(lowest + (highest - lowest) * static_cast<double>(engine() >> 11U) * 0x1p-53);
        }
        if (round % 2 == 0) x *= Scalar(0.01);
        const Eigen::Array<Scalar, 8, 1> exponential = otpool::detail::bounded_exp(x);
        for (int i = 0; i < 8; ++i) {
            const long double size = static_cast<long double>(x[i]);
            const auto error = static_cast<double>(std::abs(exponential[i] / std::exp(size) - 1));
            largest = std::max(largest, error / promised);
        }
    }
    return largest;
}

TEST_CASE("The bounded exponential is as near as its documentation says") {
    const double of_floats = largest_error<float>(-87, 88, 3e-7);
    CHECK(of_floats <= 1);
    CHECK(of_floats > 0.1);
    const double of_doubles = largest_error<double>(-708, 708, 4e-16);
    CHECK(of_doubles <= 1);
    CHECK(of_doubles > 0.1);
}

TEMPLATE_TEST_CASE("The bounded exponential at its bounds", "", float, double) {
    const TestType lowest = std::is_same_v<TestType, float> ? -87 : -708;
    Eigen::Array<TestType, 4, 1> x;
    x << 0, lowest, TestType(-1e30), -std::numeric_limits<TestType>::infinity();
    const Eigen::Array<TestType, 4, 1> exponential = otpool::detail::bounded_exp(x);
    CHECK(std::abs(exponential[0] - 1) <= std::numeric_limits<TestType>::epsilon());
    CHECK(exponential[1] > 0);
    CHECK(exponential[1] < 4 * std::numeric_limits<TestType>::min());
    CHECK(exponential[2] == exponential[1]);
    CHECK(exponential[3] == exponential[1]);
}

TEMPLATE_TEST_CASE("The bounded exponential of any number of entries", "", float, double) {
    const double promised = std::is_same_v<TestType, float> ? 3e-7 : 4e-16;
    using Array = Eigen::Array<TestType, Eigen::Dynamic, 1>;
    for (Eigen::Index size = 1; size <= 70; ++size) {
        const Array x = Array::LinSpaced(size, -20, 3);
        const Array exponential = otpool::detail::bounded_exp(x);
        const TestType least = x[size / 2];
        const Array above = otpool::detail::exp_above(least, x.tail(size - 1));  // of other alignment, too
        for (Eigen::Index i = 0; i < size; ++i) {
            const long double exact = std::exp(static_cast<long double>(x[i]));
            CHECK(std::abs(static_cast<double>(exponential[i] / exact - 1)) <= promised);
            if (i == 0) continue;
            const long double exact_above = x[i] > least ? exact : 0;
            CHECK(std::abs(static_cast<double>(above[i - 1] - exact_above)) <=
                  promised * static_cast<double>(exact_above));
        }
    }
}

TEMPLATE_TEST_CASE("What is multiplied and added", "", float, double) {
    using Array = Eigen::Array<TestType, Eigen::Dynamic, 1>;
    for (Eigen::Index size = 1; size <= 40; ++size) {
        const Array a = Array::Random(size);
        const Array b = Array::Random(size);
        const Array c = Array::Random(size);
        const Array by_array = otpool::detail::multiply_add(a, b, c);
        CHECK((by_array - (a * b + c)).abs().maxCoeff() <= Eigen::NumTraits<TestType>::epsilon());
    }
    using Lanes = Eigen::Array<TestType, 16, 1>;
    const Lanes a = Lanes::Random();
    const Lanes c = Lanes::Random();
    const Lanes by_number = otpool::detail::multiply_add(a, TestType(3), c);
    CHECK((by_number - (3 * a + c)).abs().maxCoeff() <= 4 * Eigen::NumTraits<TestType>::epsilon());
}

}  // namespace exponential_test
