#include <algorithm>
#include <cmath>

#include "adapter/vectors.hpp"
#include "otpool/plan/dual_bound.hpp"
#include "otpool/solver/newton.hpp"

// KSparse against another program's plans where the dual has no gap, and its bounds where it has.

namespace k_sparse_vectors_test {

using namespace otpool;
using namespace tests;

TEST_CASE("KSparse agrees with another program's plans and bounds") {
    for (const Json& made : cases_of("ksparse.json")) {
        const Json& parameters = made.at("parameters");
        const Json& outputs = made.at("outputs");
        const Matrix<double> reward = rows(made.at("inputs").at("reward"));
        const UotProblem<double, KSparse> problem{
            .reward = reward,
            .alpha0 = number(parameters.at("alpha0")),
            .features = {.prior = vector(made.at("inputs").at("p0")), .alphas = vector(parameters.at("alpha_slots"))},
            .instances = {.prior = vector(made.at("inputs").at("q0")),
                          .alphas = vector(parameters.at("alpha_instances"))},
            .regularizer = {.most = parameters.at("slots_an_instance").get<Index>()}};
        INFO(reward.rows() << " x " << reward.cols() << ", at most " << problem.regularizer.most);
        const auto solution = Newton{{.tolerance = 1e-10}}.solve(problem);
        CHECK(solution.converged() == outputs.at("exact").get<bool>());
        const double bound = outputs.at("dual_bound").get<double>();
        CHECK(dual_bound(solution) >= bound - 1e-10);  // the higher, the better
        if (!solution.converged()) {
            CHECK(solution.status == Status::not_exact);
            continue;
        }
        CHECK(std::abs(dual_bound(solution) - bound) <= 1e-10);
        CHECK((solution.plan() - rows(outputs.at("plan"))).cwiseAbs().maxCoeff() <= 1e-10);
    }
}

}  // namespace k_sparse_vectors_test
