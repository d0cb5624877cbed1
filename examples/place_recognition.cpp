// Recognises made-up places from their patches: SALAD's aggregation to slots against mean, GeM and NetVLAD pooling.

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <otpool/otpool.hpp>

#include "place_recognition/experiment.hpp"
#include "place_recognition/report.hpp"
#include "support/output_files.hpp"
#include "support/run_program.hpp"

namespace {

struct Arguments {
    place_recognition::Experiment experiment;
    std::string output = "place_recognition.png";
    std::string table;
};

void describe(CLI::App& app, Arguments& arguments) {
    auto& experiment = arguments.experiment;
    app.add_option("--clutter", experiment.clutter, "parts of the patches that are clutter, separated by commas")
        ->type_name("PARTS")
        ->delimiter(',')
        ->check(CLI::Range(0.0, 0.9))
        ->capture_default_str();
    app.add_option("--places", experiment.places, "places of the test")
        ->type_name("P")
        ->check(CLI::Range(10, 10'000))
        ->capture_default_str();
    app.add_option("--training", experiment.training, "other places, on which prototypes and parameters are chosen")
        ->type_name("T")
        ->check(CLI::Range(10, 10'000))
        ->capture_default_str();
    app.add_option("--slots", experiment.slots, "slots; a view has 20 patches or more, and must have more than slots")
        ->type_name("K")
        ->check(CLI::Range(1, 19))
        ->capture_default_str();
    app.add_option("--seeds", experiment.seeds, "worlds, each with places of its own")
        ->type_name("S")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_option("--seed", experiment.first_seed, "the first seed; the others follow it")
        ->type_name("SEED")
        ->capture_default_str();
    app.add_option("--output", arguments.output, "picture of recall at 1 against the clutter")
        ->type_name("picture.png")
        ->capture_default_str();
    app.add_option("--table", arguments.table, "also write the tables, as Markdown")->type_name("table.md");
    app.footer(
        "Exit status: 0; 2 for bad usage.\n\n"
        "Examples:\n"
        "  place_recognition                               one seed, and place_recognition.png\n"
        "  place_recognition --seeds 5 --table table.md    the tables of examples/README.md\n"
        "  place_recognition --clutter 0.6 --slots 8");
}

void run(const Arguments& arguments) {
    support::OutputFiles outputs;
    auto& picture = outputs.add(arguments.output);
    auto* const table = arguments.table.empty() ? nullptr : &outputs.add(arguments.table);

    const auto rows = place_recognition::run(arguments.experiment);
    place_recognition::print(std::cout, arguments.experiment, rows);
    place_recognition::Chart(arguments.experiment, rows).paint().write_png(picture.stream());
    if (table != nullptr) place_recognition::print_markdown(table->stream(), arguments.experiment, rows);
    outputs.commit();
    std::cout << "\nrecall at 1: " << arguments.output << '\n';
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app(
        "Recognises made-up places from their patches: SALAD's aggregation to slots against mean, GeM and NetVLAD\n"
        "pooling of the same patches, at several levels of clutter.",
        "place_recognition");
    describe(app, arguments);
    return support::run_program(app, argc, argv, [&] { run(arguments); });
}
