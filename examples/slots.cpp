// Pools bags to slots: learns prototypes, and shows which slot draws on which instances with four sets of parameters.

#include <cmath>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <otpool/otpool.hpp>

#include "slots/made_up.hpp"
#include "slots/picture.hpp"
#include "slots/poolings.hpp"
#include "support/aligned.hpp"
#include "support/k_means.hpp"
#include "support/npy.hpp"
#include "support/output_files.hpp"
#include "support/progress.hpp"
#include "support/run_program.hpp"

namespace {

using slots::Data;
using slots::Index;
using slots::Matrix;

struct Arguments {
    std::string input, ptr;
    Index slots = 5;
    std::string start = "k-means";
    double alpha0 = 0.1;
    int alternations = 10;
    std::uint64_t seed = 1;
    std::string output = "slots.png";
};

/// Bags of a file. Every feature is divided by its standard deviation, so that distances do not depend on units.
Data read(const std::string& input, const std::string& ptr) {
    Data data{support::NpyFile(input).matrix<double>()};
    if (ptr.empty()) {
        data.offsets.push_back(data.instances.cols());
    } else {
        const auto offsets = support::NpyFile(ptr).vector<std::int64_t>();
        data.offsets.assign(offsets.begin(), offsets.end());
    }
    otpool::mean_pooling<double>()(data.bags());  // refuses what cannot be pooled: empty bags, NaN
    for (auto feature : data.instances.rowwise()) {
        const double deviation = std::sqrt((feature.array() - feature.mean()).square().mean());
        if (deviation > 0) feature /= deviation;
    }
    return data;
}

/// Prototypes to start from, D x K.
Matrix start(const Data& data, const Arguments& arguments) {
    if (arguments.slots > data.instances.cols()) {
        throw std::invalid_argument("--slots is " + std::to_string(arguments.slots) + "; allowed: 1 to " +
                                    std::to_string(data.instances.cols()) + ", the number of instances");
    }
    if (arguments.start == "k-means") {
        return support::k_means(data.instances, arguments.slots, {.seed = arguments.seed}).centres;
    }
    return data.instances(Eigen::all, support::drawn_columns(data.instances.cols(), arguments.slots, arguments.seed));
}

/// The mean squared distance of an instance to its nearest prototype; 1 if that is 0.
double unit_of(const Matrix& prototypes, const Matrix& instances) {
    double sum = 0;
    for (const auto& x : instances.colwise()) sum += (prototypes.colwise() - x).colwise().squaredNorm().minCoeff();
    return sum > 0 ? sum / static_cast<double>(instances.cols()) : 1;
}

std::string printed(double value, int digits) {
    return (std::ostringstream() << std::fixed << std::setprecision(digits) << value).str();
}

void print(const Data& data, const std::vector<slots::NamedPooling>& poolings) {
    const bool known = !data.groups.empty();
    std::vector<std::vector<std::string>> table = {
        {"pooling", "a slot draws on", "an instance is shared by", "mass drawn"}};
    if (known) table[0].emplace_back("from one group");
    for (const auto& [name, pooling] : poolings) {
        const slots::Character of = slots::character(pooling, data);
        table.push_back({name, printed(of.draws_on, 1) + " instances", printed(of.shared_by, 2) + " slots",
                         printed(100 * of.mass, 1) + " %"});
        if (known) table.back().push_back(printed(100 * of.of_group, 1) + " %");
    }
    support::print_aligned(std::cout, table);
}

void run(const Arguments& arguments) {
    support::OutputFiles outputs;
    auto& picture = outputs.add(arguments.output);
    const Data data =
        arguments.input.empty() ? slots::made_up(20, arguments.seed) : read(arguments.input, arguments.ptr);
    const otpool::Bags<double> bags = data.bags();
    const Matrix prototypes = start(data, arguments);
    const double unit = unit_of(prototypes, data.instances);
    auto poolings = slots::all_poolings(prototypes, arguments.alpha0, unit);

    {
        support::ProgressBar progress("learning prototypes",
                                      poolings.size() * static_cast<std::size_t>(arguments.alternations));
        for (auto& [name, pooling] : poolings) {
            for (int i = 0; i < arguments.alternations; ++i) {
                pooling.reward.prototypes = slots::moved_prototypes(pooling, bags);
                progress.advance();
            }
        }
    }
    std::cout << (arguments.input.empty() ? "made-up data" : arguments.input) << ": bags " << bags.size()
              << ", instances " << data.instances.cols() << ", features " << bags.features() << "; slots "
              << arguments.slots << ", prototypes from " << arguments.start << " and " << arguments.alternations
              << " alternations\n\n";
    print(data, poolings);

    Index largest = 0;
    for (Index b = 1; b < bags.size(); ++b) largest = bags.bag_size(b) > bags.bag_size(largest) ? b : largest;
    slots::Picture(poolings, bags[largest].instances.matrix()).paint().write_png(picture.stream());
    outputs.commit();
    std::cout << "\nplans of the largest bag: " << arguments.output << '\n';
}

void describe(CLI::App& app, Arguments& arguments) {
    app.add_option("--input", arguments.input, "bags instead of made-up ones: numbers, (sum N, D)")->type_name("X.npy");
    app.add_option("--ptr", arguments.ptr, "where each bag begins: B + 1 integers, 0 to sum N; default: one bag")
        ->type_name("ptr.npy")
        ->needs("--input");
    app.add_option("--slots", arguments.slots, "number of slots")
        ->type_name("K")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_option("--start", arguments.start, "prototypes to start from: k-means, or a sample of the instances")
        ->check(CLI::IsMember({"k-means", "sample"}))
        ->capture_default_str();
    app.add_option("--alpha0", arguments.alpha0,
                   "alpha0, in units of the mean squared distance to the nearest prototype")
        ->type_name("A")
        ->check(CLI::Range(0.01, 1e6))
        ->capture_default_str();
    app.add_option("--alternations", arguments.alternations,
                   "how often prototypes move to the mean of what their slots draw")
        ->type_name("T")
        ->check(CLI::Range(0, 10'000))
        ->capture_default_str();
    app.add_option("--seed", arguments.seed, "of the made-up bags and of the start")->capture_default_str();
    app.add_option("--output", arguments.output, "picture of the plans of the largest bag")
        ->type_name("picture.png")
        ->capture_default_str();
    app.footer(
        "Every feature of a file is divided by its standard deviation.\n\n"
        "Exit status: 0; 2 for bad usage or input.\n\n"
        "Examples:\n"
        "  slots                                          made-up bags, and the picture slots.png\n"
        "  slots --input X.npy --ptr ptr.npy --slots 8\n"
        "  slots --start sample --alternations 0          without learning");
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app(
        "Pools bags to slots: learns a prototype for each slot, and shows which slot draws on which instances with "
        "four\n"
        "sets of parameters of one pooling.",
        "slots");
    describe(app, arguments);
    return support::run_program(app, argc, argv, [&] { run(arguments); });
}
