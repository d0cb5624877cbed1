// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <benchmark/benchmark.h>

namespace bench {

/// The rest of main() in a benchmark program, after the benchmarks are registered. On --help, print_help() says what their
/// names mean, and the library prints its options.
inline int run(int argc, char** argv, void (*print_help)()) {
    benchmark::Initialize(&argc, argv, print_help);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}

}  // namespace bench
