#include <algorithm>
#include <cmath>
#include <cstdint>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/sample.hpp"

// Implicit gradients of problems whose plan has a fixed mass.

namespace mass_gradient_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

/// Gives the plan a mass above that of the hard lines of either side, or that of a hard side.
void draw_mass(Random& random, Parameters& parameters) {
    const auto problem = parameters.problem<Entropy>();
    const auto all_hard = [](const Marginal<double>& side) { return detail::alphas_of(side).all_hard(); };
    const double hard_lines = std::max(detail::hard_mass(problem.features), detail::hard_mass(problem.instances));
    const bool is_given = all_hard(problem.features) || all_hard(problem.instances);
    parameters.mass = is_given ? 1 : hard_lines + random.log_uniform(0.1, 3);
}

template <class R, class Readout>
void check(const auto& mode, double alpha0) {
    for (std::uint64_t seed = 0; seed < 120; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        if (alpha0 > 0) parameters.shared.alpha0 = alpha0;
        if (seed % 3 != 0) tests::draw_alphas(random, parameters);
        draw_mass(random, parameters);
        const auto found = tests::check_gradient<R>(random, parameters, mode, Readout{});
        INFO("seed " << seed << ": " << found);
        CHECK(found.error() < 1e-6);
        CHECK(found.kinks() == 0);
    }
}

TEMPLATE_TEST_CASE("Implicit is the derivative of an optimum of fixed mass", "", ConditionalReadout, JointReadout) {
    const auto by_newton = [](const Parameters&) {
        return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
    };
    check<Entropy, TestType>(by_newton, 0);
    check<RelativeEntropy, TestType>(by_newton, 0);
}

TEST_CASE("a plan of fixed mass has a gradient where nothing but the regulariser counts") {
    const auto closed = [](const Parameters&) { return Implicit<ClosedForm>{}; };
    check<Entropy, JointReadout>(closed, infinity);
    check<RelativeEntropy, JointReadout>(closed, infinity);
}

}  // namespace mass_gradient_test
