// Writes inputs to start from: <folder>/<fuzzer>/<number>.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "adapter/safetensors_bytes.hpp"
#include "examples/npy_bytes.hpp"
#include "examples/zip_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace {

using tests::data_of;
using tests::dictionary;
using tests::npy;

std::vector<std::string> npy_seeds() {
    const std::string array = npy(dictionary("<f8", false, "(2, 1)"), data_of<double>({1, 2}));
    const std::string stored_in_four_bytes("\x01\x04\x00\xfb\xff\x61\x62\x63\x64", 9);  // deflate's way to store "abcd"
    return {array,
            npy(dictionary(">f4", true, "(1, 1, 2)"), data_of<float>({1, 2}, std::endian::big), 2),
            npy(dictionary("<u8", false, "(2,)"), data_of<std::uint64_t>({0, 1}), 3),
            npy(dictionary("|b1", false, "(0, 3)"), ""),
            npy(dictionary("<f2", false, "()"), "ab"),
            tests::zip({{"X.npy", array}, {"ptr.npy", "abcd", stored_in_four_bytes}})};
}

std::vector<std::string> safetensors_seeds() {
    tests::SafetensorsWriter weights;
    for (const std::string name : {"a1", "a2", "a3", "rho"}) weights.add<float>(name, "[1]", {0.5F});
    weights.add<double>("linear_r1.weight", "[2, 1]", {1, 2}).add<float>("linear_r2.weight", "[1, 2]", {1, 2});
    return {
        weights.bytes(), tests::safetensors("{}", ""),
        tests::safetensors(R"({"__metadata__":{"a":"b"},"t":{"dtype":"F16","shape":[],"data_offsets":[0,2]}})", "ab")};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const auto write = [&](const std::string& fuzzer, const std::vector<std::string>& seeds) {
        const std::filesystem::path folder = std::filesystem::path(argv[1]) / fuzzer;
        std::filesystem::create_directories(folder);
        for (std::size_t i = 0; i < seeds.size(); ++i) tests::write_bytes(folder / std::to_string(i), seeds[i]);
    };
    write("npy", npy_seeds());
    write("safetensors", safetensors_seeds());
}
