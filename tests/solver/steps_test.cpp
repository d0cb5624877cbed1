#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/optimality.hpp"
#include "support/pooled.hpp"
#include "support/random_problem.hpp"
#include "support/steps_by_formula.hpp"

// A fixed number of steps, however the solver computes them, against the update formulas in extended precision.

namespace steps_test {

using namespace otpool;
using namespace tests;

constexpr double infinity = std::numeric_limits<double>::infinity();

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
        const ProblemRange range{.most_features = 40, .most_instances = 120, .least_alpha0 = 1e-3, .limits = 0.15};
        const RandomProblem<Scalar, Entropy> entropy(seed, range);
        const RandomProblem<Scalar, RelativeEntropy> relative(seed, range);
        const int steps = static_cast<int>(seed % 5 + 1);
        INFO(entropy.drawn << ", " << steps << " steps");
        CHECK(error_of_steps(entropy.problem, steps) <= tolerance<Scalar>);
        CHECK(error_of_steps(relative.problem, steps) <= tolerance<Scalar>);
    }
}

TEMPLATE_TEST_CASE("Steps on bags of any size and layout", "", float, double) {
    using Scalar = TestType;
    // One feature, one instance, a multiple of no vector length, more floats than are kept of many features and of few.
    const auto [D, N] =
        GENERATE(std::pair<Index, Index>{1, 1}, std::pair<Index, Index>{1, 5000}, std::pair<Index, Index>{3, 777},
                 std::pair<Index, Index>{17, 33}, std::pair<Index, Index>{1031, 5}, std::pair<Index, Index>{1031, 1024},
                 std::pair<Index, Index>{13, 81'000});
    // At the smaller ones, the first potentials leave the range of scalings, which has to be absorbed anew.
    const auto alpha0 = GENERATE(Scalar(0.3), Scalar(0.1), Scalar(0.08), Scalar(0.07));
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

TEST_CASE("Steps on a bag of more doubles than are kept") {
    Random random(6040);
    const Matrix<double> bag = random_bag<double>(random, 1031, 4096, BagKind::normal);
    for (const double alpha0 : {0.3, 0.01}) {  // the latter is absorbed on the way
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
    const Matrix<Scalar> bag = random_bag<Scalar>(random, 150, 700, BagKind::normal);
    for (const Scalar factor : {Scalar(2), Scalar(4), Scalar(8), Scalar(30), Scalar(100)}) {
        for (const Scalar alpha0 : {Scalar(0.3), Scalar(0.1), Scalar(0.01)}) {
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

/// The plan after one iteration, by the half steps' formulas, from where Sinkhorn::first says.
Matrix<double> plan_of_one_step(const UotProblem<double>& problem, const Vector<double>& alpha1, HalfStep first) {
    const Matrix<double> X = problem.reward.matrix();
    const double alpha0 = problem.alpha0, alpha2 = problem.instances.alpha, S = X.maxCoeff();
    const auto half_step = [&](double alpha, const Eigen::ArrayXd& exponents, Index size) {
        const double ratio = std::isinf(alpha) ? 1 : alpha / (alpha0 + alpha);
        return -ratio * alpha0 * (std::log((exponents / alpha0).exp().sum()) + std::log(double(size)));
    };
    const auto start = [&](double alpha, bool is_hard, double sum) {
        return is_hard ? -S : std::isinf(sum) ? 0 : -alpha * S / sum;
    };
    const bool own = problem.features.alphas.size() > 0;
    const double sum = own ? infinity : alpha0 + alpha1[0] + alpha2;
    Vector<double> f = Vector<double>::Constant(X.rows(), start(alpha1[0], !own && std::isinf(alpha1[0]), sum));
    Vector<double> g = Vector<double>::Constant(X.cols(), start(alpha2, std::isinf(alpha2), sum));
    for (const bool on_features : {first == HalfStep::features, first == HalfStep::instances}) {
        for (Index d = 0; d < X.rows() && on_features; ++d)
            f[d] = half_step(alpha1[d], X.row(d).transpose().array() + g.array(), X.rows());
        for (Index n = 0; n < X.cols() && !on_features; ++n)
            g[n] = half_step(alpha2, X.col(n).array() + f.array(), X.cols());
    }
    return (((X.colwise() + f).rowwise() + g.transpose()) / alpha0).array().exp();
}

TEST_CASE("The first half step of Sinkhorn starts where its documentation says") {
    Random random(6400);
    const double alpha1 = GENERATE(0.5, 3.0, infinity);
    const double alpha2 = GENERATE(2.0, infinity);
    const bool own = GENERATE(false, true);
    const HalfStep first = GENERATE(HalfStep::features, HalfStep::instances);
    const double level = GENERATE(0.0, 5.0, -5.0);
    const Matrix<double> bag = random_bag<double>(random, 3, 5, BagKind::normal).array() + level;
    Vector<double> alphas = Vector<double>::Constant(3, alpha1);
    UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.7, .features = {.alpha = alpha1}, .instances = {.alpha = alpha2}};
    if (own) {
        alphas[1] = std::isinf(alpha1) ? 2 : infinity;
        problem.features.alphas = alphas;
    }
    const Sinkhorn solver{.options = {.iterations = 1, .closed_forms = false}, .translation = false, .first = first};
    const Matrix<double> expected = plan_of_one_step(problem, alphas, first);
    INFO("alphas " << alpha1 << ", " << alpha2 << ", own " << own << ", level " << level);
    CHECK((solver.solve(problem).plan() - expected).cwiseAbs().maxCoeff() < 1e-12 * expected.maxCoeff());
}

}  // namespace steps_test
