// Any bytes as a .npy file, or as a .npz archive where they begin as a ZIP archive does.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "fuzz_input.hpp"
#include "pool/arrays.hpp"
#include "support/npy.hpp"
#include "support/temporary_directory.hpp"

namespace {

using support::FileError;

/// Reads by `read`, or refuses. Whatever it reads is no larger than the file can fill.
void read_or_refuse(const auto& read) {
    try {
        read();
    } catch (const FileError& error) {
        fuzz::expect_message(error.what());
    }
}

void read_array(const auto& open) {
    read_or_refuse([&] {
        const auto file = open(otpool::Elements::numbers);
        read_or_refuse([&] { file.template matrix<float>(); });
        read_or_refuse([&] { file.template matrix<double>(); });
        read_or_refuse([&] { file.template vector<double>(); });
    });
    read_or_refuse([&] { open(otpool::Elements::integers).template vector<std::int64_t>(); });
}

void read_archive(const std::string& bytes) {
    static const tests::TemporaryDirectory directory;
    const std::filesystem::path path = directory / "X.npz";
    tests::write_bytes(path, bytes);
    std::vector<std::string> names = {"", "X"};
    read_or_refuse([&] {
        const std::vector<std::string> arrays = pool::arrays_of(pool::ArrayPlace(path));
        names.insert(names.end(), arrays.begin(),
                     arrays.begin() + std::ptrdiff_t(std::min<std::size_t>(arrays.size(), 3)));
    });
    for (const std::string& name : names) {
        pool::ArrayPlace place(path);
        place.name = name;
        read_array([&](otpool::Elements elements) { return pool::open_array(place, "X", elements); });
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string bytes(reinterpret_cast<const char*>(data), size);
    if (bytes.starts_with("PK")) {
        read_archive(bytes);
        return 0;
    }
    read_array([&](otpool::Elements elements) {
        return support::NpyFile("X.npy", elements, [&bytes] {
            return support::ByteStream{std::make_unique<std::istringstream>(bytes), bytes.size()};
        });
    });
    return 0;
}
