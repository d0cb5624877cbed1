#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"

namespace error_test {

using otpool::Error;
using otpool::InvalidArgument;
using otpool::UnsupportedProblem;
using otpool::detail::printed;
using tests::message_of;

static_assert(std::is_base_of_v<std::runtime_error, Error>);
static_assert(std::is_base_of_v<Error, InvalidArgument>);
static_assert(std::is_base_of_v<Error, UnsupportedProblem>);
static_assert(!std::is_convertible_v<UnsupportedProblem*, InvalidArgument*>);

TEST_CASE("An invalid argument says what it is, what was found and what is allowed") {
    const InvalidArgument error("rho", "-2", "finite and > 0");
    CHECK(std::string(error.what()) == "rho is -2; allowed: finite and > 0");

    const InvalidArgument placed = error.in("bag 7");
    CHECK(std::string(placed.what()) == "bag 7: rho is -2; allowed: finite and > 0");
    CHECK(std::string(placed.in("file x").what()) == "file x: bag 7: rho is -2; allowed: finite and > 0");
}

TEST_CASE("An unsupported problem says whose, and what the solver takes") {
    const UnsupportedProblem error("Newton", "alpha0 = 0", "alpha0 > 0");
    CHECK(std::string(error.what()) == "Newton does not solve a problem with alpha0 = 0; allowed: alpha0 > 0");
}

TEST_CASE("Every error is caught as otpool::Error") {
    CHECK(message_of<Error>([] { throw InvalidArgument("a", "b", "c"); }) == "a is b; allowed: c");
    CHECK(message_of<Error>([] { throw UnsupportedProblem("a", "b", "c"); }) ==
          "a does not solve a problem with b; allowed: c");
}

TEST_CASE("require throws only where its condition does not hold") {
    CHECK(message_of<Error>([] { otpool::detail::require_that(true, "n", 3, "4"); }) == "no error");
    CHECK(message_of<InvalidArgument>([] { otpool::detail::require_that(false, "n", 3, "4"); }) ==
          "n is 3; allowed: 4");
}

TEST_CASE("Numbers are printed with all their digits") {
    CHECK(std::stod(printed(0.1)) == 0.1);
    CHECK(std::stod(printed(1.0 / 3)) == 1.0 / 3);
    CHECK(std::stof(printed(0.1F)) == 0.1F);
    CHECK(printed(-0.5) == "-0.5");
    CHECK(printed(1e30) == "1e+30");
    CHECK(printed(12) == "12");
    CHECK(printed("empty") == "empty");
    CHECK(otpool::detail::printed(otpool::detail::shape_text(3, 0)) == "3 x 0");
}

TEMPLATE_TEST_CASE("inf and nan are printed by name", "", float, double) {
    const TestType infinity = std::numeric_limits<TestType>::infinity();
    const TestType nan = std::numeric_limits<TestType>::quiet_NaN();
    CHECK(printed(infinity) == "inf");
    CHECK(printed(-infinity) == "-inf");
    CHECK(printed(nan) == "nan");
    CHECK(printed(std::copysign(nan, TestType(-1))) == "nan");  // what 0.0 / 0.0 is on x86
}

TEST_CASE("The version is three numbers") {
    static_assert(otpool::version_major >= 0 && otpool::version_minor >= 0 && otpool::version_patch >= 0);
    static_assert(otpool::version_major + otpool::version_minor + otpool::version_patch > 0);
#ifdef OTPOOL_TEST_VERSION  // the build system's
    CHECK(printed(otpool::version_major) + "." + printed(otpool::version_minor) + "." +
              printed(otpool::version_patch) ==
          OTPOOL_TEST_VERSION);
#endif
}

}  // namespace error_test
