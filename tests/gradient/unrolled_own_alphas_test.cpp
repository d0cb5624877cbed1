#include <algorithm>
#include <cmath>
#include <cstdint>

#include "otpool/gradient/unrolled.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/solver/bregman_admm.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "support/catch.hpp"
#include "support/central_differences.hpp"
#include "support/message_of.hpp"
#include "support/pooled_only.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// The gradient of Sinkhorn's steps where each feature and instance has an alpha of its own, and of steps that start with
// the instances' half step.

namespace unrolled_own_alphas_test {

using namespace otpool;
using tests::Parameters;
using tests::Random;

/// Alphas of kinds that are drawn first: all, or only some, of free, soft and hard.
Vector<double> random_alphas(Random& random, Index size) {
    const bool may_be[] = {random.chance(0.4), random.chance(0.8), random.chance(0.6)};
    Vector<double> alphas(size);
    for (double& alpha : alphas) {
        auto kind = static_cast<std::size_t>(random.integer(0, 2));
        if (!may_be[kind]) kind = may_be[2] ? 2 : 1;
        alpha = kind == 0 ? 0 : kind == 1 ? random.log_uniform(0.05, 20) : double(infinity);
    }
    return alphas;
}

Parameters random_parameters(Random& random) {
    Parameters drawn = tests::random_parameters(random, {});
    // Steps depend on the largest reward, which is taken off the others: no other is so near that both may be largest.
    Index row, col;
    drawn.reward.maxCoeff(&row, &col);
    drawn.reward(row, col) += 0.01;
    // Instances of slots are often all hard.
    if (random.chance(0.3)) drawn.shared.alpha2 = hard;
    const bool own_features = random.chance(0.8);
    if (own_features) drawn.alphas1 = random_alphas(random, drawn.reward.rows());
    if (!own_features || random.chance(0.4)) drawn.alphas2 = random_alphas(random, drawn.reward.cols());
    return drawn;
}

bool all_finite(const ProblemGradient<double>& of) {
    return of.reward.allFinite() && of.values.allFinite() && of.alpha0.allFinite() && of.alpha1.allFinite() &&
           of.alpha2.allFinite() && of.alphas1.allFinite() && of.alphas2.allFinite() && of.log_p0.allFinite() &&
           of.log_q0.allFinite();
}

template <class R, class Readout>
void check(std::uint64_t first_seed, const auto& wrapped) {
    for (std::uint64_t seed = first_seed; seed < first_seed + 100; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        const Parameters parameters = random_parameters(random);
        const Sinkhorn solver{.options = {.iterations = static_cast<int>(random.integer(1, 20)), .closed_forms = false},
                              .translation = random.chance(0.6),
                              .first = random.chance(0.5) ? HalfStep::features : HalfStep::instances};
        const auto mode = [&](const Parameters&) { return wrapped(Unrolled<Sinkhorn>{solver}); };
        const auto check = tests::check_gradient<R>(random, parameters, mode, Readout{});
        INFO("seed " << seed << ", " << *solver.options.iterations << " steps, translation " << solver.translation
                     << ", instances first " << (solver.first == HalfStep::instances) << ": " << check);
        CHECK(check.error() < 1e-6);
        CHECK(check.kinks() == 0);
        const auto problem = parameters.problem<R>();
        const Vector<double> ones = Vector<double>::Ones(parameters.reward.rows());
        const auto tape = mode(parameters).solve(problem);
        CHECK(all_finite(mode(parameters).backward(Readout{}, tape, ones)));
    }
}

constexpr auto as_it_is = [](const Unrolled<Sinkhorn>& mode) { return mode; };
constexpr auto only_pools = [](const Unrolled<Sinkhorn>& mode) { return tests::PooledOnly{mode}; };

TEMPLATE_TEST_CASE("Unrolled is the derivative of Sinkhorn's steps with an alpha for each line", "", ConditionalReadout,
                   JointReadout) {
    check<Entropy, TestType>(0, as_it_is);
    check<RelativeEntropy, TestType>(100, as_it_is);
}

TEST_CASE("Unrolled is the derivative of Sinkhorn's steps with an alpha for each line that are only to pool") {
    check<Entropy, ConditionalReadout>(200, only_pools);
    check<RelativeEntropy, ConditionalReadout>(300, only_pools);
}

TEST_CASE("with an alpha for each line, or instances first, the forward pass is Sinkhorn's own") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        Random random(seed);
        const Parameters parameters = random_parameters(random);
        const auto problem = parameters.problem<Entropy>();
        for (const HalfStep first : {HalfStep::features, HalfStep::instances}) {
            for (const bool translation : {false, true}) {
                const Sinkhorn solver{.options = {.iterations = static_cast<int>(random.integer(1, 5))},
                                      .translation = translation,
                                      .first = first};
                INFO("seed " << seed << ", translation " << translation << ", instances first "
                             << (first == HalfStep::instances) << ": " << parameters);
                const auto expected = solver.solve(problem);
                Vector<double> pooled(parameters.reward.rows());
                solver.pool(problem, pooled);
                const Unrolled<Sinkhorn, StepsAlone> mode{solver};
                if (detail::has_closed_form(problem)) continue;
                CHECK(mode.solve(problem).solution->plan() == expected.plan());
                CHECK(mode.solve(problem).mean.isApprox(pooled, 1e-12));
                CHECK(mode.solve(problem, true).mean.isApprox(pooled, 1e-12));
            }
        }
    }
}

TEST_CASE("alphas that are all alike have a derivative each") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        if (!tests::in_sample(seed)) continue;
        Random random(seed);
        Parameters parameters = tests::random_parameters(random, {});
        Index row, col;
        parameters.reward.maxCoeff(&row, &col);
        parameters.reward(row, col) += 0.01;  // as above
        const auto alike = [&](Index size) {
            const double alphas[] = {0, random.log_uniform(0.05, 20), infinity};
            return Vector<double>::Constant(size, alphas[random.integer(0, 2)]).eval();
        };
        parameters.alphas1 = alike(parameters.reward.rows());
        parameters.alphas2 = alike(parameters.reward.cols());
        const Sinkhorn solver{.options = {.iterations = static_cast<int>(random.integer(1, 6)), .closed_forms = false},
                              .translation = random.chance(0.5)};
        const auto mode = [&](const Parameters&) { return Unrolled<Sinkhorn, StepsAlone>{solver}; };
        const auto check = tests::check_gradient<Entropy>(random, parameters, mode, JointReadout{});
        INFO("seed " << seed << ": " << check);
        CHECK(check.error() < 1e-6);
    }
}

TEST_CASE("a translation that is exactly zero has a derivative") {
    Parameters parameters{.reward = Matrix<double>::Zero(1, 1)};
    parameters.values = Matrix<double>::Ones(1, 1);
    parameters.log_p0 = parameters.log_q0 = Vector<double>::Zero(1);
    parameters.shared = {.alpha0 = 1, .alpha1 = 0.5, .alpha2 = 2};
    Random random(1);
    const auto mode = [](const Parameters&) {
        return Unrolled<Sinkhorn>{{.options = {.iterations = 2, .closed_forms = false}}};
    };
    const auto check = tests::check_gradient<Entropy>(random, parameters, mode, JointReadout{});
    INFO(check);
    CHECK(check.error() < 1e-8);
    CHECK(check.largest() > 0.01);
}

TEST_CASE("with an alpha for each line, an excluded instance leaves the gradient of the others alone") {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        Random random(seed);
        const Parameters parameters = random_parameters(random);
        const Index D = parameters.reward.rows();
        const Index N = parameters.reward.cols();
        const auto problem = parameters.problem<Entropy>();
        const Unrolled<Sinkhorn, StepsAlone> mode{{.options = {.iterations = 3}}};
        const Index place = random.integer(0, N);
        const auto with_one_more = [&](const Matrix<double>& matrix, double fill) {
            Matrix<double> more = Matrix<double>::Constant(matrix.rows(), N + 1, fill);
            more.leftCols(place) = matrix.leftCols(place);
            more.rightCols(N - place) = matrix.rightCols(N - place);
            return more;
        };
        auto larger = problem;
        larger.reward = with_one_more(parameters.reward, 50);
        if (!problem.values.empty()) larger.values = with_one_more(parameters.values, 7);
        larger.instances.prior = with_one_more(problem.instances.prior.transpose(), 0).transpose();
        const bool own = parameters.alphas2.size() > 0;
        if (own) larger.instances.alphas = with_one_more(parameters.alphas2.transpose(), 0.5).transpose();
        const Vector<double> ones = Vector<double>::Ones(D);
        const auto expected = mode.backward(JointReadout{}, mode.solve(problem), ones);
        const auto found = mode.backward(JointReadout{}, mode.solve(larger), ones);
        INFO("seed " << seed << ": " << parameters);
        const double size = std::max(1e-3, expected.reward.cwiseAbs().maxCoeff());
        CHECK((found.reward - with_one_more(expected.reward, 0)).cwiseAbs().maxCoeff() <= 1e-12 * size);
        CHECK((found.log_p0 - expected.log_p0).cwiseAbs().maxCoeff() <= 1e-12 * std::max(size, expected.log_p0.norm()));
        if (own) {
            const Matrix<double> alphas2 = with_one_more(expected.alphas2.transpose(), 0).transpose();
            CHECK((found.alphas2 - alphas2).cwiseAbs().maxCoeff() <= 1e-12 * std::max(size, alphas2.norm()));
        }
    }
}

TEST_CASE("in float, the gradient of steps with an alpha for each line is that in double") {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        Random random(seed);
        Matrix<float> bag = tests::random_bag<float>(random, 12, 40, tests::BagKind::normal);
        Vector<double> alphas1 = random_alphas(random, 12);
        const bool own_instances = random.chance(0.5);
        const Vector<double> alphas2 = own_instances ? random_alphas(random, 40) : Vector<double>();
        const Sinkhorn solver{.options = {.iterations = static_cast<int>(random.integer(1, 10))},
                              .translation = random.chance(0.5),
                              .first = random.chance(0.5) ? HalfStep::features : HalfStep::instances};
        const auto gradient = [&]<class Scalar>(Scalar) {
            UotProblem<Scalar> problem{.reward = bag.template cast<Scalar>().eval(),
                                       .alpha0 = Scalar(0.5),
                                       .features = {.alpha = 1},
                                       .instances = {.alpha = hard}};
            problem.features.alphas = alphas1.template cast<Scalar>();
            problem.instances.alphas = alphas2.template cast<Scalar>();
            const Unrolled<Sinkhorn, StepsAlone> mode{solver};
            return mode.backward(ConditionalReadout{}, mode.solve(problem, true), Vector<Scalar>::Ones(12).eval());
        };
        const auto expected = gradient(double());
        const auto found = gradient(float());
        INFO("seed " << seed << ", " << *solver.options.iterations << " steps, translation " << solver.translation);
        const double size = expected.reward.cwiseAbs().maxCoeff();
        CHECK((found.reward.cast<double>() - expected.reward).cwiseAbs().maxCoeff() <= 2e-5 * size);
        CHECK((found.alphas1 - expected.alphas1).cwiseAbs().maxCoeff() <=
              1e-4 * std::max(size, expected.alphas1.cwiseAbs().maxCoeff()));
    }
}

TEST_CASE("Unrolled says which alphas and half steps do not go together") {
    using tests::message_of;
    const Matrix<double> bag{{0.3, -0.4, 0.5}, {0.1, 0.9, -0.2}};
    UotProblem<double> problem{.reward = bag, .alpha0 = 0.5, .features = {.alpha = hard}, .instances = {.alpha = 2}};
    CHECK(
        message_of<UnsupportedProblem>([&] {
            Unrolled<Sinkhorn>{{.options = {.iterations = 1}, .first = HalfStep::instances}, {StepParameters{}}}.solve(
                problem);
        }) ==
        "Unrolled Sinkhorn does not solve a problem with parameters for each step and the instances' half step first; "
        "allowed: the same parameters for all steps, or the features' half step first");
    problem.features.alphas = Vector<double>{{1, 2}};
    CHECK(message_of<UnsupportedProblem>([&] {
              Unrolled<Sinkhorn>{{{.iterations = 1}}, {StepParameters{}}}.solve(problem);
          }) ==
          "Unrolled with parameters for each step does not solve a problem with alphas for each feature or instance; "
          "allowed: one alpha for all (solvers take them)");
    CHECK(message_of<UnsupportedProblem>([&] {
              Unrolled<BregmanAdmm>{{{.iterations = 2}, 1.0}}.solve(problem);
          }) ==
          "Unrolled BregmanAdmm does not solve a problem with alphas for each feature or instance; allowed: one alpha "
          "for all (solvers take them)");
}

}  // namespace unrolled_own_alphas_test
