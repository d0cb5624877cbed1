// Copyright (c) 2026 the otpool authors. MIT licence.

// One bag solved to a tolerance, on one thread, and pooled.

#include <benchmark/benchmark.h>

#include <iostream>
#include <otpool/otpool.hpp>
#include <string>
#include <vector>

#include "program.hpp"
#include "random.hpp"

namespace {

constexpr const char* help =
    R"(One bag solved until the residual is within a tolerance, and pooled, on one thread. The names:

  solve_to_1e-8<double>/100/64/0.1/1/newton  N = 100 instances with D = 64 features, alpha0 = 0.1 times the reward's
                                             standard deviation, alpha1 = alpha2 = 1 (or hard), by Newton

Counters: element_steps: entries of the bag times iterations, per second; iterations; residual. The label is the status.

Example: solve_bench --benchmark_filter='solve_to_1e-8.*/0.1/.*'

)";

struct Setting {
    otpool::Index instances;
    otpool::Index features;
    std::string alpha0;
    std::string alpha;  ///< of both marginals

    std::string name(const std::string& scalar, const std::string& tolerance, const std::string& solver) const {
        return "solve_to_" + tolerance + "<" + scalar + ">/" + std::to_string(instances) + "/" +
               std::to_string(features) + "/" + alpha0 + "/" + alpha + "/" + solver;
    }
};

template <class Scalar, class Solver, class R>
void solve(benchmark::State& state, const Setting& setting, double tolerance) {
    const otpool::Matrix<Scalar> bag = bench::Random(1).normal_matrix<Scalar>(setting.features, setting.instances);
    const Scalar alpha = setting.alpha == "hard" ? Scalar(otpool::hard) : static_cast<Scalar>(std::stod(setting.alpha));
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
void add(const std::string& scalar, const std::string& tolerance, const std::string& solver,
         const std::vector<Setting>& settings) {
    for (const Setting& setting : settings) {
        const std::string name = setting.name(scalar, tolerance, solver);
        const auto run = [setting, tolerance](benchmark::State& state) {
            solve<Scalar, Solver, R>(state, setting, std::stod(tolerance));
        };
        benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond);
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<Setting> settings;
    for (const char* alpha0 : {"1", "0.1", "0.01", "0.001"}) {
        settings.push_back({100, 64, alpha0, "hard"});
        settings.push_back({100, 64, alpha0, "1"});
    }
    const std::vector<Setting> large = {{1000, 256, "0.1", "1"}};
    const std::vector<Setting> large_and_sharp = {{1000, 256, "0.001", "1"}};

    using otpool::BregmanAdmm;
    using otpool::Newton;
    using otpool::Sinkhorn;
    for (const auto& some : {settings, large}) {
        add<double, Sinkhorn>("double", "1e-8", "sinkhorn", some);
        add<double, BregmanAdmm>("double", "1e-8", "badmm", some);
        add<double, Newton>("double", "1e-8", "newton", some);
    }
    add<double, Newton>("double", "1e-8", "newton", large_and_sharp);
    add<float, Sinkhorn>("float", "1e-6", "sinkhorn", settings);
    add<float, BregmanAdmm>("float", "1e-6", "badmm", settings);
    add<float, Newton>("float", "1e-6", "newton", settings);
    add<double, BregmanAdmm, otpool::Quadratic>("double", "1e-6", "badmm_quadratic", {{100, 64, "1", "hard"}});

    return bench::run(argc, argv, [] {
        std::cout << help;
        benchmark::PrintDefaultHelp();
    });
}
