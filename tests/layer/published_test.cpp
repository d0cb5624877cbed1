#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "otpool/layer/published.hpp"
#include "otpool/solver/newton.hpp"
#include "published_restated.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

namespace published = otpool::published;
namespace restated = tests::restated;
using otpool::Attention;
using otpool::Bags;
using otpool::FixedPrior;
using otpool::Index;
using otpool::InvalidArgument;
using otpool::Matrix;
using otpool::Real;
using otpool::RealMatrix;
using otpool::RealVector;
using otpool::UniformPrior;
using otpool::Vector;
using tests::message_of;
using tests::Random;
using tests::random_bag;

namespace published_test {

template <class Scalar_, class Steps_>
struct Kind {
    using Scalar = Scalar_;
    using Steps = Steps_;

    static constexpr const char* method = std::same_as<Steps, published::SinkhornSteps> ? "sinkhorn"
                                          : std::same_as<Steps, published::BregmanAdmmSteps<otpool::Entropy>>
                                              ? "badmm-e"
                                              : "badmm-q";
    static constexpr double tolerance = std::same_as<Scalar, float> ? 1e-5 : 1e-12;
};

using Kinds =
    std::tuple<Kind<float, published::SinkhornSteps>, Kind<float, published::BregmanAdmmSteps<otpool::Entropy>>,
               Kind<float, published::BregmanAdmmSteps<otpool::Quadratic>>, Kind<double, published::SinkhornSteps>,
               Kind<double, published::BregmanAdmmSteps<otpool::Entropy>>,
               Kind<double, published::BregmanAdmmSteps<otpool::Quadratic>>>;

RealVector random_vector(Random& random, Index size, double low, double high) {
    return RealVector::NullaryExpr(size, [&] { return random.uniform(low, high); });
}

/// `entries` of each kind; softplus makes 0.3 to 2.1 of them.
published::RawParameters random_parameters(Random& random, Index entries) {
    return {.alpha0 = random_vector(random, entries, -1, 2),
            .alpha1 = random_vector(random, entries, -1, 2),
            .alpha2 = random_vector(random, entries, -1, 2),
            .rho = random_vector(random, entries, -1, 2)};
}

Attention<Real> random_attention(Random& random, Index D) {
    return {.V = random_bag<double>(random, 2 * D, D, tests::BagKind::normal),
            .w = random_vector(random, 2 * D, -1, 1)};
}

restated::Array1 restate(const RealVector& values) { return {values.begin(), values.end()}; }

/// The columns of `matrix` as rows.
template <class Scalar>
restated::Array2 restate_columns(const Matrix<Scalar>& matrix) {
    restated::Array2 rows;
    for (const auto& column : matrix.colwise()) rows.emplace_back(column.begin(), column.end());
    return rows;
}

restated::Parameters restate(const published::RawParameters& raw) {
    const auto after_softplus = [](const RealVector& values) {
        restated::Array1 result = restate(values);
        std::transform(result.begin(), result.end(), result.begin(), restated::softplus);
        return result;
    };
    return {.a1 = after_softplus(raw.alpha0),
            .a2 = after_softplus(raw.alpha1),
            .a3 = after_softplus(raw.alpha2),
            .rho = after_softplus(raw.rho)};
}

restated::Array1 restated_q0(const UniformPrior&, const restated::Array2& x) {
    restated::Array1 q0;
    q0.assign(x.size(), 1.0L / static_cast<long double>(x.size()));
    return q0;
}
restated::Array1 restated_q0(const FixedPrior<Real>& fixed, const restated::Array2&) { return restate(fixed.prior); }
restated::Array1 restated_q0(const Attention<Real>& attention, const restated::Array2& x) {
    return restated::learned_q0(x, restate_columns<Real>(attention.V.transpose()), restate(attention.w));
}

/// |found - wanted|, relative to the largest entry wanted where that is above 1.
double difference(const auto& found, const restated::Array1& wanted) {
    REQUIRE(found.size() == static_cast<Index>(wanted.size()));
    long double largest = 0;
    long double scale = 1;
    for (Index i = 0; i < found.size(); ++i) {
        const long double entry = wanted[static_cast<std::size_t>(i)];
        const long double off = std::abs(static_cast<long double>(found[i]) - entry);
        if (!std::isfinite(off)) return std::numeric_limits<double>::infinity();
        largest = std::max(largest, off);
        scale = std::max(scale, std::abs(entry));
    }
    return static_cast<double>(largest / scale);
}

/// Both the plan and the pooled vector of a layer agree with the restatement.
template <class K, class Prior>
void check_layer(const published::Layer<typename K::Scalar, typename K::Steps, Prior>& layer,
                 const Matrix<typename K::Scalar>& bag) {
    const restated::Array2 x = restate_columns(bag);
    const restated::Result wanted =
        restated::layer(K::method, x, restated_q0(layer.prior, x), restate(layer.parameters), layer.steps);
    const Vector<typename K::Scalar> found = layer(bag);
    CHECK(difference(found, wanted.z) <= K::tolerance);
    const RealMatrix plan = layer.plan(bag);
    REQUIRE(plan.rows() == bag.rows());
    for (Index n = 0; n < plan.cols(); ++n) {
        CHECK(difference(plan.col(n), wanted.T[static_cast<std::size_t>(n)]) <= 1e-12);
    }
}

TEMPLATE_LIST_TEST_CASE("The released layers are reproduced at K = 4", "", Kinds) {
    using Scalar = typename TestType::Scalar;
    using Steps = typename TestType::Steps;
    const Index entries = GENERATE(1, 4);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        Random random(seed);
        const Index D = random.integer(1, 6);
        const Index N = random.integer(1, 12);
        const published::RawParameters parameters = random_parameters(random, entries);
        const Matrix<Scalar> bag = random_bag<Scalar>(random, D, N, tests::BagKind::normal);
        CAPTURE(seed, D, N, entries);
        check_layer<TestType>(published::Layer<Scalar, Steps>{parameters}, bag);
        check_layer<TestType>(published::Layer<Scalar, Steps, Attention<Real>>{.parameters = parameters,
                                                                               .prior = random_attention(random, D)},
                              bag);
        const FixedPrior<Real> uneven{tests::uneven_prior<double>(random, N, true)};
        check_layer<TestType>(published::Layer<Scalar, Steps, FixedPrior<Real>>{parameters, 4, uneven}, bag);
    }
}

TEMPLATE_LIST_TEST_CASE("So they are at other K, with one entry for some parameters and K for others", "", Kinds) {
    Random random(1);
    const int K = GENERATE(1, 2, 16);
    published::RawParameters parameters = random_parameters(random, K);
    parameters.alpha0 = random_vector(random, 1, -1, 1);
    parameters.rho = random_vector(random, 1, -1, 1);
    const auto bag = random_bag<typename TestType::Scalar>(random, 3, 5, tests::BagKind::relu);
    check_layer<TestType>(published::Layer<typename TestType::Scalar, typename TestType::Steps>{parameters, K}, bag);
}

TEMPLATE_LIST_TEST_CASE("A ragged batch is pooled bag by bag", "", Kinds) {
    using Scalar = typename TestType::Scalar;
    Random random(2);
    const Matrix<Scalar> instances = random_bag<Scalar>(random, 3, 9, tests::BagKind::normal);
    const published::Layer<Scalar, typename TestType::Steps, Attention<Real>> layer{
        .parameters = random_parameters(random, 4), .prior = random_attention(random, 3), .empty_bag = Scalar(7)};
    const Matrix<Scalar> pooled = layer(Bags<Scalar>(instances, {0, 1, 1, 6, 9}));
    REQUIRE(pooled.rows() == 3);
    REQUIRE(pooled.cols() == 4);
    CHECK(pooled.col(0) == layer(instances.leftCols(1)));
    CHECK(pooled.col(1) == Vector<Scalar>::Constant(3, 7));
    CHECK(pooled.col(2) == layer(instances.middleCols(1, 5)));
    CHECK(pooled.col(3) == layer(instances.rightCols(3)));
    CHECK(layer(Bags<Scalar>(instances.leftCols(0), {0})).cols() == 0);
    // Row-major (N, D) memory, as PyTorch has it, is the same bag.
    const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> row_major = instances;
    CHECK(layer(row_major) == layer(instances));
}

TEST_CASE("softplus neither overflows nor loses small values") {
    CHECK(published::softplus(0) == Catch::Approx(std::log(2)).epsilon(1e-15));
    CHECK(published::softplus(1) == Catch::Approx(std::log(1 + std::exp(1))).epsilon(1e-15));
    CHECK(published::softplus(1e4) == 1e4);
    CHECK(published::softplus(-50) == Catch::Approx(std::exp(-50)).epsilon(1e-14));
    CHECK(published::softplus(-745) > 0);
}

TEST_CASE("Sinkhorn does not use rho, and takes any") {
    Random random(3);
    const RealMatrix bag = random_bag<double>(random, 3, 5, tests::BagKind::normal);
    published::RawParameters parameters = random_parameters(random, 4);
    const RealVector pooled = published::Sinkhorn<double>{parameters}(bag);
    const double rho = GENERATE(0.0, 1e300, -1e300, std::numeric_limits<double>::quiet_NaN());
    parameters.rho = RealVector::Constant(GENERATE(0, 1, 3), rho);
    CHECK(published::Sinkhorn<double>{parameters}(bag) == pooled);
}

double relative_distance(const RealMatrix& found, const RealMatrix& wanted) {
    return (found - wanted).norm() / wanted.norm();
}

RealMatrix optimum(const RealMatrix& bag, double alpha0, double alpha1, double alpha2) {
    return otpool::Newton{{.tolerance = 1e-12}}
        .solve(otpool::UotProblem<double>{.reward = bag, .alpha0 = alpha0, .features = {alpha1}, .instances = {alpha2}})
        .plan();
}

TEST_CASE("The released Sinkhorn layer is right at alpha0 = 1 only") {
    Random random(4);
    const RealMatrix bag = random_bag<double>(random, 3, 7, tests::BagKind::normal);
    const auto error = [&](double alpha0) {
        const published::Step step{.alpha0 = alpha0, .alpha1 = 0.5, .alpha2 = 2};
        published::SinkhornSteps layer(bag, RealVector::Constant(7, 1.0 / 7), step);
        for (int k = 0; k < 1000; ++k) layer.step(step);
        return relative_distance(layer.plan(), optimum(bag, alpha0, 0.5, 2));
    };
    CHECK(error(1) < 1e-6);  // the layer adds 1e-8 to the prior
    CHECK(error(2) > 0.01);
    CHECK_FALSE(error(0.1) < 0.5);  // nothing, and in the end NaN
}

TEMPLATE_TEST_CASE("The released ADMM layers do not see alpha1 and alpha2", "", otpool::Entropy, otpool::Quadratic) {
    Random random(5);
    const RealMatrix bag = random_bag<double>(random, 3, 7, tests::BagKind::normal);
    const auto plan = [&](double alpha1, double alpha2) -> RealMatrix {
        published::BregmanAdmmSteps<TestType> layer(bag, RealVector::Constant(7, 1.0 / 7));
        for (int k = 0; k < 20; ++k) layer.step({.alpha0 = 0.1, .alpha1 = alpha1, .alpha2 = alpha2});
        return layer.plan();
    };
    CHECK((plan(0.01, 100) - plan(100, 0.01)).cwiseAbs().maxCoeff() < 1e-13);
}

TEST_CASE("The released entropic ADMM layer solves the balanced problem") {
    Random random(6);
    const RealMatrix bag = random_bag<double>(random, 3, 4, tests::BagKind::normal);
    published::BregmanAdmmSteps<otpool::Entropy> layer(bag, RealVector::Constant(4, 0.25));
    for (int k = 0; k < 2000; ++k) layer.step({.alpha0 = 0.5, .alpha1 = 0.1, .alpha2 = 0.1});
    CHECK(relative_distance(layer.plan(), optimum(bag, 0.5, otpool::hard, otpool::hard)) < 1e-6);
}

TEST_CASE("The released quadratic ADMM layer solves the balanced problem") {
    Random random(7);
    const RealMatrix bag = 0.1 * random_bag<double>(random, 3, 4, tests::BagKind::normal);
    constexpr double alpha0 = 2;  // large: no entry is 0
    published::BregmanAdmmSteps<otpool::Quadratic> layer(bag, RealVector::Constant(4, 0.25));
    for (int k = 0; k < 5000; ++k) layer.step({.alpha0 = alpha0, .alpha1 = 0.1, .alpha2 = 0.1});
    // The optimum of the rewards without their row and column means, which the marginals fix, is linear in them.
    RealMatrix centred = bag;
    centred.colwise() -= bag.rowwise().mean();
    centred.rowwise() -= centred.colwise().mean().eval();
    const RealMatrix wanted = centred.array() / (2 * alpha0) + 1.0 / 12;
    REQUIRE(wanted.minCoeff() > 0);
    CHECK(relative_distance(layer.plan(), wanted) < 1e-6);
}

TEMPLATE_TEST_CASE("The first argument that is not allowed is named", "", float, double) {
    using Scalar = TestType;
    using Layer = published::EntropicAdmm<Scalar>;
    const Matrix<Scalar> bag = Matrix<Scalar>::Ones(2, 3);
    const RealVector one = RealVector::Zero(1);
    const published::RawParameters good{.alpha0 = one, .alpha1 = one, .alpha2 = one, .rho = one};
    const auto refusal_of = [&](const published::RawParameters& parameters, int steps = 4) {
        std::string of_bag = message_of<InvalidArgument>([&] { Layer{parameters, steps}(bag); });
        // A batch says the same, and before it looks at any bag.
        CHECK(message_of<InvalidArgument>([&] { Layer{parameters, steps}(Bags<Scalar>(bag, {0, 0, 3})); }) == of_bag);
        return of_bag;
    };
    CHECK(refusal_of(good, 0) == "steps is 0; allowed: at least 1");
    CHECK(refusal_of(good, -3) == "steps is -3; allowed: at least 1");

    auto bad = good;
    bad.alpha0 = {};
    CHECK(refusal_of(bad) == "length of raw alpha0 is 0; allowed: 1 or 4, the number of steps");
    bad.alpha0 = RealVector::Zero(3);
    CHECK(refusal_of(bad) == "length of raw alpha0 is 3; allowed: 1 or 4, the number of steps");
    CHECK(refusal_of(bad, 1) == "length of raw alpha0 is 3; allowed: 1");

    const std::string allowed = "; allowed: finite numbers whose softplus is above 0, from about -745";
    bad = good;
    bad.alpha1 = RealVector{{0, 1, std::numeric_limits<Real>::quiet_NaN(), 3}};
    CHECK(refusal_of(bad) == "raw alpha1[2] is nan" + allowed);
    bad = good;
    bad.alpha2[0] = std::numeric_limits<Real>::infinity();
    CHECK(refusal_of(bad) == "raw alpha2[0] is inf" + allowed);
    bad = good;
    bad.rho[0] = -1000;
    CHECK(refusal_of(bad) == "raw rho[0] is -1000" + allowed);
    bad.rho = {};
    CHECK(refusal_of(bad) == "length of raw rho is 0; allowed: 1 or 4, the number of steps");
}

TEMPLATE_TEST_CASE("Bags and priors that are not allowed are refused", "", float, double) {
    using Scalar = TestType;
    const RealVector one = RealVector::Zero(1);
    const published::RawParameters parameters{.alpha0 = one, .alpha1 = one, .alpha2 = one, .rho = one};
    const published::Sinkhorn<Scalar> layer{parameters};
    const auto refusal_of = [](const auto& pool, const auto& bag) {
        return message_of<InvalidArgument>([&] { pool(bag); });
    };
    Matrix<Scalar> bag = Matrix<Scalar>::Ones(2, 3);
    CHECK(refusal_of(layer, Matrix<Scalar>(2, 0)) ==
          "shape of the bag is 2 x 0; allowed: at least one feature and one instance");
    CHECK(refusal_of(layer, Matrix<Scalar>(0, 3)) ==
          "shape of the bag is 0 x 3; allowed: at least one feature and one instance");
    CHECK(refusal_of(layer, Bags<Scalar>(bag, {0, 0, 3})) ==
          "bag 0 is empty; allowed: at least one instance, or a fill value for empty bags");
    CHECK(refusal_of(layer, Bags<Scalar>(bag, {0, 3}, bag)) ==
          "bag 0: reward is a bag's own; allowed: none: these layers take the bag");
    CHECK(refusal_of(layer, Bags<Scalar>(bag, {0, 3}, {}, Vector<Scalar>{{1, 1, -1}})) ==
          "bag 0: q0[2] is -1; allowed: finite and >= 0");

    const published::Sinkhorn<Scalar, FixedPrior<Real>> fixed{parameters, 4, {RealVector{{0.5, 0.5}}}};
    CHECK(refusal_of(fixed, bag) == "length of q0 is 2; allowed: 3");
    CHECK(refusal_of(fixed, Bags<Scalar>(bag, {0, 2, 3})) == "bag 1: length of q0 is 2; allowed: 1");
    const published::Sinkhorn<Scalar, Attention<Real>> learned{
        parameters, 4, {RealMatrix::Ones(6, 3), RealVector::Ones(6)}};
    CHECK(refusal_of(learned, bag) == "columns of the attention's V is 3; allowed: 2, the number of features");

    bag(1, 2) = std::numeric_limits<Scalar>::quiet_NaN();
    CHECK(refusal_of(layer, bag) == "bag at feature 1, instance 2 is nan; allowed: finite numbers");
    CHECK(refusal_of(layer, Bags<Scalar>(bag, {0, 2, 3})) ==
          "bag 1 at feature 1, instance 0 is nan; allowed: finite numbers");
}

static_assert(published::InstancePrior<UniformPrior>);
static_assert(published::InstancePrior<Attention<Real>>);
static_assert(!published::InstancePrior<Attention<float>>, "a layer computes q0 in double");
static_assert(std::is_copy_assignable_v<published::QuadraticAdmm<float, Attention<Real>>>);

}  // namespace published_test
