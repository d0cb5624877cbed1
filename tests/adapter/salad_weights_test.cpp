#include "otpool/adapter/salad_weights.hpp"

#include <limits>
#include <string>
#include <vector>

#include "safetensors_bytes.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_salad.hpp"
#include "support/temporary_directory.hpp"

namespace salad_weights_test {

using namespace otpool;
using namespace tests;
using Floats = std::vector<float>;

Salad<float> load(const SafetensorsWriter& writer, const std::string& prefix = "") {
    const TemporaryDirectory directory;
    write_bytes(directory / "w.safetensors", writer.bytes());
    return load_salad<float>(SafetensorsFile(directory / "w.safetensors"), prefix);
}

/// The message about the weights, less the file's name.
std::string refusal_of(const SafetensorsWriter& writer) {
    const std::string message = message_of<FileError>([&] { load(writer); });
    const std::string name = "w.safetensors: ";
    const auto at = message.find(name);
    return at == std::string::npos ? message : message.substr(at + name.size());
}

void add(SafetensorsWriter& writer, const std::string& name, const LinearLayer<float>& layer, const char* ones) {
    Floats numbers;  // row after row
    for (Index i = 0; i < layer.weight.rows(); ++i) {
        for (Index j = 0; j < layer.weight.cols(); ++j) numbers.push_back(layer.weight(i, j));
    }
    const std::string rows = std::to_string(layer.weight.rows());
    writer.add(name + ".weight", "[" + rows + ", " + std::to_string(layer.weight.cols()) + ones + "]", numbers);
    writer.add(name + ".bias", "[" + rows + "]", Floats(layer.bias.begin(), layer.bias.end()));
}

/// The tensors of the released module, in its shapes.
SafetensorsWriter with_tensors_of(const Salad<float>& salad, const std::string& prefix = "") {
    SafetensorsWriter writer;
    writer.add(prefix + "dust_bin", "[]", Floats{static_cast<float>(salad.pooling.dummy.reward)});
    add(writer, prefix + "score.0", salad.pooling.reward.layers[0], ", 1, 1");
    add(writer, prefix + "score.3", salad.pooling.reward.layers[1], ", 1, 1");
    add(writer, prefix + "cluster_features.0", salad.pooling.values.layers[0], ", 1, 1");
    add(writer, prefix + "cluster_features.3", salad.pooling.values.layers[1], ", 1, 1");
    add(writer, prefix + "token_features.0", salad.token_network.layers[0], "");
    add(writer, prefix + "token_features.2", salad.token_network.layers[1], "");
    return writer;
}

TEST_CASE("The released module's tensors become Salad's") {
    Random random(1);
    const auto salad = random_salad<float>(random, 6, 3, false);
    const Matrix<float> x = random_matrix<float>(random, 6, 20);
    const Matrix<float> token = random_matrix<float>(random, 5, 1);
    const Vector<float> expected = salad(MatrixView<float>(x), token);
    CHECK(load(with_tensors_of(salad))(MatrixView<float>(x), token) == expected);
    CHECK(load(with_tensors_of(salad, "aggregator."), "aggregator.")(MatrixView<float>(x), token) == expected);
}

TEST_CASE("Tensors that are missing, of another shape or not finite are refused by name") {
    Random random(2);
    auto salad = random_salad<float>(random, 6, 3, false);
    CHECK(refusal_of(SafetensorsWriter().add("dust_bin", "[]", Floats{1})) ==
          "score.0.weight is not there; allowed: dust_bin");
    CHECK(refusal_of(SafetensorsWriter().add("score.0.weight", "[1, 2, 3, 1]", Floats(6))) ==
          "shape of score.0.weight is [1, 2, 3, 1]; allowed: [outputs, inputs] or [outputs, inputs, 1, 1]");
    CHECK(refusal_of(SafetensorsWriter().add("score.0.weight", "[2]", Floats(2))) ==
          "shape of score.0.weight is [2]; allowed: [outputs, inputs] or [outputs, inputs, 1, 1]");
    CHECK(refusal_of(
              SafetensorsWriter().add("score.0.weight", "[2, 1]", Floats(2)).add("score.0.bias", "[3]", Floats(3))) ==
          "shape of score.0.bias is [3]; allowed: [2], after score.0.weight");
    CHECK(refusal_of(SafetensorsWriter()
                         .add("score.0.weight", "[2, 1]", Floats(2))
                         .add("score.3.weight", "[2, 3]", Floats(6))) ==
          "inputs of score.3 is 3; allowed: 2, the outputs of the layer before");
    salad.pooling.values = random_network<float>(random, {5, 6, 4});
    CHECK(refusal_of(with_tensors_of(salad)) == "inputs of cluster_features.0 is 5; allowed: 6, those of score.0");
    salad.pooling.reward.layers[1].weight(2, 4) = std::numeric_limits<float>::infinity();
    CHECK(refusal_of(with_tensors_of(salad)) == "score.3.weight[2, 4] is inf; allowed: finite numbers");
    salad = random_salad<float>(random, 6, 3, false);
    salad.pooling.dummy.reward = std::numeric_limits<double>::quiet_NaN();
    CHECK(refusal_of(with_tensors_of(salad)) == "dust_bin[0, 0] is nan; allowed: finite numbers");
}

TEST_CASE("All numbers of a tensor of any shape are read") {
    const TemporaryDirectory directory;
    write_bytes(directory / "w.safetensors", SafetensorsWriter()
                                                 .add("a", "[]", Floats{3})
                                                 .add("b", "[1, 2, 2]", std::vector<double>{1, 2, 3, 4})
                                                 .add("c", "[0, 2]", Floats{})
                                                 .bytes());
    const SafetensorsFile file(directory / "w.safetensors");
    CHECK(file.numbers("a") == RealVector{{3}});
    CHECK(file.numbers("b") == RealVector{{1, 2, 3, 4}});
    CHECK(file.numbers("c").size() == 0);
}

}  // namespace salad_weights_test
