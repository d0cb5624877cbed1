// Pools bags in six ways, each by formula and by every solver, which iterates, and prints how far apart they are.

#include <cstdint>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <otpool/otpool.hpp>

#include "reproduce/comparison.hpp"
#include "reproduce/made_up.hpp"
#include "reproduce/published_report.hpp"
#include "reproduce/report.hpp"
#include "support/npy.hpp"
#include "support/output_files.hpp"
#include "support/run_program.hpp"

namespace {

struct Arguments {
    std::string input, ptr;
    std::string output = "reproduce.png";
    double tolerance = 1e-10;
    std::optional<int> max_iterations;
    bool published = false;
};

/// The instances of all bags side by side, D x sum N, and where each bag begins.
struct Data {
    std::string description;
    Eigen::MatrixXd instances;
    std::vector<std::int64_t> offsets;
};

Data made_up() {
    const Eigen::MatrixXd bag = reproduce::made_up_bag(8, 24);
    return {"made-up data", bag, {0, bag.cols()}};
}

Data read(const std::string& input, const std::string& ptr) {
    Data data{input, support::NpyFile(input).matrix<double>(), {}};
    if (ptr.empty()) {
        data.offsets = {0, data.instances.cols()};
    } else {
        const auto offsets = support::NpyFile(ptr).vector<std::int64_t>();
        data.offsets.assign(offsets.begin(), offsets.end());
    }
    return data;
}

void compare(const Arguments& arguments) {
    const Data data = arguments.input.empty() ? made_up() : read(arguments.input, arguments.ptr);
    const otpool::Bags bags(data.instances, data.offsets);
    otpool::mean_pooling<double>()(bags);  // refuses what cannot be pooled: empty bags, NaN
    const otpool::Options options{
        .tolerance = arguments.tolerance, .max_iterations = arguments.max_iterations, .closed_forms = false};

    support::OutputFiles outputs;
    auto& picture = outputs.add(arguments.output);
    const auto comparisons = reproduce::compare(bags, options);
    std::cout << data.description << ": bags " << bags.size() << ", instances " << data.instances.cols()
              << ", features " << bags.features() << "\n\n"
              << "Largest error of the pooled vector, against the one computed directly and relative to the\n"
              << "bag's spread; iterations to a residual of " << arguments.tolerance
              << ", no closed forms; status.\n\n";
    reproduce::print_table(std::cout, comparisons);
    write_png(picture.stream(), reproduce::picture(comparisons));
    outputs.commit();
    std::cout << "\nplans of the first bag: " << arguments.output << '\n';
}

void describe(CLI::App& app, Arguments& arguments) {
    app.add_option("--input", arguments.input, "bags instead of made-up ones: floats, (sum N, D)")->type_name("X.npy");
    app.add_option("--ptr", arguments.ptr, "where each bag begins: B + 1 integers, 0 to sum N; default: one bag")
        ->type_name("ptr.npy")
        ->needs("--input");
    app.add_option("--output", arguments.output, "picture of the plans of the first bag's first 40 instances")
        ->type_name("picture.png")
        ->capture_default_str();
    app.add_option("--tolerance", arguments.tolerance, "residual at which a solver has converged")
        ->type_name("T")
        ->capture_default_str();
    app.add_option("--max-iterations", arguments.max_iterations,
                   "largest number of iterations; default: the solver's own limit")
        ->type_name("M");
    app.add_flag("--published", arguments.published,
                 "instead: what the authors' released layers compute, and what they should");
    app.footer(
        "For bags of up to ten thousand entries: without closed forms, solvers take long for larger ones.\n\n"
        "Exit status: 0; 2 for bad usage or input.\n\n"
        "Examples:\n"
        "  reproduce                                     the table, and the picture reproduce.png\n"
        "  reproduce --input X.npy --ptr ptr.npy --output plans.png\n"
        "  reproduce --published");
}

void run(const Arguments& arguments, bool alone) {
    if (!arguments.published) {
        compare(arguments);
    } else if (alone) {
        reproduce::print_published(std::cout, reproduce::Input(made_up().instances));
    } else {
        throw std::invalid_argument("--published takes no other option");
    }
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app(
        "Pools bags in six ways, each by formula and by every solver, which iterates, and prints how far apart\n"
        "they are. For exact transport the formula is a linear programme, solved exactly.",
        "reproduce");
    describe(app, arguments);
    return support::run_program(app, argc, argv, [&] { run(arguments, argc == 2); });
}
