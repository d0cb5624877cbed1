#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/every_pooling.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

// Masks: what a bag's own prior excludes is as if it were not in the bag, whatever prior a pooling computes; both
// multiply.

namespace mask_test {

using namespace otpool;
using tests::Random;

TEMPLATE_TEST_CASE("What a mask excludes is as if it were not in the bag, in every pooling", "", float, double) {
    using Scalar = TestType;
    const Scalar large = std::is_same_v<Scalar, float> ? Scalar(1e38) : Scalar(1e307);
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        Random random(seed);
        const Index D = random.integer(1, 6);
        const Index N = random.integer(2, 30);
        const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, D, N, tests::BagKind::relu);
        const Vector<Scalar> prior = tests::uneven_prior<Scalar>(random, N, true);
        Matrix<Scalar> left(D, (prior.array() > Scalar(0)).count());
        Vector<Scalar> left_prior(left.cols());
        for (Index n = 0, k = 0; n < N; ++n) {
            if (prior[n] == 0) continue;
            left.col(k) = bag.col(n);
            left_prior[k++] = prior[n];
        }
        tests::for_each_pooling<Scalar>(random, D, [&](const char* name, const auto& pooling) {
            INFO(name << ", seed " << seed);
            const Vector<Scalar> pooled = pooling(Bag<Scalar>{bag, {}, prior});
            const Vector<Scalar> expected = pooling(Bag<Scalar>{left, {}, left_prior});
            const Scalar tolerance = std::is_same_v<Scalar, float> ? Scalar(2e-4) : Scalar(1e-7);
            CHECK((pooled - expected).cwiseAbs().maxCoeff() <= tolerance);
            for (const Scalar any : {Scalar(-3), large, -large}) {
                Matrix<Scalar> other = bag;
                for (Index n = 0; n < N; ++n) {
                    if (prior[n] == 0) other.col(n).setConstant(any);
                }
                CHECK((pooling(Bag<Scalar>{other, {}, prior}) - pooled).cwiseAbs().maxCoeff() <= tolerance);
            }
        });
    }
}

TEMPLATE_TEST_CASE("A prior that a pooling computes is multiplied by the bag's own", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> x{{1, 2, 9}, {3, 4, 9}};
    const Vector<Scalar> own{{Scalar(0.25), Scalar(0.75), 0}};
    const auto expected = [&](double a, double b) { return (a + 2 * b) / (a + b); };
    const auto pooled = [&](const auto& pooling) { return static_cast<double>(pooling(Bag<Scalar>{x, {}, own})[0]); };
    const double tolerance = std::is_same_v<Scalar, float> ? 1e-6 : 1e-14;
    CHECK(std::abs(pooled(attention_pooling<Scalar>()) - 1.75) <= tolerance);
    const FixedPrior<Scalar> fixed{Vector<Scalar>{{Scalar(0.5), Scalar(0.125), Scalar(0.375)}}};
    CHECK(std::abs(pooled(attention_pooling<Scalar>(fixed)) - expected(0.125, 0.09375)) <= tolerance);
    // Scores so far apart that the softmax of the whole bag would be 0 where the bag's own prior is not.
    const Attention<Scalar> far{Matrix<Scalar>{{Scalar(0.1), Scalar(0.2)}}, Vector<Scalar>{{1000}}};
    CHECK(std::abs(pooled(attention_pooling<Scalar>(far)) - 2) <= tolerance);
    const auto none = attention_pooling<Scalar>(FixedPrior<Scalar>{Vector<Scalar>{{0, 0, 1}}});
    CHECK(tests::message_of<InvalidArgument>([&] {
              none(Bag<Scalar>{x, {}, own});
          }) ==
          "the prior times the bag's own is 0 for every instance; allowed: an instance that neither of them excludes");
}

TEST_CASE("Dynamic routing gives what a bag excludes no score") {
    // Without the third instance all scores of the routing stay far below its own, which would take all.
    const Matrix<double> x{{-30, -31, 40}, {-20, -22, -50}};
    const Vector<double> own{{0.5, 0.5, 0}};
    const auto pooling = dynamic_routing_pooling<double>(3);
    CHECK((pooling(Bag<double>{x, {}, own}) - pooling(x.leftCols(2))).cwiseAbs().maxCoeff() < 1e-13);
}

}  // namespace mask_test
