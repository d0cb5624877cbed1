#include "support/npy.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "error_of.hpp"
#include "npy_bytes.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fs = std::filesystem;
using otpool::Dtype;
using support::NpyFile;
using support::write_npy;
using tests::data_of;
using tests::dictionary;
using tests::error_of;
using tests::npy;
using tests::read_bytes;
using tests::TemporaryDirectory;
using tests::write_bytes;

namespace npy_test {

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

TEMPLATE_TEST_CASE("A matrix comes back as it was written", "", float, double) {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const Matrix<TestType> values = Matrix<TestType>::Random(5, 3);
    write_npy(path, values);

    NpyFile file(path);
    CHECK(file.dtype() == support::dtype_of<TestType>());
    CHECK(file.shape() == std::vector<std::int64_t>{3, 5});
    CHECK(file.matrix<TestType>() == values);
    CHECK(file.matrix<TestType>() == values);  // as often as asked
    CHECK(directory.files() == std::vector<std::string>{"X.npy"});
}

TEMPLATE_TEST_CASE("A vector comes back as it was written", "", float, double, std::int64_t) {
    const TemporaryDirectory directory;
    const Vector<TestType> values = Vector<TestType>::Random(20000);
    write_npy(directory / "v.npy", values);
    NpyFile file(directory / "v.npy");
    CHECK(file.shape() == std::vector<std::int64_t>{20000});
    CHECK(file.vector<TestType>() == values);
}

TEST_CASE("A row-major matrix and an expression are written by value, not by memory") {
    const TemporaryDirectory directory;
    const Eigen::Matrix<float, 2, 3, Eigen::RowMajor> values{{1, 2, 3}, {4, 5, 6}};
    write_npy(directory / "X.npy", values);
    CHECK(NpyFile(directory / "X.npy").matrix<float>() == values);
    write_npy(directory / "X.npy", values.transpose() * 2.0f);
    CHECK(NpyFile(directory / "X.npy").matrix<float>() == values.transpose() * 2.0f);
}

TEST_CASE("A file is byte for byte NumPy's") {
    const TemporaryDirectory directory;
    const Eigen::MatrixXf values{{1, 3}, {2, 4}};  // columns (1, 2) and (3, 4): two instances
    write_npy(directory / "X.npy", values);
    const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    const std::string expected =
        npy(header + std::string(128 - 10 - 1 - header.size(), ' ') + "\n", data_of<float>({1, 2, 3, 4}));
    CHECK(read_bytes(directory / "X.npy") == expected);

    write_npy(directory / "v.npy", Vector<std::int64_t>{{0, 7}});
    CHECK(read_bytes(directory / "v.npy").substr(10, 58) ==
          "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), } ");
}

TEST_CASE("Both orders, both byte orders and all versions give the same matrix") {
    const Eigen::MatrixXd expected{{1, 4}, {2, 5}, {3, 6}};  // of the array [[1, 2, 3], [4, 5, 6]]
    const auto version = GENERATE(char{1}, char{2}, char{3});
    const auto fortran_order = GENERATE(false, true);
    const auto byte_order = GENERATE(std::endian::little, std::endian::big);
    const std::string mark = byte_order == std::endian::little ? "<" : ">";
    const std::vector<double> doubles =
        fortran_order ? std::vector<double>{1, 4, 2, 5, 3, 6} : std::vector<double>{1, 2, 3, 4, 5, 6};
    const std::vector<float> floats(doubles.begin(), doubles.end());

    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    write_bytes(path, npy(dictionary(mark + "f8", fortran_order, "(2, 3)"), data_of(doubles, byte_order), version));
    CHECK(NpyFile(path).dtype() == Dtype::float64);
    CHECK(NpyFile(path).matrix<double>() == expected);
    CHECK(NpyFile(path).matrix<float>() == expected.cast<float>());

    write_bytes(path, npy(dictionary(mark + "f4", fortran_order, "(2, 3)"), data_of(floats, byte_order), version));
    CHECK(NpyFile(path).dtype() == Dtype::float32);
    CHECK(NpyFile(path).matrix<double>() == expected);
    CHECK(NpyFile(path).matrix<float>() == expected.cast<float>());
}

/// A file of these values, as array of shape (2, 3), in one of the orders.
template <class Stored>
void write_array(const fs::path& path, const std::string& code, std::vector<Stored> values, bool fortran_order,
                 std::endian order) {
    if (fortran_order) values = {values[0], values[3], values[1], values[4], values[2], values[5]};
    const std::string mark = sizeof(Stored) == 1 ? "|" : order == std::endian::little ? "<" : ">";
    write_bytes(path, npy(dictionary(mark + code, fortran_order, "(2, 3)"), data_of(values, order)));
}

template <class Stored>
void check_integers(const std::string& code, Dtype dtype) {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    constexpr auto lowest = std::numeric_limits<Stored>::min();
    constexpr auto highest = static_cast<Stored>(std::numeric_limits<Stored>::max() / 3);
    const std::vector<Stored> values = {0, 1, 2, highest, lowest, 5};
    for (const bool fortran_order : {false, true}) {
        for (const auto order : {std::endian::little, std::endian::big}) {
            write_array(path, code, values, fortran_order, order);
            const NpyFile file(path);
            CHECK(file.dtype() == dtype);
            const auto in_double = file.matrix<double>();
            const auto in_float = file.matrix<float>();
            for (int i = 0; i < 6; ++i) {
                CHECK(in_double(i % 3, i / 3) == static_cast<double>(values[static_cast<std::size_t>(i)]));
                CHECK(in_float(i % 3, i / 3) == static_cast<float>(values[static_cast<std::size_t>(i)]));
            }
            const std::string mark = sizeof(Stored) == 1 ? "|" : order == std::endian::little ? "<" : ">";
            write_bytes(path, npy(dictionary(mark + code, false, "(6,)"), data_of(values, order)));
            const auto offsets = NpyFile(path).vector<std::int64_t>();
            for (int i = 0; i < 6; ++i) {
                CHECK(offsets[i] == static_cast<std::int64_t>(values[static_cast<std::size_t>(i)]));
            }
        }
    }
}

TEST_CASE("All integers are read as numbers and as offsets") {
    check_integers<std::int8_t>("i1", Dtype::int8);
    check_integers<std::int16_t>("i2", Dtype::int16);
    check_integers<std::int32_t>("i4", Dtype::int32);
    check_integers<std::int64_t>("i8", Dtype::int64);
    check_integers<std::uint8_t>("u1", Dtype::uint8);
    check_integers<std::uint16_t>("u2", Dtype::uint16);
    check_integers<std::uint32_t>("u4", Dtype::uint32);
    check_integers<std::uint64_t>("u8", Dtype::uint64);
}

TEST_CASE("bool is read as 0 and 1") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    write_array<std::uint8_t>(path, "b1", {0, 1, 1, 0, 255, 0}, GENERATE(false, true), std::endian::little);
    const Eigen::MatrixXd expected{{0, 0}, {1, 1}, {1, 0}};
    CHECK(NpyFile(path).dtype() == Dtype::boolean);
    CHECK(NpyFile(path).matrix<double>() == expected);
    CHECK(NpyFile(path).matrix<float>() == expected.cast<float>());
}

TEST_CASE("float16 is read in both orders of bytes and of entries") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    // 1, -2, 65504, 2^-24, -0.0999755859375, 0
    write_array<std::uint16_t>(path, "f2", {0x3c00, 0xc000, 0x7bff, 0x0001, 0xae66, 0x0000}, GENERATE(false, true),
                               GENERATE(std::endian::little, std::endian::big));
    const Eigen::MatrixXd expected{{1, 0x1p-24}, {-2, -0.0999755859375}, {65504, 0}};
    CHECK(NpyFile(path).dtype() == Dtype::float16);
    CHECK(NpyFile(path).matrix<double>() == expected);
    CHECK(NpyFile(path).matrix<float>() == expected.cast<float>());
}

TEST_CASE("Every float16 has Eigen's value of it") {
    for (unsigned bits = 0; bits < 65536; ++bits) {
        const double value(otpool::Float16{static_cast<std::uint16_t>(bits)});
        const auto expected = static_cast<double>(
            static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(static_cast<std::uint16_t>(bits))));
        const bool same = std::isnan(expected) ? std::isnan(value)
                                               : value == expected && std::signbit(value) == std::signbit(expected);
        if (!same) FAIL(bits << ": " << value << " is not " << expected);
    }
}

TEST_CASE("What float32 holds exactly is computed in float32") {
    for (const Dtype dtype :
         {Dtype::boolean, Dtype::int8, Dtype::int16, Dtype::uint8, Dtype::uint16, Dtype::float16, Dtype::float32}) {
        CHECK(computed_in(dtype) == Dtype::float32);
    }
    for (const Dtype dtype : {Dtype::int32, Dtype::int64, Dtype::uint32, Dtype::uint64, Dtype::float64}) {
        CHECK(computed_in(dtype) == Dtype::float64);
    }
}

TEST_CASE("An array of shape (1, rows, columns) is a matrix") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const bool fortran_order = GENERATE(false, true);
    const std::vector<float> values = fortran_order ? std::vector<float>{1, 3, 2, 4} : std::vector<float>{1, 2, 3, 4};
    write_bytes(path, npy(dictionary("<f4", fortran_order, "(1, 2, 2)"), data_of(values)));
    CHECK(NpyFile(path).matrix<float>() == Eigen::MatrixXf{{1, 3}, {2, 4}});
}

TEST_CASE("A header may be written in any way Python reads it") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const auto header = GENERATE(as<std::string>(), "{'shape':(2,1),'fortran_order':False,'descr':'<f4'}",
                                 "  { \"descr\" : \"<f4\" , 'fortran_order' :False,'shape': ( 2 , 1 , ) , }   \n",
                                 "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 1L), }\n");
    write_bytes(path, npy(header, data_of<float>({7, 8})));
    CHECK(NpyFile(path).matrix<float>() == Eigen::MatrixXf{{7, 8}});
}

TEST_CASE("Infinities and NaN are read as they are") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    constexpr double infinity = std::numeric_limits<double>::infinity();
    write_npy(path, Eigen::Vector3d(infinity, -infinity, std::nan("")));
    const auto values = NpyFile(path).vector<float>();
    CHECK(values[0] == std::numeric_limits<float>::infinity());
    CHECK(values[1] == -std::numeric_limits<float>::infinity());
    CHECK(std::isnan(values[2]));
}

TEST_CASE("Arrays without elements keep their shape") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const auto fortran_order = GENERATE(false, true);
    write_bytes(path, npy(dictionary("<f4", fortran_order, "(0, 4)"), ""));
    CHECK(NpyFile(path).matrix<float>().rows() == 4);
    CHECK(NpyFile(path).matrix<float>().cols() == 0);
    write_bytes(path, npy(dictionary("<f4", fortran_order, "(4, 0)"), ""));
    CHECK(NpyFile(path).matrix<float>().rows() == 0);
    CHECK(NpyFile(path).matrix<float>().cols() == 4);
    write_bytes(path, npy(dictionary("<f4", fortran_order, "(0,)"), ""));
    CHECK(NpyFile(path).vector<float>().size() == 0);

    write_npy(path, Eigen::MatrixXd(3, 0));
    CHECK(NpyFile(path).shape() == std::vector<std::int64_t>{0, 3});
}

TEST_CASE("Damaged files are read or refused, never more") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    std::mt19937 random(20220119);
    const auto below = [&random](std::size_t bound) { return random() % bound; };
    for (int trial = 0; trial < 3000; ++trial) {
        const bool fortran_order = below(2) == 1;
        std::string bytes = npy(dictionary("<f8", fortran_order, "(2, 3)"), data_of<double>({1, 2, 3, 4, 5, 6}),
                                static_cast<char>(1 + below(3)));
        for (std::size_t flips = 1 + below(4); flips > 0; --flips) {
            // Mostly in the header, where the damage is interesting.
            char& victim = bytes[below(below(4) == 0 ? bytes.size() : 80)];
            victim = below(2) == 0 ? static_cast<char>(below(256)) : "0123456789(){},'<>L "[below(20)];
        }
        if (below(8) == 0) bytes.resize(below(bytes.size()));
        write_bytes(path, bytes);
        const std::string message = error_of([&] {
            NpyFile file(path);
            file.shape().size() == 1 ? void(file.vector<double>()) : void(file.matrix<double>());
        });
        REQUIRE(message.find('\n') == std::string::npos);
    }
}

TEST_CASE("A file that can't be written leaves nothing behind") {
    const TemporaryDirectory directory;
    const fs::path missing = directory / "missing" / "Y.npy";
    CHECK(error_of([&] { write_npy(missing, Eigen::Vector2f(1, 2)); }) ==
          missing.string() +
              ": output: found No such file or directory, allowed a file name in an existing directory that "
              "can be written");
    CHECK(error_of([&] { write_npy(directory.path(), Eigen::Vector2f(1, 2)); }).starts_with(directory.path().string()));
    CHECK(directory.files().empty());
}

}  // namespace npy_test
