#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/direct_poolings.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/solvers.hpp"

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;
using tests::BagKind;
using tests::Random;
using tests::direct::by_feature;
using tests::direct::Number;
using tests::direct::Numbers;
using tests::direct::pooled_error;

namespace named_poolings_test {

constexpr std::array<std::pair<Index, Index>, 7> shapes = {
    {{1, 1}, {6, 1}, {1, 7}, {3, 2}, {4, 13}, {17, 40}, {2, 300}}};

/// Calls visit(bag, random) with bags of every kind and shape.
template <class Scalar, class Visit>
void for_each_bag(const Visit& visit) {
    std::uint64_t seed = 0;
    for (const BagKind kind : tests::all_bag_kinds) {
        for (const auto& [D, N] : shapes) {
            Random random(++seed);
            INFO((tests::Case{.seed = seed, .D = D, .N = N, .kind = kind}));
            visit(tests::random_bag<Scalar>(random, D, N, kind), random);
        }
    }
}

/// Whether `pooling` of the bag is `formula` of every feature, through every solver; make(solver) makes it.
template <class Scalar, class Make, class Formula>
void check_formula(const Matrix<Scalar>& bag, const Make& make, const Formula& formula) {
    const Vector<Number> expected = by_feature(bag, formula);
    tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
        INFO(solver_name);
        CHECK(pooled_error(make(solver)(bag), expected, bag) <= tests::closed_form_tolerance<Scalar>);
    });
}

TEMPLATE_TEST_CASE("Mean, max and min pooling are the mean, the largest and the smallest entry", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random&) {
        check_formula(
            bag, [](auto solver) { return otpool::mean_pooling<TestType>(solver); }, tests::direct::mean);
        check_formula(
            bag, [](auto solver) { return otpool::max_pooling<TestType>(solver); }, tests::direct::max);
        check_formula(
            bag, [](auto solver) { return otpool::min_pooling<TestType>(solver); }, tests::direct::min);
        // The largest and the smallest are among the entries: no rounding at all.
        CHECK(otpool::max_pooling<TestType>()(bag) == bag.rowwise().maxCoeff());
        CHECK(otpool::min_pooling<TestType>()(bag) == bag.rowwise().minCoeff());
    });
}

TEMPLATE_TEST_CASE("Sum pooling is N times the mean", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random&) {
        const Vector<Number> expected = by_feature(bag, tests::direct::sum);
        tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
            INFO(solver_name);
            const Matrix<TestType> scale = bag * static_cast<TestType>(bag.cols());
            CHECK(pooled_error(otpool::sum_pooling<TestType>(solver)(bag), expected, scale) <=
                  tests::closed_form_tolerance<TestType>);
        });
    });
}

/// Calls check(bag, temperature) for many bags, and from zero to infinite temperatures of each.
template <class Scalar, class Check>
void for_each_temperature(const Check& check) {
    for_each_bag<Scalar>([&](const Matrix<Scalar>& bag, Random& random) {
        const double scale = tests::spread(bag);
        for (const double factor : {0.0, 1e-6, random.log_uniform(1e-3, 1e3), 1e6, 1e300}) {
            const Scalar t =
                factor > 1e6 ? std::numeric_limits<Scalar>::infinity() : static_cast<Scalar>(factor * scale);
            INFO("temperature " << t);
            check(bag, t);
        }
    });
}

TEMPLATE_TEST_CASE("Softmax pooling weighs instances by their exponentials", "", float, double) {
    for_each_temperature<TestType>([](const Matrix<TestType>& bag, TestType t) {
        check_formula(
            bag, [&](auto solver) { return otpool::softmax_pooling<TestType>(t, solver); },
            [&](const Numbers& x) { return tests::direct::softmax(x, t); });
    });
}

TEMPLATE_TEST_CASE("Log-sum-exp pooling is t times the log of the mean exponential", "", float, double) {
    for_each_temperature<TestType>([](const Matrix<TestType>& bag, TestType t) {
        check_formula(
            bag, [&](auto solver) { return otpool::log_sum_exp_pooling<TestType>(t, solver); },
            [&](const Numbers& x) { return tests::direct::log_mean_exp(x, t); });
    });
}

TEMPLATE_TEST_CASE("Log-sum-exp keeps its digits under a shift of a million", "", float, double) {
    Random random(5);
    Matrix<TestType> bag(3, 20);
    for (Index n = 0; n < 20; ++n) {
        for (Index d = 0; d < 3; ++d) bag(d, n) = 1000000 + static_cast<TestType>(random.integer(-8, 8));
    }
    for (const double t : {1e-6, 1e-3, 1.0, 1e3, 1e6, 1e9}) {
        INFO("temperature " << t);
        check_formula(
            bag, [&](auto solver) { return otpool::log_sum_exp_pooling<TestType>(static_cast<TestType>(t), solver); },
            [&](const Numbers& x) { return tests::direct::log_mean_exp(x, static_cast<TestType>(t)); });
    }
}

TEMPLATE_TEST_CASE("Attention pooling weighs instances by the prior", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random& random) {
        const Vector<TestType> q0 = tests::uneven_prior<TestType>(random, bag.cols(), true);
        const Numbers weights = tests::direct::numbers(q0);
        const Number total = tests::direct::sum(weights);
        const auto formula = [&](const Numbers& x) { return tests::direct::weighted(weights, x) / total; };
        check_formula(
            bag,
            [&](auto solver) { return otpool::attention_pooling<TestType>(otpool::FixedPrior<TestType>{q0}, solver); },
            formula);
        // The same prior, brought by the bag.
        const Vector<TestType> y = otpool::attention_pooling<TestType>()({.instances = bag, .prior = q0});
        CHECK(pooled_error(y, by_feature(bag, formula), bag) <= tests::closed_form_tolerance<TestType>);
    });
}

TEMPLATE_TEST_CASE("Mixed pooling is w mean + (1 - w) max", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random& random) {
        for (const double weight : {0.0, 1.0, 0.5, random.uniform()}) {
            const auto w = static_cast<TestType>(weight);
            INFO("weight " << w);
            check_formula(
                bag, [&](auto solver) { return otpool::mixed_pooling<TestType>(w, solver); },
                [&](const Numbers& x) {
                    return Number(w) * tests::direct::mean(x) + (1 - Number(w)) * tests::direct::max(x);
                });
        }
    });
}

TEMPLATE_TEST_CASE("Gated mean-max pooling mixes by the sigmoid of a score of the mean", "", float, double) {
    for_each_bag<TestType>([](const Matrix<TestType>& bag, Random& random) {
        const double scale = std::max(1.0, static_cast<double>(bag.cwiseAbs().maxCoeff()));
        otpool::MeanMaxGate<TestType> gate{.weights = Vector<TestType>(bag.rows()), .bias = TestType(0.25)};
        for (Index d = 0; d < bag.rows(); ++d) gate.weights[d] = static_cast<TestType>(random.normal() / scale);
        const Vector<Number> mean = by_feature(bag, tests::direct::mean);
        const Vector<Number> max = by_feature(bag, tests::direct::max);
        Number score = gate.bias;
        for (Index d = 0; d < bag.rows(); ++d) score += gate.weights[d] * mean[d];
        const Number w = 1 / (1 + std::exp(-score));
        const Vector<Number> expected = w * mean + (1 - w) * max;
        tests::for_each_solver({}, [&](const auto& solver, const char* solver_name) {
            INFO(solver_name);
            CHECK(pooled_error(otpool::gated_mean_max_pooling<TestType>(gate, solver)(bag), expected, bag) <=
                  tests::closed_form_tolerance<TestType>);
        });
    });
}

TEST_CASE("Parameters outside their range are refused") {
    using tests::message_of;
    using Error = otpool::InvalidArgument;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(message_of<Error>([] { otpool::softmax_pooling<double>(-1); }) == "temperature is -1; allowed: 0 to inf");
    CHECK(message_of<Error>([&] { otpool::softmax_pooling<double>(nan); }) == "temperature is nan; allowed: 0 to inf");
    CHECK(message_of<Error>([] { otpool::log_sum_exp_pooling<float>(-0.5F); }) ==
          "temperature is -0.5; allowed: 0 to inf");
    CHECK(message_of<Error>([] { otpool::mixed_pooling<double>(1.5); }) == "weight is 1.5; allowed: 0 to 1");
    CHECK(message_of<Error>([] { otpool::mixed_pooling<float>(-0.25F); }) == "weight is -0.25; allowed: 0 to 1");
    CHECK(message_of<Error>([&] { otpool::mixed_pooling<double>(nan); }) == "weight is nan; allowed: 0 to 1");
    CHECK(message_of<Error>([&] { otpool::generalized_mean_pooling<double>(nan); }) ==
          "power is nan; allowed: -inf to inf");
    CHECK(message_of<Error>([] { otpool::dynamic_routing_pooling<float>(-1); }) ==
          "iterations is -1; allowed: at least 0");
}

TEST_CASE("A gate that does not fit the bag is refused") {
    const otpool::MeanMaxGate<double> gate{.weights = Vector<double>::Ones(2)};
    const std::string message = tests::message_of<otpool::InvalidArgument>(
        [&] { otpool::gated_mean_max_pooling<double>(gate)(Matrix<double>::Ones(3, 4)); });
    CHECK(message == "length of the gate's weights is 2; allowed: 3, the number of features");
}

}  // namespace named_poolings_test
