// Copyright (c) 2026 the otpool authors. MIT licence.

// How the time of a layer grows with the number of instances, features and steps, and with the skew of the bags' sizes.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <otpool/otpool.hpp>
#include <string>
#include <vector>

#include "layers.hpp"
#include "program.hpp"

namespace {

constexpr const char* help =
    R"(How the time of a layer grows, on one thread. The names are those of layer_bench, after what grows:

  N/sinkhorn_layer<float>/1/1000000/64/4      1 bag of N = 1000000 instances with D = 64 features, K = 4 steps
  D/...  K/...                                features, steps
  skew/sinkhorn_layer<float>/128/100/64/4/2   128 bags of 100 instances on average; the size of the b-th
                                              largest is proportional to b^-2; 0: all have one size

Counters: bytes: bytes of the bags per second; per_element_step: time per entry of the bags and step.

Example: the chart and the sentences of bench/README.md

  growth_bench --benchmark_out=build/growth.json --benchmark_out_format=json
  python3 bench/growth.py build/growth.json

)";

using bench::LayerSize;

std::vector<std::int64_t> uneven_offsets(const LayerSize& size, double skew) {
    std::vector<double> weights;
    double sum = 0;
    for (otpool::Index b = 1; b <= size.bags; ++b) {
        weights.push_back(std::pow(static_cast<double>(b), -skew));
        sum += weights.back();
    }
    std::vector<std::int64_t> offsets = {0};
    const auto instances = static_cast<double>(size.bags * size.instances);
    for (const double weight : weights) {
        offsets.push_back(offsets.back() + std::max<std::int64_t>(1, std::llround(instances * weight / sum)));
    }
    return offsets;
}

template <class Solver>
void pool(benchmark::State& state, const LayerSize& size, double skew) {
    const bench::Batch<float> batch(size.features, uneven_offsets(size, skew));
    const auto bags = batch.bags();
    const auto pool = bench::layer<float, Solver>(size.steps);
    otpool::Workspaces workspaces;
    for (auto _ : state) benchmark::DoNotOptimize(pool(bags, workspaces));
    bench::count(state, batch, size.steps);
}

template <class Solver>
void add(const std::string& series, const std::string& solver, const LayerSize& size, const std::string& skew = "") {
    const std::string name = series + "/" + solver + "_layer<float>/" + size.text() + (skew.empty() ? "" : "/") + skew;
    const auto run = [=](benchmark::State& state) { pool<Solver>(state, size, skew.empty() ? 0 : std::stod(skew)); };
    benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond);
}

template <class Solver>
void add_all(const std::string& solver) {
    for (const otpool::Index instances : {100, 1000, 10'000, 100'000, 1'000'000}) {
        add<Solver>("N", solver, {1, instances, 64, 4});
    }
    for (const otpool::Index features : {1, 2, 4, 8, 16, 32, 64, 256, 1024, 4096}) {
        add<Solver>("D", solver, {1, 1000, features, 4});
    }
    for (const int steps : {1, 2, 4, 8, 16, 32, 64}) add<Solver>("K", solver, {1, 1000, 64, steps});
    for (const char* skew : {"0", "0.5", "1", "1.5", "2"}) add<Solver>("skew", solver, {128, 100, 64, 4}, skew);
}

}  // namespace

int main(int argc, char** argv) {
    add_all<otpool::Sinkhorn>("sinkhorn");
    add_all<otpool::BregmanAdmm>("badmm");
    add_all<otpool::Newton>("newton");
    return bench::run(argc, argv, [] {
        std::cout << help;
        benchmark::PrintDefaultHelp();
    });
}
