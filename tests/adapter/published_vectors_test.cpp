#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include "otpool/layer/published.hpp"
#include "support/catch.hpp"

// The layers against what the released code itself returned, which is not part of this repository. The environment
// variable OTPOOL_PUBLISHED_VECTORS names a JSON file: a list of {method, K, a1, a2, a3, rho (after softplus, K entries
// each), x and T (N rows of D), q0 (N), z (D)}. The test is an adapter's because it needs nlohmann_json.

namespace published = otpool::published;
using otpool::FixedPrior;
using otpool::Index;
using otpool::Matrix;
using otpool::Real;
using otpool::RealMatrix;
using otpool::RealVector;

namespace published_vectors_test {

using Json = nlohmann::json;

RealVector vector(const Json& json) {
    const auto values = json.get<std::vector<double>>();
    return RealVector::Map(values.data(), static_cast<Index>(values.size()));
}

/// A list of rows as the columns of a matrix.
RealMatrix columns(const Json& json) {
    RealMatrix matrix(static_cast<Index>(json.at(0).size()), static_cast<Index>(json.size()));
    for (Index n = 0; n < matrix.cols(); ++n) matrix.col(n) = vector(json[static_cast<std::size_t>(n)]);
    return matrix;
}

/// The raw parameters of which softplus makes these.
RealVector raw(const Json& json) {
    return vector(json).unaryExpr([](double value) { return value + std::log(-std::expm1(-value)); });
}

struct Differences {
    double plan = 0, pooled = 0;

    void add(const Differences& other) {
        plan = std::max(plan, other.plan);
        pooled = std::max(pooled, other.pooled);
    }
};

/// Relative to the largest entry, where that is above 1; inf if anything isn't finite.
double difference(const RealMatrix& found, const RealMatrix& wanted) {
    if (!found.allFinite()) return std::numeric_limits<double>::infinity();
    return (found - wanted).cwiseAbs().maxCoeff() / std::max(1.0, wanted.cwiseAbs().maxCoeff());
}

template <class Scalar, class Steps>
Differences differences(const Json& entry) {
    const published::Layer<Scalar, Steps, FixedPrior<Real>> layer{.parameters = {.alpha0 = raw(entry.at("a1")),
                                                                                 .alpha1 = raw(entry.at("a2")),
                                                                                 .alpha2 = raw(entry.at("a3")),
                                                                                 .rho = raw(entry.at("rho"))},
                                                                  .steps = entry.at("K").get<int>(),
                                                                  .prior = {vector(entry.at("q0"))}};
    const Matrix<Scalar> bag = columns(entry.at("x")).cast<Scalar>();
    return {.plan = difference(layer.plan(bag), columns(entry.at("T"))),
            .pooled = difference(layer(bag).template cast<Real>(), vector(entry.at("z")))};
}

template <class Scalar>
Differences differences(const Json& entry) {
    const auto method = entry.at("method").get<std::string>();
    if (method == "sinkhorn") return differences<Scalar, published::SinkhornSteps>(entry);
    if (method == "badmm-e") return differences<Scalar, published::BregmanAdmmSteps<otpool::Entropy>>(entry);
    REQUIRE(method == "badmm-q");
    return differences<Scalar, published::BregmanAdmmSteps<otpool::Quadratic>>(entry);
}

TEMPLATE_TEST_CASE("The layers agree with the released code", "", float, double) {
    const char* const path = std::getenv("OTPOOL_PUBLISHED_VECTORS");
    if (path == nullptr) {
        WARN("skipped: the environment variable OTPOOL_PUBLISHED_VECTORS names no file of the released code's results");
        return;
    }
    std::ifstream stream(path);
    REQUIRE(stream.good());
    const Json entries = Json::parse(stream);
    REQUIRE_FALSE(entries.empty());
    constexpr double tolerance = std::is_same_v<TestType, float> ? 1e-5 : 1e-12;
    Differences largest;
    for (const Json& entry : entries) {
        CAPTURE(entry.at("method").get<std::string>(), entry.at("K").get<int>());
        const Differences found = differences<TestType>(entry);
        CHECK(found.plan <= tolerance);
        CHECK(found.pooled <= tolerance);
        largest.add(found);
    }
    WARN(entries.size() << " results of the released code; largest difference of plan " << largest.plan
                        << ", pooled vector " << largest.pooled);
}

}  // namespace published_vectors_test
