#include "otpool/simd/logarithm.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "otpool/simd/lanes.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Logarithms against those of long double, over all that they are for.

namespace logarithm_test {

using namespace otpool;
using detail::Lanes;
using detail::register_lanes;
using tests::Random;

template <class Scalar>
using Array = Eigen::Array<Scalar, register_lanes, 1>;

template <class Scalar>
Array<Scalar> logarithms(const Array<Scalar>& x) {
    Array<Scalar> found;
    log_of_normal(Lanes<Scalar>::load(x.data())).store(found.data());
    return found;
}

template <class Scalar>
constexpr double promised = std::is_same_v<Scalar, float> ? 3e-7 : 5e-16;

/// In units of what is promised.
template <class Scalar>
double error_of(Scalar found, Scalar x) {
    const long double exact = std::log(static_cast<long double>(x));
    if (exact == 0) return found == 0 ? 0 : std::numeric_limits<double>::infinity();
    return static_cast<double>(std::abs(found / exact - 1)) / promised<Scalar>;
}

/// The largest error of exp(y), y random between the bounds.
template <class Scalar>
double largest_error(double lowest, double highest) {
    Random random(1);
    double largest = 0;
    for (int round = 0; round < 10'000; ++round) {
        Array<Scalar> x;
        for (Scalar& entry : x) entry = static_cast<Scalar>(std::exp(random.uniform(lowest, highest)));
        const Array<Scalar> logarithm = logarithms(x);
        for (Index i = 0; i < x.size(); ++i) largest = std::max(largest, error_of(logarithm[i], x[i]));
    }
    return largest;
}

TEST_CASE("Logarithms are as near as their documentation says") {
    for (const double error :
         {largest_error<float>(-87, 88), largest_error<double>(-708, 709), largest_error<float>(-1, 1),
          largest_error<double>(-1, 1), largest_error<float>(-1e-3, 1e-3), largest_error<double>(-1e-9, 1e-9)}) {
        CHECK(error <= 1);
        CHECK(error > 0.1);
    }
}

TEMPLATE_TEST_CASE("Logarithms at the bounds of normal numbers and of what they are made of", "", float, double) {
    using Limits = std::numeric_limits<TestType>;
    const TestType root = std::sqrt(TestType(0.5));
    for (const TestType x : {Limits::min(), Limits::max(), TestType(1), std::nextafter(TestType(1), TestType(2)),
                             std::nextafter(TestType(1), TestType(0)), root, std::nextafter(root, TestType(0)),
                             std::nextafter(root, TestType(1)), 2 * root, TestType(2), TestType(0.5)}) {
        const Array<TestType> logarithm = logarithms(Array<TestType>(Array<TestType>::Constant(x)));
        CAPTURE(x);
        CHECK(error_of(logarithm[0], x) <= 1);
        CHECK((logarithm == logarithm[0]).all());
    }
}

}  // namespace logarithm_test
