#include <limits>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

using otpool::InvalidArgument;
using otpool::Matrix;
using otpool::MatrixView;
using otpool::UotProblem;
using otpool::Vector;
using tests::message_of;

namespace validate_test {

template <class Scalar>
constexpr Scalar not_a_number = std::numeric_limits<Scalar>::quiet_NaN();
template <class Scalar>
constexpr Scalar infinite = std::numeric_limits<Scalar>::infinity();

template <class Scalar, class R>
std::string refusal_of(const UotProblem<Scalar, R>& problem) {
    return message_of<InvalidArgument>([&] { otpool::validate(problem); });
}

template <class Scalar>
Vector<Scalar> vector_of(const std::vector<Scalar>& entries) {
    return Eigen::Map<const Vector<Scalar>>(entries.data(), static_cast<otpool::Index>(entries.size()));
}

/// 3 x 4
template <class Scalar>
Matrix<Scalar> some_reward() {
    return Matrix<Scalar>::NullaryExpr(3, 4,
                                       [](otpool::Index d, otpool::Index n) { return static_cast<Scalar>(d - n); });
}

TEMPLATE_TEST_CASE("A well-formed problem passes", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = some_reward<Scalar>();
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X}) == "no error");
    CHECK(refusal_of(UotProblem<Scalar, otpool::Quadratic>{.reward = X, .values = -X, .alpha0 = 0}) == "no error");
    CHECK(refusal_of(UotProblem<Scalar, otpool::RelativeEntropy>{.reward = X,
                                                                 .alpha0 = infinite<Scalar>,
                                                                 .features = {.alpha = 0},
                                                                 .instances = {.alpha = infinite<Scalar>}}) ==
          "no error");
    const Matrix<Scalar> largest = Matrix<Scalar>::Constant(1, 1, std::numeric_limits<Scalar>::max());
    CHECK(refusal_of(UotProblem<Scalar>{.reward = largest}) == "no error");
}

TEMPLATE_TEST_CASE("A bag without features or instances is refused", "", float, double) {
    using Scalar = TestType;
    const std::string allowed = "; allowed: at least one feature and one instance";
    CHECK(refusal_of(UotProblem<Scalar>{}) == "shape of reward is 0 x 0" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = Matrix<Scalar>(3, 0)}) == "shape of reward is 3 x 0" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = Matrix<Scalar>(0, 4)}) == "shape of reward is 0 x 4" + allowed);
}

TEMPLATE_TEST_CASE("Values must have the reward's shape", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = some_reward<Scalar>();
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .values = X.transpose()}) ==
          "shape of values is 4 x 3; allowed: 3 x 4, the shape of the reward");
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .values = X.leftCols(3)}) ==
          "shape of values is 3 x 3; allowed: 3 x 4, the shape of the reward");
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .values = X.topRows(2)}) ==
          "shape of values is 2 x 4; allowed: 3 x 4, the shape of the reward");
}

TEMPLATE_TEST_CASE("NaN and infinity are found where they are", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = some_reward<Scalar>();
    const auto with = [&](otpool::Index d, otpool::Index n, Scalar entry) {
        Matrix<Scalar> bad = X;
        bad(d, n) = entry;
        return bad;
    };
    const std::string allowed = "; allowed: finite numbers";
    const std::string or_forbidden = allowed + ", or -inf for a pair that is forbidden";
    CHECK(refusal_of(UotProblem<Scalar>{.reward = with(1, 2, not_a_number<Scalar>)}) ==
          "reward at feature 1, instance 2 is nan" + or_forbidden);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = with(2, 3, infinite<Scalar>)}) ==
          "reward at feature 2, instance 3 is inf" + or_forbidden);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = with(0, 0, -infinite<Scalar>)}) ==
          "values is empty; allowed: finite values, as the reward has entries of -inf");
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .values = with(2, 0, not_a_number<Scalar>)}) ==
          "values at feature 2, instance 0 is nan" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .values = with(0, 3, -infinite<Scalar>)}) ==
          "values at feature 0, instance 3 is -inf" + allowed);
    const Matrix<Scalar> transposed = with(1, 2, not_a_number<Scalar>).transpose();
    CHECK(refusal_of(UotProblem<Scalar>{.reward = transposed.transpose()}) ==
          "reward at feature 1, instance 2 is nan" + or_forbidden);
}

TEMPLATE_TEST_CASE("A negative or NaN alpha is refused", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = some_reward<Scalar>();
    const std::string allowed = "; allowed: 0 to inf";
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .alpha0 = -0.5}) == "alpha0 is -0.5" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .alpha0 = not_a_number<Scalar>}) == "alpha0 is nan" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .alpha0 = -infinite<Scalar>}) == "alpha0 is -inf" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .features = {.alpha = -2}}) == "alpha1 is -2" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .features = {.alpha = not_a_number<Scalar>}}) ==
          "alpha1 is nan" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .instances = {.alpha = -1}}) == "alpha2 is -1" + allowed);
    CHECK(refusal_of(UotProblem<Scalar>{.reward = X, .instances = {.alpha = not_a_number<Scalar>}}) ==
          "alpha2 is nan" + allowed);
}

TEMPLATE_TEST_CASE("A feature prior has D entries, all positive", "", float, double) {
    using Scalar = TestType;
    const auto refusal = [X = some_reward<Scalar>()](const std::vector<Scalar>& p0) {
        return refusal_of(UotProblem<Scalar>{.reward = X, .features = {.alpha = 1, .prior = vector_of(p0)}});
    };
    const std::string allowed = "; allowed: finite and > 0";
    CHECK(refusal({0.5, 0.25, 0.25}) == "no error");
    CHECK(refusal({0.5, 0.5}) == "length of p0 is 2; allowed: 3");
    CHECK(refusal({0.25, 0.25, 0.25, 0.25}) == "length of p0 is 4; allowed: 3");
    CHECK(refusal({0.5, 0, 0.5}) == "p0[1] is 0" + allowed);
    CHECK(refusal({-0.5, 1, 0.5}) == "p0[0] is -0.5" + allowed);
    CHECK(refusal({0.5, 0.5, not_a_number<Scalar>}) == "p0[2] is nan" + allowed);
    CHECK(refusal({0.5, infinite<Scalar>, 0.5}) == "p0[1] is inf" + allowed);
}

TEMPLATE_TEST_CASE("An instance prior has N entries, none negative", "", float, double) {
    using Scalar = TestType;
    const auto refusal = [X = some_reward<Scalar>()](const std::vector<Scalar>& q0) {
        return refusal_of(UotProblem<Scalar>{.reward = X, .instances = {.alpha = 1, .prior = vector_of(q0)}});
    };
    const std::string allowed = "; allowed: finite and >= 0";
    CHECK(refusal({0.5, 0, 0, 0.5}) == "no error");
    CHECK(refusal({0, 0, 0, 1}) == "no error");
    CHECK(refusal({0.5, 0.25, 0.25}) == "length of q0 is 3; allowed: 4");
    CHECK(refusal({0.5, -0.25, 0.5, 0.25}) == "q0[1] is -0.25" + allowed);
    CHECK(refusal({not_a_number<Scalar>, 0.5, 0.5, 0}) == "q0[0] is nan" + allowed);
    CHECK(refusal({0, 0, 1, infinite<Scalar>}) == "q0[3] is inf" + allowed);
    CHECK(refusal({0, 0, 0, 0}) ==
          "sum of q0 is 0; allowed: 1, within 0.001 (or any, where the marginal says that it has masses)");
}

TEMPLATE_TEST_CASE("A prior is checked on a free side, too", "", float, double) {
    const Matrix<TestType> X = some_reward<TestType>();
    CHECK(
        refusal_of(UotProblem<TestType>{.reward = X, .features = {.alpha = 0, .prior = Vector<TestType>{{1, 0, 0}}}}) ==
        "p0[1] is 0; allowed: finite and > 0");
    CHECK(refusal_of(
              UotProblem<TestType>{.reward = X, .instances = {.alpha = 0, .prior = Vector<TestType>{{1, 0, 0}}}}) ==
          "length of q0 is 3; allowed: 4");
}

TEMPLATE_TEST_CASE("A prior whose sum is more than 0.001 from 1 is refused", "", float, double) {
    using Scalar = TestType;
    const auto refusal = [X = some_reward<Scalar>()](Scalar last, bool of_features) {
        UotProblem<Scalar> problem{.reward = X};
        (of_features ? problem.features.prior = Vector<Scalar>{{0.5, 0.25, last}}
                     : problem.instances.prior = Vector<Scalar>{{0.25, 0.5, 0, last}});
        return refusal_of(problem);
    };
    for (const bool of_features : {true, false}) {
        const std::string sum = of_features ? "sum of p0 is " : "sum of q0 is ";
        CHECK(refusal(Scalar(0.25 + 1.0 / 1024), of_features) == "no error");
        CHECK(refusal(Scalar(0.25 - 1.0 / 1024), of_features) == "no error");
        CHECK(refusal(Scalar(0.25 + 1.0 / 512), of_features) ==
              sum + "1.001953125; allowed: 1, within 0.001 (or any, where the marginal says that it has masses)");
        CHECK(refusal(Scalar(0.25 - 1.0 / 512), of_features) ==
              sum + "0.998046875; allowed: 1, within 0.001 (or any, where the marginal says that it has masses)");
        CHECK(refusal(Scalar(0.5), of_features) ==
              sum + "1.25; allowed: 1, within 0.001 (or any, where the marginal says that it has masses)");
    }
}

template <class Scalar, class R, class Solver>
void check_renormalized(const Solver& solver, double alpha0) {
    tests::Random random(11);
    const Matrix<Scalar> X = tests::random_bag<Scalar>(random, 4, 9, tests::BagKind::normal);
    const auto problem_of = [&](Scalar feature_factor, Scalar instance_factor) {
        UotProblem<Scalar, R> problem{.reward = X, .alpha0 = static_cast<Scalar>(alpha0)};
        // Powers of two, so that scaling by 1 +- 2^-10 keeps the proportions exactly in both scalars.
        problem.features = {.alpha = 0.5, .prior = feature_factor * Vector<Scalar>{{0.5, 0.25, 0.125, 0.125}}};
        problem.instances = {.alpha = 2, .prior = Vector<Scalar>::Zero(9)};
        problem.instances.prior.template head<4>() = instance_factor * Vector<Scalar>{{0.125, 0.5, 0.125, 0.25}};
        return problem;
    };
    const auto exact = solver.solve(problem_of(1, 1));
    const auto scaled = solver.solve(problem_of(Scalar(1 + 1.0 / 1024), Scalar(1 - 1.0 / 1024)));
    CHECK((scaled.plan() - exact.plan()).norm() <= 4 * std::numeric_limits<Scalar>::epsilon() * exact.plan().norm());
    CHECK(scaled.log_mass == Catch::Approx(exact.log_mass).margin(1e-14));
}

TEMPLATE_TEST_CASE("A prior within 0.001 of sum 1 counts as the normalised one", "", float, double) {
    check_renormalized<TestType, otpool::Entropy>(otpool::Sinkhorn{}, 0.5);
    check_renormalized<TestType, otpool::Entropy>(otpool::Newton{}, 0.5);
    check_renormalized<TestType, otpool::RelativeEntropy>(otpool::Newton{}, 0.5);
    check_renormalized<TestType, otpool::Entropy>(otpool::BregmanAdmm{}, 0.5);
}

TEMPLATE_TEST_CASE("Every solver checks the problem it is given", "", float, double) {
    Matrix<TestType> bad = some_reward<TestType>();
    bad(0, 1) = not_a_number<TestType>;
    const UotProblem<TestType> problem{.reward = bad, .instances = {.alpha = 1}};
    const std::string message =
        "reward at feature 0, instance 1 is nan; allowed: finite numbers, or -inf for a pair that is forbidden";
    CHECK(message_of<InvalidArgument>([&] { otpool::Sinkhorn{}.solve(problem); }) == message);
    CHECK(message_of<InvalidArgument>([&] { otpool::BregmanAdmm{}.solve(problem); }) == message);
    CHECK(message_of<InvalidArgument>([&] { otpool::Newton{}.solve(problem); }) == message);
}

}  // namespace validate_test
