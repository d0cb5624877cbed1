// Multi-instance classification with LibTorch and any pooling: instances -> one hidden layer -> pooling -> classifier.

#include <torch/torch.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <otpool/learning.hpp>

#include "support/npy.hpp"
#include "support/output_files.hpp"
#include "support/progress.hpp"
#include "train_mil/cross_validation.hpp"
#include "train_mil/data.hpp"
#include "train_mil/model.hpp"
#include "train_mil/poolings.hpp"
#include "train_mil/training.hpp"

namespace {

using namespace train_mil;

struct Arguments {
    std::string input, pooling = "all", save, load, predict, table;
    std::int64_t hidden = 64;
    int folds = 10;
    int seeds = 1;
    TrainingOptions training;
};

BagSet read_bags(const Arguments& arguments, bool with_labels) {
    return arguments.input.empty() ? made_up() : read(arguments.input, with_labels);
}

/// Every pooling by cross-validation, as a table; what is done when interrupted.
int compare(const Arguments& arguments) {
    const BagSet bags = read_bags(arguments, true);
    const auto positive = bags.y.sum().item<std::int64_t>();
    if (std::min(positive, bags.size() - positive) < arguments.folds) {
        throw std::invalid_argument("--folds is " + std::to_string(arguments.folds) +
                                    "; allowed: at most the bags of the " + "rarer label, " +
                                    std::to_string(std::min(positive, bags.size() - positive)));
    }
    support::OutputFiles outputs;
    support::OutputFile* table = arguments.table.empty() ? nullptr : &outputs.add(arguments.table);
    std::vector<std::string> names = {arguments.pooling};
    if (arguments.pooling == "all") names = pooling_names();

    std::ostringstream text;
    const std::string data = arguments.input.empty()
                                 ? "made-up bags"
                                 : std::filesystem::path(arguments.input).lexically_normal().filename().string();
    text << data << ": " << bags.size() << " bags (" << positive << " positive), " << bags.x.size(0) << " instances, "
         << bags.features() << " features; " << arguments.folds << " folds, " << arguments.seeds
         << (arguments.seeds == 1 ? " seed" : " seeds") << ", mean and standard deviation over folds and seeds\n\n"
         << "| pooling | accuracy | AUC | ms an epoch | learned, in the last fold |\n|---|--:|--:|--:|---|\n";
    {
        support::ProgressBar progress("training", names.size() * static_cast<std::size_t>(arguments.folds) *
                                                      static_cast<std::size_t>(arguments.seeds) *
                                                      static_cast<std::size_t>(arguments.training.epochs));
        for (const std::string& name : names) {
            const auto result = cross_validate(bags, name, arguments.hidden, arguments.folds, arguments.seeds,
                                               arguments.training, [&] { progress.advance(); });
            if (interrupted != 0) break;
            char row[512];
            std::snprintf(row, sizeof row, "| %s | %.1f +- %.1f %% | %.3f +- %.3f | %.1f | %s |\n", name.c_str(),
                          100 * result.accuracy.mean(), 100 * result.accuracy.deviation(),
                          result.area_under_curve.mean(), result.area_under_curve.deviation(),
                          1000 * result.seconds_per_epoch.mean(), result.in_words.c_str());
            text << row;
        }
    }
    std::cout << text.str() << std::flush;
    if (interrupted != 0) {
        std::cerr << "train_mil: interrupted; the table has the poolings that were finished\n";
        return 130;
    }
    if (table != nullptr) table->stream() << text.str();
    outputs.commit();
    return 0;
}

/// One model from all bags but a fifth, which chooses the epoch; saved whenever it is the best so far.
int train_one(const Arguments& arguments) {
    const BagSet bags = read_bags(arguments, true);
    { support::OutputFiles().add(arguments.save); }  // refuses here what could never be written
    const auto fifths = stratified_folds(bags.y, 5, arguments.training.seed);
    std::vector<std::int64_t> numbers;
    for (std::size_t part = 1; part < 5; ++part)
        numbers.insert(numbers.end(), fifths[part].begin(), fifths[part].end());
    const BagSet training = bags.select(numbers);
    const BagSet held_out = bags.select(fifths[0]);
    torch::manual_seed(arguments.training.seed);
    Trained trained{Model(bags.features(), arguments.hidden, arguments.pooling), Standardization(training)};
    TrainingResult result;
    {
        support::ProgressBar progress("training", static_cast<std::size_t>(arguments.training.epochs));
        result = train(trained.model, trained.standardization(training), trained.standardization(held_out),
                       arguments.training, [&](bool better) {
                           if (better) save(arguments.save, trained);
                           progress.advance();
                       });
    }
    if (result.best_epoch == 0) {
        std::cerr << "train_mil: interrupted before the first epoch ended; nothing is saved\n";
        return 130;
    }
    const auto probability = predict(trained.model, trained.standardization(held_out));
    std::cout << "epoch " << result.best_epoch << " of " << arguments.training.epochs
              << ", accuracy on the fifth that chose it " << 100 * accuracy(probability, held_out.y) << " %; "
              << trained.model->pooling.in_words() << "\nsaved: " << arguments.save << '\n';
    if (interrupted != 0) std::cerr << "train_mil: interrupted; the model of the best epoch so far is saved\n";
    return interrupted != 0 ? 130 : 0;
}

int use(const Arguments& arguments) {
    Trained trained = load(arguments.load);
    const BagSet bags = read_bags(arguments, false);
    const auto features = trained.standardization.mean.numel();
    if (bags.features() != features) {
        throw std::invalid_argument("number of features is " + std::to_string(bags.features()) +
                                    "; allowed: " + std::to_string(features) + ", those of the model");
    }
    const auto probability = predict(trained.model, trained.standardization(bags)).contiguous();
    const Eigen::Map<const Eigen::VectorXf> values(probability.data_ptr<float>(), probability.numel());
    support::write_npy(arguments.predict, values);
    std::cout << bags.size() << " bags, " << (probability > 0.5).sum().item<std::int64_t>()
              << " of them positive; probabilities: " << arguments.predict << '\n';
    return 0;
}

void describe(CLI::App& app, Arguments& arguments) {
    std::vector<std::string> names = pooling_names();
    names.emplace_back("all");
    app.add_option(
           "--input", arguments.input,
           "folder with X.npy (sum N, D), ptr.npy (B + 1), y.npy (B, 0 or 1) and, if there is one, q0.npy (sum N; "
           "the instance prior: sum 1 in each bag, 0 excludes an instance); default: made-up bags")
        ->type_name("DIR");
    app.add_option("--pooling", arguments.pooling, "the pooling, or all of them")
        ->check(CLI::IsMember(names))
        ->capture_default_str();
    app.add_option("--folds", arguments.folds, "folds of the cross-validation")
        ->check(CLI::Range(2, 1000))
        ->capture_default_str();
    app.add_option("--seeds", arguments.seeds, "repetitions of the cross-validation, each shuffled again")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_option("--epochs", arguments.training.epochs)->check(CLI::Range(1, 1000000))->capture_default_str();
    app.add_option("--batch", arguments.training.batch, "bags per step")
        ->check(CLI::Range(1, 1000000))
        ->capture_default_str();
    app.add_option("--hidden", arguments.hidden, "width of the hidden layer, whose outputs are pooled")
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
    app.add_option("--learning-rate", arguments.training.learning_rate)
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--weight-decay", arguments.training.weight_decay)
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    app.add_option("--seed", arguments.training.seed, "seed of the model that --save writes")->capture_default_str();
    app.add_option("--table", arguments.table, "also write the table to a file")->type_name("table.md");
    auto* save = app.add_option("--save", arguments.save, "train one model and save it")
                     ->type_name("model.pt")
                     ->needs("--pooling");
    auto* load = app.add_option("--load", arguments.load, "use a saved model")->type_name("model.pt")->excludes(save);
    auto* predict = app.add_option("--predict", arguments.predict, "write each bag's probability of label 1: (B)")
                        ->type_name("Y.npy")
                        ->needs(load);
    load->needs(predict);
    app.footer(
        "Exit status: 0; 2 for bad usage or input; 130 if interrupted, with the best model so far saved.\n\n"
        "Examples:\n"
        "  train_mil                                               all poolings on made-up bags\n"
        "  train_mil --input musk1 --pooling uot-sinkhorn --seeds 3\n"
        "  train_mil --input musk1 --pooling slots                 a classifier on four slots with learned prototypes\n"
        "  train_mil --input musk1 --pooling uot-badmm --save model.pt\n"
        "  train_mil --input new_bags --load model.pt --predict Y.npy");
}

int run(const Arguments& arguments) {
    if (!arguments.load.empty()) return use(arguments);
    if (arguments.save.empty()) return compare(arguments);
    if (arguments.pooling == "all") throw std::invalid_argument("--pooling is all; allowed with --save: one pooling");
    return train_one(arguments);
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("Trains multi-instance classifiers with different poolings, and compares them by cross-validation.",
                 "train_mil");
    describe(app, arguments);
    try {
        app.parse(argc, argv);
        std::signal(SIGINT, [](int) { interrupted = 1; });
        torch::set_num_threads(1);  // the bags are small
        return run(arguments);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const std::exception& error) {
        std::cerr << "train_mil: " << error.what() << '\n';
        return 2;
    }
}
