#if defined(POOL_PROGRAM) && defined(MPIEXEC)

#include <Eigen/Core>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "pool_program.hpp"
#include "support/catch.hpp"
#include "support/sample.hpp"

// pool under mpirun: several processes, each with a part of the instances or some of the bags.

namespace pool_ranks_test {

using Eigen::Index;
using tests::PoolProgram;

struct Ranks : PoolProgram {
    Eigen::MatrixXf bags = Eigen::MatrixXf(40, 30000);  // ten blocks

    Ranks() {
        std::mt19937 random(3);
        std::normal_distribution<float> normal;
        for (float& number : bags.reshaped()) number = normal(random);
        write("X.npy", bags);
        write("few.npy", Eigen::Matrix<std::int64_t, 4, 1>{0, 10000, 10001, 30000});
        Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1> many(42);
        for (Index b = 0; b < many.size(); ++b) many[b] = b * (b + 1) / 2 * 30000 / (41 * 42 / 2);
        many[1] = 0;
        write("many.npy", many);
        Eigen::VectorXd prior = Eigen::VectorXd::Ones(bags.cols());
        for (Index n = 0; n < prior.size(); n += 3) prior[n] = 0;
        write("q0.npy", prior);
    }

    /// Runs a shell command in each of so many processes, for at most a minute. $rank is the process's number.
    Run run_ranks(int count, const std::string& command) const {
        return run_command(
            "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "
            "OMPI_MCA_btl_vader_single_copy_mechanism=none PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe "
            "timeout 60 '" MPIEXEC "' -n " +
            std::to_string(count) + " sh -c 'rank=${OMPI_COMM_WORLD_RANK:-$PMI_RANK}; " + command + "'");
    }
    Run pool_by_ranks(int count, const std::string& arguments) const {
        return run_ranks(count, "exec \"" POOL_PROGRAM "\" " + arguments);
    }

    std::string bytes(const std::string& name) const { return tests::read_bytes(directory / name); }
    bool exists(const std::string& name) const { return std::filesystem::exists(directory / name); }
};

TEST_CASE("pool: any number of processes write the same bytes, of what one process finds in memory") {
    const std::vector<std::string> all = {"--alpha0 0.3 --alpha1 2 --alpha2 1",
                                          "--ptr few.npy --alpha0 0.3 --alpha1 2 --alpha2 1",
                                          "--ptr many.npy --empty zeros --alpha0 0.3 --alpha2 inf --iterations 3",
                                          "--pooling attention --q0 q0.npy", "--ptr few.npy --pooling max"};
    const std::size_t number = GENERATE_COPY(range(std::size_t{0}, all.size()));
    if (!tests::in_sample(number)) return;
    const Ranks program;
    const std::string& options = all[number];
    CAPTURE(options);
    const auto to = [](const std::string& name) {
        return " --input X.npy --output " + name + ".npy --weights " + name + "_w.npy --report " + name + ".json ";
    };
    REQUIRE(program.pool_by_ranks(1, to("in_memory") + options).status == 0);
    REQUIRE(program.pool_by_ranks(2, to("two") + options).status == 0);
    REQUIRE(program.pool_by_ranks(3, to("three") + options).status == 0);
    for (const std::string suffix : {".npy", "_w.npy", ".json"}) {
        CHECK(program.bytes("two" + suffix) == program.bytes("three" + suffix));
    }
    const Eigen::MatrixXf in_memory = program.read<float>("in_memory.npy");
    const Eigen::MatrixXf shared = program.read<float>("two.npy");
    CHECK((shared - in_memory).cwiseAbs().maxCoeff() < 1e-4F * in_memory.cwiseAbs().maxCoeff());
}

TEST_CASE("pool: processes that share a large bag write the bytes of one process") {
    Ranks program;
    program.bags = program.bags.replicate(1, 4).eval();  // 19 MB, more than --memory 16M
    program.write("X.npy", program.bags);
    const std::string options = " --input X.npy --alpha0 0.3 --alpha1 2 --alpha2 1 --memory 16M ";
    REQUIRE(program.run(options + "--output Y1.npy --weights W1.npy --report R1.json").status == 0);
    for (const int count : {1, 2, 3}) {
        const auto run = program.pool_by_ranks(count, options + "--output Y.npy --weights W.npy --report R.json");
        CHECK(run.status == 0);
        CHECK(run.err.empty());
        CHECK(program.bytes("Y.npy") == program.bytes("Y1.npy"));
        CHECK(program.bytes("W.npy") == program.bytes("W1.npy"));
        CHECK(program.bytes("R.json") == program.bytes("R1.json"));
    }
}

TEST_CASE("pool: if one process's file is bad, all end, with one message and no output") {
    const Ranks program;
    std::filesystem::create_directory(program.directory / "other");
    const auto check = [&](const std::string& message, const std::string& options) {
        CAPTURE(message, options);
        const auto run = program.run_ranks(3, "if [ $rank = 1 ]; then cd other; fi; exec \"" POOL_PROGRAM
                                              "\" --input X.npy --alpha2 1 --output Y.npy " +
                                                  options);
        CHECK(run.status == 2);
        CHECK(run.err.find("pool: ") != std::string::npos);
        CHECK(run.err.find(message) != std::string::npos);
        CHECK(run.err.find("pool: ") == run.err.rfind("pool: "));
        CHECK(!program.exists("Y.npy"));
    };
    check("X.npy: input: found No such file", "");
    program.write("other/X.npy", Eigen::MatrixXf(program.bags.topRows(39)));
    check("number of features on rank 1 is 39; allowed: 40", "");
    program.write("other/X.npy", Eigen::MatrixXf(program.bags.leftCols(20000)));
    check("number of instances on rank 1 is 20000; allowed: 30000", "");
    Eigen::MatrixXf bad = program.bags;
    bad(5, 15000) = std::numeric_limits<float>::quiet_NaN();
    program.write("other/X.npy", bad);
    check("bag 0: reward at feature 5, instance 15000 is nan", "");
    program.write("other/many.npy", Eigen::Matrix<std::int64_t, 2, 1>{0, 3});
    check("many.npy: ptr[1]", "--ptr many.npy --empty zeros");
}

TEST_CASE("pool: what one process does alone is refused to several") {
    const Ranks program;
    for (const std::string options : {"--slots 3", "--plan P.npy", "--regularizer quadratic"}) {
        const auto run = program.pool_by_ranks(2, "--input X.npy --output Y.npy " + options);
        CHECK(run.status == 2);
        CHECK(run.err.find("mpirun: found 2 processes") != std::string::npos);
        CHECK(!program.exists("Y.npy"));
    }
}

TEST_CASE("pool: if a process is killed the others end, and a new run goes on from the checkpoint") {
    const Ranks program;
    const std::string options =
        "--input X.npy --alpha0 0.002 --alpha1 1 --alpha2 1 --output Y.npy --report report.json --checkpoint f.npy "
        "--checkpoint-seconds 0 ";
    REQUIRE(program.pool_by_ranks(2, options).status == 0);
    CHECK(!program.exists("f.npy"));
    const Eigen::MatrixXf expected = program.read<float>("Y.npy");
    const int iterations = program.read_report()["bags"][0]["iterations"].get<int>();
    REQUIRE(iterations > 10);
    std::filesystem::remove(program.directory / "Y.npy");

    // Process 1 waits for the first checkpoint, and is killed.
    const std::string killed =
        "if [ $rank = 1 ]; then \"" POOL_PROGRAM "\" " + options +
        "& while ! [ -e f.npy ]; do sleep 0.02; done; kill -9 $!; wait $!; else exec \"" POOL_PROGRAM "\" " + options +
        "; fi";
    const auto started = std::chrono::steady_clock::now();
    const auto run = program.run_ranks(3, killed);
    CHECK(run.status != 0);
    CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds(10));
    CHECK(!program.exists("Y.npy"));
    REQUIRE(program.exists("f.npy"));

    const auto again = program.pool_by_ranks(3, options);
    CHECK(again.status == 0);
    CHECK((program.read<float>("Y.npy") - expected).cwiseAbs().maxCoeff() < 1e-5F * expected.cwiseAbs().maxCoeff());
    CHECK(!program.exists("f.npy"));
}

}  // namespace pool_ranks_test

#endif
