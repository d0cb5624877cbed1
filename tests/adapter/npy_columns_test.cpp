#include "otpool/adapter/npy.hpp"

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "examples/npy_bytes.hpp"
#include "otpool/streamed/column_source.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/read_columns.hpp"
#include "support/temporary_directory.hpp"

namespace fs = std::filesystem;
using otpool::Index;
using otpool::NpyColumns;
using tests::data_of;
using tests::dictionary;
using tests::npy;
using tests::read_columns;
using tests::TemporaryDirectory;
using tests::write_bytes;

namespace npy_columns_test {

constexpr std::size_t features = 5, instances = 37;

/// Whole numbers, column after column, as rows of the file.
std::vector<double> numbers() {
    std::mt19937 random(5);
    std::vector<double> values(features * instances);
    for (double& value : values) value = static_cast<double>(random() % 100);
    return values;
}

/// A file of these numbers as Stored.
template <class Stored>
std::string file(const std::string& descr, const std::vector<double>& values, bool fortran_order, std::endian order,
                 const std::string& shape = "(37, 5)") {
    std::vector<Stored> stored;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t at = fortran_order ? i % instances * features + i / instances : i;
        stored.push_back(static_cast<Stored>(values[at]));
    }
    return npy(dictionary(descr, fortran_order, shape), data_of(stored, order));
}

template <class Scalar>
void check_columns(const fs::path& path) {
    const std::vector<double> all = numbers();
    const NpyColumns<Scalar> source(path);
    REQUIRE(source.rows() == features);
    REQUIRE(source.cols() == instances);
    for (const auto& [first, count] :
         std::vector<std::array<Index, 2>>{{0, 37}, {0, 1}, {36, 1}, {13, 20}, {5, 0}, {37, 0}}) {
        CHECK(read_columns<Scalar>(source, first, count) ==
              std::vector<Scalar>(all.begin() + first * Index(features),
                                  all.begin() + (first + count) * Index(features)));
    }
}

static_assert(otpool::ColumnSource<NpyColumns<float>> && otpool::ColumnSource<NpyColumns<double>>);

TEST_CASE(".npy: every type, order of bytes and order of numbers has the same columns") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const bool fortran_order = GENERATE(false, true);
    const std::endian order = GENERATE(std::endian::little, std::endian::big);
    const std::string mark = order == std::endian::little ? "<" : ">";
    for (const std::string& bytes : {file<float>(mark + "f4", numbers(), fortran_order, order),
                                     file<double>(mark + "f8", numbers(), fortran_order, order),
                                     file<std::int8_t>("|i1", numbers(), fortran_order, order),
                                     file<std::uint16_t>(mark + "u2", numbers(), fortran_order, order),
                                     file<std::int64_t>(mark + "i8", numbers(), fortran_order, order, "(1, 37, 5)")}) {
        write_bytes(path, bytes);
        check_columns<float>(path);
        check_columns<double>(path);
    }
}

TEST_CASE(".npy: rows that are longer than a block, and threads that read at once") {
    const TemporaryDirectory directory;
    std::vector<std::int16_t> values(70 * 20000);
    std::mt19937 random(2);
    for (auto& value : values) value = static_cast<std::int16_t>(random() % 1000);
    write_bytes(directory / "X.npy", npy(dictionary(">i2", false, "(7, 200000)"), data_of(values, std::endian::big)));
    write_bytes(directory / "Y.npy", npy(dictionary(">i2", false, "(20000, 70)"), data_of(values, std::endian::big)));
    for (const std::string name : {"X.npy", "Y.npy"}) {
        const NpyColumns<float> source(directory / name);
        std::atomic<int> wrong = 0;
        std::vector<std::thread> threads;
        for (unsigned seed = 0; seed < 3; ++seed) {
            threads.emplace_back([&, seed] {
                std::mt19937 mine(seed);
                for (int i = 0; i < 4; ++i) {
                    const auto first = static_cast<Index>(mine() % std::uint32_t(source.cols()));
                    const auto count = static_cast<Index>(mine() % std::uint32_t(source.cols() - first + 1));
                    std::vector<float> got(static_cast<std::size_t>(source.rows() * count));
                    source.read(first, count, got.data());
                    const auto begin = values.begin() + first * source.rows();
                    if (!std::equal(got.begin(), got.end(), begin)) ++wrong;
                }
            });
        }
        for (auto& thread : threads) thread.join();
        CHECK(wrong == 0);
    }
}

TEST_CASE(".npy: a bag without instances") {
    const TemporaryDirectory directory;
    for (const std::string shape : {"(0, 5)", "(0,)", "(1, 0, 5)"}) {
        write_bytes(directory / "X.npy", npy(dictionary("<f2", false, shape), ""));
        const NpyColumns<float> source(directory / "X.npy");
        CHECK(source.cols() == 0);
        CHECK(source.rows() == (shape == "(0,)" ? 0 : 5));
        CHECK(read_columns<float>(source, 0, 0).empty());
    }
}

std::string refusal(const fs::path& path) {
    const std::string message = tests::message_of<otpool::FileError>([&] { NpyColumns<float> columns(path); });
    return message.starts_with(path.string()) ? message.substr(path.string().size()) : message;
}

TEST_CASE(".npy: other files, and those that are cut off, are refused when they are opened") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    CHECK(refusal(path) == ": input is No such file or directory; allowed: a .npy file");
    CHECK(refusal(directory.path()) == ": input is a directory; allowed: a .npy file");
    write_bytes(path, "PK\3\4...");
    CHECK(refusal(path) == ": format is a file that begins with 'PK\\x03\\x04..'; allowed: a .npy file");
    const std::string whole = file<float>("<f4", numbers(), false, std::endian::little);
    const std::string needed = "; allowed: the 740 bytes of shape (37, 5) of float32";
    write_bytes(path, whole.substr(0, whole.size() - 1));
    CHECK(refusal(path) == ": data is 739 bytes" + needed);
    write_bytes(path, whole + "x");
    CHECK(refusal(path) == ": data is 741 bytes" + needed);
    for (const std::size_t size : {0U, 3U, 6U, 7U, 9U, 20U, 40U}) {
        write_bytes(path, whole.substr(0, size));
        INFO(refusal(path));
        CHECK(refusal(path) != "no error");
    }
    write_bytes(path, npy(dictionary("<f4", false, "(37,)"), data_of(std::vector<float>(37))));
    CHECK(refusal(path) == ": shape is (37,); allowed: (N, D) or (1, N, D)");
    write_bytes(path, npy(dictionary("<c8", false, "(1, 1)"), "12345678"));
    CHECK(refusal(path) ==
          ": descr is '<c8' (complex numbers); allowed: float16, float32, float64, bool, int8 to int64 or "
          "uint8 to uint64");
}

TEST_CASE(".npy: a file that shrinks while it is read is an error with the row") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const std::string descr = GENERATE("<f4", ">f4");
    write_bytes(path, file<float>(descr, numbers(), false, descr == "<f4" ? std::endian::little : std::endian::big));
    const NpyColumns<float> source(path);
    fs::resize_file(path, fs::file_size(path) - 3 * 4 * features - 1);
    const std::string cut_off = " is cut off while it is read; allowed: a file that stays as it was opened";
    const auto message = [&](Index first, Index count) {
        return tests::message_of<otpool::FileError>([&] { read_columns<float>(source, first, count); });
    };
    CHECK(message(0, 37) == path.string() + ": row 33" + cut_off);
    CHECK(message(36, 1) == path.string() + ": row 36" + cut_off);
    CHECK(message(0, 33) == "no error");
    CHECK(message(0, 34) == path.string() + ": row 33" + cut_off);
}

TEST_CASE(".npy: a double that float cannot hold is refused with its row") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const double large = GENERATE(1e300, -3.5e38);
    write_bytes(path, npy(dictionary("<f8", false, "(3, 2)"), data_of<double>({1, INFINITY, NAN, 2, 3, large})));
    const std::string number = large > 0 ? "1e+300" : "-3.5e+38";
    CHECK(tests::message_of<otpool::FileError>([&] { read_columns<float>(NpyColumns<float>(path), 1, 2); }) ==
          path.string() + ": row 2 is " + number + "; allowed: magnitudes up to 3.40282e+38 as float32");
    CHECK(read_columns<float>(NpyColumns<float>(path), 0, 1)[1] == INFINITY);
    CHECK(std::isnan(read_columns<double>(NpyColumns<double>(path), 1, 1)[0]));
    CHECK(read_columns<double>(NpyColumns<double>(path), 2, 1)[1] == large);
}

TEST_CASE(".npy: columns that are not there are refused") {
    const TemporaryDirectory directory;
    write_bytes(directory / "X.npy", file<float>("<f4", numbers(), false, std::endian::little));
    const NpyColumns<float> source(directory / "X.npy");
    std::vector<float> values(1000);
    for (const auto& [first, count] : std::vector<std::array<Index, 2>>{{-1, 2}, {0, 38}, {37, 1}, {3, -1}}) {
        CHECK_THROWS_AS(source.read(first, count, values.data()), otpool::InvalidArgument);
    }
}

}  // namespace npy_columns_test
