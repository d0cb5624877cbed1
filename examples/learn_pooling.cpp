// Learns poolings from labels: one UOT layer on four tasks, each of which needs another pooling.

#include <cstddef>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <otpool/learning.hpp>

#include "learn_pooling/experiment.hpp"
#include "learn_pooling/picture.hpp"
#include "learn_pooling/report.hpp"
#include "learn_pooling/tasks.hpp"
#include "support/output_files.hpp"
#include "support/run_program.hpp"

namespace {

struct Arguments {
    std::vector<std::string> tasks;
    long bags = 2000;
    int epochs = 20;
    int seeds = 1;
    std::string output = "learn_pooling.png";
    std::string table;
};

void describe(CLI::App& app, Arguments& arguments) {
    for (const auto task : learn_pooling::all_tasks) arguments.tasks.push_back(to_string(task));
    app.add_option("--tasks", arguments.tasks, "what the labels depend on, separated by commas")
        ->type_name("NAMES")
        ->delimiter(',')
        ->capture_default_str();
    app.add_option("--bags", arguments.bags, "bags to learn from: 3/4 train, 1/4 choose the epoch; as many again test")
        ->type_name("B")
        ->check(CLI::Range(40, 100'000))
        ->capture_default_str();
    app.add_option("--epochs", arguments.epochs, "epochs of training")
        ->type_name("E")
        ->check(CLI::Range(1, 10'000))
        ->capture_default_str();
    app.add_option("--seeds", arguments.seeds, "trainings of each pooling, each with its own bags and weights")
        ->type_name("S")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_option("--output", arguments.output, "picture of the layer's plan of a test bag during training")
        ->type_name("picture.png")
        ->capture_default_str();
    app.add_option("--table", arguments.table, "also write the tables, as Markdown")->type_name("table.md");
    app.footer(
        "Exit status: 0; 2 for bad usage.\n\n"
        "Examples:\n"
        "  learn_pooling                                 all tasks with one seed, and learn_pooling.png\n"
        "  learn_pooling --seeds 5 --table table.md      the tables of examples/README.md, in a few minutes\n"
        "  learn_pooling --tasks max,attention --bags 500 --output plans.png");
}

void run(const Arguments& arguments) {
    learn_pooling::Experiment experiment{
        .tasks = learn_pooling::tasks_of(arguments.tasks), .bags = arguments.bags, .seeds = arguments.seeds};
    experiment.training.epochs = arguments.epochs;
    support::OutputFiles outputs;
    auto& picture = outputs.add(arguments.output);
    auto* const table = arguments.table.empty() ? nullptr : &outputs.add(arguments.table);

    const auto outcomes = learn_pooling::run(experiment);
    learn_pooling::print(std::cout, experiment, outcomes);
    write_png(picture.stream(), learn_pooling::picture(outcomes));
    if (table != nullptr) learn_pooling::print_markdown(table->stream(), experiment, outcomes);
    outputs.commit();
    std::cout << "\nplans of a test bag: " << arguments.output << '\n';
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app(
        "Learns poolings from labels: one UOT layer, in one configuration, on four tasks, each of which needs another\n"
        "pooling. Compares it with fixed poolings trained in the same way, and draws how its plan changes.",
        "learn_pooling");
    describe(app, arguments);
    return support::run_program(app, argc, argv, [&] { run(arguments); });
}
