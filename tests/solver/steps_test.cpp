#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/pooled.hpp"
#include "support/random_problem.hpp"
#include "support/sample.hpp"
#include "support/steps_by_formula.hpp"

// A fixed number of steps, however the solver computes them, against the update formulas in extended precision.

namespace steps_test {

using namespace otpool;
using namespace tests;

template <class Scalar>
constexpr double tolerance = std::is_same_v<Scalar, double> ? 1e-10 : 3e-5;

template <class Scalar, class R>
double error_of_steps(const UotProblem<Scalar, R>& problem, int steps) {
    const Sinkhorn solver{{.iterations = steps, .closed_forms = false}};
    const WideArray expected = pooled_by_formula(problem, steps);
    const auto solution = solver.solve(problem);
    const Vector<Scalar> pooled_on_the_way = tests::pooled(solver, problem).vector;
    const auto error = [&](const Vector<Scalar>& found) {
        return static_cast<double>((found.template cast<Wide>().array() - expected).abs().maxCoeff());
    };
    const double unit = std::max(spread(problem.reward.matrix().eval()), 1e-20);
    return std::max(error(ConditionalReadout{}(solution)), error(pooled_on_the_way)) / unit;
}

TEMPLATE_TEST_CASE("Steps of Sinkhorn are what their formulas say", "", float, double) {
    using Scalar = TestType;
    // alpha0 far below the spread leaves the range of a float's exponentials, strong marginals that of its potentials.
    for (std::uint64_t seed = 5000; seed < 5120; ++seed) {
        if (!in_sample(seed - 5000)) continue;
        const ProblemRange range{.most_features = 40, .most_instances = 120, .least_alpha0 = 1e-3, .limits = 0.15};
        const RandomProblem<Scalar, Entropy> entropy(seed, range);
        const RandomProblem<Scalar, RelativeEntropy> relative(seed, range);
        const int steps = static_cast<int>(seed % 5 + 1);
        INFO(entropy.drawn << ", " << steps << " steps");
        CHECK(error_of_steps(entropy.problem, steps) <= tolerance<Scalar>);
        CHECK(error_of_steps(relative.problem, steps) <= tolerance<Scalar>);
    }
}

template <class Scalar>
void check_sizes_and_layouts(Index D, Index N, Scalar alpha0) {
    Random random(6000 + static_cast<std::uint64_t>(D));
    const Matrix<Scalar> bag = random_bag<Scalar>(random, D, N, BagKind::normal);
    UotProblem<Scalar> problem{.reward = bag,
                               .alpha0 = alpha0,
                               .features = {.alpha = 2},
                               .instances = {.alpha = Scalar(0.7), .prior = uneven_prior<Scalar>(random, N, true)}};
    INFO(D << " x " << N << ", alpha0 " << alpha0);
    CHECK(error_of_steps(problem, 3) <= tolerance<Scalar>);
    // Every other column of a larger matrix; rows in memory; every other row.
    Matrix<Scalar> wide = Matrix<Scalar>::Constant(2 * D, 2 * N, std::numeric_limits<Scalar>::max());
    Eigen::Map<Matrix<Scalar>, 0, Eigen::OuterStride<>> columns(wide.data(), D, N, Eigen::OuterStride<>(4 * D));
    columns = bag;
    const Vector<Scalar> expected = ConditionalReadout{}(Sinkhorn{{.iterations = 3}}.solve(problem));
    const auto check = [&](const MatrixView<Scalar>& reward) {
        problem.reward = reward;
        CHECK(ConditionalReadout{}(Sinkhorn{{.iterations = 3}}.solve(problem)) == expected);
    };
    check(columns);
    const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows = bag;
    check(rows);
    Eigen::Map<Matrix<Scalar>, 0, Eigen::Stride<Eigen::Dynamic, 2>> strided(wide.data(), D, N, {2 * D, 2});
    strided = bag;
    check(strided);
}

TEMPLATE_TEST_CASE("Steps on bags of any size and layout", "", float, double) {
    // One feature, one instance, a multiple of no vector length, more floats than are kept of many features and of few.
    const std::pair<Index, Index> sizes[] = {{1, 1},    {1, 5000},    {3, 777},    {17, 33},
                                             {1031, 5}, {1031, 1024}, {13, 81'000}};
    std::uint64_t number = 0;
    for (const auto& [D, N] : sizes) {
        // At the smaller ones, the first potentials leave the range of scalings, which has to be absorbed anew.
        for (const double alpha0 : {0.3, 0.1, 0.08, 0.07}) {
            if (in_sample(number++)) check_sizes_and_layouts(D, N, static_cast<TestType>(alpha0));
        }
    }
}

TEST_CASE("Steps on a bag of more doubles than are kept") {
    Random random(6040);
    const Matrix<double> bag = random_bag<double>(random, 1031, 4096, BagKind::normal);
    for (const auto& [number, alpha0] : {std::pair{1U, 0.3}, {2U, 0.01}}) {  // the latter is absorbed on the way
        if (!in_sample(number)) continue;
        const UotProblem<double> problem{
            .reward = bag, .alpha0 = alpha0, .features = {.alpha = 2}, .instances = {.alpha = 0.7}};
        INFO("alpha0 " << alpha0);
        CHECK(error_of_steps(problem, 2) <= tolerance<double>);
    }
}

TEMPLATE_TEST_CASE("Steps where only some instances leave the range of scalings", "", float, double) {
    // Passes then end on the way, after some blocks of instances, and are begun again with what was absorbed.
    using Scalar = TestType;
    Random random(6050);
    std::uint64_t number = 0;
    const Matrix<Scalar> bag = random_bag<Scalar>(random, 150, 700, BagKind::normal);
    for (const Scalar factor : {Scalar(2), Scalar(4), Scalar(8), Scalar(30), Scalar(100)}) {
        for (const Scalar alpha0 : {Scalar(0.3), Scalar(0.1), Scalar(0.01)}) {
            if (!in_sample(number++)) continue;
            Matrix<Scalar> uneven = bag;
            uneven.rightCols(400) *= factor;
            const UotProblem<Scalar> problem{
                .reward = uneven, .alpha0 = alpha0, .features = {.alpha = 2}, .instances = {.alpha = 5}};
            INFO("factor " << factor << ", alpha0 " << alpha0);
            CHECK(error_of_steps(problem, 3) <= tolerance<Scalar>);
        }
    }
}

TEST_CASE("A layer in float is as good where it leaves the range of float") {
    Random random(6100);
    const Matrix<float> bag = random_bag<float>(random, 12, 60, BagKind::normal);
    for (const float alpha0 : {0.1F, 0.03F, 0.01F, 0.003F, 0.001F}) {
        for (const float alpha2 : {0.01F, 1.F, 1000.F, std::numeric_limits<float>::infinity()}) {
            const UotProblem<float> problem{
                .reward = bag, .alpha0 = alpha0, .features = {.alpha = 1}, .instances = {.alpha = alpha2}};
            INFO("alpha0 " << alpha0 << ", alpha2 " << alpha2);
            CHECK(error_of_steps(problem, 6) <= tolerance<float>);
        }
    }
}

TEST_CASE("Potentials take what instances differ by, however much more than alpha0 that is") {
    // Exponents are then small differences of large numbers.
    Random random(6200);
    for (const double offset : {1e2, 1e3, 1e4, 1e5}) {
        Matrix<float> bag = random_bag<float>(random, 12, 60, BagKind::normal);
        for (Index n = 0; n < bag.cols(); ++n) bag.col(n).array() += static_cast<float>(offset * random.normal());
        const UotProblem<float> problem{
            .reward = bag, .alpha0 = 1, .features = {.alpha = 1}, .instances = {.alpha = hard}};
        INFO("offset " << offset);
        CHECK(error_of_steps(problem, 3) <= tolerance<float>);
    }
}

TEMPLATE_TEST_CASE("What is pooled has the digits of what weighs", "", float, double) {
    // Neither the level of the values nor an outlier without weight, wherever it is, takes any of them.
    using Scalar = TestType;
    const double few_roundings = 20 * double(std::numeric_limits<Scalar>::epsilon());
    for (const Index D : {3, 40}) {
        for (const Index outlier : {0, 7, 59}) {
            for (const double level : {0.0, 1e3, -1e5}) {
                Random random(static_cast<std::uint64_t>(6300 + D));
                Matrix<Scalar> bag = random_bag<Scalar>(random, D, 60, BagKind::normal);
                Matrix<Scalar> values = random_bag<Scalar>(random, D, 60, BagKind::normal);
                values.array() += static_cast<Scalar>(level);
                values.col(outlier).setConstant(Scalar(1e7));
                bag.col(outlier).setConstant(-1000);
                for (const Scalar alpha1 : {Scalar(0), Scalar(1)}) {
                    UotProblem<Scalar> problem{.reward = bag,
                                               .alpha0 = Scalar(0.5),
                                               .features = {.alpha = alpha1},
                                               .instances = {.alpha = Scalar(0.5)}};
                    INFO(D << " features, outlier " << outlier << ", level " << level << ", alpha1 " << alpha1);
                    const auto error = [&] {
                        const Vector<Scalar> found = tests::pooled(Sinkhorn{{.iterations = 3}}, problem).vector;
                        const WideArray expected = pooled_by_formula(problem, 3);
                        const auto unit =
                            (3 + expected.abs()).template cast<double>();  // 3: deviations of normal numbers
                        const auto difference = (found.template cast<Wide>().array() - expected).abs();
                        return (difference.template cast<double>() / unit).maxCoeff();
                    };
                    CHECK(error() <= few_roundings);
                    problem.values = values;
                    CHECK(error() <= few_roundings);
                }
            }
        }
    }
}

}  // namespace steps_test
