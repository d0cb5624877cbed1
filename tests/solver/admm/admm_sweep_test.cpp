#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "otpool/otpool.hpp"
#include "otpool/solver/admm/admm_sweep.hpp"
#include "support/catch.hpp"
#include "support/pooled_by_sweeps.hpp"
#include "support/random_problem.hpp"

// Steps of Bregman ADMM a pass each, against the algorithm written plainly, and float against double.

namespace admm_sweep_test {

using namespace otpool;
using namespace tests;
using detail::AdmmSweep;

using Array = Eigen::ArrayXXd;
using Column = Eigen::ArrayXd;

Column log_sums_over_instances(const Array& a) {
    const Column top = a.rowwise().maxCoeff();
    return top + (a.colwise() - top).exp().rowwise().sum().log();
}
double log_sum(const Column& a) { return a.maxCoeff() + std::log((a - a.maxCoeff()).exp().sum()); }
double damping(double alpha, double weight) { return std::isinf(alpha) ? 1 : alpha / (alpha + weight); }

/// y after steps with these rho, as the documentation of BregmanAdmm has them; all instances of prior > 0.
template <class Scalar, class R>
Vector<double> plain_admm(const UotProblem<Scalar, R>& problem, const std::vector<double>& rhos) {
    const Array values = problem.pooled_values().matrix().template cast<double>();
    Array X = problem.reward.matrix().template cast<double>();
    const Index D = X.rows();
    const Index N = X.cols();
    const auto log_prior = [](const Vector<Scalar>& prior, Index size) -> Column {
        if (prior.size() == 0) return Column::Constant(size, -std::log(static_cast<double>(size)));
        return (prior.template cast<double>() / prior.template cast<double>().sum()).array().log();
    };
    const Column log_p = log_prior(problem.features.prior, D);
    const Column log_q = log_prior(problem.instances.prior, N);
    const double alpha0 = problem.alpha0;
    Array log_S = log_p.replicate(1, N).rowwise() + log_q.transpose();
    if (std::is_same_v<R, RelativeEntropy>) X += alpha0 * log_S;
    X -= X.maxCoeff();
    Array Z = Array::Zero(D, N);
    for (const double rho : rhos) {
        const double k1 = damping(problem.features.alpha, rho + alpha0);
        const double k2 = damping(problem.instances.alpha, rho);
        Array log_T = (X - Z) / rho + log_S;
        const Column log_c = log_sums_over_instances(log_T.transpose());
        log_T.rowwise() += (k2 * (log_q - log_c)).transpose();
        log_T -= log_sum(log_sums_over_instances(log_T));
        log_S = (Z + rho * log_T) / (rho + alpha0);
        const Column log_r = log_sums_over_instances(log_S);
        log_S.colwise() += k1 * (log_p - log_r);
        log_S -= log_sum(log_sums_over_instances(log_S));
        const Array d = log_T - log_S;
        Z += rho * d.sign() * (1 - (-d.abs()).exp());
    }
    const Array S = (log_S.colwise() - log_S.rowwise().maxCoeff()).exp();
    return (S * values).rowwise().sum() / S.rowwise().sum();
}
template <class Scalar, class R>
Vector<double> plain_admm(const UotProblem<Scalar, R>& problem, double rho, int steps) {
    return plain_admm(problem, std::vector<double>(static_cast<std::size_t>(steps), rho));
}

/// The conditional mean after steps with these rho in Work, which is taken to resolve them; nothing where it does not
/// hold a sum.
template <class Work, class Scalar, class R>
std::optional<RealVector> swept(const UotProblem<Scalar, R>& problem, const std::vector<double>& rhos) {
    const detail::Inspection inspected(problem);
    AdmmSweep<Work> sweep(inspected, rhos[0]);
    for (std::size_t k = 0; k + 1 < rhos.size(); ++k) {
        if (!sweep.step()) return {};
        sweep.set_parameters(rhos[k + 1]);
    }
    RealVector mean;
    if (!sweep.pooling_step(mean)) return {};
    return mean;
}
/// The same after so many steps with one rho, or nothing where Work does not resolve them.
template <class Work, class Scalar, class R>
std::optional<RealVector> swept(const UotProblem<Scalar, R>& problem, double rho, int steps) {
    if (!AdmmSweep<Work>(detail::Inspection(problem), rho).resolves(steps)) return {};
    return swept<Work>(problem, std::vector<double>(static_cast<std::size_t>(steps), rho));
}

double error(const RealVector& pooled, const Vector<double>& expected, double unit) {
    return (pooled - expected).cwiseAbs().maxCoeff() / unit;
}

template <class Scalar, class Work, class R>
void compare_with_plain(double tolerance, double least_resolved) {
    int resolved = 0;
    const int problems = 150;
    for (std::uint64_t seed = 0; seed < problems; ++seed) {
        RandomProblem<Scalar, R> random(
            seed, {.most_features = 70, .most_instances = 100, .least_alpha0 = 0.01, .zeros = false});
        Random more(1000 + seed);
        if (more.chance(0.15)) random.problem.alpha0 = 0;
        const int steps = static_cast<int>(more.integer(1, 8));
        const Matrix<Scalar> values = random_bag<Scalar>(more, random.drawn.D, random.drawn.N, BagKind::shifted);
        const bool separate = more.chance(0.3);
        if (separate) random.problem.values = values;
        const double rho = BregmanAdmm::default_rho(random.problem);
        INFO(random.drawn << ", " << steps << " steps");
        const auto pooled = swept<Work>(random.problem, rho, steps);
        if (!pooled) continue;
        ++resolved;
        const Vector<double> expected = plain_admm(random.problem, rho, steps);
        CHECK(error(*pooled, expected, separate ? spread(values) : spread(random.bag)) <= tolerance);
    }
    CHECK(resolved > least_resolved * problems);
}

TEST_CASE("Sweeps of Bregman ADMM are the algorithm as it is written", "[admm_sweep]") {
    compare_with_plain<double, double, Entropy>(1e-11, 0.99);
    compare_with_plain<double, double, RelativeEntropy>(1e-11, 0.99);
    compare_with_plain<float, double, Entropy>(1e-11, 0.99);
    compare_with_plain<float, float, Entropy>(1e-5, 0.5);
    compare_with_plain<float, float, RelativeEntropy>(1e-5, 0.5);
}

TEST_CASE("A float bag whose exponents float cannot resolve is pooled in double", "[admm_sweep]") {
    Random random(5);
    const Matrix<float> bag = random_bag<float>(random, 20, 70, BagKind::normal);
    UotProblem<float> problem{.reward = bag, .alpha0 = 0.02F, .features = {.alpha = 3}, .instances = {.alpha = 0.5F}};
    CHECK_FALSE(AdmmSweep<float>(detail::Inspection(problem), 0.1).resolves(6));
    const auto pooled = tests::pooled_by_sweeps(problem, 0.1, 6);
    REQUIRE(pooled.has_value());
    CHECK(error(*pooled, plain_admm(problem, 0.1, 6), spread(bag)) <= 1e-11);
    // Within float's range, but for rows that have their highest rewards where instances have next to no mass.
    problem.alpha0 = 1;
    problem.instances.alpha = hard;
    problem.instances.prior = Vector<float>::Constant(70, 1.0F / 35);
    problem.instances.prior.head(35).setConstant(1e-38F);
    Matrix<float> split = bag;
    split.leftCols(35).array() += 60;
    problem.reward = split;
    CHECK(error(*tests::pooled_by_sweeps(problem, 1, 3), plain_admm(problem, 1, 3), spread(split)) <= 1e-5);
}

TEMPLATE_TEST_CASE("Sums over features far from those of the last step keep their digits", "[admm_sweep]", float,
                   double) {
    using Scalar = TestType;
    // Some instances, which have their share of the mass all the same, are so low that their powers are nothing in the
    // unit of the others; where rho then grows, those are beyond all numbers in the unit of the step before: of all
    // features, or of one, where the others' are near that unit.
    constexpr bool single = std::is_same_v<Scalar, float>;
    const Scalar low = single ? 120 : 1200;
    Random random(10);
    Matrix<Scalar> bag = random_bag<Scalar>(random, 20, 40, BagKind::normal);
    for (Index n = 16; n < bag.cols(); n += 3) bag.col(n).array() -= low;
    if (!single) {  // float does not resolve it
        bag.col(3).array() -= low;
        bag.col(3).tail(19).array() -= Scalar(7.35) * low;
    }
    const UotProblem<Scalar> problem{
        .reward = bag, .alpha0 = 9, .features = {.alpha = 1}, .instances = {.alpha = hard}};
    for (const std::vector<double>& rhos : {std::vector<double>{1}, {1, 1, 1}, {1, 50}, {1, 50, 1, 50}, {50, 1}}) {
        INFO("rho from " << rhos.front() << " to " << rhos.back() << " in " << rhos.size() << " steps");
        const auto pooled = swept<Scalar>(problem, rhos);
        REQUIRE(pooled.has_value());
        CHECK(error(*pooled, plain_admm(problem, rhos), spread(bag)) <= (single ? 1e-5 : 1e-11));
    }
}

TEMPLATE_TEST_CASE("A bag's layout does not change a bit of what it pools to", "[admm_sweep]", float, double) {
    using Scalar = TestType;
    Random random(6);
    for (const Index D : {1, 5, 64, 67}) {
        for (const Index N : {1, 15, 16, 17, 100}) {
            const Matrix<Scalar> bag = random_bag<Scalar>(random, D, N, BagKind::normal);
            const auto pooled = [&](const MatrixView<Scalar>& view) {
                const UotProblem<Scalar> problem{
                    .reward = view, .alpha0 = Scalar(0.3), .features = {.alpha = 1}, .instances = {.alpha = 2}};
                return *tests::pooled_by_sweeps(problem, 0.4, 5);
            };
            const RealVector expected = pooled(bag);
            const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> row_major = bag;
            CHECK(pooled(row_major) == expected);
            const Matrix<Scalar> transposed = bag.transpose();
            CHECK(pooled(transposed.transpose()) == expected);
            Matrix<Scalar> within = Matrix<Scalar>::Constant(3 * D, 2 * N, 7);
            const Eigen::Map<Matrix<Scalar>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> strided(within.data(), D,
                                                                                                       N, {6 * D, 3});
            Eigen::Map<Matrix<Scalar>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>(within.data(), D, N,
                                                                                         {6 * D, 3}) = bag;
            CHECK(pooled(strided) == expected);
        }
    }
}

TEMPLATE_TEST_CASE("Excluded instances are as if they were not there", "[admm_sweep]", float, double) {
    using Scalar = TestType;
    Random random(7);
    const Matrix<Scalar> bag = random_bag<Scalar>(random, 9, 40, BagKind::normal);
    Matrix<Scalar> fewer(9, 20);
    UotProblem<Scalar> problem{.reward = bag,
                               .alpha0 = Scalar(0.3),
                               .features = {.alpha = 1},
                               .instances = {.alpha = hard, .prior = Vector<Scalar>::Zero(40)}};
    for (Index k = 0; k < 20; ++k) {
        fewer.col(k) = bag.col(2 * k);
        problem.instances.prior[2 * k] = Scalar(1) / 20;
    }
    const RealVector pooled = *tests::pooled_by_sweeps(problem, 0.5, 4);
    problem.reward = fewer;
    problem.instances.prior = {};
    CHECK(error(pooled, *tests::pooled_by_sweeps(problem, 0.5, 4), 1) <= 1e-6);
}

TEST_CASE("Values and rewards that float can hold, but not sums of them, are pooled in double", "[admm_sweep]") {
    Random random(9);
    const Matrix<float> bag = random_bag<float>(random, 4, 30, BagKind::normal);
    const Matrix<float> large = bag * (3e38F / bag.cwiseAbs().maxCoeff());
    UotProblem<float> problem{.reward = bag, .values = large, .features = {.alpha = 1}, .instances = {.alpha = 2}};
    CHECK(error(*tests::pooled_by_sweeps(problem, 1, 3), plain_admm(problem, 1, 3), spread(large)) <= 1e-6);
    problem = {.reward = large, .alpha0 = 1e38F, .features = {.alpha = 1e38F}, .instances = {.alpha = 2e38F}};
    CHECK(error(*tests::pooled_by_sweeps(problem, 1e38, 3), plain_admm(problem, 1e38, 3), spread(large)) <= 1e-6);
}

TEST_CASE("Sums over many instances keep float's digits", "[admm_sweep]") {
    Random random(8);
    const Matrix<float> bag = random_bag<float>(random, 3, 50'000, BagKind::shifted);
    for (const float alpha2 : {0.5F, std::numeric_limits<float>::infinity()}) {
        const UotProblem<float> problem{
            .reward = bag, .alpha0 = 0.5F, .features = {.alpha = 2}, .instances = {.alpha = alpha2}};
        const auto pooled = swept<float>(problem, 0.6, 4);
        REQUIRE(pooled.has_value());
        CHECK(error(*pooled, *swept<double>(problem, 0.6, 4), 1) <= 1e-5);
    }
}

TEST_CASE("Values in float have the digits of those that weigh", "[admm_sweep]") {
    // Neither their level nor an outlier without weight, wherever it is, takes any of them.
    Random random(9);
    for (const Index outlier : {0, 7, 59}) {
        for (const float level : {0.F, 1e3F, -1e5F}) {
            Matrix<float> bag = random_bag<float>(random, 20, 60, BagKind::normal);
            Matrix<float> values = random_bag<float>(random, 20, 60, BagKind::normal).array() + level;
            bag.col(outlier).setConstant(-20);
            values.col(outlier).setConstant(1e7F);
            const UotProblem<float> problem{.reward = bag,
                                            .values = values,
                                            .alpha0 = 0.5F,
                                            .features = {.alpha = 1},
                                            .instances = {.alpha = 0.5F}};
            INFO("outlier " << outlier << ", level " << level);
            const auto pooled = swept<float>(problem, 1, 4);
            REQUIRE(pooled.has_value());
            CHECK(error(*pooled, plain_admm(problem, 1, 4), 3) <= 1e-5);
        }
    }
}

}  // namespace admm_sweep_test
