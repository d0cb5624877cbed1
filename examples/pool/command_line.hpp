#pragma once

#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <system_error>

#include "arrays.hpp"
#include "checks.hpp"
#include "help.hpp"
#include "memory.hpp"
#include "names.hpp"
#include "options.hpp"
#include "settings.hpp"

namespace pool {

/// The command line of `pool`: declares the options and parses them.
class CommandLine {
public:
    CommandLine() {
        declare_inputs();
        declare_pooling();
        declare_slots();
        declare_solver();
        declare_outputs();
        options_.footer(help_footer);
    }

    /// Empty if the user asked for help, which is then printed. Throws UsageError.
    std::optional<Settings> parse(int argc, char** argv) {
        if (!options_.parse(argc, argv)) return {};
        check_inputs(options_);
        check_pooling(options_, settings_);
        check_slots(options_, settings_);
        choose_solver(options_, given_, settings_);
        return settings_;
    }

private:
    using Range = Options::Range;
    static constexpr double infinity = std::numeric_limits<double>::infinity();
    static constexpr Range alpha = {0, infinity, "0 to inf"};
    static constexpr Range count = {1, std::numeric_limits<int>::max(), "1 to 2147483647"};
    static constexpr Range positive = {std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::max(),
                                       "finite and above 0"};
    static constexpr Range finite = {std::numeric_limits<double>::lowest(), std::numeric_limits<double>::max(),
                                     "finite numbers"};

    void declare_inputs() {
        options_.group("Input");
        options_.option("--input", "X.npy",
                        "instances of all bags, one per row: (sum N, D); or a folder with one file a bag: (N, D) each; "
                        "required",
                        [this](const std::string& text) { settings_.input = text; });
        options_.file("--ptr", settings_.ptr,
                      "bag b is rows ptr[b] to ptr[b+1] - 1: (B + 1), integers; default: --batch, else one bag");
        options_.file("--batch", settings_.batch,
                      "index of every instance's bag: (sum N), integers that do not decrease; default: --ptr");
        options_.choice("--empty", settings_.empty, empty_names,
                        "a bag without instances becomes zeros; default: error");
        options_.file(
            "--reward", settings_.reward,
            "uot, max, softmax: reward of each entry of X: (sum N, D); default: X itself; with slots, of each "
            "instance and slot: (sum N, K); default: by --cost");
        options_.file("--p0", settings_.p0,
                      "uot: prior of features (D) or slots (K), above 0, divided by its sum; default: uniform");
        options_.file(
            "--q0", settings_.q0,
            "uot, attention: instance prior: (sum N), divided by its sum in each bag; 0 excludes an instance; "
            "default: uniform");
        options_.file("--scores", settings_.scores,
                      "attention: (sum N); q0 is their softmax in each bag; -inf excludes an instance; default: none, "
                      "then --q0 is required");
    }

    void declare_pooling() {
        options_.group("Pooling");
        options_.choice("--pooling", settings_.pooling, pooling_names,
                        "mixed is w mean + (1 - w) max, lse is t log mean exp(x/t); default: uot");
        options_.number("--temperature", settings_.temperature, alpha,
                        "softmax, lse: t, 0 to inf; 0 is the max, inf the mean; default: 1");
        options_.number("--weight", settings_.weight, {0, 1, "0 to 1"}, "mixed: w, 0 to 1; default: 0.5");
        options_.number("--alpha0", settings_.alpha0, alpha, "uot: strength of the regulariser, 0 to inf; default: 1");
        options_.number("--alpha1", settings_.alpha1, alpha,
                        "uot: how strongly the marginal of features or slots is held to p0, 0 to inf; default: inf");
        options_.number("--alpha2", settings_.alpha2, alpha,
                        "uot: how strongly the instance marginal is held to q0, 0 to inf; default: 0");
        options_.choice("--regularizer", settings_.regularizer, regularizer_names, "uot; default: entropy");
        options_.choice("--readout", settings_.readout, readout_names,
                        "uot: y_d = sum_n P_dn x_dn / sum_n P_dn, or D sum_n P_dn x_dn; slots: y_k = sum_n P_kn x_n / "
                        "sum_n P_kn, or K sum_n P_kn x_n, and both of x_n - w_k; default: conditional");
        options_.choice("--dtype", settings_.dtype, dtype_names,
                        "type of the numbers in problem and outputs; default: as in X");
    }

    void declare_slots() {
        SlotSettings& slots = settings_.slots;
        options_.group("Slots");
        options_.option("--slots", "K|W.npy",
                        "pool into K slots; or a file of their prototypes w_k: (K, D); default: no slots",
                        [this](const std::string& text) { set_slots(text); });
        options_.choice("--system", slots.system, system_names,
                        "the parameters of a published pooling, which options that are given replace; salad needs "
                        "--dustbin, otsurv --partial; default: none");
        options_.choice("--cost", slots.cost, cost_names,
                        "reward of slot k and instance x: -||w_k - x||^2, <w_k, x>, -||w_k - x|| / m or "
                        "-||w_k - x||^2 / m, where m is the largest in the bag; default: sqdist");
        options_.number("--dustbin", slots.dustbin, finite,
                        "a further slot with this reward takes (N - K)/N of the mass and is dropped; default: none");
        options_.number(
            "--partial", slots.partial, {1e-9, 1, "1e-9 to 1"},
            "the mass that the slots get, 1e-9 to 1; a further slot takes the rest and is dropped; default: 1");
        options_.flag("--unit", "divide instances and prototypes by their lengths first; default: do not",
                      [&slots] { slots.unit = true; });
        options_.choice("--prototypes", slots.prototypes, prototypes_names,
                        "where K prototypes come from: k-means of the instances, or a sample of them; default: kmeans");
        options_.integer("--seed", slots.seed, {0, std::numeric_limits<int>::max(), "0 to 2147483647"}, "S",
                         "of the random numbers for the prototypes; default: 1");
        options_.file("--save-prototypes", slots.save, "the prototypes: (K, D), for --slots; default: none");
    }

    void declare_solver() {
        options_.group("Solver");
        options_.choice("--solver", given_.solver, solver_names,
                        "default: the system's, or automatic, which goes on to the next solver where one does not "
                        "converge");
        options_.integer("--iterations", given_.options.iterations, count, "K",
                         "exactly K iterations, whatever the residual; default: until the tolerance is reached");
        options_.number("--tolerance", given_.options.tolerance, positive,
                        "largest residual that counts as converged; default: 1e-8, 1e-6 for float");
        options_.integer(
            "--max-iterations", given_.options.max_iterations, count, "M",
            "stop after M iterations at the latest; default: 200 for newton, 10000 for the others that are "
            "named");
        options_.number("--rho", given_.rho, positive,
                        "badmm: its penalty; default: 0.1 sd(reward) + alpha0; for quadratic it depends on the plan");
        options_.flag("--iterate", "iterate even if there is a closed form; default: do not",
                      [this] { given_.options.closed_forms = false; });
        options_.integer("--threads", settings_.threads, {0, 1024, "0 to 1024"}, "n",
                         "number of threads; 0: one per processor; the results have the same bits; default: 1");
        options_.option(
            "--memory", "SIZE",
            "bags that take more than this are read again in every pass over them: 16M or more, such as 2G; "
            "default: half of the free memory",
            [this](const std::string& text) { settings_.memory = parse_memory("--memory", text); });
        options_.file("--checkpoint", settings_.checkpoint,
                      "one bag, by sinkhorn: the state of its solve; a run that finds the file goes on from there, and "
                      "removes it when the bag has converged; default: none");
        options_.integer("--checkpoint-seconds", settings_.checkpoint_seconds, {0, 1000000, "0 to 1000000"}, "s",
                         "how often it is written; 0: after every iteration; default: 60");
    }

    void declare_outputs() {
        options_.group("Output");
        options_.file("--output", settings_.output,
                      "the pooled bags: (B, D), of slots (B, K, D); default: text on stdout, one line per bag and slot "
                      "(shortened on a terminal)");
        options_.file("--plan", settings_.plan, "the plans: (sum N, D), of slots (sum N, K); default: none");
        options_.file("--weights", settings_.weights,
                      "a weight for each instance, the sum of its row in the plan: (sum N); default: none");
        options_.file("--heatmap", settings_.heatmap,
                      "draws the weights of one slide's patches at their places; default: none", "FILE.png");
        options_.file(
            "--coords", settings_.coords,
            "heatmap: x and y of every patch's top left corner: (N, 2); default: the dataset coords beside X");
        options_.file("--report", settings_.report,
                      "JSON; `bags` is a list of {file (of a folder), instances, status, iterations, residual, mass, "
                      "log_mass, slot_masses (of slots)}; default: none",
                      "FILE.json");
        options_.flag("--force", "write an output even over an input; default: refuse",
                      [this] { settings_.force = true; });
        options_.version("otpool " + std::to_string(otpool::version_major) + "." +
                         std::to_string(otpool::version_minor) + "." + std::to_string(otpool::version_patch));
    }

    /// A number or the name of a file.
    void set_slots(const std::string& text) {
        SlotSettings& slots = settings_.slots;
        const std::string allowed = "1 to 2147483647, or a file of prototypes";
        slots.count.reset();
        slots.file.reset();
        std::error_code error;
        const bool is_number = text.find_first_not_of("0123456789") == std::string::npos;
        if (!is_number && std::filesystem::exists(ArrayPlace(text).file, error)) {
            slots.file = text;
        } else {
            slots.count = Options::whole_number("--slots", text, {count.low, count.high, allowed.c_str()});
        }
    }

    Options options_{
        "Pools each bag of instances into one vector, or into one for each slot, by unbalanced optimal transport."};
    Settings settings_;
    GivenSolver given_;
};

}  // namespace pool
