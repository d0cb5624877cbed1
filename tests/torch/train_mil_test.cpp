#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/temporary_directory.hpp"
#include "train_mil/data.hpp"
#include "train_mil/model.hpp"
#include "train_mil/training.hpp"

// The parts of the program train_mil.

namespace train_mil_test {

using namespace train_mil;
using support::FileError;
using support::write_npy;

TEST_CASE("Folds have every bag once and the labels in proportion") {
    const BagSet bags = made_up();
    for (const int folds : {2, 5, 7}) {
        const auto parts = stratified_folds(bags.y, folds, 3);
        std::vector<int> seen(200, 0);
        for (const auto& part : parts) {
            for (const auto bag : part) ++seen[static_cast<std::size_t>(bag)];
            const double positive = bags.select(part).y.mean().item<double>();
            CHECK(std::abs(positive - 0.5) < 0.03);
        }
        CHECK(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
        CHECK(parts != stratified_folds(bags.y, folds, 4));
    }
}

TEST_CASE("Selected bags are the bags") {
    const BagSet bags = made_up();
    const BagSet two = bags.select({7, 3});
    const auto* ptr = bags.ptr.data_ptr<std::int64_t>();
    CHECK(torch::equal(two.x.slice(0, 0, ptr[8] - ptr[7]), bags.x.slice(0, ptr[7], ptr[8])));
    CHECK(torch::equal(two.x.slice(0, ptr[8] - ptr[7]), bags.x.slice(0, ptr[3], ptr[4])));
    CHECK(two.y[0].item<float>() == bags.y[7].item<float>());
}

TEST_CASE("Standardised features have mean 0 and deviation 1, constant ones are 0") {
    BagSet bags = made_up();
    bags.x = torch::cat({3 * bags.x + 5, torch::full({bags.x.size(0), 1}, 2.5)}, 1);
    const BagSet standardized = Standardization(bags)(bags);
    CHECK(standardized.x.mean(0).abs().max().item<float>() < 1e-5F);
    const auto deviation = standardized.x.slice(1, 0, 10).square().mean(0).sqrt();
    CHECK((deviation - 1).abs().max().item<float>() < 1e-4F);
    CHECK(standardized.x.slice(1, 10).abs().max().item<float>() == 0);
}

TEST_CASE("Accuracy and the area under the curve are what they are called") {
    const auto y = torch::tensor({1.0F, 1.0F, 0.0F, 0.0F});
    CHECK(accuracy(torch::tensor({0.9F, 0.4F, 0.6F, 0.1F}), y) == 0.5);
    CHECK(area_under_curve(torch::tensor({0.9F, 0.4F, 0.6F, 0.1F}), y) == 0.75);
    CHECK(area_under_curve(torch::tensor({0.5F, 0.5F, 0.5F, 0.5F}), y) == 0.5);
    CHECK(area_under_curve(torch::tensor({0.1F, 0.2F, 0.3F, 0.4F}), y) == 0);
}

TEST_CASE("Every pooling trains, says what it learned, and comes back from its file") {
    const tests::TemporaryDirectory directory;
    const BagSet bags = made_up();
    for (const std::string& name : pooling_names()) {
        INFO(name);
        torch::manual_seed(1);
        Trained trained{Model(10, 8, name), Standardization(bags)};
        const BagSet standardized = trained.standardization(bags);
        const double before = loss(trained.model, standardized).item<double>();
        int epochs = 0;
        const auto result = train(trained.model, standardized, standardized, {.epochs = 6, .learning_rate = 0.02},
                                  [&](bool) { ++epochs; });
        trained.model->eval();
        CHECK(epochs == 6);
        CHECK(result.best_epoch >= 1);
        CHECK(loss(trained.model, standardized).item<double>() < 0.9 * before);
        CHECK(!trained.model->pooling.in_words().empty());

        const auto path = directory.path() / "model.pt";
        save(path, trained);
        Trained loaded = load(path);
        CHECK(loaded.model->pooling_name == name);
        CHECK(torch::equal(predict(loaded.model, loaded.standardization(bags)), predict(trained.model, standardized)));
    }
}

TEST_CASE("What q0.npy excludes is as if it were not in the files") {
    const tests::TemporaryDirectory directory;
    using Integers = Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1>;
    const Eigen::MatrixXf X{{1, 2, 9e20F, 4, -7, 1}, {3, 5, -9e20F, 6, 2, 0}};
    write_npy(directory.path() / "X.npy", X);
    write_npy(directory.path() / "ptr.npy", Integers{{0, 3, 6}});
    write_npy(directory.path() / "y.npy", Integers{{0, 1}});
    write_npy(directory.path() / "q0.npy", Eigen::VectorXf{{0.25F, 0.75F, 0, 0.5F, 0, 0.5F}});
    const BagSet bags = read(directory.path(), true);
    const std::filesystem::path left_out = directory.path() / "left";
    std::filesystem::create_directory(left_out);
    write_npy(left_out / "X.npy", Eigen::MatrixXf{{1, 2, 4, 1}, {3, 5, 6, 0}});
    write_npy(left_out / "ptr.npy", Integers{{0, 2, 4}});
    write_npy(left_out / "y.npy", Integers{{0, 1}});
    write_npy(left_out / "q0.npy", Eigen::VectorXf{{0.25F, 0.75F, 0.5F, 0.5F}});
    const BagSet left = read(left_out, true);
    CHECK(torch::equal(Standardization(bags).mean, Standardization(left).mean));
    CHECK(torch::equal(Standardization(bags).deviation, Standardization(left).deviation));
    for (const std::string& name : pooling_names()) {
        INFO(name);
        torch::manual_seed(3);
        Model model(2, 8, name);
        const auto masked = predict(model, Standardization(bags)(bags.select({1, 0})));
        const auto removed = predict(model, Standardization(left)(left.select({1, 0})));
        CHECK((masked - removed).abs().max().item<float>() < 1e-5F);
    }
    const auto refusal = [&](const Eigen::VectorXf& q0) {
        write_npy(directory.path() / "q0.npy", q0);
        return tests::message_of<FileError>([&] { read(directory.path(), true); });
    };
    using Catch::Matchers::ContainsSubstring;
    CHECK_THAT(refusal(Eigen::VectorXf::Ones(5)),
               ContainsSubstring("length: found 5, allowed one number an instance, 6"));
    CHECK_THAT(refusal(Eigen::VectorXf{{1, 0, 0, -1, 1, 1}}), ContainsSubstring("allowed finite numbers >= 0"));
    CHECK_THAT(refusal(Eigen::VectorXf{{1, 0, 0, 1, 1, 0}}), ContainsSubstring("sum of bag 1: found 2.0"));
}

TEST_CASE("Files that are not what they should be are refused") {
    const tests::TemporaryDirectory directory;
    const auto refusal = [&](const auto& call) {
        const std::string message = tests::message_of<FileError>(call);
        const auto name = directory.path().string() + "/";
        return message.substr(0, name.size()) == name ? message.substr(name.size()) : message;
    };
    std::ofstream(directory.path() / "model.pt") << "no model";
    CHECK(refusal([&] { load(directory.path() / "model.pt"); }) ==
          "model.pt: input: found no model that can be read, allowed a file that --save wrote");

    const Eigen::MatrixXf X = Eigen::MatrixXf::Ones(2, 5);
    using Integers = Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1>;
    const auto with = [&](const Integers& ptr, const Integers& y) {
        write_npy(directory.path() / "X.npy", X);
        write_npy(directory.path() / "ptr.npy", ptr);
        write_npy(directory.path() / "y.npy", y);
        return refusal([&] { read(directory.path(), true); });
    };
    CHECK(with(Integers{{0, 2, 5}}, Integers{{0, 1}}) == "no error");
    const std::string offsets =
        "ptr.npy: data: found other offsets, allowed increasing ones from 0 to the rows of X, 5, without empty bags";
    CHECK(with(Integers{{0, 2, 4}}, Integers{{0, 1}}) == offsets);
    CHECK(with(Integers{{0, 2, 2, 5}}, Integers{{0, 1, 1}}) == offsets);
    CHECK(with(Integers{{0, 2, 5}}, Integers{{0, 1, 1}}) == "y.npy: length: found 3, allowed one label a bag, 2");
    CHECK(with(Integers{{0, 2, 5}}, Integers{{0, 2}}) == "y.npy: labels: found others, allowed 0 and 1");
}

}  // namespace train_mil_test
