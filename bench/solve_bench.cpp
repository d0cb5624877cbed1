// Copyright (c) 2026 the otpool authors. MIT licence.

// One bag solved to a tolerance, on one thread, and pooled. Names read
// solve_to_<tolerance><solver,scalar>/<marginals>/N:instances/D:features/alpha0:in units of the reward's standard deviation.

#include <benchmark/benchmark.h>

#include <otpool/otpool.hpp>
#include <string>
#include <vector>

#include "random.hpp"

namespace {

struct Setting {
    std::string marginals;
    double alpha;  ///< of both sides
    otpool::Index instances;
    otpool::Index features;
    std::string alpha0;

    std::string text() const {
        return "/" + marginals + "/N:" + std::to_string(instances) + "/D:" + std::to_string(features) +
               "/alpha0:" + alpha0;
    }
};

template <class Scalar, class Solver, class R>
void solve(benchmark::State& state, const Setting& setting, double tolerance) {
    const otpool::Matrix<Scalar> bag = bench::Random(1).normal_matrix<Scalar>(setting.features, setting.instances);
    const auto alpha = static_cast<Scalar>(setting.alpha);
    const otpool::UotProblem<Scalar, R> problem{.reward = bag,
                                                .alpha0 = static_cast<Scalar>(std::stod(setting.alpha0)),
                                                .features = {.alpha = alpha},
                                                .instances = {.alpha = alpha}};
    const Solver solver{{.tolerance = tolerance}};

    for (auto _ : state) benchmark::DoNotOptimize(otpool::ConditionalReadout{}(solver.solve(problem)));

    const otpool::Solution<Scalar, R> solution = solver.solve(problem);
    const auto rate = benchmark::Counter::kIsIterationInvariantRate;
    state.counters["element_steps"] = benchmark::Counter(static_cast<double>(bag.size()) * solution.iterations, rate);
    state.counters["iterations"] = solution.iterations;
    state.counters["residual"] = solution.residual;
    state.SetLabel(otpool::name(solution.status));
}

template <class Scalar, class Solver, class R = otpool::Entropy>
void add(const std::string& solver, const std::string& tolerance, const std::vector<Setting>& settings) {
    for (const Setting& setting : settings) {
        const std::string name = "solve_to_" + tolerance + "<" + solver + ">" + setting.text();
        const auto run = [setting, tolerance](benchmark::State& state) {
            solve<Scalar, Solver, R>(state, setting, std::stod(tolerance));
        };
        benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond);
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<Setting> settings;
    for (const std::string alpha0 : {"1", "0.1", "0.01"}) {
        settings.push_back({"hard", otpool::hard, 100, 64, alpha0});
        settings.push_back({"soft", 1, 100, 64, alpha0});
    }
    const std::vector<Setting> large = {{"soft", 1, 1000, 256, "0.1"}};

    add<double, otpool::Sinkhorn>("sinkhorn,double", "1e-8", settings);
    add<double, otpool::BregmanAdmm>("badmm,double", "1e-8", settings);
    add<double, otpool::Newton>("newton,double", "1e-8", settings);
    add<double, otpool::Sinkhorn>("sinkhorn,double", "1e-8", large);
    add<double, otpool::BregmanAdmm>("badmm,double", "1e-8", large);
    add<double, otpool::Newton>("newton,double", "1e-8", large);
    add<float, otpool::Sinkhorn>("sinkhorn,float", "1e-6", settings);
    add<float, otpool::BregmanAdmm>("badmm,float", "1e-6", settings);
    add<float, otpool::Newton>("newton,float", "1e-6", settings);
    add<double, otpool::BregmanAdmm, otpool::Quadratic>("badmm,double,quadratic", "1e-6",
                                                        {{"hard", otpool::hard, 100, 64, "1"}});

    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
