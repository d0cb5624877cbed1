#include "otpool/solver/sparse/two_doubles.hpp"

#include <cmath>
#include <limits>

#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Sums of two doubles keep 32 digits.

namespace two_doubles_test {

using Two = otpool::detail::TwoDoubles<double>;

TEST_CASE("A sum of two doubles loses nothing") {
    tests::Random random(1);
    for (int i = 0; i < 200; ++i) {
        // Numbers whose exact sums are known: multiples of 2^-60 below 2^40.
        const double large = std::ldexp(std::round(random.uniform(-0x1p40, 0x1p40)), 0);
        const double small = std::ldexp(std::round(random.uniform(-0x1p10, 0x1p10)), -60);
        const Two sum = Two::sum(large, small);
        CHECK(sum.high == large + small);
        CHECK((sum.high - large) + sum.low == small);
        CHECK(sum.plus(-large).high == small);
        CHECK(sum.minus(Two{large}) == small);
        CHECK((sum < Two{large}) == (small < 0));
        // 32 digits of the larger number
        CHECK(sum.plus(std::ldexp(1.0, -60)).minus(sum) == std::ldexp(1.0, -60));
    }
    const double nothing = -std::numeric_limits<double>::infinity();
    CHECK(Two::sum(nothing, 1).high == nothing);
    CHECK(Two::sum(nothing, 1).plus(2).high == nothing);
    CHECK(Two::sum(nothing, 1).plus(2).low == 0);
}

}  // namespace two_doubles_test
