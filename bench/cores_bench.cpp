// Copyright (c) 2026 the otpool authors. MIT licence.

// Layers on all cores: a batch is split by bags, a large bag by blocks of its instances.

#include <benchmark/benchmark.h>

#include <iostream>
#include <otpool/core/execution.hpp>
#include <otpool/learning.hpp>
#include <otpool/otpool.hpp>
#include <string>
#include <utility>
#include <vector>
#ifdef BENCH_HAS_OPENMP
#include <otpool/adapter/openmp.hpp>
#endif
#ifdef BENCH_HAS_ONETBB
#include <otpool/adapter/onetbb.hpp>
#endif

#include "layers.hpp"
#include "program.hpp"

namespace {

constexpr const char* help =
    R"(Layers by execution policy, each with its default number of threads. The names are those of layer_bench, with the policy:

  sinkhorn_layer<float>/1/10000/1024/4/openmp   1 bag of N = 10000 instances with D = 1024 features, K = 4 steps

Example: the table of bench/README.md

  cores_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true \
              --benchmark_out=build/cores.json --benchmark_out_format=json
  python3 bench/cores.py build/cores.json

)";

using bench::LayerSize;
using otpool::Execution;

template <class Solver>
void pool(benchmark::State& state, const LayerSize& size, const Execution& execution) {
    const bench::Batch<float> batch(size.features, size.offsets());
    const auto bags = batch.bags();
    auto pool = bench::layer<float, Solver>(size.steps);
    pool.execution = execution;
    otpool::Workspaces workspaces;
    for (auto _ : state) benchmark::DoNotOptimize(pool(bags, workspaces));
    state.counters["workers"] = static_cast<double>(execution.workers());
}

template <class Solver>
void pool_and_pull_back(benchmark::State& state, const LayerSize& size, const Execution& execution) {
    const bench::Batch<float> batch(size.features, size.offsets());
    const auto bags = batch.bags();
    const otpool::Matrix<float> dL_dpooled = bench::Random(2).normal_matrix<float>(size.features, size.bags);
    auto layer = bench::learned_layer<float, Solver>(size.steps);
    layer.execution = execution;
    bench::time_both_passes(state, layer, bags, dL_dpooled);
    state.counters["workers"] = static_cast<double>(execution.workers());
}

using Benchmark = void (*)(benchmark::State&, const LayerSize&, const Execution&);

void add(const std::string& layer, Benchmark benchmark, const std::vector<LayerSize>& sizes) {
    std::vector<std::pair<std::string, Execution>> policies = {{"sequential", {}}};
#ifdef BENCH_HAS_OPENMP
    policies.emplace_back("openmp", otpool::OpenMp{});
#endif
#ifdef BENCH_HAS_ONETBB
    policies.emplace_back("onetbb", otpool::OneTbb());
#endif
    for (const LayerSize& size : sizes) {
        for (const auto& [policy, execution] : policies) {
            const std::string name = layer + "<float>/" + size.text() + "/" + policy;
            const auto run = [=, execution = execution](benchmark::State& state) { benchmark(state, size, execution); };
            benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond)->UseRealTime();
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<LayerSize> sizes = {{128, 100, 64, 4}, {32, 1000, 256, 4}, {1, 10'000, 1024, 4}};
    const std::vector<LayerSize> batches = {sizes[0], sizes[1]};
    add("sinkhorn_layer", pool<otpool::Sinkhorn>, sizes);
    add("badmm_layer", pool<otpool::BregmanAdmm>, sizes);
    add("sinkhorn_layer_backward", pool_and_pull_back<otpool::Sinkhorn>, batches);
    add("badmm_layer_backward", pool_and_pull_back<otpool::BregmanAdmm>, batches);
    return bench::run(argc, argv, [] {
        std::cout << help;
        benchmark::PrintDefaultHelp();
    });
}
