#include "otpool/solver/steps/acceleration.hpp"

#include <cmath>
#include <limits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/pooled.hpp"
#include "support/random_problem.hpp"

// Anderson's acceleration: alone, of maps whose fixed points are known, and of Sinkhorn, against Newton and plain
// Sinkhorn.

namespace acceleration_test {

using namespace otpool;
using namespace tests;

/// Iterations of x <- map(x) from zero until no entry moves by more than 1e-10; `limit` if it never comes to that.
template <class Map>
int iterations_to_fixed_point(const Map& map, Index size, int memory, int limit, RealVector& x) {
    detail::AndersonSteps<> anderson;
    anderson.set(memory, size);
    x = map(RealVector::Zero(size));
    const auto extrapolate = [&](const RealVector& image, double largest) {
        if (anderson.active()) x += Eigen::Map<const RealVector>(anderson.step(image.data(), largest), size);
    };
    extrapolate(RealVector(x), std::numeric_limits<double>::max());
    for (int k = 1; k < limit; ++k) {
        const RealVector image = map(x);
        const double largest = (image - x).cwiseAbs().maxCoeff();
        if (largest <= 1e-10) return k;
        x = image;
        extrapolate(image, largest);
    }
    return limit;
}

TEST_CASE("of a linear map in n dimensions, Anderson finds the fixed point in about n steps") {
    for (const int size : {1, 5, 17}) {
        const RealVector factors = RealVector::LinSpaced(size, 0.5, 0.99);
        const RealVector fixed_point = RealVector::LinSpaced(size, -3, 7);
        const auto map = [&](const RealVector& x) -> RealVector {
            return fixed_point + factors.cwiseProduct(x - fixed_point);
        };
        RealVector x;
        // The last digits are those of the least squares, which need a few steps more.
        CHECK(iterations_to_fixed_point(map, size, 20, 1000, x) <= size + 10);
        CHECK((x - fixed_point).cwiseAbs().maxCoeff() <= 1e-7);
        CHECK(iterations_to_fixed_point(map, size, 0, 1000, x) > 25);
    }
}

TEST_CASE("where extrapolation misleads, Anderson comes to the fixed point as the map itself does") {
    const RealVector fixed_point = RealVector::LinSpaced(6, -5, 9);
    // How fast it moves changes by a factor of 19 every 0.08, so that the past tells nothing.
    const auto bent = [&](const RealVector& x) -> RealVector {
        const Eigen::ArrayXd away = x - fixed_point;
        return x.array() - 0.02 * (away + 0.9 * (40 * away).sin() / 40);
    };
    // Steps of one size, whose differences are zero or rounding, until there.
    const auto stepwise = [](const RealVector& x) -> RealVector { return (x.array() + 0.5).min(20.25); };
    // A march that slows down as if it went on for long, and a slower one back from where it does not go.
    const auto marching = [](const RealVector& x) -> RealVector {
        return x.array() + (0.5 * (50 - x.array())).min(1 - 1e-3 * x.array()).max(-0.05 - 1e-6 * x.array());
    };
    RealVector x;
    const int plain_march = iterations_to_fixed_point(marching, 1, 0, 5000, x);
    REQUIRE(plain_march < 100);
    const int plain = iterations_to_fixed_point(bent, 6, 0, 5000, x);
    REQUIRE(plain < 5000);
    for (const int memory : {1, 3, 8}) {
        CHECK(iterations_to_fixed_point(bent, 6, memory, 5000, x) < plain);
        CHECK((x - fixed_point).cwiseAbs().maxCoeff() < 1e-7);
        CHECK(iterations_to_fixed_point(stepwise, 6, memory, 500, x) < 100);
        CHECK((x.array() - 20.25).abs().maxCoeff() < 1e-9);
        CHECK(iterations_to_fixed_point(marching, 1, memory, 5000, x) <= plain_march);
        CHECK(std::abs(x[0] - 50) < 1e-7);
    }
}

/// Solves random problems with and without acceleration. Returns the mean log of how many times fewer iterations the
/// former needs, where plain Sinkhorn needs many.
template <class Scalar, class R>
double compare_with_plain(const ProblemRange& range, std::uint64_t first, std::uint64_t count) {
    const double tolerance = std::is_same_v<Scalar, double> ? 1e-10 : 1e-5;
    const double allowed_error = std::is_same_v<Scalar, double> ? 1e-8 : 1e-4;
    const Options options{.tolerance = tolerance, .max_iterations = 2000, .closed_forms = false};
    double log_ratio = 0;
    int compared = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        const RandomProblem<Scalar, R> random(seed, range);
        INFO(random.drawn);
        const auto plain = Sinkhorn{.options = options, .acceleration = {.memory = 0}}.solve(random.problem);
        const auto fast = Sinkhorn{.options = options}.solve(random.problem);
        CHECK(ConditionalReadout{}(fast).allFinite());
        if (plain.converged()) CHECK(fast.converged());
        CHECK(fast.iterations <= plain.iterations + plain.iterations / 4 + 4);
        if (!fast.converged()) continue;
        CHECK(fast.residual <= tolerance);
        CHECK(marginal_violation(fast) <= (std::is_same_v<Scalar, double> ? 1e-9 : 1e-4));
        const auto reference = Newton{{.tolerance = 1e-11, .closed_forms = false}}.solve(random.in_double());
        const Vector<double> difference =
            ConditionalReadout{}(fast).template cast<double>() - ConditionalReadout{}(reference);
        CHECK(difference.cwiseAbs().maxCoeff() <= allowed_error * spread(random.bag));
        const auto by_pool = pooled(Sinkhorn{.options = options}, random.problem);
        CHECK(by_pool.outcome.iterations == fast.iterations);
        CHECK(by_pool.outcome.converged());
        const Vector<Scalar> read = ConditionalReadout{}(fast);
        const double rounding = 2 * std::numeric_limits<Scalar>::epsilon() * read.cwiseAbs().maxCoeff();
        CHECK((by_pool.vector - read).cwiseAbs().maxCoeff() <=
              (std::is_same_v<Scalar, double> ? 1e-12 : 1e-5) * spread(random.bag) + rounding);
        if (plain.iterations < 50) continue;
        ++compared;
        log_ratio += std::log(plain.iterations / static_cast<double>(fast.iterations));
    }
    REQUIRE(compared > 0);
    return log_ratio / compared;
}

TEMPLATE_TEST_CASE("Sinkhorn accelerated is Sinkhorn, sooner", "", double, float) {
    const ProblemRange small{.most_features = 32, .most_instances = 100, .least_alpha0 = 1e-2, .most_alpha0 = 10};
    CHECK(compare_with_plain<TestType, Entropy>(small, 7000, 150) > 0);
    CHECK(compare_with_plain<TestType, RelativeEntropy>(small, 7200, 80) > 0);
    const ProblemRange strong{.most_features = 16,
                              .most_instances = 60,
                              .least_alpha0 = 1e-2,
                              .most_alpha0 = 0.1,
                              .least_alpha = 10,
                              .most_alpha = 1000,
                              .limits = 0.1};
    CHECK(compare_with_plain<TestType, Entropy>(strong, 7400, 80) > std::log(2.0));
}

TEST_CASE("wherever Sinkhorn accelerated ends, residual and potentials are those of its plan") {
    for (std::uint64_t seed = 7600; seed < 7650; ++seed) {
        const RandomProblem<double> random(seed, {.most_features = 16, .least_alpha0 = 0.01, .most_alpha0 = 1});
        INFO(random.drawn);
        for (const double tolerance : {1.0, 0.1, 1e-2, 1e-3}) {
            const auto solution = Sinkhorn{{.tolerance = tolerance, .closed_forms = false}}.solve(random.problem);
            if (!solution.converged()) continue;
            CHECK(std::abs(marginal_violation(solution) - solution.residual) <= 1e-6 * tolerance);
            const Eigen::ArrayXXd log_plan = solution.plan().array().log();
            const Eigen::ArrayXXd generated = ((random.bag.colwise() + solution.feature_potential).rowwise() +
                                               solution.instance_potential.transpose()) /
                                              random.problem.alpha0;
            const auto apart = (log_plan > -300).select((log_plan - generated).abs() / (1 + generated.abs()), 0);
            CHECK(apart.maxCoeff() <= 1e-9);
        }
    }
}

TEST_CASE("a number of iterations is as many plain ones") {
    const RandomProblem<double> random(7500, {.least_alpha0 = 0.1, .most_alpha0 = 0.1, .limits = 0});
    for (const int steps : {1, 2, 7, 30}) {
        const Options options{.iterations = steps, .closed_forms = false};
        const auto solution = Sinkhorn{options}.solve(random.problem);
        const auto plain = Sinkhorn{.options = options, .acceleration = {.memory = 0}}.solve(random.problem);
        CHECK(solution.feature_potential == plain.feature_potential);
        CHECK(solution.instance_potential == plain.instance_potential);
        CHECK(solution.residual == plain.residual);
    }
}

TEST_CASE("the memory of an acceleration is checked") {
    const Matrix<double> bag = Matrix<double>::Ones(2, 3);
    const auto refused = [&](int memory) {
        return message_of<InvalidArgument>([&] {
            Sinkhorn{.options = {}, .acceleration = {.memory = memory}}.solve(UotProblem<double>{.reward = bag});
        });
    };
    CHECK(refused(-1) == "memory of the acceleration is -1; allowed: 0 to 64");
    CHECK(refused(65) == "memory of the acceleration is 65; allowed: 0 to 64");
}

}  // namespace acceleration_test
