#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "help.hpp"
#include "names.hpp"
#include "settings.hpp"

namespace pool {

/// The options of `pool`: declares them, parses them and checks that they go together.
class CommandLine {
public:
    CommandLine() {
        app_.get_formatter()->column_width(22);
        app_.allow_extras();  // they are refused in parse(), by name
        declare_inputs();
        declare_pooling();
        declare_solver();
        declare_outputs();
        app_.footer(help_footer);
    }

    /// Empty if the user asked for help, which is then printed. Throws UsageError.
    std::optional<Settings> parse(int argc, char** argv) {
        try {
            app_.parse(argc, argv);
        } catch (const CLI::Success& help) {
            app_.exit(help);
            return {};
        } catch (const CLI::ArgumentMismatch& error) {
            const std::string option = error.what();
            throw UsageError(option.substr(0, option.find(':')), "no value or several", "one value");
        } catch (const CLI::ParseError& error) {
            throw UsageError("command line", error.what(), "what --help shows");
        }
        for (const std::string& extra : app_.remaining()) {
            throw UsageError(extra, "an unknown option", "the options that --help shows");
        }
        if (!given("--input")) throw UsageError("--input", "none", "a .npy or .npz file, or a folder of them");
        if (given("--ptr") && given("--batch")) throw UsageError("--batch", "with --ptr", "one of the two");
        check_pooling();
        check_iterations();
        choose_solver();
        return settings_;
    }

private:
    static constexpr double infinity = std::numeric_limits<double>::infinity();
    void declare_inputs() {
        const std::string group = "Input";
        option("--input", "X.npy", group,
               "instances of all bags, one per row: (sum N, D); or a folder with one file a bag: (N, D) each; required",
               [this](const std::string& text) { settings_.input = text; });
        file("--ptr", settings_.ptr, group,
             "bag b is rows ptr[b] to ptr[b+1] - 1: (B + 1), integers; default: --batch, else one bag");
        file("--batch", settings_.batch, group,
             "index of every instance's bag: (sum N), integers that do not decrease; default: --ptr");
        choice("--empty", settings_.empty, empty_names, group, "a bag without instances becomes zeros; default: error");
        file("--reward", settings_.reward, group,
             "uot, max, softmax: reward of each entry of X: (sum N, D); default: X itself");
        file("--p0", settings_.p0, group, "uot: feature prior: (D), above 0, divided by its sum; default: uniform");
        file(
            "--q0", settings_.q0, group,
            "uot, attention: instance prior: (sum N), divided by its sum in each bag; 0 excludes an instance; default: "
            "uniform");
        file("--scores", settings_.scores, group,
             "attention: (sum N); q0 is their softmax in each bag; -inf excludes an instance; default: none, then --q0 "
             "is "
             "required");
    }

    void declare_pooling() {
        const std::string group = "Pooling";
        choice("--pooling", settings_.pooling, pooling_names, group,
               "mixed is w mean + (1 - w) max, lse is t log mean exp(x/t); default: uot");
        number("--temperature", settings_.temperature, {0, infinity, "0 to inf"}, group,
               "softmax, lse: t, 0 to inf; 0 is the max, inf the mean; default: 1");
        number("--weight", settings_.weight, {0, 1, "0 to 1"}, group, "mixed: w, 0 to 1; default: 0.5");
        const Range alpha{0, infinity, "0 to inf"};
        number("--alpha0", settings_.alpha0, alpha, group, "uot: strength of the regulariser, 0 to inf; default: 1");
        number("--alpha1", settings_.alpha1, alpha, group,
               "uot: how strongly the feature marginal is held to p0, 0 to inf; default: inf");
        number("--alpha2", settings_.alpha2, alpha, group,
               "uot: how strongly the instance marginal is held to q0, 0 to inf; default: 0");
        choice("--regularizer", settings_.regularizer, regularizer_names, group, "uot; default: entropy");
        choice("--readout", settings_.readout, readout_names, group,
               "uot: y_d = sum_n P_dn x_dn / sum_n P_dn, or D sum_n P_dn x_dn; default: conditional");
        choice("--dtype", settings_.dtype, dtype_names, group,
               "type of the numbers in problem and outputs; default: as in X");
    }

    void declare_solver() {
        const std::string group = "Solver";
        choice("--solver", solver_, solver_names, group,
               "default: automatic, which goes on to the next solver where one does not converge");
        const Range count{1, std::numeric_limits<int>::max(), "1 to 2147483647"};
        integer("--iterations", settings_.options.iterations, count, "K", group,
                "exactly K iterations, whatever the residual; default: until the tolerance is reached");
        number("--tolerance", settings_.options.tolerance,
               {std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::max(), "finite and above 0"},
               group, "largest residual that counts as converged; default: 1e-8, 1e-6 for float");
        integer("--max-iterations", settings_.options.max_iterations, count, "M", group,
                "stop after M iterations at the latest; default: 200 for newton, 10000 for the others that are named");
        number("--rho", settings_.rho,
               {std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::max(), "finite and above 0"},
               group, "badmm: its penalty; default: 0.1 sd(reward) + alpha0; for quadratic it depends on the plan");
        app_.add_flag_callback(
                "--iterate", [this] { settings_.options.closed_forms = false; },
                "iterate even if there is a closed form; default: do not")
            ->group(group);
        integer("--threads", settings_.threads, {0, 1024, "0 to 1024"}, "n", group,
                "number of threads; 0: one per processor; the results have the same bits; default: 1");
    }

    void declare_outputs() {
        const std::string group = "Output";
        file("--output", settings_.output, group,
             "the pooled bags: (B, D); default: text on stdout, one line per bag (shortened on a terminal)");
        file("--plan", settings_.plan, group, "the plans: (sum N, D); default: none");
        file("--weights", settings_.weights, group,
             "a weight for each instance, the sum of its row in the plan: (sum N); default: none");
        file("--report", settings_.report, group,
             "JSON; `bags` is a list of {file (of a folder), instances, status, iterations, residual, mass, log_mass}; "
             "default: none");
        app_.add_flag("--force", settings_.force, "write an output even over an input; default: refuse")->group(group);
        app_.set_version_flag("--version", "otpool " + std::to_string(otpool::version_major) + "." +
                                               std::to_string(otpool::version_minor) + "." +
                                               std::to_string(otpool::version_patch));
    }

    struct Range {
        double low, high;
        const char* allowed;
    };

    template <class Store>
    void option(const std::string& name, const std::string& type, const std::string& group, const std::string& meaning,
                Store store) {
        options_[name] = app_.add_option_function<std::string>(name, store, meaning)->type_name(type)->group(group);
    }

    void file(const std::string& name, Settings::File& target, const std::string& group, const std::string& meaning) {
        option(name, name == "--report" ? "FILE.json" : "FILE.npy", group, meaning,
               [&target](const std::string& text) { target = text; });
    }

    template <class Target, class Value>
    void choice(const std::string& name, Target& target, const Names<Value>& names, const std::string& group,
                const std::string& meaning) {
        std::vector<std::string> words;
        for (const auto& [value, word] : names) words.push_back(word);
        option(name, "NAME", group, listed(words) + "; " + meaning,
               [name, words, &names, &target](const std::string& text) {
                   for (const auto& [value, word] : names) {
                       if (word == text) {
                           target = value;
                           return;
                       }
                   }
                   throw UsageError(name, "'" + text + "'", listed(words));
               });
    }

    template <class Target>
    void number(const std::string& name, Target& target, const Range& range, const std::string& group,
                const std::string& meaning) {
        option(name, "NUMBER", group, meaning, [name, range, &target](const std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            const bool overflown = std::isinf(value) && text.find_first_of("0123456789") != std::string::npos;
            if (text.empty() || *end != '\0' || overflown || !(value >= range.low && value <= range.high)) {
                throw UsageError(name, "'" + text + "'", range.allowed);
            }
            target = value;
        });
    }

    template <class Target>
    void integer(const std::string& name, Target& target, const Range& range, const std::string& type,
                 const std::string& group, const std::string& meaning) {
        option(name, type, group, meaning, [name, range, &target](const std::string& text) {
            int value = 0;
            const char* const end = text.data() + text.size();
            const auto parsed = std::from_chars(text.data(), end, value);
            if (parsed.ec != std::errc() || parsed.ptr != end || value < range.low || value > range.high) {
                throw UsageError(name, "'" + text + "'", range.allowed);
            }
            target = value;
        });
    }

    /// (CLI11's own look-up by name ends the program where it finds no memory.)
    bool given(const std::string& name) const { return options_.at(name)->count() > 0; }

    /// Refuses options that the pooling does not take, and requires those that it needs.
    void check_pooling() const {
        using enum PoolingName;
        const std::vector<std::pair<std::string, std::vector<PoolingName>>> takers = {{"--reward", {uot, max, softmax}},
                                                                                      {"--p0", {uot}},
                                                                                      {"--q0", {uot, attention}},
                                                                                      {"--scores", {attention}},
                                                                                      {"--temperature", {softmax, lse}},
                                                                                      {"--weight", {mixed}},
                                                                                      {"--alpha0", {uot}},
                                                                                      {"--alpha1", {uot}},
                                                                                      {"--alpha2", {uot}},
                                                                                      {"--regularizer", {uot}},
                                                                                      {"--readout", {uot}}};
        const std::string& pooling = name_of(pooling_names, settings_.pooling);
        for (const auto& [option, poolings] : takers) {
            if (!given(option) || std::count(poolings.begin(), poolings.end(), settings_.pooling) > 0) continue;
            std::vector<std::string> words;
            for (const PoolingName name : poolings) words.push_back(name_of(pooling_names, name));
            throw UsageError(option, "with --pooling " + pooling, "only with --pooling " + listed(words));
        }
        if (settings_.pooling != attention) return;
        if (given("--scores") && given("--q0")) throw UsageError("--q0", "with --scores", "one of the two");
        if (!given("--scores") && !given("--q0")) {
            throw UsageError("--scores", "none with --pooling attention", "--scores or --q0");
        }
    }

    void check_iterations() const {
        for (const std::string option : {"--tolerance", "--max-iterations"}) {
            if (given(option) && given("--iterations")) {
                throw UsageError(option, "with --iterations", "one of the two");
            }
        }
    }

    /// Takes the named solver if it can solve the problem, else refuses. If none is named: the one that chooses.
    void choose_solver() {
        settings_.solver = solver_.value_or(SolverName::automatic);
        const Settings& s = settings_;
        const std::string named = name_of(solver_names, s.solver);
        const std::string with_named = " with --solver " + named;
        const bool quadratic = s.regularizer == RegularizerName::quadratic;
        const bool free_side = s.pooling != PoolingName::uot || s.alpha1 == 0 || s.alpha2 == 0;
        const bool no_closed_form = !s.options.closed_forms || !free_side;
        const bool is_limit = effective_alpha0(s) == 0;
        if (quadratic && s.solver == SolverName::sinkhorn) {
            throw UsageError("--solver", named, "automatic, newton or badmm with --regularizer quadratic");
        }
        if (is_limit && no_closed_form && (s.solver == SolverName::sinkhorn || s.solver == SolverName::newton)) {
            const std::string allowed = "above 0" + with_named + ", or --solver automatic";
            if (given("--alpha0")) throw UsageError("--alpha0", "0 and no closed form", allowed);
            if (given("--temperature")) throw UsageError("--temperature", "0 with --iterate", allowed);
            throw UsageError("--solver", named,
                             "automatic with --iterate --pooling " + name_of(pooling_names, s.pooling));
        }
        if (s.solver == SolverName::active_set) {
            if (!is_limit) throw UsageError("--solver", named, "active-set only where alpha0 is 0");
            if (s.options.iterations)
                throw UsageError("--iterations", "given" + with_named, "--max-iterations instead");
        }
        if (s.rho && s.solver != SolverName::badmm) {
            throw UsageError("--rho", "with the solver " + named, "only with --solver badmm");
        }
#ifndef POOL_HAS_TBB
        if (s.threads != 1) {
            throw UsageError("--threads", std::to_string(s.threads),
                             "1, for this program was built without TBB (Debian: libtbb-dev)");
        }
#endif
    }

    CLI::App app_{"Pools each bag of instances into one vector, by unbalanced optimal transport.", "pool"};
    std::map<std::string, const CLI::Option*> options_;
    Settings settings_;
    std::optional<SolverName> solver_;
};

}  // namespace pool
