#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <otpool/learning.hpp>

#include "learn_pooling/adam.hpp"
#include "learn_pooling/classifier.hpp"
#include "learn_pooling/parallel.hpp"
#include "learn_pooling/plans.hpp"
#include "learn_pooling/poolings.hpp"
#include "learn_pooling/tasks.hpp"
#include "learn_pooling/training.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/temporary_directory.hpp"

#ifdef LEARN_POOLING_PROGRAM
#include <sys/wait.h>
#endif

namespace learn_pooling_test {

using learn_pooling::Data;
using learn_pooling::Index;
using learn_pooling::Matrix;
using learn_pooling::Task;
using learn_pooling::Vector;

/// One array of an optimiser.
struct Numbers {
    Vector values;

    template <class Visit>
    void for_each_array(const Visit& visit) {
        visit("values", values);
    }
};

TEST_CASE("The four tasks have the same bags, and labels of their own, as many 1 as 0") {
    const Index bags = 2000;
    const Data mean = learn_pooling::make_data(Task::mean, bags, 1);
    CHECK(mean.size() == bags);
    CHECK(mean.instances.cols() == mean.offsets.back());
    CHECK(std::abs(mean.instances.bottomRows(8).mean()) < 0.01);
    CHECK(std::abs(mean.instances.bottomRows(8).array().square().mean() - 1) < 0.01);
    for (const Task task : learn_pooling::all_tasks) {
        CAPTURE(to_string(task));
        const Data data = learn_pooling::make_data(task, bags, 1);
        CHECK(data.instances == mean.instances);
        CHECK(data.offsets == mean.offsets);
        CHECK(std::abs(data.labels.mean() - 0.5) < 0.05);  // 4.5 standard deviations
        CHECK(learn_pooling::task_of(to_string(task)) == task);
        if (task != Task::mean) CHECK((data.labels - mean.labels).cwiseAbs().sum() > 0.3 * bags);
    }
    CHECK_FALSE(learn_pooling::make_data(Task::mean, bags, 2).instances.leftCols(9) == mean.instances.leftCols(9));
}

TEST_CASE("The label's rule finds every label, by a linear classifier on what it pools") {
    learn_pooling::Classifier classifier;
    for (Index d = 1; d < learn_pooling::features; ++d) classifier.weights[d] = d % 2 == 1 ? 1 : -1;
    for (const Task task : learn_pooling::all_tasks) {
        CAPTURE(to_string(task));
        const Data data = learn_pooling::make_data(task, 200, 3);
        Matrix pooled(learn_pooling::features, data.size());
        for (Index b = 0; b < data.size(); ++b) {
            const Matrix weights = learn_pooling::rule_weights(task, data.bag(b));
            CHECK((weights.rowwise().sum().array() - 1).abs().maxCoeff() < 1e-14);
            pooled.col(b) = weights.cwiseProduct(data.bag(b)).rowwise().sum();
        }
        CHECK(learn_pooling::judge(classifier.scores(pooled), data.labels).accuracy > 1 - 1e-12);
    }
}

TEST_CASE("The rules pool what they say") {
    Matrix bag(2, 11);
    bag.row(0) << 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0;
    bag.row(1) << 5, 1, 2, 3, 8, 7, 0, 0, 0, 0, 0;
    const auto pooled = [&](Task task) { return learn_pooling::rule_weights(task, bag).row(1).dot(bag.row(1)); };
    CHECK(std::abs(pooled(Task::mean) - 26.0 / 11) < 1e-14);
    CHECK(pooled(Task::max) == 8);
    CHECK(pooled(Task::attention) == 3);
    CHECK(pooled(Task::top_tenth) == 7.5);  // a tenth of 11 is 2, rounded up
}

TEST_CASE("A choice of bags keeps them and their labels") {
    const Data data = learn_pooling::make_data(Task::max, 10, 1);
    const Data chosen = data.subset({7, 2});
    REQUIRE(chosen.size() == 2);
    CHECK(chosen.bag(0) == data.bag(7));
    CHECK(chosen.bag(1) == data.bag(2));
    CHECK(chosen.labels == Vector{{data.labels[7], data.labels[2]}});
    const learn_pooling::Split split(Task::max, 40, 1);
    CHECK(split.training.size() == 30);
    CHECK(split.validation.size() == 10);
    CHECK(split.test.size() == 40);
}

TEST_CASE("Adam minimises a quadratic") {
    const Vector target{{3, -2, 0.5}};
    const Vector curvature{{1, 100, 0.01}};
    Numbers at{Vector::Zero(3)};
    learn_pooling::Adam adam;
    const auto step = [&](learn_pooling::StepSize size, double schedule) {
        Numbers gradient{curvature.cwiseProduct(at.values - target)};
        adam.step(otpool::named_arrays<double>(at), otpool::named_arrays<double>(gradient), {size}, schedule);
    };
    step({0.1}, 1);
    // The first step is the rate, whatever the gradient's length.
    CHECK((at.values.cwiseAbs().array() - 0.1).abs().maxCoeff() < 1e-6);
    for (int i = 0; i < 1000; ++i) step({0.1}, 1 - i / 1000.0);
    CHECK((at.values - target).cwiseAbs().maxCoeff() < 1e-3);
}

TEST_CASE("Weight decay pulls to zero what has no gradient") {
    Numbers at{Vector::Ones(2)};
    learn_pooling::Adam adam;
    Numbers gradient{Vector::Zero(2)};
    adam.step(otpool::named_arrays<double>(at), otpool::named_arrays<double>(gradient), {{0.1, 0.5}});
    CHECK((at.values.array() - 0.95).abs().maxCoeff() < 1e-15);
}

TEST_CASE("The loss has its derivative") {
    const Vector labels{{1, 0, 1}};
    const Vector scores{{0.3, -2, -800}};
    const auto verdict = learn_pooling::judge(scores, labels);
    CHECK(std::abs(verdict.accuracy - 2.0 / 3) < 1e-15);
    CHECK(std::isfinite(verdict.loss));
    for (Index b = 0; b < scores.size(); ++b) {
        const auto loss_at = [&](double move) {
            return learn_pooling::judge(scores + move * Vector::Unit(3, b), labels).loss;
        };
        CHECK(std::abs((loss_at(1e-4) - loss_at(-1e-4)) / 2e-4 - verdict.dL_dscores[b]) < 1e-7);
    }
}

TEST_CASE("The UOT layer starts uniform in its attention, and its configuration reaches mean, max and attention") {
    const Data data = learn_pooling::make_data(Task::mean, 3, 5);
    auto layer = learn_pooling::learned_layer(1);
    const auto distance = [&](Task task) {
        double largest = 0;
        for (Index b = 0; b < data.size(); ++b) {
            const Matrix off =
                learn_pooling::weights_of(layer, data.bag(b)) - learn_pooling::rule_weights(task, data.bag(b));
            largest = std::max(largest, off.cwiseAbs().maxCoeff());
        }
        return largest;
    };
    layer.parameters.alpha0[0] = std::log(1e4);
    CHECK(distance(Task::mean) < 1e-3);
    auto& attention = layer.parameters.prior;
    attention.V.setZero();
    attention.V(0, 0) = 1;
    attention.w = 200 * Vector::Unit(attention.w.size(), 0);
    CHECK(distance(Task::attention) < 1e-2);
    attention.w.setZero();
    layer.parameters.alpha0[0] = std::log(1e-4);
    layer.parameters.alpha2[0] = std::log(1e-8);
    CHECK(distance(Task::max) < 1e-2);
}

TEST_CASE("What weights are like: how many instances they draw on, and how many of them together") {
    const auto uniform = learn_pooling::character_of(Matrix::Constant(3, 4, 0.25));
    CHECK(std::abs(uniform.drawn_on - 4) < 1e-12);
    CHECK(std::abs(uniform.shared - 1) < 1e-12);
    const auto apart = learn_pooling::character_of(Matrix{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}});
    CHECK(std::abs(apart.drawn_on - 1) < 1e-12);
    CHECK(apart.shared < 1e-12);
}

TEST_CASE("Training is repeatable, returns the best epoch, and learns") {
    const learn_pooling::Split split(Task::mean, 200, 1);
    const auto trained = [&] {
        std::vector<double> accuracies;
        const auto result =
            learn_pooling::train(otpool::mean_layer<double>(), split, {.epochs = 5},
                                 [&](int, const auto&, double accuracy) { accuracies.push_back(accuracy); });
        CHECK(accuracies.size() == 6);
        CHECK(accuracies[static_cast<std::size_t>(result.epoch)] == result.validation.accuracy);
        return result;
    };
    const auto once = trained();
    CHECK(once.classifier.weights == trained().classifier.weights);
    CHECK(learn_pooling::judge(once.layer, once.classifier, split.test).accuracy > 0.8);
}

TEST_CASE("Jobs all run, and an exception comes through") {
    std::vector<int> done(100);
    std::vector<std::function<void()>> jobs;
    for (int& one : done) jobs.push_back([&one] { ++one; });
    learn_pooling::run_parallel(jobs);
    CHECK(done == std::vector<int>(100, 1));
    jobs.push_back([] { throw std::runtime_error("no"); });
    CHECK_THROWS_AS(learn_pooling::run_parallel(jobs), std::runtime_error);
}

TEST_CASE("Tasks are named, each once") {
    using tests::message_of;
    CHECK(message_of<std::invalid_argument>([] { learn_pooling::tasks_of({"median"}); }) ==
          "task is median; allowed: mean, max, attention, top-tenth");
    CHECK(message_of<std::invalid_argument>([] {
              learn_pooling::tasks_of({"max", "max"});
          }) == "task max is there twice; allowed: each once");
}

#ifdef LEARN_POOLING_PROGRAM

int status_of(const std::filesystem::path& directory, const std::string& arguments) {
    const int status = std::system(
        ("cd '" + directory.string() + "' && '" LEARN_POOLING_PROGRAM "' " + arguments + " >/dev/null 2>&1").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("learn_pooling refuses bad options before it starts, and leaves nothing behind") {
    const tests::TemporaryDirectory directory;
    for (const char* bad : {"--bags 39", "--bags many", "--epochs 0", "--seeds 0", "--tasks max,median", "--tasks ''",
                            "--output no/where.png", "--table learn_pooling.png", "max"}) {
        CAPTURE(bad);
        CHECK(status_of(directory.path(), bad) == 2);
    }
    CHECK(std::filesystem::is_empty(directory.path()));
    CHECK(status_of(directory.path(), "--help") == 0);
}

TEST_CASE("learn_pooling writes its picture and its table") {
    const tests::TemporaryDirectory directory;
    CHECK(status_of(directory.path(), "--bags 40 --epochs 2 --tasks attention --table table.md") == 0);
    CHECK(std::filesystem::file_size(directory / "learn_pooling.png") > 0);
    CHECK(std::filesystem::file_size(directory / "table.md") > 0);
}

#endif

}  // namespace learn_pooling_test
