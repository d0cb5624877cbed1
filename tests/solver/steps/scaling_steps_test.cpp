#include "otpool/solver/steps/scaling_steps.hpp"

#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/pooled.hpp"
#include "support/random_problem.hpp"
#include "support/sample.hpp"
#include "support/steps_by_formula.hpp"

// Steps in scalings, against the update formulas; and that what they do not resolve is not pooled by them.

namespace scaling_steps_test {

using namespace otpool;
using namespace tests;

template <class Scalar, class R>
std::optional<RealVector> pooled_by_scalings(const UotProblem<Scalar, R>& problem, int steps) {
    const Options options{.iterations = steps};
    const Run<Scalar, R> run;
    detail::SolverRun<Scalar, R> own(options, problem, run);
    detail::ScaledProblem scaled;
    RealVector mean;
    if (!detail::pool_by_scalings(own, scaled, mean)) return {};
    return mean;
}

template <class Scalar>
constexpr double tolerance = std::is_same_v<Scalar, double> ? 1e-10 : 3e-5;

template <class Scalar, class R>
double error(const RealVector& pooled, const UotProblem<Scalar, R>& problem, int steps) {
    const WideArray difference = pooled.cast<Wide>().array() - pooled_by_formula(problem, steps);
    const double unit = std::max(spread(problem.pooled_values().matrix().eval()), 1e-20);
    return static_cast<double>(difference.abs().maxCoeff()) / unit;
}

template <class Scalar, class R>
void compare_with_formulas() {
    int taken = 0;
    int resolved = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        if (!in_sample(seed)) continue;
        RandomProblem<Scalar, R> random(8000 + seed, {.least_alpha0 = 0.05, .most_alpha0 = 100, .limits = 0.15});
        if (random.problem.features.alpha == 0 && random.problem.instances.alpha == 0) continue;
        ++taken;
        Random more(9000 + seed);
        const int steps = static_cast<int>(more.integer(1, 8));
        const Matrix<Scalar> values = random_bag<Scalar>(more, random.drawn.D, random.drawn.N, BagKind::shifted);
        if (more.chance(0.3)) random.problem.values = values;
        INFO(random.drawn << ", " << steps << " steps");
        const auto pooled = pooled_by_scalings(random.problem, steps);
        if (!pooled) continue;
        ++resolved;
        CHECK(error(*pooled, random.problem, steps) <= tolerance<Scalar>);
    }
    CHECK(resolved + 1 > 0.98 * taken);
}

TEST_CASE("Steps in scalings are what their formulas say", "[scaling_steps]") {
    compare_with_formulas<double, Entropy>();
    compare_with_formulas<double, RelativeEntropy>();
    compare_with_formulas<float, Entropy>();
    compare_with_formulas<float, RelativeEntropy>();
}

template <class Scalar>
UotProblem<Scalar> problem_of(const MatrixView<Scalar>& reward) {
    return {.reward = reward, .alpha0 = Scalar(0.5), .features = {.alpha = 1}, .instances = {.alpha = 2}};
}

TEMPLATE_TEST_CASE("A half step in scalings is a power", "[scaling_steps]", float, double) {
    using Scalar = TestType;
    Random random(8250);
    for (const Index count : {1, 15, 16, 40}) {
        for (const Real alpha : {0.1, 3.0, std::numeric_limits<Real>::infinity()}) {
            detail::Side side(alpha, 0.5);
            side.log_prior.resize(count);
            side.anchor.resize(count);
            detail::Buffer<Scalar> absorbed;  // in units of log 2
            absorbed.resize(count);
            Vector<Scalar> sums(count);
            for (Index i = 0; i < count; ++i) {
                side.log_prior[i] = random.normal();
                side.anchor[i] = random.normal();
                absorbed[i] = static_cast<Scalar>(random.normal());
                sums[i] = static_cast<Scalar>(random.log_uniform(1e-3, 1e3));
            }
            const auto log_scaling = [&](Index i) {
                const Wide F = Wide(absorbed[i]) * std::log(Wide(2));
                return side.common.damping * (side.log_prior[i] - std::log(Wide(sums[i]))) +
                       side.common.relaxation * (side.anchor[i] - F);
            };
            detail::ScalingHalfStep<Scalar> half_step;
            half_step.set(side, absorbed);
            half_step.follow_absorbed(0, count);
            Vector<Scalar> scaling(count);
            CHECK(half_step(0, count, sums.data(), scaling.data()));
            RealVector log_sums(count);
            half_step.log_sums(0, count, log_sums.data());
            for (Index i = 0; i < count; ++i) {
                const Wide expected = std::exp(log_scaling(i));
                const double near = 20 * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
                CHECK(std::abs(static_cast<double>(scaling[i] / expected - 1)) <= near);
                const Wide log_sum = std::log(Wide(sums[i])) - Wide(absorbed[i]) * std::log(Wide(2));
                CHECK(std::abs(static_cast<double>(log_sums[i] - log_sum)) <= near);
            }
            if (alpha < 1) continue;
            // One scaling alone is beyond the range, above and below.
            const auto in_range = [&](Real log_sum) {
                Vector<Scalar> some = sums;
                some[count - 1] = static_cast<Scalar>(std::exp(log_sum));
                return half_step(0, count, some.data(), scaling.data());
            };
            const Real range = std::is_same_v<Scalar, float> ? 20 : 230;
            CHECK(in_range(-0.9 * range));
            CHECK_FALSE(in_range(-1.5 * range));
            if (std::is_same_v<Scalar, float>) CHECK_FALSE(in_range(4 * range));
        }
    }
}

TEMPLATE_TEST_CASE("Steps in scalings on bags of any size and layout", "[scaling_steps]", float, double) {
    using Scalar = TestType;
    Random random(8300);
    for (const Index D : {1, 5, 16, 24, 64, 67, 1031}) {
        for (const Index N : {1, 15, 16, 100, 1024}) {  // the largest is more floats than are kept
            const Matrix<Scalar> bag = random_bag<Scalar>(random, D, N, BagKind::normal);
            INFO(D << " x " << N);
            const auto expected = pooled_by_scalings(problem_of<Scalar>(bag), 4);
            REQUIRE(expected.has_value());
            if (D * N < 10'000) CHECK(error(*expected, problem_of<Scalar>(bag), 4) <= tolerance<Scalar>);
            const auto check = [&](const MatrixView<Scalar>& view) {
                const auto pooled = pooled_by_scalings(problem_of<Scalar>(view), 4);
                REQUIRE(pooled.has_value());
                CHECK(*pooled == *expected);
            };
            const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> row_major = bag;
            check(row_major);
            // What is next to it is out of every range, and never looked at.
            Matrix<Scalar> within = Matrix<Scalar>::Constant(3 * D, 2 * N, std::numeric_limits<Scalar>::quiet_NaN());
            Eigen::Map<Matrix<Scalar>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> strided(within.data(), D, N,
                                                                                                 {6 * D, 3});
            strided = bag;
            check(strided);
            within.middleCols(N / 2, N).topRows(D) = bag;
            check(within.middleCols(N / 2, N).topRows(D));
        }
    }
}

TEST_CASE("What pads a bag's features is as if it were not there", "[scaling_steps]") {
    Random random(8350);
    for (const Index D : {3, 67}) {
        for (const float level : {-42.F, 42.F}) {  // taken out of the features, but not out of what pads them
            Matrix<float> bag = random_bag<float>(random, D, 400, BagKind::normal);
            bag = (bag.array() / 4 + level).matrix();
            bag(0, 390) *= 1.2F;
            bag(0, 391) = std::copysign(44.4F, level);  // 2^128 is infinite
            Matrix<float> wide = Matrix<float>::Zero(D + 1, 400);
            wide.topRows(D) = bag;
            const auto pooled = pooled_by_scalings(problem_of<float>(bag), 4);
            const auto apart = pooled_by_scalings(problem_of<float>(wide.topRows(D)), 4);
            REQUIRE(pooled.has_value());
            REQUIRE(apart.has_value());
            CHECK(*pooled == *apart);
            CHECK(error(*pooled, problem_of<float>(bag), 4) <= tolerance<float>);
        }
    }
}

TEMPLATE_TEST_CASE("A reward that is not finite is not pooled, wherever it is", "[scaling_steps]", float, double) {
    using Scalar = TestType;
    const Scalar infinity = std::numeric_limits<Scalar>::infinity();
    Random random(8400);
    for (const auto& [D, N] : {std::pair<Index, Index>{1, 100}, {3, 40}, {64, 100}, {67, 20}, {300, 500}}) {
        Matrix<Scalar> bag = random_bag<Scalar>(random, D, N, BagKind::normal);
        const Matrix<Scalar> values = bag;
        for (int drawn = 0; drawn < 30; ++drawn) {
            const Index d = drawn == 0 ? D - 1 : random.integer(0, D - 1);
            const Index n = drawn == 0 ? N - 1 : random.integer(0, N - 1);
            const Scalar finite = bag(d, n);
            for (const Scalar number : {infinity, -infinity, std::numeric_limits<Scalar>::quiet_NaN()}) {
                bag(d, n) = number;
                UotProblem<Scalar> problem = problem_of<Scalar>(bag);
                const bool forbids = number == -infinity;  // which is fine with values of their own
                if (drawn % 2 == 1 && !forbids) problem.values = values;
                INFO("reward(" << d << ", " << n << ") of " << D << " x " << N << " is " << number);
                const std::string message =
                    message_of<InvalidArgument>([&] { pooled(Sinkhorn{{.iterations = 2}}, problem); });
                const std::string place = "reward at feature " + std::to_string(d) + ", instance " + std::to_string(n);
                CHECK(message.find(forbids ? "values is empty" : place) != std::string::npos);
            }
            bag(d, n) = finite;
        }
    }
}

TEMPLATE_TEST_CASE("What scalings do not resolve is pooled all the same", "[scaling_steps]", float, double) {
    using Scalar = TestType;
    constexpr bool is_double = std::is_same_v<Scalar, double>;
    Random random(8500);
    for (const Index D : {1, 20, 64}) {
        const Matrix<Scalar> bag = random_bag<Scalar>(random, D, 2000, BagKind::normal);
        const auto check = [&](const Matrix<Scalar>& reward, bool resolved, Scalar alpha1 = 1) {
            UotProblem<Scalar> problem = problem_of<Scalar>(reward);
            problem.features.alpha = alpha1;
            CHECK(pooled_by_scalings(problem, 3).has_value() == resolved);
            const auto by_solver = pooled(Sinkhorn{{.iterations = 3}}, problem);
            CHECK(error(by_solver.vector.template cast<Real>(), problem, 3) <= tolerance<Scalar>);
        };
        Matrix<Scalar> outlier = bag;
        outlier(D / 2, 1999) = Scalar(-1e4);
        check(outlier, D > 1);               // its instance has some by other features
        outlier(D / 2, 1999) = Scalar(1e4);  // beyond the range of exponentials
        check(outlier, false);
        Matrix<Scalar> low = bag;  // instances by next to nothing of which the kernel has exponentials
        low.rightCols(100).array() -= is_double ? Scalar(200) : Scalar(25);
        check(low, true);
        if (D > 1) {  // and one so high that all features are scaled down for it
            low.col(1500).array() += Scalar(25);
            check(low, true);
        }
        check((bag.array() + Scalar(1e3)).matrix(), true);  // a level that takes the digits of what is not a difference
        if (D == 1) continue;
        Matrix<Scalar> uneven = bag;  // features that differ by more than the range of scalings
        uneven.row(D - 1).array() -= is_double ? Scalar(400) : Scalar(40);
        check(uneven, false, Scalar(0.05));
    }
}

}  // namespace scaling_steps_test
