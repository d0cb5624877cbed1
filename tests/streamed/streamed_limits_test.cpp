#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "otpool/streamed/streamed.hpp"
#include "otpool/streamed/streamed_bags.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

using otpool::Bag;
using otpool::Index;
using otpool::Matrix;
using otpool::MatrixColumns;
using otpool::Streamed;
using otpool::UnsupportedProblem;
using otpool::Vector;
using tests::BagKind;
using tests::Random;
using tests::spread;

namespace streamed_limits_test {

constexpr double inf = std::numeric_limits<double>::infinity();

template <class Scalar>
Streamed<MatrixColumns<Scalar>> streamed(const Matrix<Scalar>& bag, const Vector<Scalar>& prior = {}) {
    return {MatrixColumns<Scalar>{bag}, {.memory = Index{16} << 20}, prior};
}

using DoublePooling = otpool::Pooling<double>;

TEST_CASE("A streamed bag of any offset and alpha0 is pooled as in memory") {
    Random random(1);
    for (const double offset : {0.0, 1e6, -1e12}) {
        for (const double scale : {1e-30, 1.0, 1e30}) {
            for (const double alpha0 : {1e-4, 1e-2, 1.0, 1e3, 1e12}) {
                const Matrix<double> numbers = tests::random_matrix<double>(random, 6, 40);
                const Matrix<double> bag = scale * (numbers.array() + offset).matrix();
                const double unit = spread<Matrix<double>>(numbers) * scale;
                CAPTURE(offset, scale, alpha0);
                DoublePooling pool{.parameters = {.alpha0 = alpha0 * unit,
                                                  .features = {.alpha = unit},
                                                  .instances = {.alpha = 2 * unit}},
                                   .solver = {{.iterations = 6}}};
                const double least = std::max(unit, 1e-15 * scale * std::abs(offset));
                CHECK((pool(streamed(bag)) - pool(Bag<double>{bag})).cwiseAbs().maxCoeff() <=
                      1e-12 * least / std::min(alpha0, 1.0));
                pool.parameters.instances.alpha = 0;
                CHECK((pool(streamed(bag)) - pool(Bag<double>{bag})).cwiseAbs().maxCoeff() <= 1e-12 * least);
            }
        }
    }
}

TEST_CASE("A streamed softmax of instances that differ without end is finite") {
    Matrix<double> bag(2, 3);
    bag << 1e300, -1e300, 0, 1e-300, 2e-300, -1e300;
    const Vector<double> mean = otpool::mean_pooling<double>()(streamed(bag));
    CHECK(std::abs(mean[0]) <= 1e285);
    CHECK(std::abs(mean[1] + 1e300 / 3) <= 1e285);
    for (const double t : {0.0, 1e-300, 1.0}) {
        const Vector<double> y = otpool::softmax_pooling<double>(t)(streamed(bag));
        CHECK(y[0] == 1e300);
        CHECK(std::isfinite(y[1]));
    }
    const Matrix<double> one = Matrix<double>::Constant(1, 1, 3);
    CHECK(otpool::softmax_pooling<double>(1)(streamed(one))[0] == 3);
}

/// x; -inf at instance 1 and where x < 0, but not at instance 0.
struct ForbidNegative {
    template <std::floating_point Scalar>
    Scalar operator()(Scalar x) const {
        return x < 0 ? -std::numeric_limits<Scalar>::infinity() : x;
    }
};

TEST_CASE("Pairs of a streamed bag may be forbidden by its reward") {
    Random random(3);
    Matrix<double> bag = tests::random_matrix<double>(random, 5, 30);
    bag.col(0) = bag.col(0).cwiseAbs();
    bag.col(1) = -bag.col(1).cwiseAbs();
    const Matrix<double> reward = bag.unaryExpr([](double x) { return ForbidNegative()(x); });
    otpool::Pooling<double, otpool::Sinkhorn, otpool::Entropy, otpool::ConditionalReadout, otpool::UniformPrior,
                    ForbidNegative>
        pool;
    for (const auto& [alpha1, alpha2] : {std::array{inf, 0.0}, std::array{1.0, 2.0}, std::array{0.0, 1.0}}) {
        pool.parameters = {.alpha0 = 0.3, .features = {.alpha = alpha1}, .instances = {.alpha = alpha2}};
        pool.solver.options = {.tolerance = 1e-12};
        CAPTURE(alpha1, alpha2);
        CHECK((pool(streamed(bag)) - pool(Bag<double>{bag, reward})).cwiseAbs().maxCoeff() <= 1e-11);
    }
    pool.parameters.instances.alpha = inf;
    pool.parameters.features.alpha = 1;
    const auto message = [&] { return tests::message_of<otpool::InvalidArgument>([&] { pool(streamed(bag)); }); };
    CHECK(message() ==
          "reward of instance 1 is -inf at all features; allowed: a finite reward, as its marginal is hard");
    pool.parameters.instances.alpha = 1;
    bag.row(2) = -bag.row(2).cwiseAbs();
    CHECK(message() ==
          "reward of feature 2 is -inf at all instances of prior > 0; allowed: at least one finite reward");
}

TEST_CASE("The weights of a streamed pooling are the plan's sums over features") {
    Random random(5);
    const Matrix<double> bag = tests::random_matrix<double>(random, 900, 400);
    const Vector<double> prior = tests::uneven_prior<double>(random, 400, true);
    std::uint64_t number = 0;
    for (const auto& [alpha0, alpha1, alpha2] :
         {std::array{0.3, 1.0, 2.0}, std::array{0.5, inf, 0.0}, std::array{0.5, inf, inf}, std::array{0.5, 0.0, 1.0},
          std::array{inf, inf, 1.0}, std::array{0.0, 1.0, 0.0}, std::array{0.0, inf, 0.0}}) {
        if (!tests::in_sample(number++)) continue;
        CAPTURE(alpha0, alpha1, alpha2);
        DoublePooling pool{
            .parameters = {.alpha0 = alpha0, .features = {.alpha = alpha1}, .instances = {.alpha = alpha2}},
            .solver = {{.tolerance = 1e-12}}};
        Streamed<MatrixColumns<double>> source = streamed(bag, prior);
        std::vector<double> weights;
        source.options.weights = [&](Index first, std::span<const double> block) {
            REQUIRE(first == static_cast<Index>(weights.size()));
            weights.insert(weights.end(), block.begin(), block.end());
        };
        const Bag<double> in_memory{bag, {}, prior};
        CHECK((pool(source) - pool(in_memory)).cwiseAbs().maxCoeff() <= 1e-11);
        REQUIRE(weights.size() == 400);
        const Vector<double> expected = pool.solve(in_memory).instance_marginal();
        const Vector<double> found = Eigen::Map<const Vector<double>>(weights.data(), 400);
        CHECK((found - expected).cwiseAbs().maxCoeff() <= 1e-11 * std::max(1.0, expected.maxCoeff()));
    }
}

TEST_CASE("The joint readout of a streamed maximum is that in memory") {
    Random random(6);
    const Matrix<double> bag = tests::random_bag<double>(random, 8, 50, BagKind::rounded);
    for (const double alpha1 : {0.5, inf, 0.0}) {
        otpool::Pooling<double, otpool::ClosedForm, otpool::Entropy, otpool::JointReadout> pool;
        pool.parameters = {.alpha0 = 0, .features = {.alpha = alpha1}};
        const Vector<double> expected = pool(Bag<double>{bag});
        CAPTURE(alpha1);
        CHECK((pool(streamed(bag)) - expected).cwiseAbs().maxCoeff() <= 1e-12 * expected.cwiseAbs().maxCoeff());
    }
}

template <class Pooling>
std::string unsupported(const Pooling& pool) {
    const Matrix<double> bag = Matrix<double>::Ones(2, 3);
    return tests::message_of<UnsupportedProblem>([&] { pool(streamed(bag)); });
}

TEST_CASE("A streamed bag refuses problems that do not stream") {
    const std::string start = "A pooling of a streamed bag does not solve a problem with ";
    const otpool::PoolingParameters<double> soft{.features = {.alpha = 1}, .instances = {.alpha = 1}};
    DoublePooling pool{.parameters = soft};
    pool.parameters.mass = 1;
    CHECK(unsupported(pool) == start + "a fixed mass; allowed: no mass, or a hard side");
    pool.parameters = soft;
    pool.parameters.features.alphas = Vector<double>{{1, 2}};
    CHECK(unsupported(pool) ==
          start + "alphas for each feature or instance; allowed: one alpha for all (solvers take them)");
    pool.parameters = soft;
    pool.parameters.features.penalty = otpool::TotalVariation();
    CHECK(unsupported(pool).starts_with(start + "a penalty other than KullbackLeibler"));
    pool.parameters = soft;
    pool.parameters.alpha0 = 0;
    CHECK(unsupported(pool) ==
          start + "alpha0 = 0 and instances that are not free; allowed: alpha0 > 0, or alpha2 = 0");
    pool.parameters = soft;
    pool.solver.first = otpool::HalfStep::instances;
    CHECK(unsupported(pool).starts_with(start + "Sinkhorn's half step of the instances first"));
    CHECK(unsupported(otpool::Pooling<double, otpool::ClosedForm>{.parameters = soft}) ==
          start +
              "no closed form, and a solver other than Sinkhorn; allowed: Sinkhorn, or a free side or alpha0 = inf");
    CHECK(unsupported(otpool::Pooling<double, otpool::Newton, otpool::Quadratic>{.parameters = soft}) ==
          start + "a regulariser that is not entropic; allowed: Entropy or RelativeEntropy");
    CHECK(unsupported(otpool::Pooling<double, otpool::Sinkhorn, otpool::Entropy, otpool::LogMeanExpReadout>{
              .parameters = soft}) == start + "LogMeanExpReadout and instances that are not free; allowed: alpha2 = 0");
}

TEST_CASE("A streamed bag checks its shape, prior, memory and readers first") {
    DoublePooling pool;
    const Matrix<double> bag = Matrix<double>::Ones(2, 3);
    const Matrix<double> empty(2, 0);
    const auto message = [&](const Matrix<double>& from, const otpool::StreamOptions& options,
                             const Vector<double>& prior = {}) {
        return tests::message_of<otpool::InvalidArgument>([&] {
            pool(Streamed<MatrixColumns<double>>{{from}, options, prior});
        });
    };
    CHECK(message(empty, {}) == "shape of reward is 2 x 0; allowed: at least one feature and one instance");
    CHECK(message(bag, {.readers = 0}) == "readers is 0; allowed: at least 1");
    CHECK(message(bag, {.memory = 100}).starts_with("memory is 100; allowed: at least "));
    CHECK(message(bag, {}, Vector<double>{{0.5, 0.5}}) == "length of q0 is 2; allowed: 3");
    CHECK(message(bag, {}) == "no error");
    pool.empty_bag = 7;
    CHECK(pool(streamed(empty)) == Vector<double>{{7, 7}});
}

TEST_CASE("The bags of a streamed batch are pooled one by one") {
    Random random(8);
    const std::vector<std::int64_t> offsets = {0, 3, 3, 40, 41, 341, 350, 350};
    const Matrix<double> instances = tests::random_matrix<double>(random, 700, 350);
    Vector<double> prior(350);
    DoublePooling pool{.parameters = {.alpha0 = 0.5, .features = {.alpha = 1}, .instances = {.alpha = 2}},
                       .solver = {{.iterations = 3}},
                       .empty_bag = -7};
    Matrix<double> expected = Matrix<double>::Constant(700, 7, -7);
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
        const auto size = offsets[b + 1] - offsets[b];
        if (size == 0) continue;
        const Vector<double> own = tests::uneven_prior<double>(random, size, true);
        prior.segment(offsets[b], size) = own;
        const Matrix<double> bag = instances.middleCols(offsets[b], size);
        expected.col(static_cast<Index>(b)) = pool(streamed(bag, own));
    }
    std::vector<double> weights;
    otpool::StreamOptions options;
    options.weights = [&](Index first, std::span<const double> block) {
        REQUIRE(first == static_cast<Index>(weights.size()));
        weights.insert(weights.end(), block.begin(), block.end());
    };
    const MatrixColumns<double> source{instances};
    for (const Index memory : {Index{7} << 19, Index{7} << 20, Index{100} << 20}) {
        weights.clear();
        options.memory = memory;
        CHECK(pool(otpool::StreamedBags{source, offsets, options, prior}) == expected);
        CHECK(weights.size() == 350);
    }
    const Matrix<double> in_memory = pool(otpool::Bags<double>(instances, offsets, {}, prior));
    CHECK((in_memory - expected).cwiseAbs().maxCoeff() <= 1e-12);

    const auto message = [&](const Matrix<double>& from) {
        return tests::message_of<otpool::InvalidArgument>([&] {
            pool(otpool::StreamedBags{MatrixColumns<double>{from}, offsets});
        });
    };
    Matrix<double> wrong = instances;
    wrong(5, 44) = inf;
    CHECK(message(wrong) == "bag 4: reward at feature 5, instance 3 is inf; allowed: finite numbers");
    CHECK(message(wrong.leftCols(300)) == "offsets[7] is 350; allowed: the number of instances, 300");
    pool.empty_bag = {};
    CHECK(message(instances) == "bag 1 is empty; allowed: at least one instance, or a fill value for empty bags");
}

}  // namespace streamed_limits_test
