// Copyright (c) 2026 the otpool authors. MIT licence.

// How fast a bag in a file is pooled, beside how fast the same file is read: bytes per second of both, in one run, from the
// disk and from the system's cache.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <otpool/streamed/streamed.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#ifdef BENCH_HAS_OPENMP
#include <otpool/adapter/openmp.hpp>
#endif

#include "random.hpp"

namespace {

using otpool::Index;

constexpr const char* help =
    R"(Usage: stream FOLDER [MEGABYTES [FEATURES [MEMORY]]]

Writes a file of so many megabytes of float to FOLDER, reads it by two threads, pools it by Sinkhorn (K = 4), and removes
it. Both once with the file in the system's cache, and once without: it is taken out before every pass. Prints a table.
Default: 1000 megabytes, 1024 features, 64 megabytes of memory for the pooling.
)";

/// A file of columns, without a header.
class FileColumns {
public:
    using Scalar = float;

    FileColumns(int file, Index rows, Index cols) : file_(file), rows_(rows), cols_(cols) {}
    Index rows() const { return rows_; }
    Index cols() const { return cols_; }
    double gigabytes() const { return static_cast<double>(rows_ * cols_) * sizeof(float) * 1e-9; }
    /// Takes the file out of the system's cache.
    void forget() const {
        fdatasync(file_);
        posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED);
    }
    void read(Index first, Index count, float* to) const {
        char* at = reinterpret_cast<char*>(to);
        Index offset = first * rows_ * Index{sizeof(float)};
        Index left = count * rows_ * Index{sizeof(float)};
        while (left > 0) {
            const ssize_t got = pread(file_, at, static_cast<std::size_t>(left), offset);
            if (got <= 0) throw std::runtime_error("the file cannot be read");
            at += got;
            offset += got;
            left -= got;
        }
    }

private:
    int file_;
    Index rows_, cols_;
};

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// The largest memory so far, in megabytes.
double peak() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;
}

/// read() of every block, by two threads, and nothing else. The shorter of two.
double seconds_of_reading(const FileColumns& source, bool cold) {
    const Index width = std::max((Index{1} << 17) / source.rows(), Index{1});
    double least = std::numeric_limits<double>::infinity();
    for (int repeat = 0; repeat < 2; ++repeat) {
        if (cold) source.forget();
        std::atomic<Index> next = 0;
        const double start = seconds();
        std::vector<std::thread> threads;
        for (int t = 0; t < 2; ++t) {
            threads.emplace_back([&] {
                std::vector<float> block(static_cast<std::size_t>(width * source.rows()));
                for (Index first = next++ * width; first < source.cols(); first = next++ * width)
                    source.read(first, std::min(width, source.cols() - first), block.data());
            });
        }
        for (std::thread& thread : threads) thread.join();
        least = std::min(least, seconds() - start);
    }
    return least;
}

/// The mean of all passes of a pooling.
double seconds_of_a_pass(const otpool::Pooling<float>& pool, const FileColumns& source, Index memory, bool cold) {
    Index passes = 0;
    double forgetting = 0;
    const auto after_block = [&](const otpool::StreamProgress& progress) {
        passes = progress.pass;
        if (!cold || progress.bytes < progress.total_bytes) return;
        const double start = seconds();
        source.forget();
        forgetting += seconds() - start;
    };
    if (cold) source.forget();
    const double start = seconds();
    pool(otpool::Streamed{source, {.memory = memory, .progress = after_block}});
    return (seconds() - start - forgetting) / static_cast<double>(passes);
}

void write_columns(int file, Index rows, Index cols) {
    constexpr Index together = 1000;
    bench::Random random(1);
    const otpool::Matrix<float> block = random.normal_matrix<float>(rows, together);
    for (Index first = 0; first < cols; first += together) {
        const auto bytes = static_cast<std::size_t>(std::min(together, cols - first) * rows) * sizeof(float);
        if (write(file, block.data(), bytes) != static_cast<ssize_t>(bytes))
            throw std::runtime_error("the file cannot be written");
    }
}

void measure(int file, Index megabytes, Index rows, Index memory) {
    const Index cols = megabytes * 1000000 / (rows * Index{sizeof(float)});
    write_columns(file, rows, cols);
    const FileColumns source(file, rows, cols);
    otpool::Pooling<float> pool{.parameters = {.alpha0 = 0.5F, .features = {.alpha = 1}, .instances = {.alpha = 1}},
                                .solver = {{.iterations = 4}}};
#ifdef BENCH_HAS_OPENMP
    pool.execution = otpool::OpenMp{};
#endif
    const double before = peak();
    std::printf("%ld instances x %ld features, %.2f GB of floats; pooling with %ld threads and %ld MB of memory\n\n",
                static_cast<long>(cols), static_cast<long>(rows), source.gigabytes(),
                static_cast<long>(pool.execution.workers()), static_cast<long>(memory));
    std::printf("| file | plain reading, GB/s | a pass of pooling, GB/s | share |\n|---|--:|--:|--:|\n");
    for (const bool cold : {true, false}) {
        const double reading = source.gigabytes() / seconds_of_reading(source, cold);
        const double pooling = source.gigabytes() / seconds_of_a_pass(pool, source, memory * 1000000, cold);
        std::printf("| %s | %.2f | %.2f | %.0f %% |\n", cold ? "on the disk" : "in the cache", reading, pooling,
                    100 * pooling / reading);
    }
    std::fprintf(stderr, "memory taken: %.0f MB\n", peak() - before);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2 || argv[1][0] == '-') {
        std::fputs(help, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    const auto number = [&](int i, Index otherwise) { return argc > i ? std::atol(argv[i]) : otherwise; };
    const std::string path = std::string(argv[1]) + "/otpool_stream_bench";
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0) {
        std::fprintf(stderr, "stream: cannot write %s\n", path.c_str());
        return 1;
    }
    unlink(path.c_str());  // it goes when the program ends, however it ends
    try {
        measure(file, number(2, 1000), number(3, 1024), number(4, 64));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "stream: %s\n", error.what());
        return 1;
    }
}
