// Pools bags of instances that are read from .npy files. Without arguments it shows what it does;
// `pool --help` lists the options. The parts, in the order in which they are used:
//
//     pool/command_line.hpp   options -> Settings
//     pool/inputs.hpp         Settings -> matrices, checked
//     pool/bag_pooler.hpp     Settings -> a function that pools one bag, made of the library's poolings
//     pool/execution.hpp      how many threads call it
//     pool/results.hpp        pooled bags -> report, warnings, text

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include <otpool/otpool.hpp>

#include "pool/bag_pooler.hpp"
#include "pool/command_line.hpp"
#include "pool/demo.hpp"
#include "pool/execution.hpp"
#include "pool/inputs.hpp"
#include "pool/results.hpp"
#include "pool/settings.hpp"
#include "support/npy.hpp"
#include "support/output_files.hpp"
#include "support/progress.hpp"

namespace {

using otpool::Index;

constexpr int exit_failure = 1;
constexpr int exit_refused = 2;
constexpr int exit_not_converged = 3;

/// Pools every bag. Every bag's result is its own, so the number of threads does not change a bit of it.
template <class Scalar>
pool::Results<Scalar> pool_bags(const pool::Settings& settings, const otpool::Bags<Scalar>& bags,
                                const std::vector<std::int64_t>& offsets, const pool::BagPooler<Scalar>& pool_bag) {
    pool::Results<Scalar> results;
    results.pooled.resize(bags.features(), bags.size());
    if (settings.plan) results.plan.resize(bags.features(), offsets.back());
    results.bags.resize(static_cast<std::size_t>(bags.size()));
    support::ProgressBar progress("pooling", static_cast<std::size_t>(offsets.back()));
    pool::execution(settings.threads).for_each(bags.size(), [&](Index b, Index) {
        pool::PooledBag<Scalar>& bag = results.bags[static_cast<std::size_t>(b)];
        bag = pool_bag(bags[b]);
        results.pooled.col(b) = bag.pooled;
        bag.pooled.resize(0);
        if (settings.plan) {
            results.plan.middleCols(offsets[static_cast<std::size_t>(b)], bags.bag_size(b)) = bag.plan;
            bag.plan.resize(0, 0);
        }
        progress.advance(static_cast<std::size_t>(bags.bag_size(b)));
    });
    return results;
}

/// Everything between the open input file and the exit status, in the scalar of the outputs.
template <class Scalar>
int run(const pool::Settings& settings, support::NpyFile& input) {
    const pool::Inputs<Scalar> inputs = pool::read_inputs<Scalar>(settings, input);
    const pool::BagPooler<Scalar> pool_bag = pool::make_bag_pooler<Scalar>(settings, inputs.p0);
    support::OutputFiles outputs;
    const auto add = [&](const pool::Settings::File& name) { return name ? &outputs.add(*name) : nullptr; };
    support::OutputFile* const pooled_file = add(settings.output);
    support::OutputFile* const plan_file = add(settings.plan);
    support::OutputFile* const report_file = add(settings.report);

    // All is checked; here the work begins.
    const pool::Results<Scalar> results = pool_bags(settings, inputs.bags(), inputs.offsets, pool_bag);

    // Before the first temporary file exists, as whoever reads stdout may end this program with a closed pipe.
    if (pooled_file == nullptr) {
        pool::print_pooled(std::cout, results.pooled, isatty(STDOUT_FILENO) == 1);
        if (!std::cout.flush()) {
            throw support::FileError("stdout", "output", "an error while writing", "an open stdout");
        }
    }
    if (pooled_file != nullptr) support::write_npy(pooled_file->stream(), results.pooled);
    if (plan_file != nullptr) support::write_npy(plan_file->stream(), results.plan);
    if (report_file != nullptr) report_file->stream() << pool::report(settings, results).dump(2) << "\n";
    outputs.commit();
    pool::print_warnings(settings, results);
    return results.missed(settings) > 0 ? exit_not_converged : 0;
}

int run(const pool::Settings& settings) {
    support::NpyFile input(settings.input);
    if (settings.dtype.value_or(computed_in(input.dtype())) == support::Dtype::float32) return run<float>(settings, input);
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

}  // namespace

int main(int argc, char** argv) {
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
    } catch (const std::exception& error) {
        return fail(error.what(), exit_failure);
    }
}
