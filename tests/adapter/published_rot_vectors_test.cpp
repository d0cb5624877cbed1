#include <cmath>
#include <string>

#include "adapter/vectors.hpp"
#include "otpool/layer/published_rot.hpp"

// The released plans with a structural term against results of the released code in double.

namespace published_rot_vectors_test {

using namespace otpool;
using namespace tests;

TEST_CASE("published::rot_sinkhorn and rot_badmm agree with the released code") {
    for (const Json& made : cases_of("rot.json")) {
        const Json& given = made.at("inputs");
        const Json& parameters = made.at("parameters");
        const published::RotInputs inputs{.reward = rows(given.at("x")),
                                          .structure = {rows(given.at("C1")), rows(given.at("C2"))},
                                          .p0 = vector(given.at("p0")),
                                          .q0 = vector(given.at("q0")),
                                          .added_to_q0 = number(parameters.at("eps"))};
        const published::Step step{.alpha0 = number(parameters.at("alpha0")),
                                   .alpha1 = number(parameters.at("alpha1")),
                                   .alpha2 = number(parameters.at("alpha2")),
                                   .rho = number(parameters.at("rho")),
                                   .alpha_s = number(parameters.at("alpha_s"))};
        const int steps = parameters.at("outer").get<int>();
        const auto method = parameters.at("method").get<std::string>();
        INFO(method << ", " << inputs.reward.rows() << " x " << inputs.reward.cols());
        const RealMatrix plan = method == "sinkhorn"
                                    ? published::rot_sinkhorn(inputs, step, number(parameters.at("tau")), steps,
                                                              parameters.at("inner").get<int>())
                                : method == "badmm-e" ? published::rot_badmm<Entropy>(inputs, step, steps)
                                                      : published::rot_badmm<Quadratic>(inputs, step, steps);
        CHECK((plan - rows(made.at("outputs").at("plan"))).cwiseAbs().maxCoeff() <= 1e-13);
    }
}

}  // namespace published_rot_vectors_test
