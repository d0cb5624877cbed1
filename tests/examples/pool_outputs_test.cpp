#if defined(POOL_PROGRAM) && defined(OTPOOL_TEST_HDF5)

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "otpool/adapter/hdf5.hpp"
#include "pool_program.hpp"
#include "support/catch.hpp"
#include "support/hdf5_bytes.hpp"

// Outputs of pool as HDF5 files, its heat map, and what is left where a disk is full.

using Eigen::Index;
using Eigen::MatrixXd;
using tests::PoolProgram;
using tests::read_bytes;
using tests::write_hdf5;

namespace pool_outputs_test {

/// A slide of one bag with coordinates, which have an attribute.
void write_slide(const PoolProgram& program, const std::string& name) {
    const std::vector<double> all(program.instances.reshaped().begin(), program.instances.reshaped().end());
    const auto count = static_cast<hsize_t>(program.instances.cols());
    write_hdf5(program.directory / name, {.shape = {count, PoolProgram::features}, .chunk = {1, PoolProgram::features}},
               all);
    std::vector<std::int64_t> coordinates;
    for (std::int64_t n = 0; n < std::int64_t(count); ++n) {
        coordinates.push_back(1000 + 256 * (n % 6));
        coordinates.push_back(500 + 256 * (n / 6));
    }
    write_hdf5(program.directory / name, {.name = "coords", .shape = {count, 2}, .chunk = {1, 2}}, coordinates);
    const hid_t file = H5Fopen((program.directory / name).c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, "coords", H5P_DEFAULT);
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(dataset, "patch_size", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    const std::int64_t patch_size = 256;
    REQUIRE(H5Awrite(attribute, H5T_NATIVE_INT64, &patch_size) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Dclose(dataset);
    H5Fclose(file);
}

/// A dataset as a matrix whose columns are rows of the file.
MatrixXd read(const PoolProgram& program, const std::string& file, const std::string& name) {
    const otpool::Hdf5Dataset dataset(program.directory / file, name);
    MatrixXd values(dataset.rows(), dataset.cols());
    dataset.read(0, dataset.cols(), values.data());
    return values;
}

TEST_CASE("pool: an .h5 output has the numbers of the .npy output") {
    const PoolProgram program;
    const std::string options = "--input X.npy --ptr ptr.npy --alpha0 0.3 --alpha2 1 ";
    const std::string dtype = GENERATE("float", "double");
    REQUIRE(program.run(options + "--output Y.npy --plan P.npy --weights W.npy --dtype " + dtype).status == 0);
    REQUIRE(program.run(options + "--output Y.h5 --plan P.hdf5 --weights W.h5 --dtype " + dtype).status == 0);
    const auto npy = [&](const std::string& name) { return support::NpyFile(program.directory / name); };
    CHECK(read(program, "Y.h5", "features") == npy("Y.npy").matrix<double>());
    CHECK(read(program, "P.hdf5", "plan") == npy("P.npy").matrix<double>());
    CHECK(read(program, "W.h5", "weights").transpose() == npy("W.npy").vector<double>());
    CHECK(otpool::Hdf5Dataset(program.directory / "Y.h5").dtype() ==
          (dtype == "float" ? otpool::Dtype::float32 : otpool::Dtype::float64));
    CHECK(otpool::Hdf5Dataset(program.directory / "W.h5", "weights").shape() == std::vector<std::int64_t>{20});

    // What pool writes it reads: slots, and the prototypes that were kept.
    const std::string slots = "--input X.npy --ptr ptr.npy --alpha0 0.3 --alpha2 inf --dtype " + dtype;
    REQUIRE(program.run(slots + " --slots 3 --output Y.h5 --save-prototypes K.h5 --force").status == 0);
    REQUIRE(program.run(slots + " --slots K.h5 --output Y.npy").status == 0);
    const support::NpyFile pooled(program.directory / "Y.npy");
    CHECK(pooled.shape() == std::vector<std::int64_t>{4, 3, 5});
    const hid_t file = H5Fopen((program.directory / "Y.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, "features", H5P_DEFAULT);
    std::vector<double> values(60);
    REQUIRE(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    H5Dclose(dataset);
    H5Fclose(file);
    const std::string bytes = read_bytes(program.directory / "Y.npy");
    std::vector<double> expected;
    for (std::size_t i = 0; i < 60; ++i) {
        if (dtype == "float") {
            float number = 0;
            std::memcpy(&number, bytes.data() + bytes.size() - 240 + 4 * i, 4);
            expected.push_back(number);
        } else {
            double number = 0;
            std::memcpy(&number, bytes.data() + bytes.size() - 480 + 8 * i, 8);
            expected.push_back(number);
        }
    }
    CHECK(values == expected);
}

TEST_CASE("pool: the weights of a slide have its coordinates beside them") {
    const PoolProgram program;
    write_slide(program, "slide.h5");
    REQUIRE(program.run("--input slide.h5 --alpha0 0.3 --alpha2 1 --output Y.h5 --weights W.h5").status == 0);
    CHECK(read(program, "W.h5", "coords") == read(program, "slide.h5", "coords"));
    CHECK(otpool::Hdf5Dataset(program.directory / "W.h5", "coords").dtype() == otpool::Dtype::int64);
    CHECK(read(program, "W.h5", "weights").sum() == Catch::Approx(1).epsilon(0.5));
    const hid_t file = H5Fopen((program.directory / "W.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t attribute = H5Aopen_by_name(file, "coords", "patch_size", H5P_DEFAULT, H5P_DEFAULT);
    std::int64_t patch_size = 0;
    REQUIRE(H5Aread(attribute, H5T_NATIVE_INT64, &patch_size) >= 0);
    CHECK(patch_size == 256);
    H5Aclose(attribute);
    H5Fclose(file);
}

TEST_CASE("pool: a full disk leaves everything as it was, in one line") {
    const PoolProgram program;
    program.write("large.npy", MatrixXd::Random(300, 300));
    tests::write_bytes(program.directory / "Y.npy", "before");
    const auto files = program.directory.files();
    for (const std::string outputs :
         {"--output Y.npy --plan P.npy", "--output Y.npy --plan P.h5", "--weights W.h5 --output Y.npy --plan P.hdf5"}) {
        const auto run = program.run(
            "--version >/dev/null; ulimit -f 100; '" POOL_PROGRAM "' --input large.npy --alpha0 0.3 " + outputs);
        INFO(run.err);
        CHECK(run.status == 2);
        CHECK(run.lines() == 1);
        CHECK(run.err.find(": output: found an error while writing, allowed a disk with room for the whole file") !=
              std::string::npos);
        CHECK(program.directory.files() == files);
        CHECK(read_bytes(program.directory / "Y.npy") == "before");
    }
}

#ifdef POOL_HAS_CAIRO

/// Whether it is a PNG of some size.
bool is_picture(const std::string& bytes) { return bytes.starts_with("\x89PNG\r\n\x1a\n") && bytes.size() > 1000; }

TEST_CASE("pool: a heat map of a slide") {
    const PoolProgram program;
    write_slide(program, "slide.h5");
    REQUIRE(program.run("--input slide.h5 --alpha0 0.3 --alpha2 1 --output Y.npy --heatmap H.png").status == 0);
    const std::string picture = read_bytes(program.directory / "H.png");
    CHECK(is_picture(picture));
    // The same from a .npy file and coordinates of their own; --weights changes nothing.
    const MatrixXd coordinates = read(program, "slide.h5", "coords");
    program.write("C.npy", coordinates);
    REQUIRE(
        program
            .run("--input slide.h5 --alpha0 0.3 --alpha2 1 --output Y.npy --heatmap H2.png --coords C.npy --weights "
                 "W.npy")
            .status == 0);
    CHECK(read_bytes(program.directory / "H2.png") == picture);
    REQUIRE(
        program.run("--input X.npy --alpha0 0.3 --alpha2 1 --output Y.npy --heatmap H3.png --coords C.npy").status ==
        0);
    CHECK(is_picture(read_bytes(program.directory / "H3.png")));
}

TEST_CASE("pool: what a heat map needs") {
    const PoolProgram program;
    write_slide(program, "slide.h5");
    const auto files = program.directory.files();
    const auto check = [&](const std::string& arguments, const std::string& message) {
        const auto run = program.run(arguments);
        CHECK(run.status == 2);
        CHECK(run.err == "pool: " + message + "\n");
        CHECK(program.directory.files() == files);
    };
    check("--input X.npy --heatmap H.png",
          "--coords: found none, and no dataset coords in X.npy, allowed a file of the places of the patches with "
          "--heatmap");
    check("--input slide.h5 --ptr ptr.npy --heatmap H.png",
          "--heatmap: found 4 bags, allowed one bag with instances, the patches of a slide");
    check("--input slide.h5 --coords slide.h5", "--coords: found without --heatmap, allowed only with --heatmap");
    check("--input slide.h5 --heatmap H.png --coords ptr.npy",
          "ptr.npy: shape: found (5,), allowed (rows, columns) or (1, rows, columns)");
    check("--input slide.h5 --heatmap H.png --coords X.npy",
          "X.npy: shape: found (20, 5), allowed (20, 2), x and y of every instance");
    check("--input slide.h5 --heatmap slide.h5",
          "slide.h5: output: found the file of --input, allowed another file, or --force");
}

#endif

}  // namespace pool_outputs_test

#endif
