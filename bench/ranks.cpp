// Copyright (c) 2026 the otpool authors. MIT licence.

// What it takes several processes to pool one bag together. Run by mpirun, it measures how fast a process sums, how long a
// message takes and how long it takes to add a sum, and prints by a model what that makes for many processes.

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <otpool/adapter/mpi.hpp>
#include <otpool/streamed/shared.hpp>

namespace {

using otpool::Index;

constexpr Index features = 1024;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// The median of the times of some runs.
double median_time(int runs, const auto& run) {
    std::vector<double> times;
    for (int i = 0; i < runs; ++i) {
        const double begin = seconds();
        run();
        times.push_back(seconds() - begin);
    }
    std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
    return times[static_cast<std::size_t>(runs / 2)];
}

double gather_time(const otpool::MpiRanks& ranks, Index numbers_of_each) {
    const std::vector<Index> counts(static_cast<std::size_t>(ranks.size()), numbers_of_each);
    const std::vector<double> own(static_cast<std::size_t>(numbers_of_each), 1);
    std::vector<double> all(own.size() * counts.size());
    return median_time(51, [&] { ranks.gather(own, counts, all); });
}

/// Bytes of float per second that each process pools in a pass, all at the same time.
double pass_speed(const otpool::MpiRanks& ranks) {
    constexpr Index columns = 40000;
    Eigen::MatrixXf bag(features, columns);
    unsigned state = 1;
    for (float& number : bag.reshaped()) {
        state = state * 1664525U + 1013904223U;
        number = static_cast<float>(state >> 8U) * 0x1p-24F;
    }
    constexpr int steps = 4;
    const otpool::Pooling<float> pool{
        .parameters = {.alpha0 = 0.1F, .features = {.alpha = 1}, .instances = {.alpha = 1}},
        .solver = {{.iterations = steps}}};
    const double time = median_time(3, [&] { pool(otpool::Shared{otpool::MatrixColumns<float>{bag}, ranks}); });
    return (steps + 1) * sizeof(float) * features * columns / time;
}

double time_to_add() {
    otpool::detail::StreamedSums<> a, b;
    for (auto* sums : {&a, &b}) {
        sums->start(features);
        for (Index d = 0; d < features; ++d) {
            sums->highest[d] = sums->reference[d] = 1;
            sums->top[d] = -1;
            sums->mass[d] = sums->weighted[d] = 1e-3;
        }
    }
    return median_time(101, [&] { a.add(b, 10); });
}

struct Measured {
    double speed, latency, bandwidth, add;
};

/// Messages go round a ring: the time of one, for `ranks` processes that get so many bytes in all.
double exchange_time(double latency, double bandwidth, Index ranks, double bytes) {
    return static_cast<double>(ranks - 1) * latency + bytes / bandwidth;
}

void print_model(const Measured& m) {
    constexpr Index instances = 10000000000;
    std::printf("Measured: a process pools %.2f GB/s, a message takes %.0f us and %.2f GB/s, adding a sum %.0f us.\n\n",
                m.speed * 1e-9, m.latency * 1e6, m.bandwidth * 1e-9, m.add * 1e6);
    std::printf(
        "| ranks | a rank pools, s | it gets, MB | exchange as here, s | at 1.25 GB/s and 50 us, s | adding, s |"
        " a pass, s | times one rank |\n|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    const double alone = static_cast<double>(instances) * features * sizeof(float) / m.speed;
    for (const Index ranks : {1, 10, 30, 100, 300, 1000}) {
        std::vector<Index> begins = {0};
        Index most = 0;
        Index nodes = 0;
        for (Index r = 0; r < ranks; ++r) {
            const auto range = otpool::columns_of_rank(features, instances, r, ranks);
            begins.push_back(range.first + range.count);
            most = std::max(most, range.count);
            nodes += otpool::detail::BlockTree<double>::nodes_left(
                {features, instances, range.first, range.first + range.count});
        }
        const double pooling = static_cast<double>(most) * features * sizeof(float) / m.speed;
        const double bytes =
            ranks == 1 ? 0 : static_cast<double>(nodes * (5 * features + 8) + 2 * ranks) * sizeof(double);
        const double here = exchange_time(m.latency, m.bandwidth, ranks, bytes);
        const double network = exchange_time(50e-6, 1.25e9, ranks, bytes);
        const double adding = static_cast<double>(nodes - 1) * m.add;
        const double pass = pooling + network + adding;
        std::printf("| %td | %.1f | %.1f | %.3f | %.3f | %.3f | %.1f | %.1f |\n", ranks, pooling, bytes * 1e-6, here,
                    network, adding, pass, alone / pass);
    }
}

}  // namespace

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    {
        const otpool::MpiRanks ranks;
        if (ranks.size() != 2) {
            if (ranks.rank() == 0) std::fputs("Usage: mpirun -n 2 ranks\n", stderr);
            MPI_Finalize();
            return 2;
        }
        Measured measured{};
        measured.latency = gather_time(ranks, 2);
        constexpr Index many = 1 << 19;
        measured.bandwidth = 2 * sizeof(double) * many / gather_time(ranks, many);
        measured.speed = pass_speed(ranks);
        measured.add = time_to_add();
        if (ranks.rank() == 0) print_model(measured);
    }
    MPI_Finalize();
    return 0;
}
