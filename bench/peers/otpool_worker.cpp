// Copyright (c) 2026 the otpool authors. MIT licence.

// otpool's layers and solvers in the comparison with their peers.

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <otpool/layer/published.hpp>
#include <otpool/learning.hpp>
#include <otpool/otpool.hpp>
#include <sstream>
#include <stdexcept>
#include <utility>
#include <vector>

#include "worker.hpp"

namespace {

using worker::Clock;
using worker::seconds_since;
using worker::Task;
using worker::Work;

std::vector<std::int64_t> equal_offsets(otpool::Index bags, otpool::Index instances) {
    std::vector<std::int64_t> offsets;
    for (otpool::Index b = 0; b <= bags; ++b) offsets.push_back(b * (instances / bags));
    return offsets;
}

/// The task's bags, all of one size. To be shared, as a copy's memory would be another.
struct Batch {
    otpool::Matrix<float> instances;
    std::vector<std::int64_t> offsets;

    explicit Batch(const Task& task)
        : instances(worker::as_numpy_has_it(task.matrix<float>("X.npy"))),
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

}  // namespace

int main(int argc, char** argv) {
    // Methods: of a layer, as otpool computes it, or as it was released; of solve, the solver.
    return worker::run(argc, argv,
                       {"sinkhorn_layer", "badmm_layer", "sinkhorn_layer_backward", "badmm_layer_backward", "solve"},
                       {"layer", "published", "sinkhorn", "newton", "badmm"}, prepare);
}
