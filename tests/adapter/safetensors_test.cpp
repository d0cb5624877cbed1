#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "otpool/adapter/safetensors.hpp"
#include "safetensors_bytes.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/temporary_directory.hpp"

namespace fs = std::filesystem;
using otpool::FileError;
using otpool::RealMatrix;
using otpool::RealVector;
using otpool::SafetensorsFile;
using tests::bytes_of;
using tests::message_of;
using tests::safetensors;
using tests::SafetensorsWriter;
using tests::TemporaryDirectory;
using tests::write_bytes;

namespace safetensors_test {

/// What `use` makes of a file of these bytes.
template <class Use>
auto with_file(const std::string& bytes, const Use& use) {
    const TemporaryDirectory directory;
    const fs::path path = directory / "w.safetensors";
    write_bytes(path, bytes);
    return use(path);
}

/// The message about a file of these bytes, less the file's name.
template <class Use>
std::string refusal_of(const std::string& bytes, const Use& use) {
    return with_file(bytes, [&](const fs::path& path) {
        const std::string message = message_of<FileError>([&] { use(SafetensorsFile(path)); });
        const std::string prefix = path.string() + ": ";
        return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
    });
}

std::string refusal_of(const std::string& bytes) {
    return refusal_of(bytes, [](const SafetensorsFile&) {});
}

std::string refusal_of_header(const std::string& header, const std::string& data = "") {
    return refusal_of(safetensors(header, data));
}

/// A header with one tensor `a`.
std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST_CASE("Tensors are read as they were written") {
    const std::string bytes = SafetensorsWriter()
                                  .add<float>("v", "[3]", {1.5F, -2, 0.1F})
                                  .add<double>("m", "[2, 3]", {1, 2, 3, 4, 5, 1e300})
                                  .add<float>("none", "[0, 4]", {})
                                  .add<double>("weights.v", "[1]", {0.1})
                                  .bytes();
    with_file(bytes, [](const fs::path& path) {
        const SafetensorsFile file(path);
        CHECK(file.path() == path);
        CHECK(file.names() == std::vector<std::string>{"m", "none", "v", "weights.v"});
        CHECK(file.contains("v"));
        CHECK_FALSE(file.contains("w"));
        CHECK(file.shape("m") == std::vector<std::uint64_t>{2, 3});
        CHECK(file.vector("v") == RealVector{{1.5, -2, static_cast<double>(0.1F)}});
        CHECK(file.vector("weights.v") == RealVector{{0.1}});
        CHECK(file.matrix("m") == RealMatrix{{1, 2, 3}, {4, 5, 1e300}});
        CHECK(file.matrix("none").rows() == 0);
        CHECK(file.matrix("none").cols() == 4);
        SafetensorsFile copy = file;
        copy = SafetensorsFile(copy);
        CHECK(copy.vector("v") == file.vector("v"));
    });
}

TEST_CASE("A file as the format's own library writes it is read") {
    // Metadata, blanks to align the data, and types that are not read here.
    const std::string header = R"({"__metadata__":{"format":"pt"},)"
                               R"("n":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
                               R"("h":{"dtype":"BF16","shape":[1,2],"data_offsets":[20,24]},)"
                               R"("s":{"dtype":"F32","shape":[],"data_offsets":[16,20]},)"
                               R"("x":{"dtype":"F32","shape":[2],"data_offsets":[24,32]}}     )";
    const std::string data =
        std::string(16, '\1') + bytes_of<float>({7}) + std::string(4, '\1') + bytes_of<float>({3, 4});
    with_file(safetensors(header, data), [](const fs::path& path) {
        const SafetensorsFile file(path);
        CHECK(file.names() == std::vector<std::string>{"h", "n", "s", "x"});
        CHECK(file.vector("x") == RealVector{{3, 4}});
    });
    CHECK(refusal_of_header("{}") == "no error");
}

TEST_CASE("What isn't a file is refused by name") {
    const TemporaryDirectory directory;
    const auto error_of_opening = [](const fs::path& path) {
        return message_of<FileError>([&] { const SafetensorsFile file(path); });
    };
    CHECK(error_of_opening(directory / "w.safetensors") ==
          (directory / "w.safetensors").string() +
              ": input is No such file or directory; allowed: a .safetensors file");
    CHECK(error_of_opening(directory.path()) ==
          directory.path().string() + ": input is a directory; allowed: a .safetensors file");
    CHECK(error_of_opening("/dev/zero") == "/dev/zero: input is a device or pipe; allowed: a .safetensors file");
    CHECK(error_of_opening("no\nsuch\x1b[2J") ==
          "no\\x0asuch\\x1b[2J: input is No such file or directory; allowed: a .safetensors file");
}

TEST_CASE("A header that can't be there is refused") {
    CHECK(refusal_of("") == "header length is cut off; allowed: 8 bytes");
    CHECK(refusal_of("1234567") == "header length is cut off; allowed: 8 bytes");
    const std::string header = tensor(R"("F32")", "[2]", "[0,8]");
    const std::string good = safetensors(header, bytes_of<float>({1, 2}));
    CHECK(refusal_of(good) == "no error");
    CHECK(refusal_of(good.substr(0, 20)) ==
          "header length is " + std::to_string(header.size()) + " bytes; allowed: up to the 12 bytes that follow");
    CHECK(refusal_of(std::string(8, '\xff') + "{}") ==
          "header length is 18446744073709551615 bytes; allowed: up to the 2 bytes that follow");
    CHECK(refusal_of(std::string("\0\0\0\0\0\0\0\x80{}", 10)) ==
          "header length is 9223372036854775808 bytes; allowed: up to the 2 bytes that follow");
}

TEST_CASE("A header above the format's limit is refused before it is read") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "w.safetensors";
    write_bytes(path, tests::little_endian_bytes(std::uint64_t{100'000'001}));
    fs::resize_file(path, 200'000'000);  // of holes, which take no room
    CHECK(message_of<FileError>([&] { const SafetensorsFile file(path); }) ==
          path.string() + ": header length is 100000001 bytes; allowed: up to 100000000");
}

TEST_CASE("What isn't JSON, or no object, is refused") {
    CHECK(refusal_of_header("") == "header is no JSON from byte 1 on; allowed: an object in JSON");
    CHECK(refusal_of_header(std::string(4, '\0')) == "header is no JSON from byte 1 on; allowed: an object in JSON");
    CHECK(refusal_of_header(R"({"a":)") == "header is no JSON from byte 6 on; allowed: an object in JSON");
    CHECK(refusal_of_header("{}x") == "header is no JSON from byte 3 on; allowed: an object in JSON");
    CHECK(refusal_of_header("{\"\xff\":1}") == "header is no JSON from byte 3 on; allowed: an object in JSON");
    CHECK(refusal_of_header("{\"a\":1e999}") ==
          "header is a text with a number that double does not hold; allowed: whole numbers");
    CHECK(refusal_of_header("[1, 2]") == "header is [1,2]; allowed: an object");
    CHECK(refusal_of_header("7") == "header is 7; allowed: an object");
    CHECK(refusal_of_header("null") == "header is null; allowed: an object");
    const std::string too_deep = "header is more than 3 levels deep; allowed: a tensor's shape at the deepest";
    CHECK(refusal_of_header(tensor(R"("F32")", "[[1]]", "[0,4]"), "1234") == too_deep);
    CHECK(refusal_of_header(std::string(1'000'000, '[')) == too_deep);
    std::string objects;
    for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
    CHECK(refusal_of_header(objects) == too_deep);
}

TEST_CASE("A key that comes twice is refused, which of them is meant is not known") {
    const std::string entry = R"({"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
    CHECK(refusal_of_header(R"({"a":)" + entry + R"(,"b":)" + entry + "}") == "no error");
    CHECK(refusal_of_header(R"({"a":)" + entry + R"(,"b":)" + entry + R"(,"a":)" + entry + "}") ==
          R"(header is a text with "a" twice; allowed: every key once)");
    CHECK(refusal_of_header(R"({"a":{"dtype":"F32","shape":[0],"shape":[0],"data_offsets":[0,0]}})") ==
          R"(header is a text with "shape" twice; allowed: every key once)");
}

TEST_CASE("Missing keys and wrong types are refused by tensor and key") {
    CHECK(refusal_of_header(R"({"a":[1]})") == "a is [1]; allowed: an object with dtype, shape and data_offsets");
    const std::string keys = "; allowed: dtype, shape and data_offsets";
    CHECK(refusal_of_header(R"({"a":{}})") == "dtype of a is not there" + keys);
    CHECK(refusal_of_header(R"({"a":{"dtype":"F32","shape":[0]}})") == "data_offsets of a is not there" + keys);
    CHECK(refusal_of_header(R"({"a":{"dtype":"F32","data_offsets":[0,0]}})") == "shape of a is not there" + keys);
    CHECK(refusal_of_header(tensor("32", "[0]", "[0,0]")) == "dtype of a is 32; allowed: a string");
    for (const std::string shape :
         {R"("2")", "2", "[-1]", "[1.5]", "[null]", "[2e0]", "{}", "[18446744073709551616]"}) {
        CAPTURE(shape);
        CHECK_THAT(refusal_of_header(tensor(R"("F32")", shape, "[0,0]")),
                   Catch::Matchers::StartsWith("shape of a is ") &&
                       Catch::Matchers::EndsWith("; allowed: an array of whole numbers"));
    }
    CHECK(refusal_of_header(tensor(R"("F32")", "[-1]", "[0,0]")) ==
          "shape of a is [-1]; allowed: an array of whole numbers");
    for (const std::string offsets : {"0", "[]", "[0]", "[0,0,0]", "[-4,0]", "[0,0.5]", R"(["0","4"])", "[4,0]"}) {
        CHECK(refusal_of_header(tensor(R"("F32")", "[0]", offsets)) ==
              "data_offsets of a is " + offsets + "; allowed: two whole numbers, the first not above the second");
    }
    CHECK(refusal_of_header(R"({"__metadata__":{"n":1}})") ==
          R"(__metadata__ is {"n":1}; allowed: an object of strings)");
    CHECK(refusal_of_header(R"({"__metadata__":"pt"})") == R"(__metadata__ is "pt"; allowed: an object of strings)");
}

TEST_CASE("Offsets outside the file, gaps and overlaps are refused") {
    const std::string eight = "12345678";
    CHECK(refusal_of_header(tensor(R"("F32")", "[3]", "[0,12]"), eight) ==
          "data_offsets of a is [0,12]; allowed: up to the 8 bytes that follow the header");
    CHECK(
        refusal_of_header(tensor(R"("F32")", "[1]", "[18446744073709551612,18446744073709551615]"), eight) ==
        "data_offsets of a is [18446744073709551612,18446744073709551615]; allowed: up to the 8 bytes that follow the "
        "header");
    CHECK(refusal_of_header(tensor(R"("I8")", "[12]", "[0,12]"), eight) ==
          "data_offsets of a is [0,12]; allowed: up to the 8 bytes that follow the header");
    CHECK(refusal_of_header(tensor(R"("F32")", "[1]", "[4,8]"), eight) ==
          "data is in no tensor from byte 0 on; allowed: bytes of one tensor each");
    CHECK(refusal_of_header(tensor(R"("F32")", "[1]", "[0,4]"), eight) ==
          "data is 8 bytes; allowed: the 4 that the header describes");
    CHECK(refusal_of_header("{}", eight) == "data is 8 bytes; allowed: the 0 that the header describes");
    const auto two = [&](const std::string& first, const std::string& second) {
        return refusal_of_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":)" + first +
                                     R"(},"b":{"dtype":"U8","shape":[1],"data_offsets":)" + second + "}}",
                                 eight);
    };
    CHECK(two("[4,8]", "[0,4]") == "no error");
    CHECK(two("[0,4]", "[5,8]") == "data is in no tensor from byte 4 on; allowed: bytes of one tensor each");
    CHECK(two("[0,5]", "[4,8]") == "data is in two tensors at byte 4 on; allowed: bytes of one tensor each");
    CHECK(two("[0,8]", "[0,8]") == "data is in two tensors at byte 0 on; allowed: bytes of one tensor each");
}

TEST_CASE("A shape that its bytes do not have, or that nothing could hold, is refused") {
    CHECK(refusal_of_header(tensor(R"("F32")", "[3]", "[0,8]"), "12345678") ==
          "data of a is 8 bytes; allowed: the 12 of shape [3] of F32");
    CHECK(refusal_of_header(tensor(R"("F64")", "[1, 2]", "[0,8]"), "12345678") ==
          "data of a is 8 bytes; allowed: the 16 of shape [1, 2] of F64");
    CHECK(refusal_of_header(tensor(R"("BF16")", "[8]", "[0,8]"), "12345678") ==
          "data of a is 8 bytes; allowed: the 16 of shape [8] of BF16");
    const std::string allowed = "; allowed: up to 9223372036854775807 bytes";
    CHECK(refusal_of_header(tensor(R"("F32")", "[4294967296, 4294967296]", "[0,0]")) ==
          "shape of a is [4294967296, 4294967296]" + allowed);
    CHECK(refusal_of_header(tensor(R"("F32")", "[4611686018427387904, 4]", "[0,0]")) ==
          "shape of a is [4611686018427387904, 4]" + allowed);
    CHECK(refusal_of_header(tensor(R"("F64")", "[0, 18446744073709551615]", "[0,0]")) ==
          "shape of a is [0, 18446744073709551615]" + allowed);
}

TEST_CASE("Names from the file can't write to the terminal") {
    CHECK(refusal_of_header("{\"x\\u001b[2J\\n\":1}") ==
          "x\\x1b[2J\\x0a is 1; allowed: an object with dtype, shape and data_offsets");
    CHECK(refusal_of_header("{\"" + std::string(1000, 'n') + "\":1}") ==
          std::string(64, 'n') + "... is 1; allowed: an object with dtype, shape and data_offsets");
}

TEST_CASE("A tensor that isn't there, or of another type or shape than asked for, is refused") {
    const std::string bytes =
        SafetensorsWriter().add<float>("v", "[2]", {1, 2}).add<float>("m", "[1,2]", {1, 2}).bytes();
    const auto refusal_of_vector = [](const std::string& file, const std::string& name) {
        return refusal_of(file, [&](const SafetensorsFile& opened) { opened.vector(name); });
    };
    CHECK(refusal_of_vector(bytes, "w") == "w is not there; allowed: m, v");
    CHECK(refusal_of_vector(safetensors("{}", ""), "w") == "w is not there; allowed: nothing, the file is empty");
    CHECK(refusal_of(bytes, [](const SafetensorsFile& file) { file.shape("w"); }) == "w is not there; allowed: m, v");
    CHECK(refusal_of_vector(bytes, "m") == "shape of m is [1, 2]; allowed: [n], one dimension");
    CHECK(refusal_of(bytes, [](const SafetensorsFile& file) { file.matrix("v"); }) ==
          "shape of v is [2]; allowed: [rows, columns]");
    for (const std::string dtype : {"F16", "BF16"}) {
        const std::string file = safetensors(tensor('"' + dtype + '"', "[2]", "[0,4]"), "1234");
        CHECK(refusal_of_vector(file, "a") == "dtype of a is " + dtype + "; allowed: F32 or F64");
    }
    for (const std::string dtype : {"I32", "f32", "F8_E4M3", ""}) {
        const std::string file = safetensors(tensor('"' + dtype + '"', "[1]", "[0,4]"), "1234");
        CHECK(refusal_of_vector(file, "a") == "dtype of a is " + dtype + "; allowed: F32 or F64");
    }
}

TEST_CASE("A file that is cut off after it was opened is refused when it is read") {
    const std::string bytes = SafetensorsWriter().add<float>("v", "[2]", {1, 2}).bytes();
    with_file(bytes, [&](const fs::path& path) {
        const SafetensorsFile file(path);
        fs::resize_file(path, bytes.size() - 1);
        CHECK(message_of<FileError>([&] { file.vector("v"); }) ==
              path.string() + ": v is cut off while it is read; allowed: a file that stays as it was opened");
        fs::remove(path);
        CHECK(message_of<FileError>([&] { file.vector("v"); }) ==
              path.string() + ": input is No such file or directory; allowed: a .safetensors file that can be read");
    });
}

TEST_CASE("Damaged files are read or refused, nothing else") {
    const std::string good =
        SafetensorsWriter().add<float>("v", "[3]", {1, 2, 3}).add<double>("m", "[2, 1]", {1, 2}).bytes();
    const TemporaryDirectory directory;
    const fs::path path = directory / "w.safetensors";
    const auto read_all = [&](const std::string& bytes) {
        write_bytes(path, bytes);
        try {
            const SafetensorsFile file(path);
            for (const std::string& name : file.names()) {
                file.shape(name).size() == 1 ? static_cast<void>(file.vector(name))
                                             : static_cast<void>(file.matrix(name));
            }
        } catch (const FileError&) {
        }
    };
    CHECK_NOTHROW(read_all(good));
    for (std::size_t length = 0; length < good.size(); ++length) CHECK_NOTHROW(read_all(good.substr(0, length)));
    tests::Random random(1);
    for (int i = 0; i < 3000; ++i) {
        std::string bad = good;
        const auto changes = random.integer(1, 3);
        for (otpool::Index change = 0; change < changes; ++change) {
            const auto at = static_cast<std::size_t>(random.integer(0, static_cast<otpool::Index>(bad.size()) - 1));
            bad[at] = random.chance(0.5) ? static_cast<char>(random.integer(0, 255))
                                         : R"(0123456789"{}[]:,-.e)"[random.integer(0, 19)];
        }
        CAPTURE(i, bad);
        CHECK_NOTHROW(read_all(bad));
    }
}

}  // namespace safetensors_test
