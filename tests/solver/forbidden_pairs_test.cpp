#include <cmath>
#include <limits>
#include <string>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// Rewards of -inf and large negative ones forbid pairs: the plan has nothing there, and no default or stopping rule of
// any solver depends on how low they are.

namespace forbidden_pairs_test {

using namespace otpool;
using namespace tests;

constexpr double never = -std::numeric_limits<double>::infinity();
constexpr double lowest = std::numeric_limits<double>::lowest();

/// A bag of a few features and instances, of which every pair on a cycle through all lines is allowed; the priors are
/// the marginals of a positive plan on the allowed pairs, so that hard ones can be met.
struct Forbidden {
    Matrix<double> values, reward;
    Matrix<double> allowed;  ///< 0 or 1
    Vector<double> p, q;
    double unit = 0;  ///< The spread of the allowed rewards.

    Forbidden(std::uint64_t seed, double reward_of_forbidden, double share) {
        Random random(seed);
        const Index D = random.integer(2, 6);
        const Index N = random.integer(2, 12);
        values = random_bag<double>(random, D, N, BagKind::normal);
        reward = values;
        allowed = Matrix<double>::Ones(D, N);
        Matrix<double> plan(D, N);
        double sum = 0, squares = 0, count = 0;
        for (Index n = 0; n < N; ++n) {
            for (Index d = 0; d < D; ++d) {
                const bool on_cycle = d == n % D || d == (n + 1) % D || n == d % N;
                plan(d, n) = random.log_uniform(0.1, 1);
                if (!on_cycle && random.chance(share)) allowed(d, n) = plan(d, n) = 0;
                if (allowed(d, n) == 0) reward(d, n) = reward_of_forbidden;
                if (allowed(d, n) == 0) continue;
                sum += reward(d, n);
                squares += reward(d, n) * reward(d, n);
                ++count;
            }
        }
        unit = std::sqrt(std::max(squares / count - sum * sum / count / count, 1e-4));
        p = plan.rowwise().sum() / plan.sum();
        q = plan.colwise().sum().transpose() / plan.sum();
    }
};

/// Checks the plan against the problem without the forbidden pairs.
template <class R>
void check(const Forbidden& bag, const Solution<double, R>& solution, double tolerance) {
    CHECK(solution.status == Status::converged);
    const Matrix<double> plan = solution.plan();
    CHECK((plan.array() * (1 - bag.allowed.array())).maxCoeff() == 0);
    CHECK(marginal_violation(solution) < tolerance);
    Solution<double, R> without = solution;  // a low reward stays in the objective only by rounding
    const Matrix<double> reward = (bag.allowed.array() > 0).select(bag.reward, never);
    without.problem.reward = reward;
    CHECK(std::abs(duality_gap(without, bag.unit)) < tolerance);
    const Vector<double> pooled = ConditionalReadout{}(solution);
    const Vector<double> expected = (plan.array() * bag.values.array()).rowwise().sum() / plan.rowwise().sum().array();
    CHECK((pooled - expected).cwiseAbs().maxCoeff() < 1e-9 * bag.unit);
}

template <class R>
UotProblem<double, R> problem_of(const Forbidden& bag, double alpha0, double alpha1, double alpha2) {
    UotProblem<double, R> problem{.reward = bag.reward, .values = bag.values, .alpha0 = alpha0 * bag.unit};
    problem.features = {alpha1 * bag.unit, bag.p};
    problem.instances = {alpha2 * bag.unit, bag.q};
    return problem;
}

constexpr double rewards_of_forbidden[] = {never, -1e9, -1e16, -1e30, -3.4e38, -1e300, lowest};

/// Calls visit(bag, alpha1, alpha2) for bags with every kind of forbidden pair and of marginals.
void for_each_case(int bags, const auto& visit) {
    std::uint64_t seed = 0;
    for (const double reward : rewards_of_forbidden) {
        for (const auto& [alpha1, alpha2] : {std::pair{1 / 0., 1 / 0.}, {1 / 0., 1.}, {1., 1 / 0.}, {0.3, 3.}}) {
            for (int i = 0; i < bags; ++i) {
                if (!in_sample(seed++)) continue;
                const Forbidden bag(seed, reward, i % 2 == 0 ? 0.2 : 0.8);
                INFO("seed " << seed << ", forbidden " << reward << ", alphas " << alpha1 << ' ' << alpha2);
                CAPTURE(bag.reward);
                visit(bag, alpha1, alpha2);
            }
        }
    }
}

TEMPLATE_TEST_CASE("entropic solvers draw nothing on forbidden pairs", "", Sinkhorn, Newton, BregmanAdmm) {
    const TestType solver{{.tolerance = 1e-10}};
    for_each_case(5, [&](const Forbidden& bag, double alpha1, double alpha2) {
        for (const double alpha0 : {0.05, 1.}) {
            CAPTURE(alpha0);
            check(bag, solver.solve(problem_of<Entropy>(bag, alpha0, alpha1, alpha2)), 1e-8);
            check(bag, solver.solve(problem_of<RelativeEntropy>(bag, alpha0, alpha1, alpha2)), 1e-8);
        }
    });
}

TEST_CASE("forbidden pairs get nothing with Quadratic or alpha0 = 0") {
    for_each_case(5, [&](const Forbidden& bag, double alpha1, double alpha2) {
        const auto quadratic = problem_of<Quadratic>(bag, 1, alpha1, alpha2);
        const auto limit = problem_of<Entropy>(bag, 0, alpha1, alpha2);
        const BregmanAdmm admm{{.tolerance = 1e-8, .max_iterations = 100000}};
        const auto check_named = [&](const char* solver, const auto& solution, double tolerance) {
            INFO(solver << " at alpha0 = " << solution.problem.alpha0);
            check(bag, solution, tolerance);
        };
        check_named("BregmanAdmm", admm.solve(quadratic), 1e-6);
        check_named("BregmanAdmm", admm.solve(limit), 1e-6);
        check_named("Newton", Newton{{.tolerance = 1e-10}}.solve(quadratic), 1e-8);
        check_named("ActiveSet", ActiveSet{{.tolerance = 1e-10}}.solve(limit), 1e-8);
    });
}

TEMPLATE_TEST_CASE("a forbidden pair leaves transport to its optimum", "", double, float) {
    const Matrix<TestType> values = (Matrix<TestType>(2, 4) << 1, 2, 3, 0, 0, 1.5, 5, 4).finished();
    for (const double forbidden : {-1e9, -3e38, never}) {
        Matrix<TestType> reward = values;
        reward(1, 2) = static_cast<TestType>(forbidden);
        UotProblem<TestType> problem{.reward = reward, .values = values, .alpha0 = 0};
        problem.features.alpha = problem.instances.alpha = hard;
        const auto check_pooled = [](const auto& solution, double tolerance) {
            CHECK(solution.converged());
            const Vector<double> pooled = ConditionalReadout{}(solution).template cast<double>();
            CHECK((pooled - Vector<double>{{2, 2.75}}).cwiseAbs().maxCoeff() < tolerance);
        };
        check_pooled(BregmanAdmm{{.tolerance = 1e-6}}.solve(problem), 1e-5);
        check_pooled(ActiveSet{}.solve(problem), std::is_same_v<TestType, double> ? 1e-12 : 1e-6);
    }
}

TEMPLATE_TEST_CASE("fixed steps and closed forms draw nothing on forbidden pairs", "", double, float) {
    const double tolerance = std::is_same_v<TestType, double> ? 1e-10 : 2e-5;
    for (const Index N : {9, 700}) {  // steps look at a few instances of a large bag before they take exponentials
        for (const double forbidden : {never, -1e30}) {
            Random random(static_cast<std::uint64_t>(N));
            const Matrix<double> values = random_bag<double>(random, 5, N, BagKind::normal);
            Matrix<double> reward = values;
            for (Index n = N / 2; n < N; ++n) reward(n % 5, n) = forbidden;
            const Matrix<TestType> values_of_type = values.cast<TestType>();
            const Matrix<TestType> reward_of_type = reward.cast<TestType>();
            const auto check_same = [&](double alpha1, double alpha2, const auto& solver, double alpha0) {
                UotProblem<TestType> problem{
                    .reward = reward_of_type, .values = values_of_type, .alpha0 = static_cast<TestType>(alpha0)};
                problem.features.alpha = static_cast<TestType>(alpha1);
                problem.instances.alpha = static_cast<TestType>(alpha2);
                Vector<TestType> pooled(5);
                solver.pool(problem, pooled);
                // The log domain, in double, with every step seen.
                UotProblem<double> wide{.reward = reward, .values = values, .alpha0 = alpha0};
                wide.features.alpha = alpha1;
                wide.instances.alpha = alpha2;
                const auto seen = [](int, double) { return false; };
                const Vector<double> expected = ConditionalReadout{}(solver.solve(wide, {.observer = seen}));
                INFO(N << " instances, forbidden " << forbidden << ", alphas " << alpha0 << ' ' << alpha1 << ' '
                       << alpha2);
                CHECK((pooled.template cast<double>() - expected).cwiseAbs().maxCoeff() < tolerance);
            };
            for (const double alpha0 : {0.1, 2.}) {
                check_same(hard, hard, Sinkhorn{{.iterations = 4}}, alpha0);
                check_same(1, 3, Sinkhorn{{.iterations = 4}}, alpha0);
                check_same(1, 3, BregmanAdmm{{.iterations = 4}}, alpha0);
            }
            // Softmax pooling and the max, by their formulas.
            for (const double alpha0 : {0., 0.3}) {
                UotProblem<TestType> problem{
                    .reward = reward_of_type, .values = values_of_type, .alpha0 = static_cast<TestType>(alpha0)};
                Vector<TestType> pooled(5);
                Sinkhorn{}.pool(problem, pooled);
                for (Index d = 0; d < 5; ++d) {
                    const double top = reward.row(d).maxCoeff();
                    const Eigen::ArrayXd slack = reward.row(d).transpose().array() - top;
                    const Eigen::ArrayXd weight =
                        alpha0 == 0 ? (slack == 0).cast<double>().eval() : (slack / alpha0).exp().eval();
                    const double expected = (weight * values.row(d).transpose().array()).sum() / weight.sum();
                    CHECK(std::abs(static_cast<double>(pooled[d]) - expected) < tolerance);
                }
            }
        }
    }
}

TEST_CASE("an instance that every feature is forbidden to draw on has no mass") {
    Matrix<double> reward(2, 3);
    reward << 1, 2, never, 0, 3, never;
    const Matrix<double> values = (Matrix<double>(2, 3) << 1, 2, 7, 0, 3, 7).finished();
    UotProblem<double> problem{.reward = reward, .values = values, .alpha0 = 0.5};
    problem.features.alpha = 1;
    problem.instances.alpha = 2;
    const auto solution = Sinkhorn{{.tolerance = 1e-12}}.solve(problem);
    CHECK(solution.converged());
    CHECK(solution.plan().col(2).isZero(0));
    // Its prior stays: the others have a third each.
    UotProblem<double> without{.reward = reward.leftCols(2).eval(), .values = values.leftCols(2).eval(), .alpha0 = 0.5};
    without.features.alpha = 1;
    without.instances.alpha = 2;
    const Matrix<double> plan = solution.plan();
    for (Index n = 0; n < 2; ++n) {
        CHECK(std::abs(std::log(3 * plan.col(n).sum()) + solution.instance_potential[n] / 2) < 1e-10);
    }
}

TEST_CASE("where no plan meets hard marginals without forbidden pairs, no solver says converged") {
    const Matrix<double> reward{{1, never, never}, {2, never, never}, {0, 1, 2}};
    const Matrix<double> values = Matrix<double>::Identity(3, 3);
    const auto check_unsolved = [&]<class R>(R, const auto& solver, double alpha0) {
        UotProblem<double, R> problem{.reward = reward, .values = values, .alpha0 = alpha0};
        problem.features.alpha = problem.instances.alpha = hard;
        const auto solution = solver.solve(problem);
        CHECK((solution.status == Status::iteration_limit || solution.status == Status::precision_limit));
        CHECK(ConditionalReadout{}(solution).allFinite());
    };
    const Options options{.max_iterations = 500};
    check_unsolved(Entropy{}, Sinkhorn{options}, 0.1);
    check_unsolved(Entropy{}, Newton{options}, 0.1);
    check_unsolved(Quadratic{}, Newton{options}, 0.1);
    check_unsolved(Entropy{}, ActiveSet{options}, 0);
    for (const double alpha0 : {0., 0.1}) {
        check_unsolved(Entropy{}, BregmanAdmm{options}, alpha0);
        check_unsolved(Quadratic{}, Automatic{options}, alpha0);
    }
}

TEST_CASE("forbidden pairs that leave no plan are refused in a sentence") {
    Matrix<double> reward(2, 3);
    reward << 1, never, never, 0, never, 3;
    const Matrix<double> values = Matrix<double>::Ones(2, 3);
    UotProblem<double> problem{.reward = reward, .values = values, .alpha0 = 0.5};
    problem.instances.alpha = hard;
    const auto message = [&] { return message_of<InvalidArgument>([&] { Sinkhorn{}.solve(problem); }); };
    CHECK(message() ==
          "reward of instance 1 is -inf at all features; allowed: a finite reward, as its marginal is hard");
    reward(0, 1) = 1;
    CHECK_NOTHROW(Sinkhorn{}.solve(problem));
    reward.row(0).setConstant(never);
    reward(1, 1) = 1;
    problem.instances.alpha = 1;
    CHECK(message() ==
          "reward of feature 0 is -inf at all instances of prior > 0; allowed: at least one finite reward");
    reward(0, 0) = 1;
    problem.values = {};
    CHECK(message() == "values is empty; allowed: finite values, as the reward has entries of -inf");
    problem.values = values;
    problem.alpha0 = infinity;
    CHECK(message() == "alpha0 is inf; allowed: finite, as the reward has entries of -inf");
    problem.alpha0 = 1;
    reward(1, 0) = -never;
    CHECK(message().find("reward at feature 1, instance 0") == 0);
}

}  // namespace forbidden_pairs_test
