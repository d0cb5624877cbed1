#include <limits>
#include <string>
#include <vector>

#include "otpool/adapter/published_weights.hpp"
#include "safetensors_bytes.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/temporary_directory.hpp"

namespace published = otpool::published;
using otpool::Attention;
using otpool::FileError;
using otpool::InvalidArgument;
using otpool::Real;
using otpool::RealMatrix;
using otpool::RealVector;
using otpool::SafetensorsFile;
using tests::message_of;
using tests::SafetensorsWriter;
using tests::TemporaryDirectory;

namespace published_weights_test {

using Floats = std::vector<float>;

template <class Layer>
Layer load(const SafetensorsWriter& writer, int steps, const std::string& prefix = "") {
    const TemporaryDirectory directory;
    tests::write_bytes(directory / "w.safetensors", writer.bytes());
    return published::load<Layer>(SafetensorsFile(directory / "w.safetensors"), steps, prefix);
}

/// The message about the weights, less the file's name.
template <class Layer>
std::string refusal_of(const SafetensorsWriter& writer, int steps = 4, const std::string& prefix = "") {
    const std::string message = message_of<FileError>([&] { load<Layer>(writer, steps, prefix); });
    const std::string name = "w.safetensors: ";
    const auto at = message.find(name);
    return at == std::string::npos ? message : message.substr(at + name.size());
}

SafetensorsWriter with_parameters(const std::string& prefix = "") {
    SafetensorsWriter writer;
    writer.add(prefix + "rho", "[1]", Floats{0.5F});
    writer.add(prefix + "a1", "[4]", Floats{1, 2, 3, 4});
    writer.add(prefix + "a2", "[1]", std::vector<double>{0.1});
    writer.add(prefix + "a3", "[4]", Floats{-1, -2, -3, -4});
    return writer;
}

SafetensorsWriter with_attention(const std::string& prefix = "") {
    SafetensorsWriter writer = with_parameters(prefix);
    writer.add(prefix + "linear_r1.weight", "[4, 2]", Floats{1, 2, 3, 4, 5, 6, 7, 8});
    writer.add(prefix + "linear_r2.weight", "[1, 4]", Floats{-1, 1, 2, 0.5F});
    return writer;
}

TEST_CASE("The released names become otpool's") {
    const auto layer = load<published::EntropicAdmm<float>>(with_attention(), 4);
    CHECK(layer.steps == 4);
    CHECK(layer.parameters.alpha0 == RealVector{{1, 2, 3, 4}});
    CHECK(layer.parameters.alpha1 == RealVector{{0.1}});
    CHECK(layer.parameters.alpha2 == RealVector{{-1, -2, -3, -4}});
    CHECK(layer.parameters.rho == RealVector{{0.5}});
    CHECK_FALSE(layer.empty_bag.has_value());
}

TEST_CASE("The prior is learned where the layer's type says so, and names may have a prefix") {
    const auto layer = load<published::QuadraticAdmm<double, Attention<Real>>>(with_attention("pool."), 4, "pool.");
    CHECK(layer.prior.V == RealMatrix{{1, 2}, {3, 4}, {5, 6}, {7, 8}});
    CHECK(layer.prior.w == RealVector{{-1, 1, 2, 0.5}});

    // It pools as the layer with these weights.
    const RealMatrix bag{{0.5, -1, 2}, {0, 1, -0.5}};
    const published::QuadraticAdmm<double, Attention<Real>> same{
        .parameters = {.alpha0 = RealVector{{1, 2, 3, 4}},
                       .alpha1 = RealVector{{0.1}},
                       .alpha2 = RealVector{{-1, -2, -3, -4}},
                       .rho = RealVector{{0.5}}},
        .steps = 4,
        .prior = {RealMatrix{{1, 2}, {3, 4}, {5, 6}, {7, 8}}, RealVector{{-1, 1, 2, 0.5}}}};
    CHECK(layer(bag) == same(bag));
    CHECK(layer(bag) != (published::QuadraticAdmm<double>{same.parameters, 4}(bag)));
}

TEST_CASE("Sinkhorn does without rho") {
    SafetensorsWriter writer;
    for (const std::string name : {"a1", "a2", "a3"}) writer.add(name, "[1]", Floats{0});
    CHECK(load<published::Sinkhorn<float>>(writer, 3).parameters.rho.size() == 0);
    CHECK(refusal_of<published::EntropicAdmm<float>>(writer) == "rho is not there; allowed: a1, a2, a3");
}

TEST_CASE("Tensors that are missing or of another shape are refused by name") {
    using Layer = published::EntropicAdmm<float>;
    using Learned = published::EntropicAdmm<float, Attention<Real>>;
    CHECK(refusal_of<Layer>(with_parameters(), 4, "pool.") == "pool.a1 is not there; allowed: a1, a2, a3, rho");
    CHECK(refusal_of<Layer>(with_parameters(), 3) == "shape of a1 is [4]; allowed: [1] or [3], one entry a step");
    CHECK(refusal_of<Layer>(with_parameters(), 1) == "shape of a1 is [4]; allowed: [1]");
    CHECK(refusal_of<Layer>(SafetensorsWriter().add("a1", "[1, 4]", Floats(4))) ==
          "shape of a1 is [1, 4]; allowed: [n], one dimension");
    CHECK(refusal_of<Layer>(SafetensorsWriter().add("a1", "[0]", Floats())) ==
          "shape of a1 is [0]; allowed: [1] or [4], one entry a step");

    const std::string first = "linear_r1.weight";
    const std::string second = "linear_r2.weight";
    CHECK(refusal_of<Learned>(with_parameters()) == first + " is not there; allowed: a1, a2, a3, rho");
    CHECK(refusal_of<Learned>(with_parameters().add(first, "[3, 2]", Floats(6))) ==
          "shape of linear_r1.weight is [3, 2]; allowed: [2 D, D] for D features");
    CHECK(refusal_of<Learned>(with_parameters().add(first, "[8]", Floats(8))) ==
          "shape of linear_r1.weight is [8]; allowed: [rows, columns]");
    CHECK(refusal_of<Learned>(with_parameters().add(first, "[4, 2]", Floats(8)).add(second, "[1, 2]", Floats(2))) ==
          "shape of linear_r2.weight is [1, 2]; allowed: [1, 4], after linear_r1.weight");
    CHECK(refusal_of<Learned>(with_parameters().add(first, "[4, 2]", Floats(8)).add(second, "[4, 1]", Floats(4))) ==
          "shape of linear_r2.weight is [4, 1]; allowed: [1, 4], after linear_r1.weight");
}

TEST_CASE("Weights that are not finite are refused by entry") {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    constexpr float inf = std::numeric_limits<float>::infinity();
    using Learned = published::Sinkhorn<float, Attention<Real>>;
    CHECK(refusal_of<Learned>(SafetensorsWriter().add("a1", "[4]", Floats{0, 0, nan, 0})) ==
          "a1[2] is nan; allowed: finite numbers");
    CHECK(refusal_of<Learned>(with_parameters()
                                  .add("linear_r1.weight", "[2, 1]", Floats{0, -inf})
                                  .add("linear_r2.weight", "[1, 2]", Floats{0, 0})) ==
          "linear_r1.weight[1, 0] is -inf; allowed: finite numbers");
    CHECK(refusal_of<Learned>(with_parameters()
                                  .add("linear_r1.weight", "[2, 1]", Floats{0, 0})
                                  .add("linear_r2.weight", "[1, 2]", Floats{0, inf})) ==
          "linear_r2.weight[0, 1] is inf; allowed: finite numbers");
}

TEST_CASE("A layer without steps is refused") {
    CHECK(message_of<InvalidArgument>([] { load<published::Sinkhorn<float>>(with_parameters(), 0); }) ==
          "steps is 0; allowed: at least 1");
}

}  // namespace published_weights_test
