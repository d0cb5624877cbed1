#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/every_pooling.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

using otpool::Bag;
using otpool::Bags;
using otpool::Index;
using otpool::InvalidArgument;
using otpool::Matrix;
using otpool::Vector;
using tests::message_of;
using tests::Random;

namespace batch_test {

using Offsets = std::vector<std::int64_t>;

const Offsets ragged = {0, 1, 4, 16, 18, 40};

template <class Scalar>
Matrix<Scalar> forty_instances(Index D) {
    Random random(21);
    return tests::random_bag<Scalar>(random, D, 40, tests::BagKind::relu);
}

/// A prior for each of the ragged bags, some instances excluded.
template <class Scalar>
Vector<Scalar> ragged_priors() {
    Random random(22);
    Vector<Scalar> priors(40);
    for (std::size_t b = 0; b + 1 < ragged.size(); ++b) {
        const Index size = ragged[b + 1] - ragged[b];
        priors.segment(ragged[b], size) = tests::uneven_prior<Scalar>(random, size, true);
    }
    return priors;
}

TEMPLATE_TEST_CASE("A batch pools as its bags do, to the last bit", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = forty_instances<Scalar>(5);
    const Matrix<Scalar> reward = forty_instances<Scalar>(10).bottomRows(5);
    const Vector<Scalar> priors = ragged_priors<Scalar>();
    Random random(23);
    tests::for_each_pooling<Scalar>(random, 5, [&](const char* name, const auto& pooling) {
        INFO(name);
        const Matrix<Scalar> plain = pooling(Bags{X, ragged});
        const Matrix<Scalar> full = pooling(Bags{X, ragged, reward, priors});
        REQUIRE((plain.rows() == 5 && plain.cols() == 5));
        REQUIRE((full.rows() == 5 && full.cols() == 5));
        for (Index b = 0; b < 5; ++b) {
            const Index first = ragged[static_cast<std::size_t>(b)];
            const Index size = ragged[static_cast<std::size_t>(b) + 1] - first;
            const Matrix<Scalar> bag = X.middleCols(first, size);
            CHECK(plain.col(b) == pooling(bag));
            CHECK(full.col(b) == pooling(Bag<Scalar>{.instances = bag,
                                                     .reward = reward.middleCols(first, size),
                                                     .prior = priors.segment(first, size)}));
        }
    });
}

TEMPLATE_TEST_CASE("A batch is pooled from memory of any layout", "", float, double) {
    using Scalar = TestType;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    for (const Index D : {5, 37, 64}) {  // less than a register, no whole number of them, and one
        CAPTURE(D);
        const Matrix<Scalar> X = forty_instances<Scalar>(D);
        const RowMajor by_feature = X;               // each feature's row in one piece
        const RowMajor by_instance = X.transpose();  // the (sum N, D) array of PyTorch
        const Eigen::Map<const Matrix<Scalar>> map(by_instance.data(), D, 40);
        Random random(24);
        tests::for_each_pooling<Scalar>(random, D, [&](const char* name, const auto& pooling) {
            INFO(name);
            const Matrix<Scalar> expected = pooling(Bags{X, ragged});
            CHECK(pooling(Bags{by_feature, ragged}) == expected);
            CHECK(pooling(Bags{by_instance.transpose(), ragged}) == expected);
            CHECK(pooling(Bags{map, ragged}) == expected);
            CHECK(pooling(Bags{X + Matrix<Scalar>::Zero(D, 40), ragged}) == expected);
        });
    }
}

TEMPLATE_TEST_CASE("What lies behind a bag does not matter", "", float, double) {
    using Scalar = TestType;
    for (const Index D : {5, 37}) {
        CAPTURE(D);
        const Matrix<Scalar> bag = forty_instances<Scalar>(D).leftCols(12);
        Matrix<Scalar> memory = Matrix<Scalar>::Constant(D, 14, std::numeric_limits<Scalar>::quiet_NaN());
        memory.middleCols(1, 12) = bag;
        Random random(26);
        tests::for_each_pooling<Scalar>(random, D, [&](const char* name, const auto& pooling) {
            INFO(name);
            CHECK(pooling(memory.middleCols(1, 12)) == pooling(bag));
        });
    }
}

TEMPLATE_TEST_CASE("A batch without bags pools to no vectors", "", float, double) {
    const Matrix<TestType> none(5, 0);
    Random random(25);
    tests::for_each_pooling<TestType>(random, 5, [&](const char* name, const auto& pooling) {
        INFO(name);
        const Matrix<TestType> pooled = pooling(Bags{none, {0}});
        CHECK(pooled.rows() == 5);
        CHECK(pooled.cols() == 0);
    });
}

TEMPLATE_TEST_CASE("An empty bag is an error, or pools to the fill value", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = forty_instances<Scalar>(5);
    const Bags bags{X, {0, 16, 16, 40, 40}};
    const Bags full{X, {0, 16, 40}};
    Random random(26);
    tests::for_each_pooling<Scalar>(random, 5, [&](const char* name, auto pooling) {
        INFO(name);
        CHECK(message_of<InvalidArgument>([&] { pooling(bags); }) ==
              "bag 1 is empty; allowed: at least one instance, or a fill value for empty bags");
        const Matrix<Scalar> expected = pooling(full);
        pooling.empty_bag = Scalar(-7);
        const Matrix<Scalar> pooled = pooling(bags);
        REQUIRE((pooled.rows() == 5 && pooled.cols() == 4));
        CHECK(pooled.col(0) == expected.col(0));
        CHECK(pooled.col(1) == Vector<Scalar>::Constant(5, -7));
        CHECK(pooled.col(2) == expected.col(1));
        CHECK(pooled.col(3) == Vector<Scalar>::Constant(5, -7));
        CHECK(pooling(full) == expected);
    });
}

TEMPLATE_TEST_CASE("A bag without instances is refused by itself, too", "", float, double) {
    Random random(27);
    tests::for_each_pooling<TestType>(random, 5, [&](const char* name, const auto& pooling) {
        INFO(name);
        CHECK(message_of<InvalidArgument>([&] { pooling(Matrix<TestType>(5, 0)); }) != "no error");
        CHECK(message_of<InvalidArgument>([&] { pooling(Matrix<TestType>()); }) != "no error");
    });
}

TEMPLATE_TEST_CASE("An entry that is not finite is named by bag, feature and instance", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = forty_instances<Scalar>(5);
    Matrix<Scalar> with_nan = X;
    with_nan(3, 17) = std::numeric_limits<Scalar>::quiet_NaN();
    Matrix<Scalar> with_inf = X;
    with_inf(0, 39) = -std::numeric_limits<Scalar>::infinity();
    Random random(28);
    tests::for_each_pooling<Scalar>(random, 5, [&](const char* name, auto pooling) {
        INFO(name);
        const auto refusal = [&](const Bags<Scalar>& bags) {
            return message_of<InvalidArgument>([&] { pooling(bags); });
        };
        CHECK(refusal({with_nan, ragged}) == "bag 3 at feature 3, instance 1 is nan; allowed: finite numbers");
        CHECK(refusal({with_inf, ragged}) == "bag 4 at feature 0, instance 21 is -inf; allowed: finite numbers");
        CHECK(refusal({X, ragged, with_nan}) ==
              "reward of bag 3 at feature 3, instance 1 is nan; allowed: finite numbers");
        pooling.empty_bag = Scalar(0);
        CHECK(refusal({with_nan, {0, 0, 40}}) == "bag 1 at feature 3, instance 17 is nan; allowed: finite numbers");
        CHECK(message_of<InvalidArgument>([&] { pooling(with_nan); }) != "no error");
    });
}

TEMPLATE_TEST_CASE("What a bag of a batch is refused for names the bag", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = forty_instances<Scalar>(5);
    const auto refusal = [&](const Vector<Scalar>& priors) {
        return message_of<InvalidArgument>([&] {
            otpool::mean_pooling<Scalar>()(Bags<Scalar>{X, ragged, {}, priors});
        });
    };
    const Vector<Scalar> priors = ragged_priors<Scalar>();
    CHECK(refusal(priors) == "no error");
    Vector<Scalar> wrong = priors;
    wrong.segment(4, 12).setConstant(Scalar(0.125));
    CHECK(refusal(wrong) ==
          "bag 2: sum of q0 is 1.5; allowed: 1, within 0.001 (or any, where the marginal says that it has masses)");
    wrong = priors;
    wrong[17] = -1;
    CHECK(refusal(wrong) == "bag 3: q0[1] is -1; allowed: finite and >= 0");

    const auto attention = otpool::attention_pooling<Scalar>(
        otpool::Attention<Scalar>{Matrix<Scalar>::Ones(2, 4), Vector<Scalar>::Ones(2)});
    CHECK(message_of<InvalidArgument>([&] {
              attention(Bags{X, ragged});
          }) == "bag 0: columns of the attention's V is 4; allowed: 5, the number of features");
    const auto fixed = otpool::attention_pooling<Scalar>(otpool::FixedPrior<Scalar>{Vector<Scalar>{{1}}});
    CHECK(message_of<InvalidArgument>([&] { fixed(Bags{X, ragged}); }) == "bag 1: length of q0 is 1; allowed: 3");
}

TEST_CASE("A bag's own reward has the shape of its instances") {
    const Matrix<double> X = forty_instances<double>(5);
    CHECK(message_of<InvalidArgument>([&] {
              otpool::max_pooling<double>()(Bag<double>{.instances = X, .reward = Matrix<double>::Zero(5, 39)});
          }) == "shape of reward is 5 x 39; allowed: 5 x 40, the shape of the instances");
}

TEMPLATE_TEST_CASE("Poolings are shared by threads, and give the same bits", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = forty_instances<Scalar>(5);
    const Bags<Scalar> bags{X, ragged, {}, ragged_priors<Scalar>()};
    Random random(29);
    tests::for_each_pooling<Scalar>(random, 5, [&](const char* name, const auto& pooling) {
        INFO(name);
        const Matrix<Scalar> expected = pooling(bags);
        std::vector<Matrix<Scalar>> pooled(4);
        std::vector<std::thread> threads;
        for (Matrix<Scalar>& own : pooled) {
            threads.emplace_back([&] {
                for (int i = 0; i < 10; ++i) own = pooling(bags);
            });
        }
        for (std::thread& thread : threads) thread.join();
        for (const Matrix<Scalar>& own : pooled) CHECK(own == expected);
    });
}

TEMPLATE_TEST_CASE("Solvers and solutions are shared by threads, and give the same bits", "", float, double) {
    using Scalar = TestType;
    const Matrix<Scalar> X = forty_instances<Scalar>(5);
    const otpool::UotProblem<Scalar> problem{
        .reward = X,
        .alpha0 = Scalar(0.25),
        .features = {.alpha = 1},
        .instances = {.alpha = 2, .prior = Vector<Scalar>::Constant(40, Scalar(0.025))}};
    const auto check = [&](const auto& solver) {
        const auto shared = solver.solve(problem);
        const Matrix<Scalar> plan = shared.plan();
        std::vector<int> same(4, 0);
        std::vector<std::thread> threads;
        for (int& count : same) {
            threads.emplace_back([&] {
                for (int i = 0; i < 5; ++i) {
                    const auto own = solver.solve(problem);
                    count += own.plan() == plan && own.iterations == shared.iterations &&
                             own.residual == shared.residual && shared.plan() == plan &&
                             shared.objective() == own.objective() &&
                             shared.feature_marginal() == own.feature_marginal() &&
                             shared.instance_marginal() == own.instance_marginal();
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        CHECK(same == std::vector<int>(4, 5));
    };
    check(otpool::Sinkhorn{});
    check(otpool::BregmanAdmm{});
    check(otpool::Newton{});
}

}  // namespace batch_test
