// Copyright (c) 2026 the otpool authors. MIT licence.

// otpool in the comparison with its peers: a process that computes one thing over and over, for compare.py to time
// several of them in turn. The protocol is that of worker.py.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <otpool/layer/published.hpp>
#include <otpool/learning.hpp>
#include <otpool/otpool.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/npy.hpp"

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace {

/// The command line.
struct Task {
    std::string name;
    std::string method;
    std::filesystem::path input;
    std::filesystem::path answer;
    otpool::Index bags = 1;
    int steps = 4;
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

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<std::int64_t> equal_offsets(otpool::Index bags, otpool::Index instances) {
    std::vector<std::int64_t> offsets;
    for (otpool::Index b = 0; b <= bags; ++b) offsets.push_back(b * (instances / bags));
    return offsets;
}

/// The same matrix in such memory as the peers have it in: for arrays from 4 MiB on NumPy asks Linux for huge pages.
otpool::Matrix<float> as_numpy_has_it(const otpool::Matrix<float>& matrix) {
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

/// The task's bags, all of one size. To be shared, as a copy's memory would be another.
struct Batch {
    otpool::Matrix<float> instances;
    std::vector<std::int64_t> offsets;

    explicit Batch(const Task& task)
        : instances(as_numpy_has_it(task.matrix<float>("X.npy"))),
          offsets(equal_offsets(task.bags, instances.cols())) {}

    otpool::Bags<float> bags() const { return {instances, offsets}; }
};

template <class Solver>
Work forward(const Task& task) {
    otpool::Pooling<float, Solver> pool{.parameters = {.alpha0 = static_cast<float>(task.alpha0),
                                                       .features = {.alpha = static_cast<float>(task.alpha1)},
                                                       .instances = {.alpha = static_cast<float>(task.alpha2)}},
                                        .solver = {{.iterations = task.steps}}};
    if constexpr (requires { pool.solver.rho; }) pool.solver.rho = task.rho;
    const auto batch = std::make_shared<const Batch>(task);
    task.write("pooled.npy", pool(batch->bags()));
    const auto workspaces = std::make_shared<otpool::Workspaces>();
    return {[=] { return pool(batch->bags(), *workspaces)(0, 0); }, task.steps};
}

template <class Layer>
Layer learned_layer(const Task& task) {
    const auto raw = [](double value) {
        return otpool::Vector<float>::Constant(1, static_cast<float>(std::log(value)));
    };
    Layer layer{.parameters = {.alpha0 = raw(task.alpha0), .alpha1 = raw(task.alpha1), .alpha2 = raw(task.alpha2)},
                .steps = task.steps};
    if constexpr (Layer::has_rho) layer.parameters.rho = raw(task.rho);
    return layer;
}

template <class Solver>
Work forward_and_backward(const Task& task) {
    using Layer = otpool::UotLayer<float, Solver>;
    const auto layer = learned_layer<Layer>(task);
    const auto batch = std::make_shared<const Batch>(task);
    const otpool::Matrix<float> cotangent = task.matrix<float>("cotangent.npy");

    const auto forward = layer.forward(batch->bags());
    const auto gradient = layer.backward(forward, cotangent);
    const auto& of = gradient.parameters;
    otpool::Vector<float> parameters = otpool::Vector<float>::Zero(4);
    parameters.head(3) << of.alpha0[0], of.alpha1[0], of.alpha2[0];
    if constexpr (Layer::has_rho) parameters[3] = of.rho[0];
    task.write("pooled.npy", forward.pooled);
    task.write("gradient.npy", gradient.instances);
    task.write("parameters.npy", parameters);
    const auto workspaces = std::make_shared<otpool::Workspaces>();
    return {[=, gradient = typename Layer::Gradient()]() mutable {
                gradient = layer.backward(layer.forward(batch->bags(), *workspaces), cotangent, std::move(gradient),
                                          *workspaces);
                return gradient.instances(0, 0);
            },
            task.steps};
}

/// The layers as they were released, for what they pool, not for time.
template <class Layer>
Work published(const Task& task) {
    const auto raw = [](double value) { return otpool::RealVector::Constant(1, std::log(std::expm1(value))); };
    const Layer layer{.parameters = {raw(task.alpha0), raw(task.alpha1), raw(task.alpha2), raw(task.rho)},
                      .steps = task.steps};
    const auto batch = std::make_shared<const Batch>(task);
    task.write("pooled.npy", layer(batch->bags()));
    return {[layer, batch] { return layer(batch->bags())(0, 0); }, task.steps};
}

/// Solves until the residual is small enough, as often as asked.
template <class Solver>
Work solve(const Task& task) {
    const Solver solver{{.tolerance = task.residual, .max_iterations = std::numeric_limits<int>::max()}};
    const otpool::Matrix<double> reward = task.matrix<double>("X.npy");
    const auto problem = [=](const otpool::Matrix<double>& of) {
        return otpool::UotProblem<double>{.reward = of,
                                          .alpha0 = task.alpha0,
                                          .features = {.alpha = task.alpha1},
                                          .instances = {.alpha = task.alpha2}};
    };
    const auto start = Clock::now();
    const auto out_of_time = [&](int, double) { return seconds_since(start) > task.limit; };
    const auto solution = solver.solve(problem(reward), {.observer = out_of_time});
    if (!solution.converged()) {
        std::ostringstream reason;
        reason.precision(1);
        reason << std::scientific << "residual " << solution.residual << std::defaultfloat << " after " << task.limit
               << " s, " << otpool::name(solution.status);
        throw std::runtime_error(reason.str());
    }
    task.write("f.npy", solution.feature_potential);
    task.write("g.npy", solution.instance_potential);
    // As of the peers, what is timed is the solution, before anything is pooled by it.
    const auto workspace = std::make_shared<otpool::Workspace>();
    const auto solve = [=] { return solver.solve(problem(reward), {.workspace = workspace.get()}); };
    return {[=] { return solve().feature_potential[0]; }, solution.iterations};
}

Work prepare(const Task& task) {
    using otpool::BregmanAdmm;
    using otpool::Newton;
    using otpool::Sinkhorn;
    const bool is_sinkhorn = task.name.starts_with("sinkhorn");
    if (task.name == "solve") {
        if (task.method == "sinkhorn") return solve<Sinkhorn>(task);
        if (task.method == "newton") return solve<Newton>(task);
        return solve<BregmanAdmm>(task);
    }
    if (task.method == "published") {
        return is_sinkhorn ? published<otpool::published::Sinkhorn<float>>(task)
                           : published<otpool::published::EntropicAdmm<float>>(task);
    }
    if (task.name.ends_with("backward")) {
        return is_sinkhorn ? forward_and_backward<Sinkhorn>(task) : forward_and_backward<BregmanAdmm>(task);
    }
    return is_sinkhorn ? forward<Sinkhorn>(task) : forward<BregmanAdmm>(task);
}

void serve(const Work& work) {
    std::cout << "ready " << work.iterations << std::endl;
    int repeats = 0;
    while (std::cin >> repeats) {
        const auto start = Clock::now();
        for (int i = 0; i < repeats; ++i) work.compute();
        std::cout << seconds_since(start) / repeats << std::endl;
    }
}

/// Throws CLI::ParseError, for --help, too.
Task parse(CLI::App& app, int argc, char** argv) {
    Task task;
    app.description(
        "otpool in the comparison with its peers. Started by compare.py; the protocol is that of worker.py.");
    const std::vector<std::string> names = {"sinkhorn_layer", "badmm_layer", "sinkhorn_layer_backward",
                                            "badmm_layer_backward", "solve"};
    app.add_option("--task", task.name)->required()->check(CLI::IsMember(names));
    app.add_option("--method", task.method,
                   "of a layer: as otpool computes it, or as it was released; of solve: the solver")
        ->required()
        ->check(CLI::IsMember({"layer", "published", "sinkhorn", "newton", "badmm"}));
    app.add_option("--input", task.input, "folder with X.npy (bags N, D), and for backward cotangent.npy (bags, D)")
        ->required();
    app.add_option("--answer", task.answer, "folder for the answers")->required();
    app.add_option("--bags", task.bags);
    app.add_option("--steps", task.steps, "of a layer");
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

}  // namespace

int main(int argc, char** argv) {
    try {
        CLI::App app;
        try {
            serve(prepare(parse(app, argc, argv)));
        } catch (const CLI::ParseError& error) {
            return app.exit(error);
        }
    } catch (const std::exception& error) {
        std::cout << "failed " << error.what() << '\n';
    }
    return 0;
}
