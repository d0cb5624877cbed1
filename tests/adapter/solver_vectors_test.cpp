#include <algorithm>
#include <cmath>
#include <vector>

#include "adapter/vectors.hpp"
#include "otpool/solver/active_set.hpp"
#include "otpool/solver/newton.hpp"
#include "support/catch.hpp"

// Newton for Quadratic and ActiveSet against plans of other programs, quadratic.json and alpha0_zero.json: cases of
// {inputs: {reward, p0, q0}, parameters: {alpha0, alpha_slots, alpha_instances (one a line)}, outputs}. The test is an
// adapter's because it needs nlohmann_json.

namespace solver_vectors_test {

using namespace otpool;
using namespace tests;

/// visit(problem, outputs) of each case. The problem views its reward.
template <class R, class Visit>
void for_each_problem(const char* file, const Visit& visit) {
    for (const Json& entry : cases_of(file)) {
        const Json& inputs = entry.at("inputs");
        const Json& of = entry.at("parameters");
        const Matrix<double> reward = rows(inputs.at("reward"));
        const UotProblem<double, R> problem{
            .reward = reward,
            .alpha0 = number(of.at("alpha0")),
            .features = {.prior = vector(inputs.at("p0")), .alphas = vector(of.at("alpha_slots"))},
            .instances = {.prior = vector(inputs.at("q0")), .alphas = vector(of.at("alpha_instances"))}};
        INFO(reward.rows() << " x " << reward.cols() << ", alphas " << problem.alpha0 << "; "
                           << problem.features.alphas.transpose() << "; " << problem.instances.alphas.transpose());
        visit(problem, entry.at("outputs"));
    }
}

TEST_CASE("Newton finds other programs' Quadratic plans") {
    for_each_problem<Quadratic>("quadratic.json",
                                [](const UotProblem<double, Quadratic>& problem, const Json& outputs) {
                                    const auto solution = Newton{{.tolerance = 1e-10}}.solve(problem);
                                    CHECK(solution.converged());
                                    const Matrix<double> plan = rows(outputs.at("plan"));
                                    CHECK((solution.plan() - plan).cwiseAbs().maxCoeff() <= 1e-9 * plan.maxCoeff());
                                });
}

TEST_CASE("ActiveSet finds other programs' marginals and rewards at alpha0 = 0") {
    for_each_problem<Entropy>("alpha0_zero.json", [](const UotProblem<double>& problem, const Json& outputs) {
        const auto solution = ActiveSet{{.tolerance = 1e-10}}.solve(problem);
        CHECK(solution.converged());
        const double mass = solution.mass();
        const auto difference = [&](const Vector<double>& marginal, const char* name) {
            return (marginal - vector(outputs.at(name))).cwiseAbs().maxCoeff() / mass;
        };
        CHECK(difference(solution.feature_marginal(), "row_sums") <= 1e-9);
        CHECK(difference(solution.instance_marginal(), "column_sums") <= 1e-9);
        const double reward = problem.reward.matrix().cwiseProduct(solution.plan()).sum();
        const double expected = outputs.at("transported_reward").get<double>();
        CHECK(std::abs(reward - expected) <= 1e-9 * std::max(mass, std::abs(expected)));
    });
}

}  // namespace solver_vectors_test
