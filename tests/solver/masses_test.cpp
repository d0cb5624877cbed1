#include <cmath>
#include <cstdint>
#include <string>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// Priors that are masses of any sum.

namespace masses_test {

using namespace otpool;
using namespace tests;

struct Masses {
    Matrix<double> bag;
    UotProblem<double> problem;

    Masses(std::uint64_t seed, double alpha1, double alpha2) {
        Random random(seed);
        bag = random_bag<double>(random, random.integer(1, 6), random.integer(1, 20), BagKind::normal);
        problem.reward = bag;
        problem.alpha0 = random.log_uniform(0.1, 2);
        problem.features = {alpha1, uneven_prior<double>(random, bag.rows(), false)};
        problem.instances = {alpha2, uneven_prior<double>(random, bag.cols(), true)};
        problem.features.has_masses = problem.instances.has_masses = true;
        const double mass = random.log_uniform(1e-3, 1e3);
        const bool both_hard = std::isinf(alpha1) && std::isinf(alpha2);
        problem.features.prior *= mass;
        problem.instances.prior *= both_hard ? mass : random.log_uniform(1e-3, 1e3);
    }
    Masses(const Masses&) = delete;
    Masses& operator=(const Masses&) = delete;

    template <class R>
    UotProblem<double, R> with() const {
        return {.reward = bag, .alpha0 = problem.alpha0, .features = problem.features, .instances = problem.instances};
    }
};

/// Calls visit(masses) for random problems with every kind of marginals.
void for_each_case(std::uint64_t count, const auto& visit) {
    const double alphas[] = {0, 0.7, 5, hard};
    std::uint64_t number = 0;
    for (std::uint64_t seed = 0; seed < count; ++seed) {
        for (const double alpha1 : alphas) {
            for (const double alpha2 : alphas) {
                if (!in_sample(number++)) continue;
                INFO("seed " << seed << ", alphas " << alpha1 << ' ' << alpha2);
                visit(Masses(seed, alpha1, alpha2));
            }
        }
    }
}

template <class R>
void check_optimal(const Solution<double, R>& solution) {
    CHECK(solution.status == Status::converged);
    CHECK(marginal_violation(solution) < 1e-8);
    const double unit = std::max(spread(solution.problem.reward.matrix()), 1e-3);
    CHECK(std::abs(duality_gap(solution, unit)) < 1e-8);
    CHECK(std::abs(solution.mass() - solution.plan().sum()) < 1e-9 * solution.mass());
}

TEMPLATE_TEST_CASE("priors of any mass are taken as given by entropic solvers", "", Sinkhorn, Newton, BregmanAdmm) {
    const TestType solver{{.tolerance = 1e-10}};
    for_each_case(8, [&](const Masses& masses) {
        check_optimal(solver.solve(masses.with<Entropy>()));
        check_optimal(solver.solve(masses.with<RelativeEntropy>()));
    });
}

TEST_CASE("priors of any mass are taken as given with Quadratic and at alpha0 = 0") {
    for_each_case(6, [&](const Masses& masses) {
        const BregmanAdmm solver{{.tolerance = 1e-9, .max_iterations = 200000}};
        check_optimal(solver.solve(masses.with<Quadratic>()));
        auto limit = masses.with<Entropy>();
        limit.alpha0 = 0;
        if (limit.features.alpha > 0 || limit.instances.alpha > 0) check_optimal(solver.solve(limit));
    });
}

TEST_CASE("the objective has the masses of its priors") {
    for_each_case(3, [&](const Masses& masses) {
        const auto check = [](const auto& problem) {
            const auto solution = Newton{{.tolerance = 1e-10}}.solve(problem);
            const WideMatrix plan = solution.plan().template cast<Wide>();
            const WideVector p = wide_prior(problem.features, plan.rows());
            const WideVector q = wide_prior(problem.instances, plan.cols());
            const Wide base = std::is_same_v<std::decay_t<decltype(solution)>, Solution<double, RelativeEntropy>>;
            Wide value = penalty_value(wide_alphas(problem.features, plan.rows()), plan.rowwise().sum(), p) +
                         penalty_value(wide_alphas(problem.instances, plan.cols()), plan.colwise().sum(), q);
            for (Index n = 0; n < plan.cols(); ++n) {
                for (Index d = 0; d < plan.rows(); ++d) {
                    if (q[n] == 0) continue;
                    const Wide entry = plan(d, n);
                    const Wide unit = base > 0 ? p[d] * q[n] : 1;
                    value -= static_cast<Wide>(problem.reward(d, n)) * entry;
                    value += static_cast<Wide>(problem.alpha0) * (entry * (std::log(entry / unit) - 1) + base * unit);
                }
            }
            CHECK(std::abs(static_cast<double>(value) - solution.objective()) <
                  1e-9 * (1 + std::abs(solution.objective())));
        };
        check(masses.with<Entropy>());
        check(masses.with<RelativeEntropy>());
    });
}

TEST_CASE("masses that go together with nothing are refused") {
    const Matrix<double> bag = Matrix<double>::Identity(2, 2);
    UotProblem<double> problem{.reward = bag};
    const auto message = [&] { return message_of<InvalidArgument>([&] { Sinkhorn{}.solve(problem); }); };
    problem.instances = {1, Vector<double>{{4, 2}}};
    CHECK(message() == "sum of q0 is 6; allowed: 1, within 0.001 (or any, where the marginal says that it has masses)");
    problem.instances.has_masses = true;
    CHECK_NOTHROW(Sinkhorn{}.solve(problem));
    problem.instances.alpha = hard;
    CHECK(message() == "sum of q0 is 6; allowed: 1, the sum of p0, within 0.001 of it, as both marginals are hard");
    problem.instances.prior.setZero();
    CHECK(message() == "sum of q0 is 0; allowed: finite and > 0");
}

TEST_CASE("a uniform prior that lost its sum to rounding can be given as masses") {
    const Matrix<float> bag = Matrix<float>::Random(3, 50000);
    UotProblem<float> problem{.reward = bag, .alpha0 = 0.5};
    problem.instances = {1, Vector<float>::Constant(50000, 2.00272e-05F)};  // 1 / 50000 in half precision
    problem.instances.has_masses = true;
    const auto solution = Sinkhorn{}.solve(problem);
    CHECK(solution.converged());
    problem.instances = {1};
    const Vector<float> uniform = ConditionalReadout{}(Sinkhorn{}.solve(problem));
    CHECK((ConditionalReadout{}(solution)-uniform).cwiseAbs().maxCoeff() < 1e-5F);
}

}  // namespace masses_test
