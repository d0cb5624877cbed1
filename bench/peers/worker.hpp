// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

// What otpool's workers share: processes that compute one thing over and over, for compare.py to time several of them in
// turn. The protocol is that of worker.py.

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <otpool/core/matrix.hpp>
#include <string>
#include <vector>

#include "support/npy.hpp"

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace worker {

/// The command line.
struct Task {
    std::string name;
    std::string method;
    std::filesystem::path input;
    std::filesystem::path answer;
    otpool::Index bags = 1;
    int steps = 4;
    otpool::Index slots = 0;
    double alpha0 = 1;
    double alpha1 = 1;
    double alpha2 = 1;
    double rho = 1;
    double residual = 1e-8;
    double limit = 20;

    template <class Scalar>
    otpool::Matrix<Scalar> matrix(const char* file) const {
        return support::NpyFile(input / file).matrix<Scalar>();
    }

    template <class Derived>
    void write(const char* file, const Eigen::MatrixBase<Derived>& values) const {
        support::write_npy(answer / file, values.derived());
    }
};

/// What compare.py has timed. It returns a number of what it computes, so that a compiler cannot leave that out.
struct Work {
    std::function<double()> compute;
    int iterations = 0;
};

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The same matrix in such memory as the peers have it in: for arrays from 4 MiB on NumPy asks Linux for huge pages.
inline otpool::Matrix<float> as_numpy_has_it(const otpool::Matrix<float>& matrix) {
    otpool::Matrix<float> copy(matrix.rows(), matrix.cols());
#ifdef __linux__
    constexpr std::size_t least = std::size_t{4} << 20;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* first = copy.data();
    std::size_t size = static_cast<std::size_t>(copy.size()) * sizeof(float);
    if (size >= least && std::align(page, page, first, size) != nullptr) madvise(first, size, MADV_HUGEPAGE);
#endif
    copy = matrix;
    return copy;
}

inline void serve(const Work& work) {
    std::cout << "ready " << work.iterations << std::endl;
    int repeats = 0;
    while (std::cin >> repeats) {
        const auto start = Clock::now();
        for (int i = 0; i < repeats; ++i) work.compute();
        std::cout << seconds_since(start) / repeats << std::endl;
    }
}

/// Throws CLI::ParseError, for --help, too.
inline Task parse(CLI::App& app, int argc, char** argv, const std::vector<std::string>& tasks,
                  const std::vector<std::string>& methods) {
    Task task;
    app.description(
        "otpool in the comparison with its peers. Started by compare.py; the protocol is that of worker.py.");
    app.add_option("--task", task.name)->required()->check(CLI::IsMember(tasks));
    app.add_option("--method", task.method, "how otpool computes it")->required()->check(CLI::IsMember(methods));
    app.add_option(
           "--input", task.input,
           "folder with X.npy (bags N, D), to slots with W.npy (slots, D), and for backward cotangent.npy (bags, D)")
        ->required();
    app.add_option("--answer", task.answer, "folder for the answers")->required();
    app.add_option("--bags", task.bags);
    app.add_option("--steps", task.steps, "of a layer");
    app.add_option("--slots", task.slots);
    app.add_option("--alpha0", task.alpha0);
    app.add_option("--alpha1", task.alpha1);
    app.add_option("--alpha2", task.alpha2);
    app.add_option("--rho", task.rho, "of ADMM");
    app.add_option("--residual", task.residual, "to solve to");
    app.add_option("--limit", task.limit, "seconds that a solve may take");
    int threads = 1;
    app.add_option("--threads", threads, "ignored: there are no threads inside a call");
    app.parse(argc, argv);
    return task;
}

/// main() of a worker: serves what prepare(task) returns.
inline int run(int argc, char** argv, const std::vector<std::string>& tasks, const std::vector<std::string>& methods,
               Work (*prepare)(const Task&)) {
    try {
        CLI::App app;
        try {
            serve(prepare(parse(app, argc, argv, tasks, methods)));
        } catch (const CLI::ParseError& error) {
            return app.exit(error);
        }
    } catch (const std::exception& error) {
        std::cout << "failed " << error.what() << '\n';
    }
    return 0;
}

}  // namespace worker
