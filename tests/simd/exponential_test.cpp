#include "otpool/simd/exponential.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "otpool/simd/lanes.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Powers against those of long double, over all that they are for.

namespace exponential_test {

using namespace otpool;
using detail::Lanes;
using detail::register_lanes;
using tests::Random;

template <class Scalar>
using Array = Eigen::Array<Scalar, register_lanes, 1>;

/// What is computed, and what it should be.
struct Exponential {
    static auto of(const auto& x) { return bounded_exp(x); }
    static long double exact(long double x) { return std::exp(x); }
};
struct PowerOfTwo {
    static auto of(const auto& x) { return bounded_exp2(x); }
    static long double exact(long double x) { return std::exp2(x); }
};
struct PowerWithin : PowerOfTwo {
    static auto of(const auto& x) { return exp2_within(x); }
};
struct PowerOrZero : PowerOfTwo {
    static auto of(const auto& x) { return exp2_or_zero(x); }
};
/// By a power of two: its exponent has fewer digits where it is large.
struct ExponentialOrZero : Exponential {
    static auto of(const auto& x) { return exp_or_zero(x); }
};

template <class Function, class Scalar>
Array<Scalar> powers(const Array<Scalar>& x) {
    Array<Scalar> found;
    Function::of(Lanes<Scalar>::load(x.data())).store(found.data());
    return found;
}

template <class Scalar>
constexpr double promised = std::is_same_v<Scalar, float> ? 2e-7 : 4e-16;

/// The largest error of random numbers, in units of what is promised.
template <class Function, class Scalar>
double largest_error(double lowest, double highest) {
    Random random(1);
    double largest = 0;
    for (int round = 0; round < 10'000; ++round) {
        Array<Scalar> x;
        for (Scalar& entry : x) entry = static_cast<Scalar>(random.uniform(lowest, highest));
        if (round % 2 == 0) x *= Scalar(0.01);
        const Array<Scalar> power = powers<Function>(x);
        for (Index i = 0; i < x.size(); ++i) {
            const auto error = static_cast<double>(std::abs(power[i] / Function::exact(x[i]) - 1));
            largest = std::max(largest, error / promised<Scalar>);
        }
    }
    return largest;
}

TEST_CASE("Powers are as near as their documentation says") {
    for (const double error :
         {largest_error<Exponential, float>(-87, 88), largest_error<Exponential, double>(-708, 708),
          largest_error<PowerOfTwo, float>(-126, 127), largest_error<PowerOfTwo, double>(-1022, 1023),
          largest_error<PowerWithin, float>(-126, 127), largest_error<PowerWithin, double>(-1022, 1023),
          largest_error<PowerOrZero, float>(-114, 127), largest_error<PowerOrZero, double>(-1009, 1023),
          largest_error<ExponentialOrZero, float>(-0.5, 0.5), largest_error<ExponentialOrZero, double>(-0.5, 0.5)}) {
        CHECK(error <= 1);
        CHECK(error > 0.1);
    }
}

TEMPLATE_TEST_CASE("Bounded powers at their bounds", "", float, double) {
    const bool single = std::is_same_v<TestType, float>;
    const auto check = [](TestType lowest, const auto& powers_of) {
        Array<TestType> x = Array<TestType>::Zero();
        x.tail(3) << lowest, TestType(-1e30), -std::numeric_limits<TestType>::infinity();
        const Array<TestType> all = powers_of(x);
        CHECK((all.head(x.size() - 3) == 1).all());
        const Eigen::Array<TestType, 3, 1> power = all.tail(3);
        CHECK(power[0] > 0);
        CHECK(power[0] < 4 * std::numeric_limits<TestType>::min());
        CHECK(power[1] == power[0]);
        CHECK(power[2] == power[0]);
    };
    check(single ? -87 : -708, [](const auto& x) { return powers<Exponential>(x); });
    check(single ? -126 : -1022, [](const auto& x) { return powers<PowerOfTwo>(x); });
}

TEMPLATE_TEST_CASE("Powers of two within the bounds are the bounded ones", "", float, double) {
    constexpr TestType lowest = std::is_same_v<TestType, float> ? -126 : -1022;
    const auto x = Eigen::Array<TestType, Eigen::Dynamic, 1>::LinSpaced(313 * register_lanes, lowest, -lowest).eval();
    for (Index i = 0; i < x.size(); i += register_lanes) {
        const Array<TestType> some = x.template segment<register_lanes>(i);
        CHECK((powers<PowerWithin>(some) == powers<PowerOfTwo>(some)).all());
    }
}

TEMPLATE_TEST_CASE("Powers that are nothing below a bound", "", float, double) {
    using Limits = std::numeric_limits<TestType>;
    constexpr TestType least = detail::Powers<TestType>::least;
    CHECK(least == (std::is_same_v<TestType, float> ? -115 : -1010));
    auto x = Eigen::Array<TestType, Eigen::Dynamic, 1>::LinSpaced(251 * register_lanes, least - 40, -least).eval();
    x[0] = -Limits::infinity();
    x[1] = Limits::lowest();
    for (Index i = 0; i < x.size(); i += register_lanes) {
        const Array<TestType> some = x.template segment<register_lanes>(i);
        const Array<TestType> power = powers<PowerOrZero>(some);
        const Array<TestType> bounded = powers<PowerOfTwo>(Array<TestType>(some.max(least)));
        for (Index j = 0; j < some.size(); ++j) CHECK(power[j] == (std::round(some[j]) <= least ? 0 : bounded[j]));
    }
    CHECK((powers<PowerOrZero>(Array<TestType>(Array<TestType>::Constant(Limits::quiet_NaN()))) == 0).all());
}

TEMPLATE_TEST_CASE("Exponentials that are nothing far below 1 are never infinite", "", float, double) {
    using Limits = std::numeric_limits<TestType>;
    const auto power = [](TestType x) {
        return powers<ExponentialOrZero>(Array<TestType>(Array<TestType>::Constant(x)))[0];
    };
    CHECK(power(0) == 1);
    for (const TestType x : {-Limits::infinity(), Limits::lowest(), Limits::quiet_NaN()}) CHECK(power(x) == 0);
    for (const TestType x : {Limits::infinity(), Limits::max()}) CHECK(power(x) == std::exp2(Limits::max_exponent - 1));
}

}  // namespace exponential_test
