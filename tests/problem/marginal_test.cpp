#include <limits>
#include <type_traits>

#include "otpool/problem/marginal.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "support/catch.hpp"

namespace marginal_test {

using otpool::hard;
using otpool::infinity;
using otpool::Marginal;
using otpool::Matrix;
using otpool::UotProblem;
using otpool::Vector;

static_assert(std::is_convertible_v<otpool::Infinity, float> && std::is_convertible_v<otpool::Infinity, double>);
static_assert(!std::is_convertible_v<otpool::Infinity, int>);
static_assert(otpool::Regularizer<otpool::Quadratic> && !otpool::EntropicRegularizer<otpool::Quadratic>);
static_assert(otpool::EntropicRegularizer<otpool::Entropy> && otpool::EntropicRegularizer<otpool::RelativeEntropy>);
static_assert(!otpool::Regularizer<int>);

TEMPLATE_TEST_CASE("hard and infinity are infinity in both scalars", "", float, double) {
    constexpr TestType hard_alpha = hard;
    constexpr TestType infinite_alpha = infinity;
    STATIC_REQUIRE(hard_alpha == std::numeric_limits<TestType>::infinity());
    STATIC_REQUIRE(infinite_alpha == std::numeric_limits<TestType>::infinity());
}

TEMPLATE_TEST_CASE("A problem is the reward alone, unless more is said", "", float, double) {
    const Matrix<TestType> X = Matrix<TestType>::Ones(2, 3);
    const UotProblem<TestType> problem{.reward = X};
    CHECK(problem.reward.matrix().data() == X.data());
    CHECK(problem.values.empty());
    CHECK(problem.pooled_values().matrix().data() == X.data());
    CHECK(problem.alpha0 == 1);
    CHECK(problem.features.alpha == std::numeric_limits<TestType>::infinity());
    CHECK(problem.features.prior.size() == 0);
    CHECK(problem.instances.alpha == 0);
    CHECK(problem.instances.prior.size() == 0);
}

TEMPLATE_TEST_CASE("A problem is spelled out by designated initialisers", "", float, double) {
    const Matrix<TestType> X = Matrix<TestType>::Ones(2, 3);
    const UotProblem<TestType, otpool::Quadratic> problem{
        .reward = X,
        .values = 2 * X,
        .alpha0 = infinity,
        .features = {.alpha = 0.25, .prior = Vector<TestType>{{0.5, 0.5}}},
        .instances = {.alpha = hard, .prior = Vector<TestType>::Constant(3, 1)}};
    CHECK(problem.pooled_values().matrix() == 2 * X);
    CHECK(problem.alpha0 == std::numeric_limits<TestType>::infinity());
    CHECK(problem.features.alpha == TestType(0.25));
    CHECK(problem.features.prior.size() == 2);
    CHECK(problem.instances.alpha == std::numeric_limits<TestType>::infinity());
    CHECK(problem.instances.prior == Vector<TestType>::Ones(3));
    CHECK(Marginal<TestType>{}.alpha == 0);
}

TEMPLATE_TEST_CASE("A prior is normalised in double, an empty one is uniform", "", float, double) {
    using otpool::detail::prior_of_mass;
    const otpool::RealVector uniform = prior_of_mass(Vector<TestType>(), 8);
    CHECK(uniform == otpool::RealVector::Constant(8, 0.125));
    const Vector<TestType> prior{{0.25, 0, 0.75}};
    CHECK(prior_of_mass(prior, 3) == otpool::RealVector{{0.25, 0, 0.75}});
    // 1.0009765625 = 1 + 2^-10 exactly
    const Vector<TestType> heavy = prior * TestType(1.0009765625);
    CHECK((prior_of_mass(heavy, 3) - otpool::RealVector{{0.25, 0, 0.75}}).cwiseAbs().maxCoeff() <= 1e-16);
}

}  // namespace marginal_test
