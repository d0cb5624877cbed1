// Run by mpirun with any number of processes: what they pool together has the bits of one process, and errors agree. Prints
// what is wrong, and returns 1.

#include <otpool/adapter/mpi.hpp>
#include <otpool/otpool.hpp>
#include <otpool/streamed/shared.hpp>
#include <otpool/streamed/spread_bags.hpp>

#include <cstdint>
#include <cstdio>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using otpool::Index;

int failures = 0;

void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "mpi_ranks: wrong: %s\n", what);
    ++failures;
}

Eigen::MatrixXf made_up_bag(Index rows, Index cols) {
    std::uint32_t state = 1;
    return Eigen::MatrixXf::NullaryExpr(rows, cols, [&] {
        state = state * 1664525U + 1013904223U;
        return static_cast<float>(state >> 8U) * 0x1p-24F;
    });
}

void test_gather(const otpool::MpiRanks& ranks) {
    std::vector<Index> counts;
    for (Index r = 0; r < ranks.size(); ++r) counts.push_back(7 * r % 5);
    std::vector<double> expected;
    std::vector<double> own;
    for (Index r = 0; r < ranks.size(); ++r) {
        for (Index i = 0; i < counts[static_cast<std::size_t>(r)]; ++i) {
            expected.push_back(static_cast<double>(100 * r + i));
            if (r == ranks.rank()) own.push_back(expected.back());
        }
    }
    std::vector<double> all(expected.size(), -1);
    ranks.gather(own, counts, all);
    expect(all == expected, "gather");
}

void test_pooling(const otpool::MpiRanks& ranks) {
    const otpool::Pooling<float> pool{
        .parameters = {.alpha0 = 0.1F, .features = {.alpha = 1}, .instances = {.alpha = 2}}};
    Eigen::MatrixXf bag = made_up_bag(512, 3000);
    const auto range = otpool::columns_of_rank(bag.rows(), bag.cols(), ranks.rank(), ranks.size());
    const auto pooled = [&] {
        const Eigen::MatrixXf own = bag.middleCols(range.first, range.count);
        return pool(otpool::Shared{otpool::MatrixColumns<float>{own}, ranks});
    };
    expect(pooled() == pool(otpool::Streamed{otpool::MatrixColumns<float>{bag}}), "a shared bag");

    bag(3, 2999) = std::numeric_limits<float>::quiet_NaN();
    std::string message;
    try {
        pooled();
    } catch (const otpool::InvalidArgument& error) {
        message = error.what();
    }
    expect(message == "reward at feature 3, instance 2999 is nan; allowed: finite numbers", "the error of all ranks");
}

void test_spread(const otpool::MpiRanks& ranks) {
    const std::vector<std::int64_t> offsets = {0, 10, 10, 400, 401, 900, 1000};
    const Eigen::MatrixXf instances = made_up_bag(20, 1000);
    const auto pool = otpool::softmax_pooling<float>(0.1F);
    const auto pool_some = [&](Index first, Index end) {
        Eigen::MatrixXf pooled(20, end - first);
        for (Index b = first; b < end; ++b) {
            const auto at = static_cast<std::size_t>(b);
            pooled.col(b - first).setZero();
            if (offsets[at] == offsets[at + 1]) continue;
            pooled.col(b - first) = pool(instances.middleCols(offsets[at], offsets[at + 1] - offsets[at]));
        }
        return pooled;
    };
    const Eigen::MatrixXf pooled = otpool::pool_spread<float>(ranks, offsets, pool_some);
    expect(pooled == pool_some(0, 6), "bags that are spread");
}

}  // namespace

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    for (const Index longest : {Index{std::numeric_limits<int>::max()}, Index{3}}) {
        const otpool::MpiRanks ranks{MPI_COMM_WORLD, longest};
        test_gather(ranks);
        test_pooling(ranks);
        test_spread(ranks);
    }
    MPI_Finalize();
    return failures == 0 ? 0 : 1;
}
