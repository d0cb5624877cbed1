#include <algorithm>
#include <cstdint>
#include <string>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/direct_poolings.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/solvers.hpp"

using otpool::BregmanAdmm;
using otpool::Index;
using otpool::Matrix;
using otpool::Newton;
using otpool::Options;
using otpool::Quadratic;
using otpool::Sinkhorn;
using otpool::SolverOf;
using otpool::Vector;
using tests::BagKind;
using tests::Random;
using tests::direct::by_feature;
using tests::direct::Number;
using tests::direct::Numbers;
using tests::direct::pooled_error;

// What types tell is refused when it is compiled.
static_assert(!SolverOf<Sinkhorn, float, Quadratic> && !SolverOf<Sinkhorn, double, Quadratic>);
static_assert(SolverOf<Newton, float, Quadratic> && SolverOf<Newton, double, Quadratic>);
static_assert(SolverOf<BregmanAdmm, float, Quadratic> && SolverOf<BregmanAdmm, double, Quadratic>);
static_assert(SolverOf<Sinkhorn, float, otpool::Entropy> && SolverOf<Sinkhorn, double, otpool::RelativeEntropy>);
static_assert(SolverOf<Newton, double, otpool::Entropy> && SolverOf<Newton, float, otpool::RelativeEntropy>);
static_assert(SolverOf<BregmanAdmm, float, otpool::Entropy> && SolverOf<BregmanAdmm, double, otpool::RelativeEntropy>);
static_assert(!SolverOf<int, float, otpool::Entropy>);

namespace iterated_test {

const Options iterated{.tolerance = 1e-10, .max_iterations = 20000, .closed_forms = false};

template <class Scalar>
inline constexpr double iterated_tolerance = sizeof(Scalar) == 8 ? 1e-8 : 3e-6;

template <class Scalar, class Visit>
void for_each_bag(const Visit& visit) {
    std::uint64_t seed = 200;
    for (const BagKind kind : tests::all_bag_kinds) {
        for (const bool alone : {false, true}) {
            Random random(++seed);
            const Index D = random.integer(1, 10);
            const Index N = alone ? 1 : random.integer(2, 40);
            INFO((tests::Case{.seed = seed, .D = D, .N = N, .kind = kind}));
            visit(tests::random_bag<Scalar>(random, D, N, kind), random);
        }
    }
}

/// Whether every solver in turn, iterating, is `formula` of every feature; make(solver) makes the pooling.
template <class Scalar, class Make, class Formula>
void check_reached(const Matrix<Scalar>& bag, const Make& make, const Formula& formula) {
    const Vector<Number> expected = by_feature(bag, formula);
    tests::for_each_solver(iterated, [&](const auto& solver, const char* solver_name) {
        INFO(solver_name);
        const auto pooling = make(solver);
        const auto solution = pooling.solve({bag});
        CHECK(solution.iterations > 0);
        CHECK(solution.converged());
        CHECK(pooled_error(pooling.read(solution), expected, bag) <= iterated_tolerance<Scalar>);
    });
}

TEMPLATE_TEST_CASE("Iterating solvers reach the mean", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random&) {
        check_reached(
            bag, [](auto solver) { return otpool::mean_pooling<TestType>(solver); }, tests::direct::mean);
    });
}

TEMPLATE_TEST_CASE("Iterating solvers reach the softmax", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random& random) {
        const auto t = static_cast<TestType>(tests::spread(bag) * random.log_uniform(0.03, 30));
        INFO("temperature " << t);
        check_reached(
            bag, [&](auto solver) { return otpool::softmax_pooling<TestType>(t, solver); },
            [&](const Numbers& x) { return tests::direct::softmax(x, t); });
    });
}

TEMPLATE_TEST_CASE("Iterating solvers reach attention", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random& random) {
        const otpool::FixedPrior<TestType> prior{tests::uneven_prior<TestType>(random, bag.cols(), true)};
        const Numbers weights = tests::direct::numbers(prior.prior);
        const Number total = tests::direct::sum(weights);
        check_reached(
            bag, [&](auto solver) { return otpool::attention_pooling<TestType>(prior, solver); },
            [&](const Numbers& x) { return tests::direct::weighted(weights, x) / total; });
    });
}

TEMPLATE_TEST_CASE("Iterating solvers reach mixed pooling, but for its max", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random&) {
        // Two-level: the outer attention iterates over [mean; max], as does the mean inside.
        const auto formula = [](const Numbers& x) {
            return Number(0.25) * tests::direct::mean(x) + Number(0.75) * tests::direct::max(x);
        };
        const auto pooling = otpool::mixed_pooling<TestType>(TestType(0.25), BregmanAdmm{iterated});
        CHECK(pooled_error(pooling(bag), by_feature(bag, formula), bag) <= 10 * iterated_tolerance<TestType>);
    });
}

TEMPLATE_TEST_CASE("BregmanAdmm at alpha0 = 0 reaches the max", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random&) {
        const Vector<Number> expected = by_feature(bag, tests::direct::max);
        const auto pooling = otpool::max_pooling<TestType>(BregmanAdmm{iterated});
        const auto solution = pooling.solve({bag});
        CHECK(solution.iterations > 0);
        CHECK(solution.converged());
        CHECK(pooled_error(pooling.read(solution), expected, bag) <= iterated_tolerance<TestType>);
        const Vector<Number> smallest = by_feature(bag, tests::direct::min);
        const auto min = otpool::min_pooling<TestType>(BregmanAdmm{iterated});
        CHECK(pooled_error(min(bag), smallest, bag) <= iterated_tolerance<TestType>);
    });
}

TEMPLATE_TEST_CASE("Sinkhorn and Newton do not iterate at alpha0 = 0", "", float, double) {
    const Matrix<TestType> bag{{1, 2, 3}, {2, 0, 1}};
    const auto refusal = [&](const auto& pooling) {
        return tests::message_of<otpool::UnsupportedProblem>([&] { pooling(bag); });
    };
    const std::string message =
        " does not solve a problem with alpha0 = 0 and no closed form; allowed: alpha0 > 0 (ActiveSet, Automatic and "
        "BregmanAdmm take alpha0 = 0)";
    CHECK(refusal(otpool::max_pooling<TestType>(Sinkhorn{iterated})) == "Sinkhorn" + message);
    CHECK(refusal(otpool::max_pooling<TestType>(Newton{iterated})) == "Newton" + message);
    CHECK(refusal(otpool::max_pooling<TestType>(Sinkhorn{})) == "no error");

    // Exact transport has no closed form.
    const otpool::PoolingParameters<TestType> exact{.alpha0 = 0, .instances = {.alpha = otpool::hard}};
    CHECK(refusal(otpool::Pooling{exact, Sinkhorn{}}) == "Sinkhorn" + message);
    CHECK(refusal(otpool::Pooling{exact, Newton{}}) == "Newton" + message);
    CHECK(refusal(otpool::Pooling{exact, BregmanAdmm{}}) == "no error");
}

}  // namespace iterated_test
