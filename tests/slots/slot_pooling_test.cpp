#include "otpool/slots/slot_pooling.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "otpool/slots/named_slot_poolings.hpp"
#include "otpool/solver/newton.hpp"
#include "slots/difference.hpp"
#include "support/backwards.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

namespace slot_pooling_test {

using namespace otpool;
using namespace tests;

template <class Scalar>
constexpr double near = std::same_as<Scalar, double> ? 1e-10 : 2e-4;

TEMPLATE_TEST_CASE("readouts of slots are their formulas", "", double, float) {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        if (!in_sample(seed)) continue;
        INFO("seed " << seed);
        Random random(seed);
        const Index N = random.integer(1, 400);
        const Index K = random.integer(1, 9);
        const Matrix<TestType> x = random_matrix<TestType>(random, random.integer(1, 20), N);
        const Matrix<TestType> S = random_matrix<TestType>(random, K, N);
        const Matrix<double> centres = random_matrix<double>(random, x.rows(), K);
        const Bag<TestType> bag{.instances = x, .reward = S};
        const PoolingParameters<TestType> parameters{
            .alpha0 = TestType(0.5), .features = {.alpha = 2}, .instances = {.alpha = hard}};
        const Newton solver{{.tolerance = 1e-9}};
        const SlotPooling<TestType, GivenReward, Newton> conditional{.parameters = parameters, .solver = solver};
        const Matrix<double> P = conditional.plan(bag).template cast<double>();
        const Matrix<double> sums = x.template cast<double>() * P.transpose();
        const Vector<double> mass = P.rowwise().sum();
        const Matrix<double> mean = sums * mass.cwiseInverse().asDiagonal();
        CHECK(difference(conditional(bag), mean) < near<TestType>);
        const SlotPooling<TestType, GivenReward, Newton, JointSlots> joint{
            .parameters = parameters, .solver = solver, .readout = {.scale = 3, .times_instances = true}};
        CHECK(difference(joint(bag), 3.0 * double(N) * sums) < near<TestType>);
        const SlotPooling<TestType, GivenReward, Newton, ResidualSlots<ConditionalSlots>> less{
            .parameters = parameters, .solver = solver, .readout = {.centres = centres}};
        CHECK(difference(less(bag), mean - centres) < near<TestType>);
        const SlotPooling<TestType, GivenReward, Newton, ResidualSlots<JointSlots>> vlad{
            .parameters = parameters, .solver = solver, .readout = {.centres = centres, .readout = {.scale = 2}}};
        CHECK(difference(vlad(bag), 2 * (sums - centres * mass.asDiagonal())) < near<TestType>);
    }
}

TEST_CASE("rewards of slots are their formulas") {
    Random random(1);
    const Matrix<double> x = random_matrix<double>(random, 4, 7);
    const Matrix<double> w = random_matrix<double>(random, 4, 3);
    const Vector<double> b = random_matrix<double>(random, 3, 1).col(0);
    const Vector<double> q0{{0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0}};
    const Matrix<double> dot = DotProduct<double>{w, b}(x, q0);
    const Matrix<double> squared = SquaredDistance<double>{w}(x, q0);
    const Matrix<double> relative = RelativeDistance<double>{w, 1}(x, q0);
    double largest = 0;
    Matrix<double> distance(3, 7);
    for (Index n = 0; n < 7; ++n) {
        for (Index k = 0; k < 3; ++k) {
            CHECK(dot(k, n) == Catch::Approx(w.col(k).dot(x.col(n)) + b[k]));
            CHECK(squared(k, n) == Catch::Approx(-(w.col(k) - x.col(n)).squaredNorm()));
            const auto less = [](const Vector<double>& v) { return Vector<double>(v.array() - v.minCoeff()); };
            distance(k, n) = (less(w.col(k)) - less(x.col(n))).norm();
            if (n < 6) largest = std::max(largest, distance(k, n));
        }
    }
    CHECK(difference(relative.leftCols(6), -distance.leftCols(6) / largest) < 1e-12);
    CHECK(difference(RelativeDistance<double>{w, 2}(x.leftCols(6), {}),
                     -distance.leftCols(6).array().square() / (largest * largest)) < 1e-12);
}

TEST_CASE("NetVLAD and slot attention share instances by softmax over slots") {
    Random random(2);
    const Matrix<double> x = random_matrix<double>(random, 5, 40);
    const Matrix<double> w = random_matrix<double>(random, 5, 6);
    const Matrix<double> centres = random_matrix<double>(random, 5, 6);
    Matrix<double> share = (w.transpose() * x).array().exp();
    const Vector<double> all = share.colwise().sum();
    share *= all.cwiseInverse().asDiagonal();
    const Matrix<double> sums = x * share.transpose();
    const Vector<double> mass = share.rowwise().sum();
    const auto vlad = netvlad_pooling<double>(DotProduct<double>{w}, centres);
    CHECK(difference(vlad(MatrixView<double>(x)), sums - centres * mass.asDiagonal()) < 1e-12);
    const auto attention = slot_attention_pooling<double>(DotProduct<double>{w});
    CHECK(difference(attention(MatrixView<double>(x)), sums * mass.cwiseInverse().asDiagonal()) < 1e-12);
}

TEMPLATE_TEST_CASE("a reward of -inf forbids a slot to draw on an instance", "", double, float) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Index N = random.integer(5, 60);
        const Matrix<TestType> x = random_matrix<TestType>(random, 4, N);
        Matrix<TestType> S = random_matrix<TestType>(random, 3, N);
        for (Index n = 0; n < N; ++n) {
            if (random.chance(0.5)) S(n % 3, n) = -std::numeric_limits<TestType>::infinity();
        }
        const Bag<TestType> bag{.instances = x, .reward = S};
        Matrix<double> share = S.template cast<double>().array().exp();
        share *= Vector<double>(share.colwise().sum().transpose()).cwiseInverse().asDiagonal();
        const Vector<double> mass = share.rowwise().sum();
        const Matrix<double> mean = x.template cast<double>() * share.transpose() * mass.cwiseInverse().asDiagonal();
        CHECK(difference(slot_attention_pooling<TestType>()(bag), mean) < near<TestType>);
        // With a dummy slot and an iteration: nothing is drawn, and the marginals hold.
        const SlotPooling<TestType, GivenReward, Newton, ConditionalSlots, PartialSlots> partial{
            .parameters = {.alpha0 = 1, .features = {.alpha = 1}, .instances = {.alpha = hard}},
            .solver = {{.tolerance = 1e-9}},
            .dummy = {.m = 0.6}};
        const Matrix<double> plan = partial.plan(bag).template cast<double>();
        CHECK((S.array().isInf()).select(plan.array(), 0).maxCoeff() == 0);
        CHECK(std::abs(plan.sum() - 0.6) < 1e-6);
        const Vector<double> drawn = plan.rowwise().sum();
        CHECK(difference(partial(bag), x.template cast<double>() * plan.transpose() *
                                           drawn.cwiseInverse().asDiagonal()) < near<TestType>);
    }
}

TEST_CASE("a dummy slot leaves the others so much mass, and no more of an instance than it has") {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
        Random random(seed);
        const Index N = random.integer(2, 30);
        const Index K = random.integer(1, N - 1);
        const Matrix<double> S = random_matrix<double>(random, K, N);
        const Bag<double> bag{.instances = S, .reward = S};
        const double m = random.uniform(0.1, 0.9);
        SlotPooling<double, GivenReward, Newton, ConditionalSlots, PartialSlots> partial{
            .parameters = {.alpha0 = 0.3, .features = {.alpha = hard}, .instances = {.alpha = hard}},
            .solver = {{.tolerance = 1e-11}},
            .dummy = {.m = m}};
        const Matrix<double> P = partial.plan(bag);
        CHECK(partial.read(partial.solve(bag), bag) == partial(bag));
        CHECK(std::abs(P.sum() - m) < 1e-9);
        CHECK((P.rowwise().sum().array() - m / double(K)).abs().maxCoeff() < 1e-9);
        CHECK(P.colwise().sum().maxCoeff() < 1 / double(N));
        partial.dummy.reward = 5;  // of no matter
        CHECK(difference(partial.plan(bag), P) < 1e-9);
        partial.parameters.features.alpha = 0.8;
        CHECK(partial.solve(bag).converged());
        partial.dummy.m = 1;
        CHECK(partial.plan(bag).rows() == K);
        const auto salad = salad_pooling<double>(0.1, GivenReward{}, 200);
        CHECK((salad.plan(bag).rowwise().sum().array() * double(N) - 1).abs().maxCoeff() < 1e-3);
    }
}

TEMPLATE_TEST_CASE("batches of bags are pooled to slots as each bag is, with the same bits in any order", "", double,
                   float) {
    Random random(3);
    const Matrix<TestType> x = random_matrix<TestType>(random, 6, 3000);
    const Bags<TestType> bags(x, std::vector<std::int64_t>{0, 5, 5, 40, 3000});
    const auto pool = [&](const Execution& execution) {
        auto pooling = otke_pooling<TestType>(random_matrix<TestType>(random, 6, 4));
        pooling.reward.prototypes = x.leftCols(4);
        pooling.execution = execution;
        pooling.empty_bag = TestType(7);
        const Matrix<TestType> pooled = pooling(bags);
        for (Index b : {0, 2, 3}) {
            CHECK(pooled.col(b).reshaped(6, 4) == pooling(bags[b]));
            // The steps of solve() keep potentials, those of a pooling do not.
            CHECK(difference(pooling.read(pooling.solve(bags[b]), bags[b]), pooling(bags[b]).template cast<double>()) <
                  near<TestType>);
        }
        return pooled;
    };
    const Matrix<TestType> alone = pool({});
    CHECK(alone.rows() == 24);
    CHECK((alone.col(1).array() == 7).all());
    CHECK(pool(Backwards{}) == alone);
}

TEST_CASE("instances of prior 0 are never read") {
    Random random(4);
    Matrix<double> x = random_matrix<double>(random, 3, 9);
    const Matrix<double> w = random_matrix<double>(random, 3, 2);
    Vector<double> q0 = Vector<double>::Constant(9, 1.0 / 7);
    q0[2] = q0[8] = 0;
    const auto pooled = [&](const auto& pooling) { return pooling(Bag<double>{.instances = x, .prior = q0}); };
    const Matrix<double> otke = pooled(otke_pooling<double>(w));
    const Matrix<double> motcat = pooled(motcat_pooling<double>(w));
    const Matrix<double> otsurv = pooled(otsurv_pooling<double>(w, 0.5));
    x.col(2).setConstant(std::numeric_limits<double>::quiet_NaN());
    x.col(8).setConstant(1e300);
    CHECK(pooled(otke_pooling<double>(w)) == otke);
    CHECK(pooled(motcat_pooling<double>(w)) == motcat);
    CHECK(pooled(otsurv_pooling<double>(w, 0.5)) == otsurv);
}

TEST_CASE("poolings to slots refuse what does not fit in a sentence") {
    const Matrix<double> x = Matrix<double>::Random(3, 4);
    const auto refusal = [](const auto& work) { return message_of<InvalidArgument>(work); };
    CHECK(refusal([&] { otke_pooling<double>(Matrix<double>::Random(2, 5))(MatrixView<double>(x)); }) ==
          "features of the prototypes is 2; allowed: 3, those of the instances");
    CHECK(refusal([&] { salad_pooling<double>(1)(MatrixView<double>(x)); }) ==
          "reward of the bag is empty; allowed: K x N numbers, one per slot and instance");
    CHECK(refusal([&] {
              salad_pooling<double>(1)(Bag<double>{x, Matrix<double>::Random(4, 4)});
          }) == "number of instances is 4; allowed: more than 4, the number of slots");
    CHECK(refusal([&] {
              salad_pooling<double>(1)(Bag<double>{x, Matrix<double>::Random(2, 5)});
          }) == "columns of the reward is 5; allowed: 4, the number of instances");
    CHECK(refusal([&] { otsurv_pooling<double>(x, 1.5)(MatrixView<double>(x)); }) ==
          "mass of the slots is 1.5; allowed: above 0, at most 1");
    CHECK(refusal([&] {
              netvlad_pooling<double>(DotProduct<double>{x}, Matrix<double>::Zero(2, 4))(MatrixView<double>(x));
          }) == "shape of the centres is 2 x 4; allowed: 3 rows and a column per slot");
}

}  // namespace slot_pooling_test
