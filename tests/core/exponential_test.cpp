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

}  // namespace exponential_test
