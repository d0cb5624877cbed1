#include "otpool/streamed/shared.hpp"

#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"
#include "support/threads_as_ranks.hpp"

using otpool::Index;
using otpool::Matrix;
using otpool::MatrixColumns;
using otpool::Shared;
using otpool::Streamed;
using otpool::StreamOptions;
using otpool::Vector;
using tests::Random;
using tests::ThreadsAsRanks;

namespace shared_test {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr Index memory = Index{16} << 20U;

/// A bag of several blocks: 500 features make blocks of 262 columns.
struct Bag {
    Matrix<float> columns;
    Vector<float> prior;  // or empty

    explicit Bag(Index cols = 4001, bool has_prior = false) {
        Random random(3);
        columns = tests::random_bag<float>(random, 500, cols, tests::BagKind::normal);
        if (has_prior) prior = tests::uneven_prior<float>(random, cols, true);
    }
    Matrix<float> part(const otpool::ColumnRange& range) const { return columns.middleCols(range.first, range.count); }
    Vector<float> part_of_prior(const otpool::ColumnRange& range) const {
        return prior.size() == 0 ? prior : prior.segment(range.first, range.count).eval();
    }
};

otpool::Pooling<float> soft_pooling(double alpha1 = 1, double alpha2 = 0.5) {
    return {.parameters = {.alpha0 = 0.3F,
                           .features = {.alpha = static_cast<float>(alpha1)},
                           .instances = {.alpha = static_cast<float>(alpha2)}},
            .solver = {{.tolerance = 1e-9}}};
}

/// The columns of every rank, by columns_of_rank() or by so many columns each; the last ranks may have none.
otpool::ColumnRange range_of(const Bag& bag, Index rank, Index size, Index each) {
    const Index cols = bag.columns.cols();
    if (each == 0) return otpool::columns_of_rank(bag.columns.rows(), cols, rank, size);
    const Index first = std::min(rank * each, cols);
    return {first, rank + 1 == size ? cols - first : std::min(each, cols - first)};
}

/// Pools on so many ranks, and checks that all have the same result.
Vector<float> pooled_by_ranks(const auto& pool, const Bag& bag, Index size, Index each = 0) {
    ThreadsAsRanks threads(size);
    std::vector<Vector<float>> pooled(static_cast<std::size_t>(size));
    const auto errors = threads.run([&](const ThreadsAsRanks::Ranks& ranks) {
        const auto range = range_of(bag, ranks.rank(), size, each);
        const Matrix<float> own = bag.part(range);
        pooled[static_cast<std::size_t>(ranks.rank())] =
            pool(Shared{MatrixColumns<float>{own}, ranks, {.memory = memory}, bag.part_of_prior(range)});
    });
    for (const std::string& error : errors) CHECK(error == "no error");
    for (const Vector<float>& of_rank : pooled) CHECK(of_rank == pooled[0]);
    return pooled[0];
}

TEST_CASE("Ranks are to hold all columns, about as many each, in whole blocks") {
    for (const Index cols : {0, 1, 262, 263, 4001, 100000, 100000000}) {
        for (const Index size : {1, 2, 3, 7, 50}) {
            Index next = 0;
            for (Index r = 0; r < size; ++r) {
                const auto range = otpool::columns_of_rank(500, cols, r, size);
                CHECK(range.first == next);
                if (range.first < cols) CHECK(range.first % 262 == 0);
                CHECK(range.count <= (cols / 262 / size + 1) * 262 + cols / size / 64);
                next += range.count;
            }
            CHECK(next == cols);
        }
    }
}

TEST_CASE("A shared bag has the bits of one process") {
    const std::vector<std::array<double, 2>> alphas = {{inf, 0}, {1, 2}, {inf, 0.4}, {0.7, inf}, {inf, inf}, {0, 1}};
    std::uint64_t number = 0;
    for (const bool has_prior : {false, true}) {
        const Bag bag(4001, has_prior);
        for (const auto& [alpha1, alpha2] : alphas) {
            std::vector<Index> sizes;
            for (const Index size : {1, 2, 3, 5, 16}) {
                if (tests::in_sample(number++)) sizes.push_back(size);
            }
            if (sizes.empty()) continue;
            auto pool = soft_pooling(alpha1, alpha2);
            pool.solver.options.tolerance = 1e-6;  // the bits are the same wherever it ends
            const Vector<float> expected =
                pool(Streamed{MatrixColumns<float>{bag.columns}, {.memory = memory}, bag.prior});
            for (const Index size : sizes) {
                CAPTURE(alpha1, alpha2, size, has_prior);
                CHECK(pooled_by_ranks(pool, bag, size) == expected);
            }
        }
    }
}

TEST_CASE("The named poolings of a shared bag have the bits of one process") {
    const Bag bag(1500, true);
    const auto compare = [&](const auto& pool) {
        const Vector<float> expected = pool(Streamed{MatrixColumns<float>{bag.columns}, {.memory = memory}, bag.prior});
        CHECK(pooled_by_ranks(pool, bag, 3) == expected);
    };
    compare(otpool::mean_pooling<float>());
    compare(otpool::sum_pooling<float>());
    compare(otpool::max_pooling<float>());
    compare(otpool::min_pooling<float>());
    compare(otpool::attention_pooling<float>());
    compare(otpool::log_sum_exp_pooling<float>(0.5F));
}

TEST_CASE("Ranks may hold any number of columns, also none") {
    const Bag bag(1100, true);
    const auto pool = soft_pooling();
    const Vector<float> expected = pool(otpool::Bag<float>{bag.columns, {}, bag.prior});
    std::uint64_t number = 0;
    for (const Index each : {0, 1, 100, 262, 400, 524, 1100, 2000}) {
        for (const Index size : {1, 2, 3, 5}) {
            if (!tests::in_sample(number++)) continue;
            CAPTURE(each, size);
            const Vector<float> pooled = pooled_by_ranks(pool, bag, size, each);
            CHECK((pooled - expected).cwiseAbs().maxCoeff() < 1e-6F * expected.cwiseAbs().maxCoeff());
        }
    }
}

/// What every rank says if `prepare(rank, bag)` is done to its shared bag first.
std::vector<std::string> errors_of(const Bag& bag, Index size, const auto& pool, const auto& prepare,
                                   long* gathers = nullptr) {
    ThreadsAsRanks threads(size);
    const auto errors = threads.run([&](const ThreadsAsRanks::Ranks& ranks) {
        const auto range = otpool::columns_of_rank(bag.columns.rows(), bag.columns.cols(), ranks.rank(), size);
        const Matrix<float> own = bag.part(range);
        Shared shared{MatrixColumns<float>{own}, ranks, {.memory = memory}, bag.part_of_prior(range)};
        auto of_rank = pool;
        prepare(ranks.rank(), shared, of_rank);
        of_rank(shared);
    });
    if (gathers != nullptr) *gathers = threads.gathers;
    return errors;
}

TEST_CASE("All ranks throw what the lowest rank that fails throws, at any point") {
    Bag bag;
    bag.columns(7, 3000) = std::numeric_limits<float>::quiet_NaN();
    bag.columns(8, 3999) = std::numeric_limits<float>::quiet_NaN();
    const auto pool = soft_pooling();
    const auto message = tests::message_of<otpool::InvalidArgument>([&] {
        pool(Streamed{MatrixColumns<float>{bag.columns}, {.memory = memory}});
    });
    CHECK(message == "reward at feature 7, instance 3000 is nan; allowed: finite numbers");
    for (const Index size : {1, 2, 3, 5}) {
        const auto errors = errors_of(bag, size, pool, [](Index, auto&, auto&) {});
        CHECK(errors == std::vector<std::string>(static_cast<std::size_t>(size), message));
    }
    const Bag good;
    const auto check_all = [&](const std::string& expected, const auto& prepare) {
        CAPTURE(expected);
        const auto errors = errors_of(good, 3, pool, prepare);
        for (const std::string& error : errors) CHECK(error.find(expected) != std::string::npos);
        CHECK(errors == std::vector<std::string>(3, errors[0]));
    };
    check_all("memory is 1000; allowed: at least ", [](Index rank, auto& shared, auto&) {
        if (rank == 2) shared.options.memory = 1000;
    });
    check_all("readers is 0", [](Index rank, auto& shared, auto&) {
        if (rank == 1) shared.options.readers = 0;
    });
    check_all("alpha0 on rank 1 is ", [](Index rank, auto&, auto& of_rank) {
        if (rank == 1) of_rank.parameters.alpha0 = 0.25F;
    });
    check_all("tolerance on rank 2 is ", [](Index rank, auto&, auto& of_rank) {
        if (rank == 2) of_rank.solver.options.tolerance = 1e-3;
    });
    check_all("digest of start on rank 1 is ", [](Index rank, auto& shared, auto&) {
        if (rank == 1) shared.options.start.setZero(500);
    });
    check_all("length of the prior on rank 1 is 0", [](Index rank, auto& shared, auto&) {
        if (rank != 1) shared.prior.setConstant(shared.source.cols(), 1e-3F);
    });
    check_all("sum of q0 over all ranks is ",
              [](Index, auto& shared, auto&) { shared.prior.setConstant(shared.source.cols(), 1e-3F); });
    check_all("q0[1310] is -1", [](Index rank, auto& shared, auto&) {
        shared.prior.setConstant(shared.source.cols(), 1 / 4001.0F);
        if (rank == 1) shared.prior[0] = -1;
    });
    check_all("does not solve a problem with a fixed mass",
              [](Index, auto&, auto& of_rank) { of_rank.parameters.mass = 0.5F; });
    const auto stop_after = [](Index calls) {
        return [calls, done = Index{0}](const auto&...) mutable {
            if (++done == calls) throw std::runtime_error("enough");
        };
    };
    for (const Index calls : {1, 5, 40}) {
        check_all("enough", [&](Index rank, auto& shared, auto&) {
            if (rank == 1) shared.options.progress = stop_after(calls);
        });
    }
    for (const Index calls : {1, 3}) {
        check_all("enough", [&](Index rank, auto& shared, auto&) {
            if (rank == 0) shared.options.potential = stop_after(calls);
        });
        check_all("enough", [&](Index rank, auto& shared, auto&) {
            shared.options.weights = [](Index, std::span<const double>) {};
            if (rank == 2) shared.options.weights = stop_after(calls);
        });
    }
}

}  // namespace shared_test
