// Copyright (c) 2026 the otpool authors. MIT licence.

// Layers: a batch of bags pooled by exactly K iterations of a solver, on one thread; and the gradient.

#include <benchmark/benchmark.h>

#include <iostream>
#include <otpool/learning.hpp>
#include <otpool/otpool.hpp>
#include <otpool/simd/lanes.hpp>
#include <otpool/simd/packet.hpp>
#include <string>
#include <vector>

#include "layers.hpp"
#include "program.hpp"

namespace {

constexpr const char* help =
    R"(Layers: batches of bags of one size, pooled by K iterations of a solver, on one thread. The names:

  sinkhorn_layer<float>/128/100/64/4           128 bags of N = 100 instances with D = 64 features, K = 4 steps
  sinkhorn_layer_backward<float>/128/100/64/4  forward and backward: also the gradient of bags and parameters

  limit/exp<float>, limit/read<float>          their limits: an exponential, reading a number from memory

Counters: bytes: bytes of the bags per second; per_element_step: time per entry of the bags and step; residual: of the
first bag's plan after the K steps.

Examples: the layers of one solver; the table of limits in bench/README.md

  layer_bench --benchmark_filter='sinkhorn.*<float>/.*/4$'
  layer_bench --benchmark_filter='limit|_layer(_backward)?<float>/.*/4$' --benchmark_repetitions=5 \
              --benchmark_out=build/layers.json --benchmark_out_format=json && python3 bench/limits.py build/layers.json

)";

using bench::LayerSize;

template <class Scalar, class Solver>
void pool(benchmark::State& state, const LayerSize& size) {
    const bench::Batch<Scalar> batch(size.features, size.offsets());
    const auto bags = batch.bags();
    const auto pool = bench::layer<Scalar, Solver>(size.steps);
    otpool::Workspaces workspaces;
    for (auto _ : state) benchmark::DoNotOptimize(pool(bags, workspaces));
    bench::count(state, batch, size.steps);
    state.counters["residual"] = pool.solve(bags[0]).residual;
}

template <class Scalar, class Solver>
void pool_and_pull_back(benchmark::State& state, const LayerSize& size) {
    const bench::Batch<Scalar> batch(size.features, size.offsets());
    const auto bags = batch.bags();
    const otpool::Matrix<Scalar> dL_dpooled = bench::Random(2).normal_matrix<Scalar>(size.features, size.bags);
    const auto layer = bench::learned_layer<Scalar, Solver>(size.steps);
    bench::time_both_passes(state, layer, bags, dL_dpooled);
    bench::count(state, batch, size.steps);
}

/// Exponentials of what a first-level cache holds.
template <class Scalar>
void exponentials(benchmark::State& state) {
    using Lanes = otpool::detail::Lanes<Scalar>;
    const otpool::Matrix<Scalar> x = bench::Random(3).normal_matrix<Scalar>(otpool::detail::register_lanes, 256);
    for (auto _ : state) {
        Lanes sum(Scalar(0));
        for (otpool::Index k = 0; k < x.cols(); ++k) sum += bounded_exp2(Lanes::load(x.col(k).data()));
        benchmark::DoNotOptimize(sum);
    }
    state.counters["per_element_step"] = benchmark::Counter(
        static_cast<double>(x.size()), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

/// The sum of what no cache holds.
template <class Scalar>
void read(benchmark::State& state) {
    const otpool::Vector<Scalar> x = otpool::Vector<Scalar>::Ones(Eigen::Index{1} << 27);
    for (auto _ : state) benchmark::DoNotOptimize(x.sum());
    state.counters["per_element_step"] = benchmark::Counter(
        static_cast<double>(x.size()), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

using Benchmark = void (*)(benchmark::State&, const LayerSize&);

void add(const std::string& name, Benchmark benchmark, const std::vector<LayerSize>& sizes) {
    for (const LayerSize& size : sizes) {
        const auto run = [=](benchmark::State& state) { benchmark(state, size); };
        benchmark::RegisterBenchmark((name + "/" + size.text()).c_str(), run)->Unit(benchmark::kMillisecond);
    }
}

}  // namespace

int main(int argc, char** argv) {
    // A batch of small graphs, one of large bags, and a whole slide.
    const std::vector<LayerSize> sizes = {{128, 100, 64, 4}, {32, 1000, 256, 4}, {1, 10'000, 1024, 4}};
    const std::vector<LayerSize> more_steps = {{128, 100, 64, 1}, {128, 100, 64, 16}};
    const std::vector<LayerSize> smaller = {sizes[0], sizes[1]};

    using otpool::BregmanAdmm;
    using otpool::Newton;
    using otpool::Sinkhorn;
    add("sinkhorn_layer<float>", pool<float, Sinkhorn>, sizes);
    add("sinkhorn_layer<float>", pool<float, Sinkhorn>, more_steps);
    add("sinkhorn_layer<double>", pool<double, Sinkhorn>, sizes);
    add("badmm_layer<float>", pool<float, BregmanAdmm>, sizes);
    add("badmm_layer<float>", pool<float, BregmanAdmm>, more_steps);
    add("badmm_layer<double>", pool<double, BregmanAdmm>, sizes);
    add("newton_layer<float>", pool<float, Newton>, smaller);
    add("newton_layer<double>", pool<double, Newton>, smaller);
    add("sinkhorn_layer_backward<float>", pool_and_pull_back<float, Sinkhorn>, sizes);
    add("sinkhorn_layer_backward<double>", pool_and_pull_back<double, Sinkhorn>, sizes);
    add("badmm_layer_backward<float>", pool_and_pull_back<float, BregmanAdmm>, sizes);
    add("badmm_layer_backward<double>", pool_and_pull_back<double, BregmanAdmm>, sizes);
    benchmark::RegisterBenchmark("limit/exp<float>", exponentials<float>);
    benchmark::RegisterBenchmark("limit/read<float>", read<float>)->Unit(benchmark::kMillisecond);

    return bench::run(argc, argv, [] {
        std::cout << help;
        benchmark::PrintDefaultHelp();
    });
}
