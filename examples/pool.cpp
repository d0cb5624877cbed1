// Pools bags of instances that are read from .npy, .npz and .h5 files. Without arguments it shows what it does;
// `pool --help` lists the options. The parts, in the order in which they are used:
//
//     pool/command_line.hpp   options -> Settings
//     pool/inputs.hpp         Settings -> matrices, checked
//     pool/prototypes.hpp     matrices -> prototypes of slots, where the user gives none
//     pool/bag_pooler.hpp     Settings -> a function that pools one bag, made of the library's poolings
//     pool/streaming.hpp      the same for bags that do not fit in memory, or are shared by several processes
//     pool/processes.hpp      the processes that mpirun has started
//     pool/execution.hpp      how many threads call it
//     pool/results.hpp        pooled bags -> report, warnings, text

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
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

#include <otpool/streamed/common_facts.hpp>
#include <otpool/streamed/rank_errors.hpp>
#include "pool/bag_pooler.hpp"
#include "pool/checkpoint.hpp"
#include "pool/command_line.hpp"
#include "pool/demo.hpp"
#include "pool/execution.hpp"
#include "pool/inputs.hpp"
#include "pool/instance_files.hpp"
#include "pool/outputs.hpp"
#include "pool/processes.hpp"
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

/// The files that are to be written; null for what is not asked for. Only the first process has any.
struct Outputs {
    support::OutputFiles files;
    support::OutputFile* pooled = nullptr;
    support::OutputFile* plan = nullptr;
    support::OutputFile* weights = nullptr;
    support::OutputFile* heatmap = nullptr;
    support::OutputFile* report = nullptr;
    support::OutputFile* prototypes = nullptr;

    void open(const pool::Settings& settings) {
        const auto add = [&](const pool::File& name) { return name ? &files.add(*name) : nullptr; };
        pooled = add(settings.output);
        plan = add(settings.plan);
        weights = add(settings.weights);
        heatmap = add(settings.heatmap);
        report = add(settings.report);
        prototypes = add(settings.slots.save);
    }
};

otpool::RealVector as_numbers(const pool::Offsets& offsets) {
    return Eigen::Map<const pool::Vector<std::int64_t>>(offsets.data(), std::ssize(offsets)).cast<double>();
}

template <class Scalar>
void write(const pool::Settings& settings, const pool::InstanceFiles& input, const pool::Inputs<Scalar>& inputs,
           const pool::Results<Scalar>& results, const otpool::Matrix<double>& coordinates,
           const pool::Prototypes<Scalar>& prototypes, Outputs& outputs) {
    // Before the first temporary file exists, as whoever reads stdout may end this program with a closed pipe.
    if (outputs.pooled == nullptr) {
        pool::print_pooled(std::cout, results, isatty(STDOUT_FILENO) == 1);
        if (!std::cout.flush()) {
            throw support::FileError("stdout", "output", "an error while writing", "an open stdout");
        }
    }
    // Nor may it exist yet here: without memory, nlohmann_json ends the program.
    std::string report_text;
    if (outputs.report != nullptr) {
        const auto report = pool::report(settings, results, inputs.offsets, input.names());
        // A file's name need not be UTF-8, which JSON is.
        report_text = report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    }
    if (outputs.pooled != nullptr) pool::write_array(*outputs.pooled, "features", results.pooled, results.shape());
    if (outputs.plan != nullptr) pool::write_array(*outputs.plan, "plan", results.plan);
    if (outputs.weights != nullptr) {
        pool::write_array(*outputs.weights, "weights", results.weights, {results.weights.size()},
                          pool::coordinates_beside(settings));
    }
    if (outputs.heatmap != nullptr) {
        pool::draw_slide(outputs.heatmap->stream(), settings, coordinates, results.weights.template cast<double>());
    }
    if (outputs.report != nullptr) outputs.report->stream() << report_text;
    if (outputs.prototypes != nullptr) pool::write_array(*outputs.prototypes, "prototypes", prototypes.vectors);
    outputs.files.commit();
    pool::print_warnings(settings, results, input.left_out());
}

/// Everything between the open input files and the exit status, in the scalar of the outputs.
template <class Scalar>
int run(const pool::Settings& settings, const pool::InstanceFiles& input, const pool::Processes& processes) {
    const otpool::AnyRanks& ranks = processes.ranks();
    const bool is_first = ranks.rank() == 0;
    bool streamed = false;
    pool::Inputs<Scalar> inputs;
    otpool::Matrix<double> coordinates;
    Outputs outputs;
    otpool::on_every_rank(ranks, [&] {
        streamed = pool::streams(settings, input, sizeof(Scalar), ranks);
        inputs = pool::read_inputs<Scalar>(settings, input, streamed);
        pool::check_bags(settings, inputs);
        if (settings.checkpoint && inputs.offsets.size() != 2) {
            throw pool::UsageError("--checkpoint", std::to_string(inputs.offsets.size() - 1) + " bags", "one bag");
        }
        if (settings.heatmap) coordinates = pool::read_coordinates(settings, inputs.offsets);
        if (is_first) outputs.open(settings);
    });

    otpool::detail::require_common(ranks,
                                   {{"number of features", static_cast<double>(input.features())},
                                    {"number of instances", static_cast<double>(input.begins().back())},
                                    {"bytes of a number", sizeof(Scalar)},
                                    {"number of bags", static_cast<double>(inputs.offsets.size() - 1)},
                                    {"digest of where bags begin", otpool::detail::digest(as_numbers(inputs.offsets))},
                                    {"digest of q0", otpool::detail::digest(inputs.q0)}});

    // All is checked; here the work begins.
    const pool::Prototypes<Scalar> prototypes = pool::make_prototypes(settings, inputs);
    pool::Results<Scalar> results =
        streamed ? pool::StreamedPooling<Scalar>(settings, input, inputs, processes)()
                 : pool_bags(settings, inputs, pool::make_bag_pooler<Scalar>(settings, inputs.p0, prototypes.vectors));
    results.distinct_prototypes = prototypes.distinct;
    otpool::on_every_rank(ranks, [&] {
        if (is_first) write(settings, input, inputs, results, coordinates, prototypes, outputs);
    });
    if (results.missed(settings) > 0) return exit_not_converged;
    pool::Checkpoint(settings, ranks).remove();
    return 0;
}

int run(const pool::Settings& settings, const pool::Processes& processes) {
    std::optional<pool::InstanceFiles> input;
    otpool::on_every_rank(processes.ranks(), [&] {
        pool::check_formats(settings);
        pool::refuse_overwriting(settings);
        input.emplace(settings.input);
    });
    if (settings.dtype.value_or(input->dtype()) == otpool::Dtype::float32)
        return run<float>(settings, *input, processes);
    return run<double>(settings, *input, processes);
}

/// One line on stderr, whatever a file's name may hold.
void print_error(std::string message) {
    for (char& c : message) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    std::fprintf(stderr, "pool: %s\n", message.c_str());
}

/// All processes refuse the input in the same words; the first one says them.
int refuse(const pool::Processes& processes, const std::string& message) {
    if (processes.ranks().rank() == 0) print_error(message);
    return exit_refused;
}

/// What may happen to one process alone. The others may be waiting for it.
int break_down(const pool::Processes& processes, const std::string& message) {
    print_error(message);
    processes.abort(exit_failure);
    return exit_failure;
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
    const pool::Processes processes;
    try {
        if (argc == 1) return pool::demo();
        const std::optional<pool::Settings> settings = pool::CommandLine().parse(argc, argv);
        return settings ? run(*settings, processes) : 0;
    } catch (const otpool::Error& error) {  // of usage, of a file, or of the library
        return refuse(processes, error.what());
    } catch (const std::bad_alloc&) {
        return break_down(processes, "out of memory");
    } catch (const std::length_error&) {  // more bags than any memory could hold
        return break_down(processes, "out of memory");
    } catch (const std::exception& error) {
        return break_down(processes, error.what());
    }
}
