#ifdef FAILING_MALLOC

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "pool_program.hpp"
#include "support/catch.hpp"

// Whichever allocation of `pool` fails, it says so in a line, with the status of a failure, and leaves no file behind.

namespace out_of_memory_test {

using tests::PoolProgram;

/// `pool` with that allocation failing.
PoolProgram::Run run(const PoolProgram& program, const std::string& arguments, int failing) {
    setenv("LD_PRELOAD", FAILING_MALLOC, 1);
    setenv("OTPOOL_FAILING_ALLOCATION", std::to_string(failing).c_str(), 1);
    const PoolProgram::Run found = program.run(arguments);
    unsetenv("LD_PRELOAD");
    unsetenv("OTPOOL_FAILING_ALLOCATION");
    return found;
}

/// Lets one allocation in `step` fail, until there are no more, and checks every run. Returns how many failed.
int failures(const PoolProgram& program, const std::string& arguments, int step) {
    const std::vector<std::string> before = program.directory.files();
    int failed = 0;
    int in_a_row = 0;  // runs to the end: it may go well without some, as buffers of stdio
    for (int number = 1; in_a_row < 20; number += step) {
        const PoolProgram::Run run = out_of_memory_test::run(program, arguments, number);
        const bool ends_well = run.status == 0 || run.status == 3;
        in_a_row = ends_well ? in_a_row + 1 : 0;
        if (ends_well) {
            for (const char* output : {"Y.npy", "P.npy", "R.json"}) std::filesystem::remove(program.directory / output);
        }
        const bool is_told = ends_well || run.status == 1 || run.status == 2;
        if (!ends_well) ++failed;
        INFO("allocation " << number << ", status " << run.status << ", " << run.err);
        CHECK(is_told);
        CHECK(run.lines() == (ends_well ? 0 : 1));
        CHECK(program.directory.files() == before);
        if (number > 100000) break;
    }
    return failed;
}

TEST_CASE("pool without memory ends with a message and leaves no file behind") {
    const PoolProgram program;
    const std::string outputs = " --output Y.npy --plan P.npy --report R.json";
    CHECK(failures(program, "--input X.npy --ptr ptr.npy --alpha2 1" + outputs, 7) > 100);
    CHECK(failures(program, "--input X32.npy --pooling attention --scores s.npy" + outputs, 13) > 50);
}

}  // namespace out_of_memory_test

#endif
