#include "otpool/problem/balancing_shift.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/problem/line_masses.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

namespace balancing_shift_test {

using namespace otpool;
using namespace tests;

/// A side's lines, each of mass exp(term - slope t).
struct Lines {
    std::vector<double> term, slope;

    detail::LineMasses<> masses() const {
        detail::LineMasses<> masses;
        const auto of = [](const std::vector<double>& numbers) {
            return [&](Index i) { return numbers[static_cast<std::size_t>(i)]; };
        };
        masses.set(static_cast<Index>(term.size()), false, of(term), of(slope));
        return masses;
    }
};

TEST_CASE("the shift balances masses, also where one side hardly depends on it") {
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        // A hard line that has nearly all of the mass, and soft ones that have to carry more than that.
        Lines lines{{0.0}, {0.0}};
        const Index soft = random.integer(1, 5);
        for (Index i = 0; i < soft; ++i) {
            lines.term.push_back(random.chance(0.5) ? -random.log_uniform(1, 600) : random.normal());
            lines.slope.push_back(random.log_uniform(1e-6, 1));
        }
        const double excess = random.log_uniform(1e-6, 1e3);  // of the logarithm of the mass
        const auto masses = lines.masses();
        const double start = masses.at(0).log;
        const detail::ConstantMass wanted{start + excess};
        const double t = detail::balancing_shift(masses, wanted);
        const detail::AskedMass found = masses.at(t);
        CAPTURE(t, start, excess);
        CHECK(t < 0);
        CHECK(std::abs(found.log - wanted.log) <= 1e-13 * (found.size + 1 + std::abs(wanted.log)));
    }
}

}  // namespace balancing_shift_test
