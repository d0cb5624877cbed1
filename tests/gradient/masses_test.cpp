#include <cmath>
#include <cstdint>

#include "otpool/learning.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"

// Gradients with respect to priors that are masses: each entry moves by itself.

namespace masses_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

template <class R, class Readout>
void check(const auto& mode) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        parameters.has_masses = true;
        parameters.log_p0.array() += random.normal();
        parameters.log_q0.array() += random.normal();
        // Two hard sides have one mass: no entry moves by itself.
        if (std::isinf(parameters.shared.alpha1) && std::isinf(parameters.shared.alpha2)) continue;
        const auto found = tests::check_gradient<R>(random, parameters, mode, Readout{});
        INFO("seed " << seed << ": " << found);
        CHECK(found.error() < 1e-6);
        CHECK(found.kinks() == 0);
    }
}

TEMPLATE_TEST_CASE("gradients with respect to masses are derivatives", "", ConditionalReadout, JointReadout) {
    const auto implicit = [](const Parameters&) {
        return Implicit<Newton>{.solver = {{.tolerance = 1e-13}}, .accept_unconverged = true};
    };
    check<Entropy, TestType>(implicit);
    check<RelativeEntropy, TestType>(implicit);
    const auto by_sinkhorn = [](const Parameters& at) {
        return Unrolled<Sinkhorn>{{{.iterations = 3, .closed_forms = false}}, at.steps};
    };
    check<Entropy, TestType>(by_sinkhorn);
    check<RelativeEntropy, TestType>(by_sinkhorn);
    const auto by_admm = [](const Parameters& at) {
        return Unrolled<BregmanAdmm>{{{.iterations = 3, .closed_forms = false}, at.shared.rho}, at.steps};
    };
    check<Entropy, TestType>(by_admm);
    check<RelativeEntropy, TestType>(by_admm);
}

}  // namespace masses_test
