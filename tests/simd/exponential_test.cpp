#include "otpool/simd/exponential.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>

#include "support/catch.hpp"

namespace exponential_test {

/// What is computed, and what it should be.
struct Exponential {
    static auto of(const auto& x) { return otpool::detail::bounded_exp(x); }
    static long double exact(long double x) { return std::exp(x); }
};
struct PowerOfTwo {
    static auto of(const auto& x) { return otpool::detail::bounded_exp2(x); }
    static long double exact(long double x) { return std::exp2(x); }
};

struct PowerOrZero {
    static auto of(const auto& x) { return otpool::detail::exp2_or_zero(x); }
    static long double exact(long double x) { return std::exp2(x); }
};

template <class Scalar>
constexpr double promised = std::is_same_v<Scalar, float> ? 2e-7 : 4e-16;

/// The largest error of random numbers, in units of what is promised.
template <class Function, class Scalar>
double largest_error(double lowest, double highest) {
    std::mt19937_64 engine(1);
    double largest = 0;
    for (int round = 0; round < 20'000; ++round) {
        Eigen::Array<Scalar, 8, 1> x;
        for (Scalar& entry : x) {
            entry = static_cast<Scalar>(lowest + (highest - lowest) * static_cast<double>(engine() >> 11U) * 0x1p-53);
        }
        if (round % 2 == 0) x *= Scalar(0.01);
        const Eigen::Array<Scalar, 8, 1> power = Function::of(x);
        for (int i = 0; i < 8; ++i) {
            const auto error = static_cast<double>(std::abs(power[i] / Function::exact(x[i]) - 1));
            largest = std::max(largest, error / promised<Scalar>);
        }
    }
    return largest;
}

TEST_CASE("Bounded powers are as near as their documentation says") {
    for (const double error :
         {largest_error<Exponential, float>(-87, 88), largest_error<Exponential, double>(-708, 708),
          largest_error<PowerOfTwo, float>(-126, 127), largest_error<PowerOfTwo, double>(-1022, 1023),
          largest_error<PowerOrZero, float>(-114, 127), largest_error<PowerOrZero, double>(-1009, 1023)}) {
        CHECK(error <= 1);
        CHECK(error > 0.1);
    }
}

TEMPLATE_TEST_CASE("Bounded powers at their bounds", "", float, double) {
    const bool single = std::is_same_v<TestType, float>;
    const auto check = [](TestType lowest, const auto& power_of) {
        Eigen::Array<TestType, 4, 1> x;
        x << 0, lowest, TestType(-1e30), -std::numeric_limits<TestType>::infinity();
        const Eigen::Array<TestType, 4, 1> power = power_of(x);
        CHECK(power[0] == 1);
        CHECK(power[1] > 0);
        CHECK(power[1] < 4 * std::numeric_limits<TestType>::min());
        CHECK(power[2] == power[1]);
        CHECK(power[3] == power[1]);
    };
    check(single ? -87 : -708, [](const auto& x) { return Exponential::of(x); });
    check(single ? -126 : -1022, [](const auto& x) { return PowerOfTwo::of(x); });
}

TEMPLATE_TEST_CASE("Bounded powers of any number of entries", "", float, double) {
    using Array = Eigen::Array<TestType, Eigen::Dynamic, 1>;
    const auto check_entry = [](TestType power, long double exact) {
        CHECK(std::abs(static_cast<double>(power - exact)) <= promised<TestType> * static_cast<double>(exact));
    };
    for (Eigen::Index size = 1; size <= 70; ++size) {
        const Array x = Array::LinSpaced(size, -20, 3);
        const Array exponential = Exponential::of(x);
        const Array or_zero = otpool::detail::exp2_or_zero(x.tail(size - 1));  // of other alignment, too
        for (Eigen::Index i = 0; i < size; ++i) {
            check_entry(exponential[i], Exponential::exact(x[i]));
            if (i > 0) check_entry(or_zero[i - 1], PowerOfTwo::exact(x[i]));
        }
    }
}

TEMPLATE_TEST_CASE("Powers of two within the bounds are the bounded ones", "", float, double) {
    constexpr TestType lowest = std::is_same_v<TestType, float> ? -126 : -1022;
    const Eigen::Array<TestType, Eigen::Dynamic, 1> x =
        Eigen::Array<TestType, Eigen::Dynamic, 1>::LinSpaced(5001, lowest, -lowest);
    CHECK((otpool::detail::exp2_within(x) == otpool::detail::bounded_exp2(x)).all());
}

TEMPLATE_TEST_CASE("Powers that are nothing below a bound", "", float, double) {
    using Array = Eigen::Array<TestType, Eigen::Dynamic, 1>;
    constexpr TestType least = std::is_same_v<TestType, float> ? -115 : -1010;
    constexpr TestType lowest = least - 40;
    Array x = Array::LinSpaced(4001, lowest, -least);
    x[0] = -std::numeric_limits<TestType>::infinity();
    x[1] = std::numeric_limits<TestType>::lowest();
    const Array power = otpool::detail::exp2_or_zero(x);
    const Array bounded = PowerOfTwo::of(x.max(least));
    for (Eigen::Index i = 0; i < x.size(); ++i) CHECK(power[i] == (std::round(x[i]) <= least ? 0 : bounded[i]));
    const Array nothing = otpool::detail::exp2_or_zero(Array::Constant(21, std::numeric_limits<TestType>::quiet_NaN()));
    CHECK((nothing == 0).all());
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
