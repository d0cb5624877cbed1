#if defined(POOL_PROGRAM) && defined(OTPOOL_TEST_HDF5)

#include <Eigen/Core>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "pool_program.hpp"
#include "support/catch.hpp"
#include "support/hdf5_bytes.hpp"

// Bags in HDF5 files, in the layouts that programs for slides write.

using Eigen::Index;
using Eigen::MatrixXd;
using tests::Hdf5Written;
using tests::PoolProgram;
using tests::read_bytes;
using tests::write_hdf5;

namespace pool_hdf5_test {

/// Writes columns of the program's instances as a dataset, in the type of `Scalar`.
template <class Scalar = double>
void write_instances(const PoolProgram& program, const std::string& file, Hdf5Written how, Index first, Index count) {
    const auto part = program.instances.middleCols(first, count);
    const std::vector<double> all(part.reshaped().begin(), part.reshaped().end());
    how.shape = {static_cast<hsize_t>(count), static_cast<hsize_t>(program.features)};
    write_hdf5(program.directory / file, how, std::vector<Scalar>(all.begin(), all.end()));
}

/// The bytes of Y.npy that pool writes.
std::string pooled(const PoolProgram& program, const std::string& arguments) {
    INFO(arguments);
    const auto run = program.run(arguments + " --output Y.npy");
    INFO(run.err);
    REQUIRE(run.status == 0);
    return read_bytes(program.directory / "Y.npy");
}

TEST_CASE("pool: a dataset of an HDF5 file is pooled like the same numbers in a .npy file") {
    const PoolProgram program;
    const Index all = program.instances.cols();
    const auto features = static_cast<hsize_t>(program.features);
    const std::vector<std::int64_t> ptr(program.offsets.begin(), program.offsets.end());
    const std::vector<Hdf5Written> layouts = {{.chunk = {}},
                                              {.chunk = {1, features}},
                                              {.chunk = {32, features}},
                                              {.name = "other", .chunk = {4, 2}, .gzip = 3}};
    for (const std::string options : {"--pooling max", "--alpha0 0.1 --alpha2 1"}) {
        const std::string in_double = pooled(program, "--input X.npy --ptr ptr.npy " + options);
        const std::string in_float = pooled(program, "--input X32.npy --ptr ptr.npy " + options);
        for (const Hdf5Written& layout : layouts) {
            std::filesystem::remove(program.directory / "slide.h5");
            write_instances(program, "slide.h5", layout, 0, all);
            std::filesystem::remove(program.directory / "slide.hdf5");
            write_instances<float>(program, "slide.hdf5", layout, 0, all);
            CHECK(pooled(program, "--input slide.h5 --ptr ptr.npy " + options) == in_double);
            CHECK(pooled(program, "--input slide.hdf5:" + layout.name + " --ptr ptr.npy " + options) == in_float);
            // Offsets in the same file count, as in an archive.
            write_hdf5(program.directory / "slide.h5", {.name = "ptr", .shape = {ptr.size()}}, ptr);
            CHECK(pooled(program, "--input slide.h5 " + options) == in_double);
        }
    }
}

TEST_CASE("pool: a folder of slides is a bag each, also of slides without patches") {
    const PoolProgram program;
    std::filesystem::create_directory(program.directory / "slides");
    for (Index b = 0; b < program.bags(); ++b) {
        const std::string name = "slides/" + std::to_string(2 * b) + (b == 2 ? ".hdf5" : ".h5");
        write_instances(program, name, {.chunk = {1, 5}}, program.offsets[b], program.size(b));
    }
    write_hdf5(program.directory / "slides/1.h5", {.shape = {0, 5}, .chunk = {1, 5}}, std::vector<float>{});
    write_hdf5(program.directory / "slides/0a.h5", {.shape = {0}, .chunk = {1}}, std::vector<float>{});
    REQUIRE(program.run("--input slides --pooling sum --empty zeros --output Y.npy").status == 0);
    const MatrixXd sums = program.read<double>("Y.npy");
    REQUIRE(sums.cols() == 6);
    for (Index b = 0; b < program.bags(); ++b) {
        const Eigen::VectorXd sum = program.bag(b).rowwise().sum();
        CHECK((sums.col(b == 0 ? 0 : b + 2) - sum).cwiseAbs().maxCoeff() < 1e-12);
    }
    CHECK(sums.middleCols(1, 2).isZero(0));
}

TEST_CASE("pool: priors, scores and rewards may be datasets, too") {
    const PoolProgram program;
    const auto write = [&](const std::string& name, const auto& values) {
        const std::vector<double> all(values.reshaped().begin(), values.reshaped().end());
        const auto rows = static_cast<hsize_t>(values.cols()), cols = static_cast<hsize_t>(values.rows());
        write_hdf5(program.directory / "all.h5",
                   {.name = name, .shape = rows == 1 ? std::vector<hsize_t>{cols} : std::vector<hsize_t>{rows, cols}},
                   all);
    };
    write("s", program.scores);
    write("p0", program.p0);
    write("r", MatrixXd(-program.instances));
    program.write("R.npy", MatrixXd(-program.instances));
    const std::string input = "--input X.npy --ptr ptr.npy ";
    CHECK(pooled(program, input + "--pooling attention --scores all.h5:s") ==
          pooled(program, input + "--pooling attention --scores s.npy"));
    CHECK(pooled(program, input + "--p0 all.h5 --alpha1 1 --alpha2 1") ==
          pooled(program, input + "--p0 p0.npy --alpha1 1 --alpha2 1"));
    CHECK(pooled(program, input + "--pooling max --reward all.h5:r") ==
          pooled(program, input + "--pooling max --reward R.npy"));
}

TEST_CASE("pool: what is wrong with an HDF5 file is said in one line") {
    const PoolProgram program;
    const auto check = [&](const std::string& arguments, const std::string& message) {
        const auto files = program.directory.files();
        const auto run = program.run(arguments + " --output none.npy");
        CHECK(run.status == 2);
        CHECK(run.err == "pool: " + message + "\n");
        CHECK(program.directory.files() == files);
    };
    write_instances(program, "slide.h5", {.name = "feats"}, 0, 4);
    write_hdf5(program.directory / "slide.h5", {.name = "coords", .shape = {2, 2}},
               std::vector<std::int64_t>{1, 2, 3, 4});
    write_hdf5(program.directory / "slide.h5", {.name = "x", .shape = {1}}, std::vector<double>{1});
    check("--input slide.h5:features",
          "slide.h5: dataset 'features' is not there; allowed: FILE:NAME with one of coords, feats, x");
    check("--input slide.h5:x", "slide.h5:x: shape: found (1,), allowed (rows, columns) or (1, rows, columns)");
    check("--input slide.h5 --ptr slide.h5:x",
          "slide.h5:x: type is float64; allowed: int8 to int64 or uint8 to uint64");
    check("--input none.h5:features", "none.h5: input: found No such file or directory, allowed a .npy file");
    tests::write_bytes(program.directory / "short.h5", read_bytes(program.directory / "slide.h5").substr(0, 2000));
    const auto run = program.run("--input short.h5");
    CHECK(run.status == 2);
    CHECK(run.err.starts_with("pool: short.h5: input is 'truncated file: "));
    CHECK(run.lines() == 1);

    // With the instances of a bag whose number of features is not that of the others.
    std::filesystem::create_directory(program.directory / "slides");
    write_instances(program, "slides/a.h5", {}, 0, 4);
    write_hdf5(program.directory / "slides/b.h5", {.shape = {1, 2}}, std::vector<double>{1, 2});
    check("--input slides",
          "slides/b.h5:features: shape: found (1, 2), allowed (N, 5), with the features of slides/a.h5:features");
}

}  // namespace pool_hdf5_test

#endif
