#ifdef POOL_PROGRAM

#include <sys/wait.h>
#include <unistd.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "pool_program.hpp"
#include "support/catch.hpp"
#include "support/sample.hpp"

// Bags that do not fit in the memory that pool may take, and what is left where pool is stopped.

namespace pool_streaming_test {

using Eigen::Index;
using tests::PoolProgram;

/// Bags of 19 MB, more than the 17 MB of --memory 16M.
struct LargeBags : PoolProgram {
    static constexpr Index instances_in_all = 120000;
    Eigen::MatrixXf bags = Eigen::MatrixXf(40, instances_in_all);

    LargeBags() {
        std::mt19937 random(3);
        std::normal_distribution<float> normal;
        for (float& number : bags.reshaped()) number = normal(random);
        write("X.npy", bags);
        write("ptr.npy", Eigen::Matrix<std::int64_t, 4, 1>{0, 40000, 40001, instances_in_all});
        Eigen::VectorXd prior = Eigen::VectorXd::Ones(instances_in_all);
        for (Index n = 0; n < prior.size(); n += 3) prior[n] = 0;
        write("q0.npy", prior);
    }

    Eigen::VectorXf read_weights() const { return support::NpyFile(directory / "W.npy").vector<float>(); }

    /// Pools into Y.npy and W.npy.
    Run pool_large(const std::string& arguments) const {
        return run("--input X.npy --output Y.npy --weights W.npy --report report.json " + arguments);
    }
};

TEST_CASE("pool: bags that do not fit in memory are pooled like those that do") {
    const std::vector<std::string> all = {
        "--ptr ptr.npy --alpha0 0.3 --alpha1 2 --alpha2 1",
        "--alpha0 0.2 --alpha2 inf --threads 0",
        "--alpha0 0.5 --alpha1 3 --alpha2 3 --iterations 3 --readout joint",
        "--pooling mean --ptr ptr.npy",
        "--pooling max",
        "--pooling min",
        "--pooling lse --temperature 0.5",
        "--pooling attention --q0 q0.npy",
        "--alpha0 1 --regularizer relative-entropy --alpha1 1 --alpha2 inf --q0 q0.npy --ptr ptr.npy"};
    const std::size_t number = GENERATE_COPY(range(std::size_t{0}, all.size()));
    if (!tests::in_sample(number)) return;
    const std::string& options = all[number];
    const LargeBags program;
    CAPTURE(options);
    REQUIRE(program.pool_large(options + " --memory 1G").status == 0);
    const Eigen::MatrixXf pooled = program.read<float>("Y.npy");
    const Eigen::VectorXf weights = program.read_weights();
    const nlohmann::json report = program.read_report();

    const PoolProgram::Run streamed = program.pool_large(options + " --memory 16M");
    CHECK(streamed.status == 0);
    CHECK(streamed.err.empty());
    CHECK((program.read<float>("Y.npy") - pooled).cwiseAbs().maxCoeff() < 1e-4F * pooled.cwiseAbs().maxCoeff());
    CHECK((program.read_weights() - weights).cwiseAbs().maxCoeff() < 1e-3F * weights.maxCoeff());
    const nlohmann::json of_streamed = program.read_report();
    for (std::size_t b = 0; b < report["bags"].size(); ++b) {
        CHECK(of_streamed["bags"][b]["status"] == report["bags"][b]["status"]);
        CHECK(std::abs(of_streamed["bags"][b]["log_mass"].get<double>() - report["bags"][b]["log_mass"].get<double>()) <
              1e-5);
    }
}

TEST_CASE("pool: what cannot be streamed is refused before any work") {
    const LargeBags program;
    const auto check = [&](const std::string& options, const std::string& reason) {
        CAPTURE(options);
        const PoolProgram::Run run = program.run("--input X.npy --output Y.npy --memory 16M " + options);
        CHECK(run.status == 2);
        CHECK(run.lines() == 1);
        CHECK(run.err.find("--memory: found 16.8 MB for bags that take 30.7 MB") != std::string::npos);
        CHECK(run.err.find(reason) != std::string::npos);
        CHECK(!std::filesystem::exists(program.directory / "Y.npy"));
    };
    check("--slots 3", "slots");
    check("--pooling mixed", "--pooling mixed");
    check("--regularizer quadratic", "--regularizer quadratic");
    check("--alpha1 1 --alpha2 1 --solver newton", "--solver newton");
    for (const std::string size : {"", "12", "1M", "2K", "-3G", "9999999999G", "1.5G"}) {
        CAPTURE(size);
        const PoolProgram::Run run = program.run("--input X.npy --memory '" + size + "'");
        CHECK(run.status == 2);
        CHECK(run.err.find("--memory") != std::string::npos);
        CHECK(run.err.find("16M to 1000000G") != std::string::npos);
    }
}

TEST_CASE("pool: a bad number in the last row of a streamed bag is found and named") {
    LargeBags program;
    program.bags(5, LargeBags::instances_in_all - 1) = std::numeric_limits<float>::quiet_NaN();
    program.write("X.npy", program.bags);
    const PoolProgram::Run run = program.pool_large("--ptr ptr.npy --alpha2 1 --memory 16M");
    CHECK(run.status == 2);
    CHECK(run.lines() == 1);
    CHECK(run.err.find("bag 2") != std::string::npos);
    CHECK(run.err.find("79998") != std::string::npos);  // its number in the bag
    CHECK(run.err.find("nan") != std::string::npos);
    CHECK(!std::filesystem::exists(program.directory / "Y.npy"));
}

TEST_CASE("pool: a file that shrinks while it is read ends the program with a message") {
    const LargeBags program;
    const pid_t child = fork();
    if (child == 0) {
        std::filesystem::current_path(program.directory.path());
        std::freopen("err", "w", stderr);
        execl(POOL_PROGRAM, "pool", "--input", "X.npy", "--alpha0", "0.01", "--alpha2", "1", "--memory", "16M",
              "--tolerance", "1e-300", "--output", "Y.npy", static_cast<char*>(nullptr));
        _exit(127);
    }
    usleep(300000);
    std::filesystem::resize_file(program.directory / "X.npy", 1000000);
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 2);
    const std::string message = tests::read_bytes(program.directory / "err");
    CAPTURE(message);
    CHECK(message.find("X.npy") != std::string::npos);
    CHECK(!std::filesystem::exists(program.directory / "Y.npy"));
}

TEST_CASE("pool: a program that is stopped at any moment leaves its outputs whole or absent") {
    const LargeBags program;
    const std::string options = "--alpha0 0.3 --alpha1 2 --alpha2 1 --memory 16M";
    REQUIRE(program.pool_large(options).status == 0);
    const std::string whole = tests::read_bytes(program.directory / "Y.npy");
    std::mt19937 random(5);
    for (std::uint64_t i = 0; i < 50; ++i) {
        if (!tests::in_sample(i / 2)) continue;
        const int signal = i % 2 == 0 ? SIGKILL : SIGINT;
        CAPTURE(i, signal);
        std::filesystem::remove(program.directory / "Y.npy");
        const pid_t child = fork();
        if (child == 0) {
            std::filesystem::current_path(program.directory.path());
            execl("/bin/sh", "sh", "-c", ("exec '" POOL_PROGRAM "' --input X.npy --output Y.npy " + options).c_str(),
                  static_cast<char*>(nullptr));
            _exit(127);
        }
        usleep(static_cast<useconds_t>(random() % 400000));
        kill(child, signal);
        int status = 0;
        waitpid(child, &status, 0);
        if (!std::filesystem::exists(program.directory / "Y.npy")) continue;
        CHECK(tests::read_bytes(program.directory / "Y.npy") == whole);
    }
}

}  // namespace pool_streaming_test

#endif
