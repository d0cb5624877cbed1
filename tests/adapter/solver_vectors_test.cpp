#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "otpool/solver/active_set.hpp"
#include "otpool/solver/newton.hpp"
#include "support/catch.hpp"

// Newton for Quadratic and ActiveSet against plans of other programs, which are not part of this repository: the files
// quadratic.json and alpha0_zero.json beside the one that OTPOOL_PUBLISHED_VECTORS names. Each is a list `cases` of
// {inputs: {reward (rows), p0, q0}, parameters: {alpha0, alpha_slots, alpha_instances (one a line)}, outputs}. The test
// is an adapter's because it needs nlohmann_json.

namespace solver_vectors_test {

using namespace otpool;
using Json = nlohmann::json;

double number(const Json& json) { return json.is_number() ? json.get<double>() : double(hard); }

Vector<double> vector(const Json& json) {
    Vector<double> numbers(static_cast<Index>(json.size()));
    for (Index i = 0; i < numbers.size(); ++i) numbers[i] = number(json[static_cast<std::size_t>(i)]);
    return numbers;
}

Matrix<double> rows(const Json& json) {
    Matrix<double> matrix(static_cast<Index>(json.size()), static_cast<Index>(json.at(0).size()));
    for (Index d = 0; d < matrix.rows(); ++d) matrix.row(d) = vector(json[static_cast<std::size_t>(d)]);
    return matrix;
}

/// The cases whose alphas are the same for all lines of a side; none without the file.
std::vector<Json> cases(const char* file) {
    const char* const beside = std::getenv("OTPOOL_PUBLISHED_VECTORS");
    const auto path = beside == nullptr ? std::filesystem::path() : std::filesystem::path(beside).parent_path() / file;
    std::ifstream stream(path);
    if (beside == nullptr || !stream.good()) {
        WARN("skipped: no " << file << " beside the file that the environment variable OTPOOL_PUBLISHED_VECTORS names");
        return {};
    }
    const auto is_constant = [](const Json& alphas) {
        return std::all_of(alphas.begin(), alphas.end(), [&](const Json& alpha) { return alpha == alphas[0]; });
    };
    std::vector<Json> found;
    const Json all = Json::parse(stream);
    for (const Json& entry : all.at("cases")) {
        const Json& of = entry.at("parameters");
        if (is_constant(of.at("alpha_slots")) && is_constant(of.at("alpha_instances"))) found.push_back(entry);
    }
    REQUIRE(found.size() > 10);
    return found;
}

/// visit(problem, outputs) of each case. The problem views its reward.
template <class R, class Visit>
void for_each_problem(const char* file, const Visit& visit) {
    for (const Json& entry : cases(file)) {
        const Json& inputs = entry.at("inputs");
        const Json& of = entry.at("parameters");
        const Matrix<double> reward = rows(inputs.at("reward"));
        const UotProblem<double, R> problem{
            .reward = reward,
            .alpha0 = number(of.at("alpha0")),
            .features = {number(of.at("alpha_slots")[0]), vector(inputs.at("p0"))},
            .instances = {number(of.at("alpha_instances")[0]), vector(inputs.at("q0"))}};
        INFO(reward.rows() << " x " << reward.cols() << ", alphas " << problem.alpha0 << ' ' << problem.features.alpha
                           << ' ' << problem.instances.alpha);
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
