// Copyright (c) 2026 the otpool authors. MIT licence.

// A layer: a ragged batch of bags pooled by exactly K iterations of a solver, on one thread. Names read
// <solver>_layer<scalar>/bags:B/N:instances a bag/D:features/K:iterations.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <otpool/otpool.hpp>
#include <string>
#include <vector>

#include "random.hpp"

namespace {

struct Size {
    otpool::Index bags;
    otpool::Index instances;
    otpool::Index features;
    int iterations;

    std::string text() const {
        const auto field = [](const char* name, auto value) { return std::string(name) + std::to_string(value); };
        return field("/bags:", bags) + field("/N:", instances) + field("/D:", features) + field("/K:", iterations);
    }
};

/// Both marginals soft, so that no part of the iteration is left out.
template <class Scalar, class Solver>
auto layer(int iterations) {
    return otpool::Pooling<Scalar, Solver>{
        .parameters = {.alpha0 = Scalar(0.1), .features = {.alpha = 1}, .instances = {.alpha = 1}},
        .solver = {{.iterations = iterations}}};
}

template <class Scalar, class Solver>
void pool_batch(benchmark::State& state, const Size& size) {
    const otpool::Index all = size.bags * size.instances;
    const otpool::Matrix<Scalar> instances = bench::Random(1).normal_matrix<Scalar>(size.features, all);
    std::vector<std::int64_t> offsets;
    for (otpool::Index b = 0; b <= size.bags; ++b) offsets.push_back(b * size.instances);
    const otpool::Bags<Scalar> bags(instances, offsets);
    const auto pool = layer<Scalar, Solver>(size.iterations);

    for (auto _ : state) benchmark::DoNotOptimize(pool(bags));

    const auto elements = static_cast<double>(instances.size());
    const auto rate = benchmark::Counter::kIsIterationInvariantRate;
    state.counters["bytes"] = benchmark::Counter(elements * sizeof(Scalar), rate, benchmark::Counter::OneK::kIs1024);
    state.counters["element_steps"] = benchmark::Counter(elements * size.iterations, rate);
    state.counters["residual"] = pool.solve(bags[0]).residual;
}

template <class Scalar, class Solver>
void add(const std::string& solver, const std::string& scalar, const std::vector<Size>& sizes) {
    for (const Size& size : sizes) {
        const std::string name = solver + "_layer<" + scalar + ">" + size.text();
        const auto run = [size](benchmark::State& state) { pool_batch<Scalar, Solver>(state, size); };
        benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond);
    }
}

}  // namespace

int main(int argc, char** argv) {
    // A batch of small graphs, one of large bags, and a whole slide.
    const std::vector<Size> graphs = {{128, 100, 64, 1}, {128, 100, 64, 4}, {128, 100, 64, 16}};
    const Size large = {32, 1000, 256, 4};
    const Size slide = {1, 10'000, 1024, 4};

    add<float, otpool::Sinkhorn>("sinkhorn", "float", graphs);
    add<float, otpool::Sinkhorn>("sinkhorn", "float", {large, slide});
    add<double, otpool::Sinkhorn>("sinkhorn", "double", {graphs[1], large, slide});
    add<float, otpool::BregmanAdmm>("badmm", "float", graphs);
    add<float, otpool::BregmanAdmm>("badmm", "float", {large, slide});
    add<double, otpool::BregmanAdmm>("badmm", "double", {graphs[1], large, slide});
    add<float, otpool::Newton>("newton", "float", {graphs[1], large});
    add<double, otpool::Newton>("newton", "double", {graphs[1], large});

    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
