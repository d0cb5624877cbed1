#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "error_of.hpp"
#include "npy_bytes.hpp"
#include "support/catch.hpp"
#include "support/npy.hpp"
#include "support/temporary_directory.hpp"

namespace fs = std::filesystem;
using support::NpyFile;
using tests::data_of;
using tests::dictionary;
using tests::error_of;
using tests::npy;
using tests::TemporaryDirectory;
using tests::write_bytes;

namespace npy_refusal_test {

/// The message about a file of these bytes, less the file's name.
template <class Use>
std::string refusal_of(const std::string& bytes, const Use& use) {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    write_bytes(path, bytes);
    const std::string message = error_of([&] {
        NpyFile file(path);
        use(file);
    });
    const std::string prefix = path.string() + ": ";
    return message.starts_with(prefix) ? message.substr(prefix.size()) : message;
}

std::string refusal_of(const std::string& bytes) {
    return refusal_of(bytes, [](const NpyFile&) {});
}

TEST_CASE("What isn't a .npy file is refused by name") {
    const TemporaryDirectory directory;
    const auto error_of_opening = [](const fs::path& path) { return error_of([&] { NpyFile file(path); }); };
    CHECK(error_of_opening(directory / "X.npy") ==
          (directory / "X.npy").string() + ": input: found No such file or directory, allowed a .npy file");
    CHECK(error_of_opening(directory.path()) ==
          directory.path().string() + ": input: found a directory, allowed a .npy file");
    CHECK(error_of_opening("/dev/zero") == "/dev/zero: input: found a device or pipe, allowed a .npy file");

    CHECK(refusal_of("") == "format: found an empty file, allowed a .npy file");
    CHECK(refusal_of("\x93NUM") == "format: found the first 4 bytes of a .npy file, allowed a .npy file");
    CHECK(refusal_of("\xff\x01 anything") ==
          "format: found a file that begins with '\\xff\\x01 anyth', allowed a .npy file");
}

TEST_CASE("An unknown version or a header that can't be there is refused") {
    const std::string good = dictionary("<f4", false, "(0,)");
    CHECK(refusal_of(npy(good, "", 4)) == "version: found 4.0, allowed 1.0, 2.0 or 3.0");
    CHECK(refusal_of("\x93NUMPY\1\1") == "version: found 1.1, allowed 1.0, 2.0 or 3.0");
    CHECK(refusal_of("\x93NUMPY\1") == "version: found the end of the file, allowed 1.0, 2.0 or 3.0");
    CHECK(refusal_of(std::string("\x93NUMPY\1\0\1", 9)) == "header length: found the end of the file, allowed 2 bytes");
    CHECK(refusal_of(std::string("\x93NUMPY\1\0\4\0{}\n", 13)) ==
          "header length: found 4 bytes, allowed at most the 3 bytes that follow");
    CHECK(refusal_of(std::string("\x93NUMPY\2\0\xff\xff\xff\xff{}\n", 15)) ==
          "header length: found 4294967295 bytes, allowed at most the 3 bytes that follow");
}

TEST_CASE("A malformed header is refused by its field") {
    const auto refusal_of_header = [](const std::string& header) { return refusal_of(npy(header, "")); };
    CHECK(refusal_of_header("") == "header: found the end of the header, allowed '{' at byte 0");
    CHECK(refusal_of_header("[]") == "header: found [], allowed '{' at byte 0");
    CHECK(refusal_of_header("{'descr' '<f4'}") == "header: found '<f4'}, allowed ':' at byte 9");
    CHECK(refusal_of_header("{'descr: <f4}") == "header: found 'descr: <f4}, allowed a key in quotes");
    CHECK(refusal_of_header("{'descr': '<f4' 'shape'}") == "header: found 'shape'}, allowed '}' at byte 16");
    CHECK(refusal_of_header("{'shapes': (1,)}") ==
          "header: found 'shapes': (1,)}, allowed 'descr', 'fortran_order' and 'shape', once each");
    CHECK(refusal_of_header("{'shape': (1,), 'shape': (1,)}") ==
          "header: found 'shape': (1,)}, allowed 'descr', 'fortran_order' and 'shape', once each");
    CHECK(refusal_of_header(dictionary("<f4", false, "(0,)") + "x") ==
          "header: found x, allowed nothing after the dictionary");
    const std::string all = ": found no such key, allowed a header with 'descr', 'fortran_order' and 'shape'";
    CHECK(refusal_of_header("{}") == "descr" + all);
    CHECK(refusal_of_header("{'descr': '<f4'}") == "fortran_order" + all);
    CHECK(refusal_of_header("{'descr': '<f4', 'fortran_order': True}") == "shape" + all);
    CHECK(refusal_of_header("{'fortran_order': 0}") == "fortran_order: found 0}, allowed True or False");
}

TEST_CASE("Every other element type is refused by its name and meaning") {
    const std::string allowed = ", allowed float16, float32, float64, bool, int8 to int64 or uint8 to uint64";
    const std::vector<std::pair<std::string, std::string>> types = {{"<c8", "complex numbers"},
                                                                    {"<c16", "complex numbers"},
                                                                    {"|O", "Python objects"},
                                                                    {"<U7", "text"},
                                                                    {"|S7", "text"},
                                                                    {"<M8[ns]", "dates or times"},
                                                                    {"|V2", "raw bytes, as of bfloat16"},
                                                                    {"<f16", "long double"},
                                                                    {"=f4", "no byte order"},
                                                                    {"f4", "no byte order"},
                                                                    {"|f4", "no byte order"},
                                                                    {"<i3", "not a type of NumPy"},
                                                                    {"", "not a type of NumPy"},
                                                                    {"<", "not a type of NumPy"}};
    for (const auto& [name, meaning] : types) {
        CHECK(refusal_of(npy(dictionary(name, false, "(0,)"), "")) ==
              "descr: found '" + name + "' (" + meaning + ")" + allowed);
    }
    CHECK(refusal_of(npy("{'descr': [('x', '<f4')], 'fortran_order': ...", "")) ==
          "descr: found [('x', '<f4')], 'fortran_order': ..." + allowed + ", not records");
}

TEST_CASE("Where integers are asked for, a file of others is refused when it is opened or read") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "ptr.npy";
    const std::string integers = ", allowed int8 to int64 or uint8 to uint64";
    write_bytes(path, npy(dictionary("<c8", false, "(0,)"), ""));
    CHECK(error_of([&] { NpyFile(path, otpool::Elements::integers); }) ==
          path.string() + ": descr: found '<c8' (complex numbers)" + integers);
    for (const auto& [code, name] :
         {std::pair("|b1", "bool"), std::pair("<f2", "float16"), std::pair("<f8", "float64")}) {
        CHECK(refusal_of(npy(dictionary(code, false, "(0,)"), ""), [](const NpyFile& file) {
                  file.vector<std::int64_t>();
              }) == std::string("descr: found ") + name + integers);
    }
    CHECK(refusal_of(npy(dictionary("<u8", false, "(1,)"), data_of<std::uint64_t>({9223372036854775808u})),
                     [](const NpyFile& file) { file.vector<std::int64_t>(); }) ==
          "data: found 9223372036854775808, allowed up to 9223372036854775807");
}

TEST_CASE("A shape that is none, or that nothing could hold, is refused") {
    const auto refusal_of_shape = [](const std::string& shape) {
        return refusal_of(npy(dictionary("<f8", false, shape), ""));
    };
    const std::string allowed = ", allowed a tuple of sizes from 0 to 9223372036854775807";
    for (const std::string shape :
         {"(-1, 2)", "(1.5,)", "(1 2)", "(5)", "(,)", "(1,,2)", "(99999999999999999999, 1)"}) {
        CHECK(refusal_of_shape(shape) == "shape: found " + (shape + allowed));
    }
    CHECK(refusal_of_shape("[1, 2]") == "shape: found [1, 2], }\\x0a" + allowed);
    for (const std::string shape : {"(4294967296, 4294967296)", "(9223372036854775807,)", "(0, 2305843009213693952)"}) {
        CHECK(refusal_of_shape(shape) ==
              "shape: found " + shape + ", allowed at most 9223372036854775807 bytes of data");
    }
}

TEST_CASE("Data that isn't exactly as long as the shape says is refused before it is read") {
    const std::string six_floats = data_of<float>({1, 2, 3, 4, 5, 6});
    const std::string needed = ", allowed the 24 bytes of shape (2, 3) of float32";
    const std::string header = dictionary("<f4", false, "(2, 3)");
    CHECK(refusal_of(npy(header, six_floats.substr(0, 23))) == "data: truncated: found 23 bytes" + needed);
    CHECK(refusal_of(npy(header, "")) == "data: truncated: found 0 bytes" + needed);
    CHECK(refusal_of(npy(header, six_floats + "x")) == "data: too long: found 25 bytes" + needed);
    CHECK(refusal_of(npy(dictionary("<f8", true, "(1000000000, 1000000)"), "12345678")) ==
          "data: truncated: found 8 bytes, allowed the 8000000000000000 bytes of shape (1000000000, 1000000) "
          "of float64");
    CHECK(refusal_of(npy(dictionary("<i8", false, "()"), "1234")) ==
          "data: truncated: found 4 bytes, allowed the 8 bytes of shape () of int64");
}

TEST_CASE("A file of another shape than asked for is refused") {
    const auto as_matrix = [](NpyFile& file) { file.matrix<double>(); };
    const auto as_vector = [](NpyFile& file) { file.vector<double>(); };
    const std::string item = "12345678";
    for (const std::string shape : {"(2,)", "(2, 1, 1)", "(1, 1, 2, 1)", "(1, 2, 1, 1)"}) {
        CHECK(refusal_of(npy(dictionary("<f4", false, shape), item), as_matrix) ==
              "shape: found " + shape + ", allowed (rows, columns) or (1, rows, columns)");
    }
    CHECK(refusal_of(npy(dictionary("<f8", false, "(1, 1)"), item), as_vector) ==
          "shape: found (1, 1), allowed (length,)");
    CHECK(refusal_of(npy(dictionary("<f8", false, "()"), item), as_vector) == "shape: found (), allowed (length,)");
}

TEST_CASE("A file that changes after it was opened is refused") {
    const TemporaryDirectory directory;
    const fs::path path = directory / "X.npy";
    const std::string whole = npy(dictionary("<f4", false, "(2,)"), "12345678");
    for (const std::string& other : {whole.substr(0, whole.size() - 1), whole + "9", std::string()}) {
        write_bytes(path, whole);
        const NpyFile file(path);
        write_bytes(path, other);
        CHECK(error_of([&] { file.vector<float>(); }) ==
              path.string() +
                  ": data: found an end or error while reading, allowed a file that stays as it was opened");
    }
}

TEST_CASE("A double that float can't hold is refused, not made infinite") {
    const std::string bytes = npy(dictionary("<f8", false, "(1, 2)"), data_of<double>({1, -1e300}));
    CHECK(refusal_of(bytes, [](NpyFile& file) { file.matrix<float>(); }) ==
          "data: found -1e+300, allowed magnitudes up to 3.40282e+38 as float32");
    CHECK(refusal_of(bytes, [](NpyFile& file) { file.matrix<double>(); }) == "no error");
}

}  // namespace npy_refusal_test
