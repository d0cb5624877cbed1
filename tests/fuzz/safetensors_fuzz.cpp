// Any bytes as a .safetensors file, and as the weights of a published layer.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "fuzz_input.hpp"
#include "otpool/adapter/published_weights.hpp"
#include "otpool/adapter/safetensors.hpp"
#include "support/temporary_directory.hpp"

namespace {

void read_or_refuse(const auto& read) {
    try {
        read();
    } catch (const otpool::FileError& error) {
        fuzz::expect_message(error.what());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace otpool;
    static const tests::TemporaryDirectory directory;
    const std::filesystem::path path = directory / "w.safetensors";
    tests::write_bytes(path, {reinterpret_cast<const char*>(data), size});
    read_or_refuse([&] {
        const SafetensorsFile file(path);
        const auto names = file.names();
        for (const std::string& name : names) {
            fuzz::expect(file.contains(name), "a tensor of every name");
            const auto& shape = file.shape(name);
            read_or_refuse([&] {
                const auto vector = file.vector(name);
                fuzz::expect(shape.size() == 1 && shape[0] == static_cast<std::uint64_t>(vector.size()), "its shape");
            });
            read_or_refuse([&] {
                const auto matrix = file.matrix(name);
                fuzz::expect(shape.size() == 2 && shape[1] == static_cast<std::uint64_t>(matrix.cols()), "its shape");
            });
        }
        read_or_refuse([&] { file.vector("none"); });
        read_or_refuse([&] { published::load<published::Sinkhorn<float>>(file, 4); });
        read_or_refuse([&] { published::load<published::QuadraticAdmm<double, Attention<Real>>>(file, 2); });
    });
    return 0;
}
