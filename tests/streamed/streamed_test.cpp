#include "otpool/streamed/streamed.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

using otpool::Bag;
using otpool::Index;
using otpool::Matrix;
using otpool::MatrixColumns;
using otpool::Streamed;
using otpool::StreamOptions;
using otpool::Vector;
using tests::BagKind;
using tests::Random;

namespace streamed_test {

constexpr double inf = std::numeric_limits<double>::infinity();

using tests::spread;

template <class Scalar>
Streamed<MatrixColumns<Scalar>> streamed(const Matrix<Scalar>& bag, const Vector<Scalar>& prior = {},
                                         Index memory = Index{16} << 20) {
    return {MatrixColumns<Scalar>{bag}, {.memory = memory}, prior};
}

/// A policy with several workers: each task on a thread of its own, last task first.
struct Threads {
    Index count = 3;
    Index workers() const { return count; }
    void for_each(Index tasks, const otpool::Task& task) const {
        for (Index first = 0; first < tasks; first += count) {
            std::vector<std::thread> threads;
            for (Index i = std::min(first + count, tasks); i-- > first;)
                threads.emplace_back([&task, i, first] { task(i, i - first); });
            for (std::thread& thread : threads) thread.join();
        }
    }
};

/// Columns that are computed: the same bag at every read. It counts reads, and the k-th one throws.
struct Computed {
    using Scalar = float;
    Index D = 64;
    Index N = 0;
    Index failing = -1;
    std::atomic<Index>* reads = nullptr;

    Index rows() const { return D; }
    Index cols() const { return N; }
    void read(Index first, Index count, float* to) const {
        if (reads != nullptr && (*reads)++ == failing) throw std::runtime_error("the disk is on fire");
        for (Index n = first; n < first + count; ++n) {
            auto state = static_cast<std::uint32_t>(n * 2654435761 + 12345);
            for (Index d = 0; d < D; ++d) {
                state = state * 1664525U + 1013904223U;
                *to++ = static_cast<float>(state >> 8U) * 0x1p-24F + static_cast<float>(d % 5);
            }
        }
    }
};

/// Soft, hard and free sides.
constexpr std::array<std::array<double, 2>, 7> alphas = {
    {{inf, 0}, {1, 2}, {inf, 2}, {0.7, inf}, {inf, inf}, {0, 1}, {2, 0}}};

/// The difference, relative to the bag's spread, of what is streamed and what the same pooling of doubles
/// gives in memory, beyond what rounding to Scalar makes of it.
template <class Scalar, class Pooling>
double difference(const Pooling& pool, const Matrix<Scalar>& bag, const Vector<Scalar>& prior, const auto& in_double) {
    const Vector<double> y = pool(streamed(bag, prior)).template cast<double>();
    const Matrix<double> same = bag.template cast<double>();
    const Vector<double> expected = in_double(Bag<double>{same, {}, prior.template cast<double>()});
    const double size = expected.cwiseAbs().maxCoeff();
    if (sizeof(Scalar) == 4 && size > 1e30)
        return y.allFinite() && y.cwiseAbs().maxCoeff() > 1e30 ? 0 : inf;  // saturated
    const double rounding = sizeof(Scalar) == 4 ? 1.2e-7 * size : 0;
    return std::max(0.0, (y - expected).cwiseAbs().maxCoeff() - rounding) / std::max(spread(bag), size);
}

template <class Scalar, class R, class Readout>
void compare(Random& random, const Matrix<Scalar>& bag, const Vector<Scalar>& prior) {
    for (const auto& [alpha1, alpha2] : alphas) {
        const auto strength = [&](double alpha) { return static_cast<Scalar>(alpha * spread(bag)); };
        otpool::Pooling<Scalar, otpool::Sinkhorn, R, Readout> pool;
        pool.parameters = {.alpha0 = strength(random.log_uniform(0.03, 3)),
                           .features = {.alpha = strength(alpha1)},
                           .instances = {.alpha = strength(alpha2)}};
        otpool::Pooling<double, otpool::Sinkhorn, R, Readout> in_double;
        in_double.parameters = {.alpha0 = pool.parameters.alpha0,
                                .features = {.alpha = pool.parameters.features.alpha},
                                .instances = {.alpha = pool.parameters.instances.alpha}};
        CAPTURE(alpha1, alpha2, pool.parameters.alpha0, bag.rows(), bag.cols());
        pool.solver.options = in_double.solver.options = {.tolerance = 1e-11};
        CHECK(difference(pool, bag, prior, in_double) <= 1e-10);
        pool.solver.options = in_double.solver.options = {.iterations = 4};
        CHECK(difference(pool, bag, prior, in_double) <= 1e-12);
        pool.solver.translation = in_double.solver.translation = false;
        pool.solver.options = in_double.solver.options = {.iterations = 1, .closed_forms = false};
        CHECK(difference(pool, bag, prior, in_double) <= 1e-12);
    }
}

TEMPLATE_TEST_CASE("A streamed bag is pooled as the same bag in memory", "", float, double) {
    using Scalar = TestType;
    std::uint64_t seed = 0;
    for (const BagKind kind : tests::all_bag_kinds) {
        for (const std::array<Index, 2>& size : {std::array<Index, 2>{5, 40}, {1, 30}, {17, 1}, {33, 7}}) {
            if (!tests::in_sample(++seed)) continue;
            Random random(seed);
            CAPTURE(name(kind), seed);
            const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, size[0], size[1], kind);
            const Vector<Scalar> prior = tests::uneven_prior<Scalar>(random, size[1], true);
            compare<Scalar, otpool::Entropy, otpool::ConditionalReadout>(random, bag, {});
            compare<Scalar, otpool::Entropy, otpool::ConditionalReadout>(random, bag, prior);
            compare<Scalar, otpool::RelativeEntropy, otpool::ConditionalReadout>(random, bag, prior);
            compare<Scalar, otpool::Entropy, otpool::JointReadout>(random, bag, prior);
            compare<Scalar, otpool::RelativeEntropy, otpool::JointReadout>(random, bag, {});
            compare<Scalar, otpool::Entropy, otpool::SumReadout>(random, bag, prior);
        }
    }
}

TEMPLATE_TEST_CASE("A streamed bag of several blocks and parts is pooled as in memory", "", float, double) {
    using Scalar = TestType;
    Random random(1);
    const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, 900, 350, BagKind::uneven);
    compare<Scalar, otpool::Entropy, otpool::ConditionalReadout>(random, bag,
                                                                 tests::uneven_prior<Scalar>(random, 350, true));
}

template <class Scalar>
otpool::Pooling<Scalar> soft_pooling(int steps) {
    return {.parameters = {.alpha0 = Scalar(0.1), .features = {.alpha = 1}, .instances = {.alpha = Scalar(0.5)}},
            .solver = {{.iterations = steps}}};
}

TEST_CASE("The bits of a streamed pooling depend on the bag alone") {
    otpool::Pooling<float> pool = soft_pooling<float>(1);  // two passes, of which one is falling
    const auto pooled = [&](const auto& source, Index memory, Index readers, bool parallel) {
        pool.execution = parallel ? otpool::Execution(Threads()) : otpool::Execution();
        return pool(Streamed{source, {.memory = memory, .readers = readers}});
    };
    for (const Index blocks : {12, 130}) {  // in parts of one and of two blocks
        if (!tests::in_sample(blocks == 12 ? 0 : 1)) continue;
        const Computed source{.N = blocks * 2048 - 77};
        Matrix<float> bag(source.D, source.N);
        source.read(0, source.N, bag.data());
        const Vector<float> expected = pooled(MatrixColumns<float>{bag}, Index{200} << 20, 1, false);
        CHECK(pooled(source, Index{3} << 20, 1, false) == expected);
        CHECK(pooled(source, Index{16} << 20, 3, true) == expected);
        if (blocks == 130) continue;
        CHECK(pooled(MatrixColumns<float>{bag}, Index{200} << 20, 2, true) == expected);
        for (std::uint64_t i = 0; i < 24; ++i) {
            if (!tests::in_sample(i)) continue;
            CHECK(pooled(source, (Index{3} << 20) + static_cast<Index>(i) * 300001, 2, false) == expected);
        }
    }
}

TEST_CASE("An exception of any read of a streamed bag reaches the caller") {
    const otpool::Pooling<float> pool = soft_pooling<float>(2);
    std::atomic<Index> reads = 0;
    Computed source{.N = 2048 * 12, .reads = &reads};
    const StreamOptions options{.memory = Index{4} << 20};
    const auto message = [&] {
        return tests::message_of<std::runtime_error>([&] { pool(Streamed{source, options}); });
    };
    CHECK(message() == "no error");
    const Index all = reads;
    CHECK(all > 12);
    CHECK(all < 3 * 12);  // what has room stays in memory
    for (source.failing = 0; source.failing < all; ++source.failing) {
        if (!tests::in_sample(static_cast<std::uint64_t>(source.failing))) continue;
        reads = 0;
        CAPTURE(source.failing);
        CHECK(message() == "the disk is on fire");
    }
    reads = 0;
    source.failing = -1;
    CHECK(message() == "no error");
}

TEST_CASE("What a callback of a streamed pooling throws reaches the caller") {
    const Computed source{.N = 2048 * 6};
    std::vector<std::array<Index, 3>> seen;
    StreamOptions options{.memory = Index{6} << 20};
    options.progress = [&](const otpool::StreamProgress& progress) {
        seen.push_back({progress.pass, progress.bytes, progress.total_bytes});
    };
    soft_pooling<float>(2)(Streamed{source, options});
    const Index block = Index{1} << 19;
    REQUIRE(seen.size() == 18);
    for (Index i = 0; i < 18; ++i) {
        CHECK(seen[static_cast<std::size_t>(i)] == std::array<Index, 3>{i / 6 + 1, (i % 6 + 1) * block, 6 * block});
    }
    options.progress = [&](const otpool::StreamProgress& progress) {
        if (progress.pass == 2) throw std::runtime_error("stop");
    };
    CHECK(tests::message_of<std::runtime_error>([&] { soft_pooling<float>(2)(Streamed{source, options}); }) == "stop");
}

TEMPLATE_TEST_CASE("A streamed bag names an entry that is not finite", "", float, double) {
    using Scalar = TestType;
    Random random(1);
    for (const double number : {std::numeric_limits<double>::quiet_NaN(), inf, -inf}) {
        Matrix<Scalar> bag = tests::random_bag<Scalar>(random, 1000, 600, BagKind::normal);
        bag(7, 597) = static_cast<Scalar>(number);
        bag(3, 598) = static_cast<Scalar>(number);
        otpool::Pooling<Scalar> pool = soft_pooling<Scalar>(1);
        for (const bool parallel : {false, true}) {
            if (parallel) pool.execution = Threads();
            CHECK(tests::message_of<otpool::InvalidArgument>([&] { pool(streamed(bag)); }) ==
                  "reward at feature 7, instance 597 is " + otpool::detail::printed(number) +
                      "; allowed: finite numbers");
        }
        const auto min = otpool::min_pooling<Scalar>();
        CHECK(tests::message_of<otpool::InvalidArgument>([&] { min(streamed(bag)); }) ==
              "bag at feature 7, instance 597 is " + otpool::detail::printed(number) + "; allowed: finite numbers");
    }
}

TEMPLATE_TEST_CASE("The named poolings of streamed bags are those in memory", "", float, double) {
    using Scalar = TestType;
    std::uint64_t number = 0;
    for (const BagKind kind : tests::all_bag_kinds) {
        if (!tests::in_sample(number++)) continue;
        Random random(100 + number);
        CAPTURE(name(kind));
        const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, 800, 200, kind);
        const Vector<Scalar> prior = tests::uneven_prior<Scalar>(random, 200, true);
        const auto compare_named = [&](const auto& pool, const auto& in_double) {
            CHECK(difference(pool, bag, {}, in_double) <= 1e-13);
            CHECK(difference(pool, bag, prior, in_double) <= 1e-13);
        };
        compare_named(otpool::mean_pooling<Scalar>(), otpool::mean_pooling<double>());
        compare_named(otpool::sum_pooling<Scalar>(), otpool::sum_pooling<double>());
        compare_named(otpool::max_pooling<Scalar>(), otpool::max_pooling<double>());
        compare_named(otpool::min_pooling<Scalar>(), otpool::min_pooling<double>());
        compare_named(otpool::attention_pooling<Scalar>(), otpool::attention_pooling<double>());
        for (const double factor : {0.0, 1e-3, 0.3, 1e5, inf}) {
            const auto t = static_cast<Scalar>(factor * (factor > 0 ? spread(bag) : 1));
            compare_named(otpool::softmax_pooling<Scalar>(t), otpool::softmax_pooling<double>(t));
            compare_named(otpool::log_sum_exp_pooling<Scalar>(t), otpool::log_sum_exp_pooling<double>(t));
        }
    }
    Random random(7);
    const Matrix<Scalar> positive = tests::random_bag<Scalar>(random, 800, 200, BagKind::relu);
    for (const Scalar power : {Scalar(-2), Scalar(0), Scalar(0.5), Scalar(3), Scalar(inf)}) {
        CAPTURE(power);
        CHECK(difference(otpool::generalized_mean_pooling<Scalar>(power), positive, {},
                         otpool::generalized_mean_pooling<double>(power)) <= 1e-12);
    }
}

}  // namespace streamed_test
