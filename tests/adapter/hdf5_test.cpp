#ifdef OTPOOL_TEST_HDF5

#include "otpool/adapter/hdf5.hpp"

#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "otpool/streamed/column_source.hpp"
#include "support/catch.hpp"
#include "support/hdf5_bytes.hpp"
#include "support/message_of.hpp"
#include "support/read_columns.hpp"
#include "support/temporary_directory.hpp"

namespace fs = std::filesystem;
using otpool::Hdf5Columns;
using otpool::Hdf5Dataset;
using otpool::Index;
using tests::Hdf5Written;
using tests::read_columns;
using tests::TemporaryDirectory;
using tests::write_hdf5;

namespace hdf5_test {

constexpr Index features = 24, instances = 70;

/// Numbers that float16 has, too: column after column, as rows of the file.
std::vector<double> numbers(Index count = features * instances) {
    std::mt19937 random(3);
    std::vector<double> values(static_cast<std::size_t>(count));
    for (double& value : values) value = (static_cast<double>(random() % 4001) - 2000) / 16;
    return values;
}

/// Columns [first, first + count) of numbers().
template <class Scalar>
std::vector<Scalar> expected(const std::vector<double>& all, Index first, Index count) {
    return {all.begin() + first * features, all.begin() + (first + count) * features};
}

template <class Scalar>
void check_columns(const fs::path& path, const std::vector<double>& all) {
    const Hdf5Columns<Scalar> source(path);
    REQUIRE(source.rows() == features);
    REQUIRE(source.cols() == instances);
    for (const auto& [first, count] : std::vector<std::array<Index, 2>>{
             {0, instances}, {0, 1}, {instances - 1, 1}, {13, 40}, {31, 3}, {32, 32}, {5, 0}, {instances, 0}}) {
        CHECK(read_columns<Scalar>(source, first, count) == expected<Scalar>(all, first, count));
    }
}

/// The layouts of TRIDENT and CLAM, and others.
std::vector<Hdf5Written> layouts() {
    return {{.chunk = {}},
            {.chunk = {1, features}},
            {.chunk = {32, features}},
            {.chunk = {7, 5}},
            {.chunk = {128, 64}},
            {.chunk = {32, features}, .gzip = 4},
            {.chunk = {1, features}, .gzip = 1, .shuffle = true},
            {.chunk = {7, 5}, .gzip = 9},
            {.compact = true},
            {.chunk = {32, features}, .latest = true},
            {.latest = true},
            {.chunk = {16, features}, .user_block = 512},
            {.user_block = 1024}};
}

static_assert(otpool::ColumnSource<Hdf5Columns<float>> && otpool::ColumnSource<Hdf5Columns<double>>);

TEST_CASE("HDF5: every layout, type, order of bytes and shape has the same columns") {
    const TemporaryDirectory directory;
    const std::vector<double> all = numbers();
    const bool batch_of_one = GENERATE(false, true);
    for (const Hdf5Written& layout : layouts()) {
        Hdf5Written how = layout;
        how.shape = {instances, features};
        if (batch_of_one) how.shape.insert(how.shape.begin(), 1);
        if (batch_of_one && !how.chunk.empty()) how.chunk.insert(how.chunk.begin(), 1);
        for (const hid_t type : {tests::hdf5_half(std::endian::little), tests::hdf5_half(std::endian::big),
                                 H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_IEEE_F64BE}) {
            const fs::path path = directory / "X.h5";
            fs::remove(path);
            write_hdf5(path, how, type, H5T_NATIVE_DOUBLE, all.data());
            INFO("chunk " << (how.chunk.empty() ? 0 : how.chunk[0]) << ", gzip " << how.gzip << ", bytes "
                          << H5Tget_size(type));
            check_columns<float>(path, all);
            check_columns<double>(path, all);
        }
    }
}

TEST_CASE("HDF5: integers of every size are read") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "coords.h5";
    std::vector<double> all(features * instances);
    std::iota(all.begin(), all.end(), 0.0);
    for (double& value : all) value = std::fmod(value, 100);
    for (const hid_t type : {H5T_STD_I8LE, H5T_STD_I16BE, H5T_STD_I32LE, H5T_STD_I64LE, H5T_STD_I64BE, H5T_STD_U8BE,
                             H5T_STD_U16LE, H5T_STD_U32BE, H5T_STD_U64LE}) {
        fs::remove(path);
        write_hdf5(path, {.shape = {instances, features}, .chunk = {9, 24}}, type, H5T_NATIVE_DOUBLE, all.data());
        check_columns<double>(path, all);
        const Hdf5Dataset dataset(path, "features");
        const std::vector<double> doubles = expected<double>(all, 3, 9);
        CHECK(read_columns<std::int64_t>(dataset, 3, 9) == std::vector<std::int64_t>(doubles.begin(), doubles.end()));
    }
}

TEST_CASE("HDF5: more chunks than this library finds quickly have the same columns") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    constexpr hsize_t many = 5001, few_features = 3;
    const std::vector<double> all = numbers(many * few_features);
    const auto rows = [&](Index first, Index count) {
        return std::vector<double>(all.begin() + first * Index(few_features),
                                   all.begin() + (first + count) * Index(few_features));
    };
    for (const std::vector<hsize_t>& chunk : {std::vector<hsize_t>{1, 3}, {2, 2}, {2, 5}, {1, 1, 3}, {1, 3, 1}}) {
        std::vector<hsize_t> shape = {many, few_features};
        if (chunk.size() == 3) shape.insert(shape.begin(), 1);
        const hid_t type = chunk.size() == 3 ? H5T_IEEE_F64LE : H5T_IEEE_F32BE;
        fs::remove(path);
        write_hdf5(path, {.shape = shape, .chunk = chunk}, type, H5T_NATIVE_DOUBLE, all.data());
        const Hdf5Columns<double> source(path);
        CHECK(read_columns<double>(source, 0, many) == all);
        CHECK(read_columns<double>(source, 4000, 7) == rows(4000, 7));
        CHECK(read_columns<double>(source, 4999, 2) == rows(4999, 2));
        CHECK(read_columns<double>(source, 3, 1) == rows(3, 1));
        fs::resize_file(path, fs::file_size(path) / 2);
        CHECK(tests::message_of<otpool::FileError>([&] {
                  read_columns<double>(source, 0, many);
              }).starts_with(path.string() + ":features: "));
    }
    fs::remove(path);
    write_hdf5(path, {.shape = {many}, .chunk = {2}}, std::vector<double>(all.begin(), all.begin() + many));
    CHECK(read_columns<double>(Hdf5Dataset(path, "features"), 1, many - 1) ==
          std::vector<double>(all.begin() + 1, all.begin() + many));
}

TEST_CASE("HDF5: a row longer than a block, and blocks in any order") {
    const TemporaryDirectory directory;
    constexpr hsize_t length = 100000, rows = 5;
    const std::vector<double> all = numbers(length * rows);
    write_hdf5(directory / "X.h5", {.shape = {rows, length}, .chunk = {2, 30000}}, H5T_IEEE_F32BE, H5T_NATIVE_DOUBLE,
               all.data());
    const Hdf5Columns<double> source(directory / "X.h5");
    for (const Index first : {4, 0, 2}) {
        CHECK(read_columns<double>(source, first, 1) ==
              std::vector<double>(all.begin() + first * Index(length), all.begin() + (first + 1) * Index(length)));
    }
}

TEST_CASE("HDF5: threads may read at once") {
    const TemporaryDirectory directory;
    const std::vector<double> all = numbers();
    for (const Hdf5Written& layout : layouts()) {
        Hdf5Written how = layout;
        how.shape = {instances, features};
        const fs::path path = directory / "X.h5";
        fs::remove(path);
        write_hdf5(path, how, H5T_IEEE_F32LE, H5T_NATIVE_DOUBLE, all.data());
        const Hdf5Columns<float> source(path);
        std::atomic<int> wrong = 0;
        std::vector<std::thread> threads;
        for (unsigned seed = 0; seed < 4; ++seed) {
            threads.emplace_back([&, seed] {
                std::mt19937 random(seed);
                for (int i = 0; i < 50; ++i) {
                    const auto first = static_cast<Index>(random() % instances);
                    const auto count = static_cast<Index>(random() % std::uint32_t(instances - first));
                    std::vector<float> values(static_cast<std::size_t>(features * count));
                    source.read(first, count, values.data());
                    if (values != expected<float>(all, first, count)) ++wrong;
                }
            });
        }
        for (auto& thread : threads) thread.join();
        CHECK(wrong == 0);
    }
}

TEST_CASE("HDF5: slides without patches") {
    const TemporaryDirectory directory;
    const std::vector<float> none;
    write_hdf5(directory / "A.h5", {.shape = {0, features}, .chunk = {1, features}}, none);
    write_hdf5(directory / "B.h5", {.shape = {0}, .chunk = {1}}, none);
    write_hdf5(directory / "C.h5", {.shape = {0, features}}, none);
    write_hdf5(directory / "D.h5", {.shape = {1, 0, features}, .chunk = {1, 32, features}, .gzip = 4}, none);
    for (const std::string name : {"A.h5", "B.h5", "C.h5", "D.h5"}) {
        const Hdf5Columns<float> source(directory / name);
        CHECK(source.rows() == (name == "B.h5" ? 0 : features));
        CHECK(source.cols() == 0);
        CHECK(read_columns<float>(source, 0, 0).empty());
    }
}

TEST_CASE("HDF5: numbers that were never written are HDF5's") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    write_hdf5(path, {.shape = {6, 2}, .chunk = {2, 2}, .is_written = false}, std::vector<float>{});
    write_hdf5(path, {.name = "contiguous", .shape = {6, 2}, .is_written = false}, std::vector<float>{});
    CHECK(read_columns<float>(Hdf5Columns<float>(path), 0, 6) == std::vector<float>(12, 0));
    CHECK(read_columns<float>(Hdf5Columns<float>(path, "contiguous"), 1, 2) == std::vector<float>(4, 0));
}

TEST_CASE("HDF5: without a name it is features, else the only matrix of floats") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    const std::vector<float> values = {1, 2, 3, 4, 5, 6};
    write_hdf5(path, {.name = "coords", .shape = {3, 2}}, std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
    const auto message = [&] { return tests::message_of<otpool::FileError>([&] { Hdf5Dataset all(path); }); };
    CHECK(message() == path.string() +
                           ": dataset 'features' is not there, nor a matrix of floats; allowed: FILE:NAME with "
                           "one of coords");
    write_hdf5(path, {.name = "weights", .shape = {6}}, values);
    write_hdf5(path, {.name = "feats", .shape = {3, 2}}, values);
    CHECK(Hdf5Dataset(path).name() == "feats");
    CHECK(Hdf5Dataset(path).path() == path.string() + ":feats");
    write_hdf5(path, {.name = "more", .shape = {1, 2, 3}}, values);
    CHECK(message() == path.string() +
                           ": dataset 'features' is not there, and several others are; allowed: FILE:NAME with "
                           "one of coords, feats, more, weights");
    write_hdf5(path, {.name = "features", .shape = {2, 3}}, values);
    CHECK(Hdf5Dataset(path).name() == "features");
    CHECK(Hdf5Dataset(path).shape() == std::vector<std::int64_t>{2, 3});
    CHECK(Hdf5Dataset(path, "coords").dtype() == otpool::Dtype::int64);
    CHECK(Hdf5Dataset(path, "/weights").cols() == 6);
    CHECK(Hdf5Dataset(path, "/weights").rows() == 1);
    CHECK(tests::message_of<otpool::FileError>([&] { Hdf5Dataset all(path, "x"); }) ==
          path.string() +
              ": dataset 'x' is not there; allowed: FILE:NAME with one of coords, feats, features, more, weights");
    CHECK(tests::message_of<otpool::FileError>([&] { Hdf5Columns<float> all(path, "weights"); }) ==
          path.string() + ":weights: shape is (6,); allowed: (N, D) or (1, N, D)");
}

std::string refusal(const fs::path& path, const std::string& name = "") {
    const std::string message = tests::message_of<otpool::Error>([&] { Hdf5Dataset all(path, name); });
    return message.starts_with(path.string()) ? message.substr(path.string().size()) : message;
}

TEST_CASE("HDF5: what is no dataset of numbers is refused, in one sentence") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    CHECK(refusal(path) == ": input is No such file or directory; allowed: an HDF5 file");
    CHECK(refusal(directory.path()) == ": input is a directory; allowed: an HDF5 file");
    tests::write_bytes(path, "version https://git-lfs.github.com/spec/v1\n");
    CHECK(refusal(path) == ": input is 'file signature not found'; allowed: a whole HDF5 file that can be read");
    fs::remove(path);

    const std::vector<float> values(12, 1);
    write_hdf5(path, {.shape = {2, 3, 2}}, values);
    CHECK(refusal(path, "features") == ":features: shape is (2, 3, 2); allowed: (N, D), (1, N, D) or (N,)");
    write_hdf5(path, {.name = "four", .shape = {1, 1, 6, 2}}, values);
    CHECK(refusal(path, "four") == ":four: shape is (1, 1, 6, 2); allowed: (N, D), (1, N, D) or (N,)");
    const std::string types = "; allowed: float16, float32, float64, or integers of 8 to 64 bits";
    const hid_t bfloat16 = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(bfloat16, 15, 7, 8, 0, 7);
    H5Tset_size(bfloat16, 2);
    write_hdf5(path, {.name = "b", .shape = {6, 2}}, bfloat16, H5T_NATIVE_FLOAT, values.data());
    CHECK(refusal(path, "b") == ":b: type is a float of 2 bytes that is not IEEE 754's, such as bfloat16" + types);
    const hid_t text = H5Tcopy(H5T_C_S1);
    write_hdf5(path, {.name = "t", .shape = {6, 2}}, text, text, "123456789012");
    CHECK(refusal(path, "t") == ":t: type is text" + types);
}

TEST_CASE("HDF5: a file that is cut off is refused when it is opened") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    for (const Hdf5Written& layout : layouts()) {
        Hdf5Written how = layout;
        how.shape = {instances, features};
        fs::remove(path);
        write_hdf5(path, how, numbers());
        const auto whole = fs::file_size(path);
        for (const auto size : {whole - 1, whole / 2, std::uintmax_t{100}, std::uintmax_t{8}, std::uintmax_t{0}}) {
            fs::resize_file(path, size);
            const std::string message = refusal(path);
            INFO(message);
            CHECK(message.starts_with(": input is '"));
            CHECK(message.ends_with("'; allowed: a whole HDF5 file that can be read"));
        }
    }
}

TEST_CASE("HDF5: a file that shrinks while it is read is an error with the row") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    const std::vector<double> all = numbers();
    for (const std::vector<hsize_t>& chunk : {std::vector<hsize_t>{}, {1, features}, {32, features}}) {
        fs::remove(path);
        write_hdf5(path, {.shape = {instances, features}, .chunk = chunk}, all);
        const Hdf5Columns<double> source(path);
        CHECK(read_columns<double>(source, 0, instances) == all);
        // Of contiguous numbers, which are the end of the file, three rows and a byte.
        fs::resize_file(path, chunk.empty() ? fs::file_size(path) - 8 * 3 * features - 1 : fs::file_size(path) / 4);
        const std::string message =
            tests::message_of<otpool::FileError>([&] { read_columns<double>(source, 9, instances - 9); });
        INFO(message);
        CHECK(message.starts_with(path.string() + ":features: row "));
        CHECK(message.ends_with(" is cut off while it is read; allowed: a file that stays as it was opened"));
        if (chunk.empty()) CHECK(message.find(": row 66 ") != std::string::npos);
    }
    for (const Hdf5Written& layout : layouts()) {
        Hdf5Written how = layout;
        how.shape = {instances, features};
        fs::remove(path);
        write_hdf5(path, how, all);
        const Hdf5Columns<double> source(path);
        fs::resize_file(path, 3000);
        const std::string message = tests::message_of<otpool::FileError>([&] { read_columns<double>(source, 60, 10); });
        INFO(message);
        CHECK(message.starts_with(path.string() + ":features: "));
    }
}

TEST_CASE("HDF5: a file that another program locks is refused with the way out") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    write_hdf5(path, {.shape = {6, 2}}, std::vector<float>(12));
    const int other = ::open(path.c_str(), O_RDWR);
    REQUIRE(::flock(other, LOCK_EX | LOCK_NB) == 0);
    const std::string message = refusal(path);
    INFO(message);
    CHECK(message.starts_with(": lock is '"));
    CHECK(message.find("HDF5_USE_FILE_LOCKING=FALSE") != std::string::npos);
    ::close(other);
    CHECK(refusal(path) == "no error");
}

TEST_CASE("HDF5: a compression that is not installed is refused when the file is opened") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    constexpr H5Z_filter_t number = 32001;
    const H5Z_class2_t copies = {
        H5Z_CLASS_T_VERS,
        number,
        1,
        1,
        "otpool test",
        nullptr,
        nullptr,
        [](unsigned, std::size_t, const unsigned*, std::size_t bytes, std::size_t*, void**) { return bytes; }};
    REQUIRE(H5Zregister(&copies) >= 0);
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
    const std::array<hsize_t, 2> shape = {6, 2};
    const hid_t space = H5Screate_simple(2, shape.data(), nullptr);
    const hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(layout, 2, shape.data());
    H5Pset_filter(layout, number, H5Z_FLAG_MANDATORY, 0, nullptr);
    const hid_t dataset = H5Dcreate2(file, "features", H5T_IEEE_F32LE, space, H5P_DEFAULT, layout, H5P_DEFAULT);
    const std::vector<float> values(12, 1);
    REQUIRE(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    H5Dclose(dataset);
    H5Pclose(layout);
    H5Sclose(space);
    H5Fclose(file);
    CHECK(read_columns<float>(Hdf5Columns<float>(path), 0, 6) == values);
    REQUIRE(H5Zunregister(number) >= 0);
    CHECK(refusal(path) ==
          ":features: compression is filter 32001 (otpool test); allowed: gzip, or another filter that HDF5 "
          "has or finds in HDF5_PLUGIN_PATH");
}

TEST_CASE("HDF5: a double that float cannot hold is refused with its row") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.h5";
    std::vector<double> values(12, 1);
    values[7] = -1e300;
    values[2] = -INFINITY;
    write_hdf5(path, {.shape = {6, 2}}, values);
    CHECK(tests::message_of<otpool::FileError>([&] { read_columns<float>(Hdf5Columns<float>(path), 1, 5); }) ==
          path.string() + ":features: row 3 is -1e+300; allowed: magnitudes up to 3.40282e+38 as float32");
    CHECK(read_columns<float>(Hdf5Columns<float>(path), 0, 3)[2] == -INFINITY);
    CHECK(read_columns<double>(Hdf5Columns<double>(path), 0, 6) == values);
}

TEST_CASE("HDF5: columns that are not there are refused") {
    const TemporaryDirectory directory;
    write_hdf5(directory / "X.h5", {.shape = {6, 2}}, std::vector<float>(12));
    const Hdf5Columns<float> source(directory / "X.h5");
    std::vector<float> values(100);
    for (const auto& [first, count] : std::vector<std::array<Index, 2>>{{-1, 2}, {0, 7}, {6, 1}, {3, -1}}) {
        CHECK_THROWS_AS(source.read(first, count, values.data()), otpool::InvalidArgument);
    }
}

TEST_CASE("HDF5: its own printing of errors stays as the program has it") {
    const TemporaryDirectory directory;
    const auto print = [](hid_t, void* to) -> herr_t {
        ++*static_cast<int*>(to);
        return 0;
    };
    int printed = 0;
    H5E_auto2_t before = nullptr, after = nullptr;
    void *of_before = nullptr, *of_after = nullptr;
    H5Eget_auto2(H5E_DEFAULT, &before, &of_before);
    H5Eset_auto2(H5E_DEFAULT, print, &printed);
    CHECK(refusal(directory / "none.h5") != "no error");
    tests::write_bytes(directory / "X.h5", "no HDF5");
    CHECK(refusal(directory / "X.h5") != "no error");
    CHECK(printed == 0);
    H5Eget_auto2(H5E_DEFAULT, &after, &of_after);
    CHECK(after == static_cast<H5E_auto2_t>(print));
    CHECK(of_after == &printed);
    H5Eset_auto2(H5E_DEFAULT, before, of_before);
}

}  // namespace hdf5_test

#endif
