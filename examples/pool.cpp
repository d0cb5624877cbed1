// Pools bags of instances that are read from .npy, .npz and .h5 files. Without arguments it shows what it does;
// `pool --help` lists the options. The parts, in the order in which they are used:
//
//     pool/command_line.hpp   options -> Settings
//     pool/inputs.hpp         Settings -> matrices, checked
//     pool/prototypes.hpp     matrices -> prototypes of slots, where the user gives none
//     pool/bag_pooler.hpp     Settings -> a function that pools one bag, made of the library's poolings
//     pool/streaming.hpp      the same for bags that do not fit in memory
//     pool/execution.hpp      how many threads call it
//     pool/results.hpp        pooled bags -> report, warnings, text

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <otpool/otpool.hpp>

#include "pool/bag_pooler.hpp"
#include "pool/command_line.hpp"
#include "pool/demo.hpp"
#include "pool/execution.hpp"
#include "pool/inputs.hpp"
#include "pool/instance_files.hpp"
#include "pool/outputs.hpp"
#include "pool/prototypes.hpp"
#include "pool/results.hpp"
#include "pool/settings.hpp"
#include "pool/slide_map.hpp"
#include "pool/streaming.hpp"
#include "pool/write_array.hpp"
#include "support/output_files.hpp"
#include "support/progress.hpp"

namespace {

using otpool::Index;

constexpr int exit_failure = 1;
constexpr int exit_refused = 2;
constexpr int exit_not_converged = 3;

/// Pools every bag. Every bag's result is its own, so the number of threads does not change a bit of it.
template <class Scalar>
pool::Results<Scalar> pool_bags(const pool::Settings& settings, const pool::Inputs<Scalar>& inputs,
                                const pool::BagPooler<Scalar>& pool_bag) {
    const otpool::Bags<Scalar> bags = inputs.bags();
    const Index instances = bags.instances().cols();
    pool::Results<Scalar> results{.slots = inputs.slots};
    results.pooled.setZero(bags.features() * std::max<Index>(inputs.slots, 1), bags.size());
    if (settings.plan) results.plan.resize(inputs.slots > 0 ? inputs.slots : bags.features(), instances);
    if (settings.wants_weights()) results.weights.resize(instances);
    results.bags.resize(static_cast<std::size_t>(bags.size()));
    support::ProgressBar progress("pooling", static_cast<std::size_t>(instances));
    pool::execution(settings.threads).for_each(bags.size(), [&](Index b, Index) {
        const Index first = bags.first_instance(b);
        const Index size = bags.bag_size(b);
        if (size == 0) return;  // stays a row of zeros
        pool::PooledBag<Scalar>& bag = results.bags[static_cast<std::size_t>(b)];
        try {
            bag = pool_bag(bags[b]);
        } catch (const otpool::InvalidArgument& error) {
            throw error.in("bag " + std::to_string(b));
        }
        results.pooled.col(b) = std::exchange(bag.pooled, {});
        if (settings.plan) results.plan.middleCols(first, size) = std::exchange(bag.plan, {});
        if (settings.wants_weights()) results.weights.segment(first, size) = std::exchange(bag.weights, {});
        progress.advance(static_cast<std::size_t>(size));
    });
    return results;
}

/// Everything between the open input files and the exit status, in the scalar of the outputs.
template <class Scalar>
int run(const pool::Settings& settings, const pool::InstanceFiles& input) {
    const bool streamed = pool::streams(settings, input, sizeof(Scalar));
    const pool::Inputs<Scalar> inputs = pool::read_inputs<Scalar>(settings, input, streamed);
    pool::check_bags(settings, inputs);
    const otpool::Matrix<double> coordinates =
        settings.heatmap ? pool::read_coordinates(settings, inputs.offsets) : otpool::Matrix<double>();
    support::OutputFiles outputs;
    const auto add = [&](const pool::File& name) { return name ? &outputs.add(*name) : nullptr; };
    support::OutputFile* const pooled_file = add(settings.output);
    support::OutputFile* const plan_file = add(settings.plan);
    support::OutputFile* const weights_file = add(settings.weights);
    support::OutputFile* const heatmap_file = add(settings.heatmap);
    support::OutputFile* const report_file = add(settings.report);
    support::OutputFile* const prototypes_file = add(settings.slots.save);

    // All is checked; here the work begins.
    const pool::Prototypes<Scalar> prototypes = pool::make_prototypes(settings, inputs);
    pool::Results<Scalar> results =
        streamed ? pool::pool_streamed_bags(settings, input, inputs)
                 : pool_bags(settings, inputs, pool::make_bag_pooler<Scalar>(settings, inputs.p0, prototypes.vectors));
    results.distinct_prototypes = prototypes.distinct;

    // Before the first temporary file exists, as whoever reads stdout may end this program with a closed pipe.
    if (pooled_file == nullptr) {
        pool::print_pooled(std::cout, results, isatty(STDOUT_FILENO) == 1);
        if (!std::cout.flush()) {
            throw support::FileError("stdout", "output", "an error while writing", "an open stdout");
        }
    }
    // Nor may it exist yet here: without memory, nlohmann_json ends the program.
    std::string report_text;
    if (report_file != nullptr) {
        const auto report = pool::report(settings, results, inputs.offsets, input.names());
        // A file's name need not be UTF-8, which JSON is.
        report_text = report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    }
    if (pooled_file != nullptr) pool::write_array(*pooled_file, "features", results.pooled, results.shape());
    if (plan_file != nullptr) pool::write_array(*plan_file, "plan", results.plan);
    if (weights_file != nullptr) {
        pool::write_array(*weights_file, "weights", results.weights, {results.weights.size()},
                          pool::coordinates_beside(settings));
    }
    if (heatmap_file != nullptr) {
        pool::draw_slide(heatmap_file->stream(), settings, coordinates, results.weights.template cast<double>());
    }
    if (report_file != nullptr) report_file->stream() << report_text;
    if (prototypes_file != nullptr) pool::write_array(*prototypes_file, "prototypes", prototypes.vectors);
    outputs.commit();
    pool::print_warnings(settings, results, input.left_out());
    return results.missed(settings) > 0 ? exit_not_converged : 0;
}

int run(const pool::Settings& settings) {
    pool::check_formats(settings);
    pool::refuse_overwriting(settings);
    const pool::InstanceFiles input(settings.input);
    if (settings.dtype.value_or(input.dtype()) == otpool::Dtype::float32) return run<float>(settings, input);
    return run<double>(settings, input);
}

/// One line on stderr, whatever a file's name may hold.
int fail(std::string message, int status) {
    for (char& c : message) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    std::fprintf(stderr, "pool: %s\n", message.c_str());
    return status;
}

/// The end where a library cannot throw any more: without memory, nlohmann_json cannot take a report apart.
[[noreturn]] void give_up() {
    std::fputs("pool: out of memory\n", stderr);
    std::_Exit(exit_failure);
}

}  // namespace

int main(int argc, char** argv) {
    std::set_terminate(give_up);
#ifdef SIGXFSZ
    std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is then an error like a full disk
#endif
    try {
        if (argc == 1) return pool::demo();
        const std::optional<pool::Settings> settings = pool::CommandLine().parse(argc, argv);
        return settings ? run(*settings) : 0;
    } catch (const pool::UsageError& error) {
        return fail(error.what(), exit_refused);
    } catch (const support::FileError& error) {
        return fail(error.what(), exit_refused);
    } catch (const otpool::Error& error) {
        return fail(error.what(), exit_refused);
    } catch (const std::bad_alloc&) {
        return fail("out of memory", exit_failure);
    } catch (const std::length_error&) {  // more bags than any memory could hold
        return fail("out of memory", exit_failure);
    } catch (const std::exception& error) {
        return fail(error.what(), exit_failure);
    }
}
