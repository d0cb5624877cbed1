#ifdef POOL_PROGRAM

#include <Eigen/Core>
#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "npy_bytes.hpp"
#include "pool_program.hpp"
#include "support/catch.hpp"
#include "zip_bytes.hpp"

// The forms in which people have bags: types of numbers, archives, folders, a batch vector, empty bags.

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using tests::data_of;
using tests::dictionary;
using tests::npy;
using tests::PoolProgram;
using tests::read_bytes;
using tests::write_bytes;

namespace pool_inputs_test {

/// The bits of the float16 nearest to a number that is normal in float16.
std::uint16_t float16_bits(double value) {
    int exponent = 0;
    const double fraction = std::frexp(std::abs(value), &exponent);  // in [1/2, 1)
    if (value == 0) return 0;
    const auto mantissa = static_cast<int>(std::nearbyint(fraction * 2048));  // 1024 to 2048: the last carries over
    return static_cast<std::uint16_t>((value < 0 ? 0x8000 : 0) + ((exponent + 14) << 10) + mantissa - 1024);
}

/// The bytes of a .npy file with these numbers in C order.
template <class Stored>
std::string array(const std::string& code, const std::string& shape, const std::vector<Stored>& values,
                  std::endian order = std::endian::little) {
    const std::string mark = sizeof(Stored) == 1 ? "|" : order == std::endian::little ? "<" : ">";
    return npy(dictionary(mark + code, false, shape), data_of(values, order));
}

VectorXd mean_of(const PoolProgram& program, Index b) { return program.bag(b).rowwise().mean(); }

/// The means of the program's bags: D x B.
MatrixXd means(const PoolProgram& program) {
    MatrixXd means(program.features, program.bags());
    for (Index b = 0; b < program.bags(); ++b) means.col(b) = mean_of(program, b);
    return means;
}

double largest(const MatrixXd& values) { return values.size() == 0 ? INFINITY : values.cwiseAbs().maxCoeff(); }

/// Runs pool with Y.npy as its output and returns Y, whatever its type.
MatrixXd pooled(const PoolProgram& program, const std::string& arguments) {
    INFO(arguments);
    const auto run = program.run(arguments + " --output Y.npy");
    INFO(run.err);
    REQUIRE(run.status == 0);
    return support::NpyFile(program.directory / "Y.npy").matrix<double>();
}

void check_refused(const PoolProgram& program, const std::string& arguments, const std::string& message) {
    INFO(arguments);
    const auto files = program.directory.files();
    const auto run = program.run(arguments + " --output none.npy");
    CHECK(run.status == 2);
    CHECK(run.err == "pool: " + message + "\n");
    CHECK(program.directory.files() == files);
}

template <class Stored>
void check_type(const std::string& code, const std::string& dtype, const std::vector<int>& numbers) {
    const PoolProgram program;
    const bool is_half = code == "f2";
    std::vector<Stored> stored;
    MatrixXd x(2, 3);
    for (std::size_t i = 0; i < 6; ++i) {
        stored.push_back(static_cast<Stored>(is_half ? float16_bits(numbers[i]) : numbers[i]));
        x.reshaped()[static_cast<Index>(i)] = code == "b1" ? (numbers[i] != 0) : numbers[i];
    }
    for (const auto order : {std::endian::little, std::endian::big}) {
        write_bytes(program.directory / "T.npy", array(code, "(3, 2)", stored, order));
        CHECK(largest(pooled(program, "--input T.npy --pooling sum") - x.rowwise().sum()) == 0);
        CHECK(to_string(support::NpyFile(program.directory / "Y.npy").dtype()) == dtype);
        for (const std::string named : {"float", "double"}) {
            CHECK(largest(pooled(program, "--input T.npy --pooling max --dtype " + named) - x.rowwise().maxCoeff()) ==
                  0);
        }
        // As a reward that is the opposite of the instances, so that the max draws the smallest.
        program.write("X.npy", MatrixXd(-x));
        CHECK(largest(pooled(program, "--input X.npy --pooling max --reward T.npy") + x.rowwise().maxCoeff()) == 0);
    }
}

TEST_CASE("pool: instances and rewards are of any real type") {
    check_type<std::uint16_t>("f2", "float32", {1, -3, 5, 7, -9, 11});
    check_type<std::int8_t>("i1", "float32", {1, -3, 5, 127, -128, 11});
    check_type<std::int16_t>("i2", "float32", {1, -3, 5, 32767, -9, 11});
    check_type<std::int32_t>("i4", "float64", {1, -3, 5, 1 << 30, -9, 11});
    check_type<std::int64_t>("i8", "float64", {1, -3, 5, 1 << 30, -9, 11});
    check_type<std::uint8_t>("u1", "float32", {1, 3, 5, 255, 9, 11});
    check_type<std::uint16_t>("u2", "float32", {1, 3, 5, 65535, 9, 11});
    check_type<std::uint32_t>("u4", "float64", {1, 3, 5, 1 << 30, 9, 11});
    check_type<std::uint64_t>("u8", "float64", {1, 3, 5, 1 << 30, 9, 11});
    check_type<std::uint8_t>("b1", "float32", {1, 0, 1, 0, 1, 1});
}

TEST_CASE("pool: priors, scores and offsets are of any type") {
    const PoolProgram program;
    const std::string input = "--input X.npy --ptr ptr.npy ";
    write_bytes(program.directory / "ptr.npy", array<std::uint8_t>("u1", "(5,)", {0, 4, 5, 12, 20}));
    write_bytes(program.directory / "mask.npy",
                array<std::uint8_t>("b1", "(20,)", {0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
    MatrixXd expected(program.features, 4);
    expected << program.instances.col(1), program.instances.col(4),
        (program.instances.col(5) + program.instances.col(6)) / 2, program.instances.col(19);
    CHECK(largest(pooled(program, input + "--pooling attention --q0 mask.npy") - expected) < 1e-14);

    std::vector<std::uint16_t> scores(20, float16_bits(2));
    for (const std::size_t n : {0u, 2u, 3u, 7u, 8u, 9u, 10u, 11u, 12u, 13u, 14u, 15u, 16u, 17u, 18u})
        scores[n] = 0xfc00;
    write_bytes(program.directory / "s.npy", array("f2", "(20, 1)", scores));
    CHECK(largest(pooled(program, input + "--pooling attention --scores s.npy") - expected) < 1e-14);

    write_bytes(program.directory / "p0.npy", array<std::int16_t>("i2", "(5,)", {1, 2, 3, 4, 5}));
    program.write("p.npy", VectorXd(VectorXd{{1, 2, 3, 4, 5}} / 15));
    const std::string problem = input + "--alpha0 0.3 --alpha1 1 --alpha2 1 --p0 ";
    CHECK(largest(pooled(program, problem + "p0.npy") - pooled(program, problem + "p.npy")) < 1e-13);
}

TEST_CASE("pool: a prior in float16 is a prior, whatever it sums to") {
    const PoolProgram program;
    constexpr Index instances = 50000;
    // 2e-5 in float16: 336 2^-24, so that the sum is 1.00136.
    write_bytes(program.directory / "q0.npy",
                array("f2", "(50000,)", std::vector<std::uint16_t>(instances, std::uint16_t{336})));
    const MatrixXd x = MatrixXd::Random(2, instances);
    program.write("X.npy", x);
    for (const std::string dtype : {"double", "float"}) {
        const std::string all = "--input X.npy --q0 q0.npy --dtype " + dtype + " --pooling attention";
        CHECK(largest(pooled(program, all) - x.rowwise().mean()) < (dtype == "float" ? 1e-6 : 1e-13));
    }
}

TEST_CASE("pool: a batch vector says the same as offsets") {
    const PoolProgram program;
    const std::string problem = " --alpha0 0.3 --alpha2 1 --plan P.npy";
    pooled(program, "--input X.npy --ptr ptr.npy" + problem);
    const std::string expected = read_bytes(program.directory / "Y.npy") + read_bytes(program.directory / "P.npy");
    std::vector<std::int64_t> batch;
    for (Index b = 0; b < program.bags(); ++b) batch.insert(batch.end(), static_cast<std::size_t>(program.size(b)), b);
    write_bytes(program.directory / "batch.npy", array("i8", "(20,)", batch));
    pooled(program, "--input X.npy --batch batch.npy" + problem);
    CHECK(read_bytes(program.directory / "Y.npy") + read_bytes(program.directory / "P.npy") == expected);
}

TEST_CASE("pool: a batch vector that is none is refused") {
    const PoolProgram program;
    const auto check = [&](const std::vector<std::int64_t>& batch, const std::string& message) {
        write_bytes(program.directory / "batch.npy", array("i8", "(" + std::to_string(batch.size()) + ",)", batch));
        program.write("three.npy", MatrixXd::Ones(2, 3).eval());
        check_refused(program, "--input three.npy --batch batch.npy", "batch.npy: " + message);
    };
    check({0, 1, 0}, "batch[2]: found 0, allowed at least batch[1] = 1");
    check({-1, 0, 0}, "batch[0]: found -1, allowed at least 0");
    check({0, 0}, "shape: found (2,), allowed (3,), the number of instances in three.npy");
    check({0, 0, 2}, "bag 1: found empty, allowed at least one instance, or --empty zeros");
    check({3, 3, 3}, "bag 0: found empty, allowed at least one instance, or --empty zeros");
    check({0, 0, 9223372036854775807}, "bag 1: found empty, allowed at least one instance, or --empty zeros");
    write_bytes(program.directory / "batch.npy", array<float>("f4", "(3,)", {0, 0, 1}));
    check_refused(program, "--input three.npy --batch batch.npy",
                  "batch.npy: descr: found float32, allowed int8 to int64 or uint8 to uint64");
    check_refused(program, "--input X.npy --ptr ptr.npy --batch batch.npy",
                  "--batch: found with --ptr, allowed one of the two");
    write_bytes(program.directory / "batch.npy", array<std::int64_t>("i8", "(3,)", {0, 0, 9223372036854775807}));
    const auto run = program.run("--input three.npy --batch batch.npy --empty zeros");
    CHECK(run.status == 1);
    CHECK(run.err == "pool: out of memory\n");
}

TEST_CASE("pool: an empty bag becomes a row of zeros if that is asked for") {
    const PoolProgram program;
    write_bytes(program.directory / "gaps.npy", array<std::int64_t>("i8", "(8,)", {0, 0, 4, 5, 5, 12, 20, 20}));
    const Eigen::Vector4i indices(1, 2, 4, 5);  // those of the bags that are not empty
    std::vector<std::int32_t> batch;
    for (Index b = 0; b < program.bags(); ++b) {
        batch.insert(batch.end(), static_cast<std::size_t>(program.size(b)), indices[b]);
    }
    write_bytes(program.directory / "batch.npy", array("i4", "(20,)", batch));
    MatrixXd expected = MatrixXd::Zero(program.features, 7);
    for (Index b = 0; b < program.bags(); ++b) expected.col(indices[b]) = mean_of(program, b);
    const std::string all = "--input X.npy --empty zeros --pooling mean --weights W.npy --report report.json ";
    CHECK(largest(pooled(program, all + "--ptr gaps.npy") - expected) < 1e-14);
    const auto report = program.read_report();
    CHECK(report["empty"] == 3);
    CHECK(report["not_converged"] == 0);
    REQUIRE(report["bags"].size() == 7);
    CHECK(report["bags"][3] == nlohmann::json{{"instances", 0},
                                              {"status", "empty"},
                                              {"iterations", 0},
                                              {"residual", 0.0},
                                              {"mass", 0.0},
                                              {"log_mass", nullptr}});
    CHECK(report["bags"][4]["instances"] == 7);
    CHECK(report["bags"][4]["status"] == "converged");
    // After the last instance, a batch vector has no bag.
    CHECK(largest(pooled(program, all + "--batch batch.npy") - expected.leftCols(6)) < 1e-14);
    CHECK(program.read_report()["empty"] == 2);
    // Neither priors nor scores say anything of an empty bag.
    for (const std::string attention : {"--q0 q0.npy", "--scores s.npy"}) {
        const MatrixXd y =
            pooled(program, "--input X.npy --ptr gaps.npy --empty zeros --pooling attention " + attention);
        CHECK(largest(y.col(3)) == 0);
        CHECK(largest(y.col(5) - program.bag(3) * program.q0.tail(8)) < 1e-13);
    }
    check_refused(program, "--input X.npy --ptr gaps.npy --empty error",
                  "gaps.npy: bag 0: found empty, allowed at least one instance, or --empty zeros");
    program.write("none.npy", MatrixXd(3, 0));
    CHECK(pooled(program, "--input none.npy --empty zeros") == MatrixXd::Zero(3, 1));
}

TEST_CASE("pool: the files of a folder are bags, by name") {
    const PoolProgram program;
    const auto folder = program.directory / "slides";
    std::filesystem::create_directory(folder);
    std::filesystem::create_directory(folder / "more.npy");  // no file
    const std::vector<std::string> names = {"10.npy", "2.npy", "a b.npy", "c.npy"};
    for (std::size_t b = 0; b < names.size(); ++b) {
        const MatrixXd bag = program.bag(static_cast<Index>(b));
        if (b == 2) {  // as (1, N, D)
            const std::string shape = "(1, " + std::to_string(bag.cols()) + ", 5)";
            write_bytes(folder / names[b],
                        array("f8", shape, std::vector<double>(bag.data(), bag.data() + bag.size())));
        } else if (b == 1) {
            support::write_npy(folder / names[b], Eigen::MatrixXf(bag.cast<float>()));
        } else {
            support::write_npy(folder / names[b], bag);
        }
    }
    const std::string all = " --alpha0 0.3 --alpha2 1 --q0 q0.npy --weights W.npy";
    const MatrixXd expected = pooled(program, "--input X.npy --ptr ptr.npy" + all);
    const std::string weights = read_bytes(program.directory / "W.npy");
    for (const std::string input : {"--input slides", "--input slides/", "--input ./slides/."}) {
        CHECK(pooled(program, input + all + " --report report.json") == expected);
        CHECK(read_bytes(program.directory / "W.npy") == weights);
    }
    const auto report = program.read_report();
    REQUIRE(report["bags"].size() == names.size());
    for (std::size_t b = 0; b < names.size(); ++b) CHECK(report["bags"][b]["file"] == names[b]);
    CHECK(support::NpyFile(program.directory / "Y.npy").dtype() == otpool::Dtype::float64);

    // Files that are no arrays are left out, with a word.
    write_bytes(folder / "README.txt", "about the slides");
    write_bytes(folder / ".hidden", "");
    const auto run = program.run("--input slides --pooling mean --output Y.npy");
    CHECK(run.status == 0);
    CHECK(run.err == "pool: files of the folder that are neither .npy, .npz nor .h5 and are left out: 1\n");
    CHECK(largest(program.read<double>("Y.npy") - means(program)) < 1e-14);

    write_bytes(folder / "b.npy", array<float>("f4", "(0, 5)", {}));
    check_refused(program, "--input slides",
                  "slides: bag 3: found empty, allowed at least one instance, or --empty zeros");
    CHECK(pooled(program, "--input slides --empty zeros").col(3) == VectorXd::Zero(5));
}

TEST_CASE("pool: a folder that is not one of bags is refused") {
    const PoolProgram program;
    const auto folder = program.directory / "slides";
    std::filesystem::create_directory(folder);
    check_refused(program, "--input slides",
                  "slides: input: found no .npy, .npz or .h5 file, allowed one such file a bag");
    write_bytes(folder / "b.pt", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    write_bytes(folder / "a.pt", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    check_refused(
        program, "--input slides",
        "slides/a.pt: format: found a PyTorch file, allowed a .npy file, made in Python by: import numpy, torch; "
        "numpy.save(\"slides/a.npy\", torch.load(\"slides/a.pt\", map_location=\"cpu\").numpy(force=True))  # if "
        "it holds a dict: torch.load(...)[\"NAME\"].numpy(...)");
    write_bytes(folder / "a.npy", array<float>("f4", "(1, 2)", {1, 2}));
    write_bytes(folder / "b.npy", array<float>("f4", "(1, 3)", {1, 2, 3}));
    check_refused(program, "--input slides",
                  "slides/b.npy: shape: found (1, 3), allowed (N, 2), with the features of slides/a.npy");
    write_bytes(folder / "b.npy", array<float>("f4", "(2, 2)", {1, 2, 3, NAN}));
    check_refused(program, "--input slides",
                  "slides/b.npy: bag 1, instance 1 (row 1), feature 1: found nan, allowed finite numbers");
    write_bytes(folder / "b.npy", "");
    check_refused(program, "--input slides", "slides/b.npy: format: found an empty file, allowed a .npy file");
    write_bytes(folder / "b.npy", array<float>("f4", "(1, 2)", {1, 2}));
    for (const std::string option : {"--ptr", "--batch"}) {
        check_refused(program, "--input slides " + option + " ptr.npy",
                      option + ": found with a folder of one file a bag, allowed --input with one file");
    }
}

TEST_CASE("pool: an output in the folder of the bags is refused unless it is forced") {
    const PoolProgram program;
    const auto folder = program.directory / "slides";
    std::filesystem::create_directory(folder);
    const std::string bag = array<float>("f4", "(1, 2)", {1, 2});
    write_bytes(folder / "a.npy", bag);
    std::filesystem::create_hard_link(folder / "a.npy", program.directory / "link");
    for (const std::string output : {"slides/a.npy", "link", "slides/Y.npy", "./slides/../slides/Y.npz"}) {
        const auto run = program.run("--input slides --output " + output);
        CHECK(run.status == 2);
        CHECK(run.err == "pool: " + output +
                             ": output: found a file in the folder of --input, allowed another file, or --force\n");
    }
    CHECK(read_bytes(folder / "a.npy") == bag);
    CHECK(program.run("--input slides --pooling max --output Y.npy --report slides/report.json").status == 0);
    CHECK(program.run("--input slides --pooling max --output slides/a.npy --force").status == 0);
    CHECK(support::NpyFile(folder / "a.npy").matrix<float>() == Eigen::MatrixXf{{1}, {2}});
    // Without a folder in the way, the current directory may take outputs.
    CHECK(program.run("--input X.npy --output Y.npy").status == 0);
}

/// Whether the program can read .npz files; if not, checks that it says so.
bool reads_archives(const PoolProgram& program) {
    write_bytes(program.directory / "a.npz", tests::zip({{"X.npy", array<float>("f4", "(1, 1)", {1})}}));
    const auto run = program.run("--input a.npz");
    if (run.status == 0) return true;
    CHECK(run.err ==
          "pool: a.npz: format: found a .npz archive, allowed a .npy file, for this program was built without libzip "
          "(Debian: libzip-dev)\n");
    return false;
}

TEST_CASE("pool: arrays are found in archives") {
    const PoolProgram program;
    if (!reads_archives(program)) return;
    const auto file = [&](const std::string& name) { return read_bytes(program.directory / name); };
    write_bytes(program.directory / "all.npz", tests::zip({{"ptr.npy", file("ptr.npy")},
                                                           {"X.npy", file("X.npy")},
                                                           {"q0.npy", file("q0.npy")},
                                                           {"scores.npy", file("s.npy")},
                                                           {"p0.npy", file("p0.npy")},
                                                           {"other.npy", file("X32.npy")}}));
    write_bytes(program.directory / "one.npz", tests::zip({{"arr_0.npy", file("X.npy")}}));
    const std::string problem = " --alpha0 0.3 --alpha2 1";
    const MatrixXd bags = pooled(program, "--input X.npy --ptr ptr.npy" + problem);
    const MatrixXd one_bag = pooled(program, "--input X.npy" + problem);
    CHECK(pooled(program, "--input all.npz" + problem) == bags);
    CHECK(pooled(program, "--input all.npz:X --ptr all.npz:ptr" + problem) == bags);
    CHECK(pooled(program, "--input X.npy --ptr all.npz" + problem) == bags);
    CHECK(pooled(program, "--input one.npz --ptr ptr.npy" + problem) == bags);
    CHECK(pooled(program, "--input one.npz:arr_0" + problem) == one_bag);
    CHECK(largest(pooled(program, "--input all.npz:other" + problem) - bags) < 1e-5);
    CHECK(support::NpyFile(program.directory / "Y.npy").dtype() == otpool::Dtype::float32);
    const MatrixXd attended = pooled(program, "--input X.npy --ptr ptr.npy --pooling attention --q0 q0.npy");
    CHECK(pooled(program, "--input all.npz --pooling attention --q0 all.npz") == attended);
    CHECK(largest(pooled(program, "--input all.npz --pooling attention --scores all.npz") - attended) < 1e-14);
    CHECK(pooled(program, "--input all.npz --p0 all.npz" + problem) ==
          pooled(program, "--input X.npy --ptr ptr.npy --p0 p0.npy" + problem));

    write_bytes(program.directory / "batch.npz",
                tests::zip({{"X.npy", array<float>("f4", "(3, 1)", {1, 2, 4})},
                            {"batch.npy", array<std::int64_t>("i8", "(3,)", {0, 0, 1})}}));
    CHECK(pooled(program, "--input batch.npz --pooling sum") == MatrixXd{{3, 4}});

    std::filesystem::create_directory(program.directory / "slides");
    write_bytes(program.directory / "slides" / "a.npz", file("one.npz"));
    CHECK(pooled(program, "--input slides" + problem) == one_bag);

    // A file of this name comes before an array of that one.
    write_bytes(program.directory / "one.npz:X", file("X.npy"));
    CHECK(pooled(program, "--input one.npz:X" + problem) == one_bag);

    // Whoever writes over an archive writes over the array.
    check_refused(program, "--input all.npz:X --weights all.npz",
                  "all.npz: output: found the file of --input, allowed another file, or --force");
}

TEST_CASE("pool: members of archives may be deflated") {
    const PoolProgram program;
    if (!reads_archives(program)) return;
    std::vector<float> values(100);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
    // What zlib makes of this array.
    const std::string deflated(
        "\x9b\xec\x17\xea\x1b\x10\xc9\xc8\x60\xcb\x50\xad\x9e\x92\x5a\x9c\x5c\xa4\x6e\xa5\xa0\x6e\x93\x66\xa2\xae\xa3"
        "\xa0"
        "\x9e\x96\x5f\x54\x52\x94\x98\x17\x9f\x5f\x94\x92\x0a\x12\x77\x4b\xcc\x29\x4e\x05\x8a\x17\x67\x24\x16\xa4\x02"
        "\xf9"
        "\x1a\x46\x06\x3a\x0a\xa6\x9a\x3a\x0a\xb5\x5c\x0c\x60\xd0\x60\x0f\x24\x1c\x80\x08\x88\x1b\x80\x78\x01\x10\x1f"
        "\x70"
        "\x18\x95\xa3\xbf\x1c\x00",
        90);
    const std::string whole = array("f4", "(20, 5)", values);
    write_bytes(program.directory / "z.npz", tests::zip({{"X.npy", whole, deflated}}));
    const MatrixXd expected = Eigen::Map<const Eigen::MatrixXf>(values.data(), 5, 20).cast<double>().rowwise().sum();
    CHECK(pooled(program, "--input z.npz --pooling sum") == expected);

    // One damaged byte, and what a member claims to be.
    std::string damaged = whole;
    damaged.back() = '\x40';
    const std::string refusal = ", allowed a whole .npz archive without a password";
    write_bytes(program.directory / "z.npz", tests::zip({{"X.npy", damaged, deflated}}));
    check_refused(program, "--input z.npz", "z.npz:X: archive: found CRC error" + refusal);
    write_bytes(program.directory / "z.npz", tests::zip({{"X.npy", std::string(200000, 'x'), deflated}}));
    check_refused(program, "--input z.npz", "z.npz:X: archive: found a wrong size" + refusal);
    const std::string archive = tests::zip({{"X.npy", whole, deflated}});
    write_bytes(program.directory / "z.npz", archive.substr(0, archive.size() - 60));
    const auto run = program.run("--input z.npz");
    CHECK(run.status == 2);
    CHECK(run.err.find("pool: z.npz: archive: found ") == 0);
    CHECK(run.lines() == 1);
}

TEST_CASE("pool: an archive without the array is refused") {
    const PoolProgram program;
    if (!reads_archives(program)) return;
    const std::string x = array<float>("f4", "(1, 1)", {1});
    const std::string ptr = array<std::int64_t>("i8", "(2,)", {0, 1});
    write_bytes(program.directory / "two.npz", tests::zip({{"a.npy", x}, {"b.npy", x}}));
    const std::string refusal = ": found the arrays a and b, allowed an array of this name, or two.npz:NAME";
    check_refused(program, "--input two.npz", "two.npz: array 'X'" + refusal);
    check_refused(program, "--input two.npz:c", "two.npz: array 'c'" + refusal);
    check_refused(program, "--input X.npy --ptr two.npz", "two.npz: array 'ptr'" + refusal);
    write_bytes(program.directory / "none.npz", tests::zip({}));
    check_refused(program, "--input none.npz",
                  "none.npz: array 'X': found no arrays, allowed an array of this name, or none.npz:NAME");
    write_bytes(program.directory / "both.npz", tests::zip({{"X.npy", x}, {"ptr.npy", ptr}, {"batch.npy", ptr}}));
    check_refused(program, "--input both.npz",
                  "both.npz: bags: found both ptr and batch, allowed --ptr or --batch that names one");
    CHECK(pooled(program, "--input both.npz --ptr both.npz") == MatrixXd{{1}});
    write_bytes(program.directory / "torch.npz", tests::zip({{"archive/data.pkl", "..."}}));
    const auto torch = program.run("--input torch.npz");
    CHECK(torch.status == 2);
    CHECK(torch.err.starts_with("pool: torch.npz: format: found a PyTorch file, allowed a .npy file, made in Python"));
    write_bytes(program.directory / "X.npz", x);
    CHECK(pooled(program, "--input X.npz") == MatrixXd{{1}});  // a name is no format
    check_refused(program, "--input X.npz:X",
                  "X.npz: format: found a .npy file, allowed a .npz archive, or no name after it");
    check_refused(program, "--input no.npz:X", "no.npz: input: found No such file or directory, allowed a .npy file");
}

}  // namespace pool_inputs_test

#endif
