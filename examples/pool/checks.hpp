#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <otpool/otpool.hpp>

#include "any_solver.hpp"
#include "names.hpp"
#include "options.hpp"
#include "settings.hpp"
#include "slot_systems.hpp"

// Whether options go together, as far as that can be seen without reading a file. All of this throws UsageError.

namespace pool {

/// What the user says of the solver.
struct GivenSolver {
    std::optional<SolverName> solver;
    otpool::Options options = {};
    std::optional<double> rho = {};
};

inline void check_inputs(const Options& options) {
    if (!options.given("--input")) throw UsageError("--input", "none", "a .npy, .npz or .h5 file, or a folder of them");
    const std::vector<std::pair<std::string, std::string>> one_of_two = {{"--batch", "--ptr"},
                                                                         {"--tolerance", "--iterations"},
                                                                         {"--max-iterations", "--iterations"},
                                                                         {"--q0", "--scores"},
                                                                         {"--partial", "--dustbin"},
                                                                         {"--cost", "--reward"},
                                                                         {"--checkpoint", "--iterations"}};
    for (const auto& [one, other] : one_of_two) {
        if (options.given(one) && options.given(other)) throw UsageError(one, "with " + other, "one of the two");
    }
    if (options.given("--checkpoint-seconds") && !options.given("--checkpoint")) {
        throw UsageError("--checkpoint-seconds", "without --checkpoint", "only with --checkpoint");
    }
    if (options.given("--coords") && !options.given("--heatmap")) {
        throw UsageError("--coords", "without --heatmap", "only with --heatmap");
    }
#ifndef POOL_HAS_CAIRO
    if (options.given("--heatmap")) {
        throw UsageError("--heatmap", "given",
                         "none, for this program was built without cairo (Debian: libcairo2-dev)");
    }
#endif
}

/// Refuses options that the pooling does not take, and requires those that it needs.
inline void check_pooling(const Options& options, const Settings& settings) {
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
                                                                                  {"--readout", {uot}},
                                                                                  {"--slots", {uot}},
                                                                                  {"--system", {uot}}};
    for (const auto& [option, poolings] : takers) {
        if (!options.given(option) || std::count(poolings.begin(), poolings.end(), settings.pooling) > 0) continue;
        std::vector<std::string> words;
        for (const PoolingName name : poolings) words.push_back(name_of(pooling_names, name));
        throw UsageError(option, "with --pooling " + name_of(pooling_names, settings.pooling),
                         "only with --pooling " + listed(words));
    }
    if (settings.pooling == attention && !options.given("--scores") && !options.given("--q0")) {
        throw UsageError("--scores", "none with --pooling attention", "--scores or --q0");
    }
}

namespace detail {

/// Refuses the options of slots where there are none.
inline void check_no_slots(const Options& options, const Settings& settings) {
    for (const std::string option :
         {"--cost", "--dustbin", "--partial", "--unit", "--prototypes", "--seed", "--save-prototypes"}) {
        if (options.given(option)) throw UsageError(option, "without slots", "only with --slots or --system");
    }
    const ReadoutName readout = settings.readout.value_or(ReadoutName::conditional);
    if (readout == ReadoutName::residual || readout == ReadoutName::joint_residual) {
        throw UsageError("--readout", name_of(readout_names, readout) + " without slots", "conditional or joint");
    }
}

/// Refuses prototypes that nothing would read, and asks for those that are needed.
inline void check_prototypes(const Options& options, const Settings& settings, bool needs_centres) {
    const SlotSettings& slots = settings.slots;
    const bool are_made = slots.count && !settings.reward;
    for (const std::string option : {"--prototypes", "--seed", "--save-prototypes"}) {
        if (!options.given(option) || are_made) continue;
        throw UsageError(option, settings.reward ? "with --reward" : "with prototypes from a file",
                         "only with --slots K, which makes prototypes");
    }
    if (!settings.reward) return;
    if (needs_centres && !slots.file) {
        throw UsageError("--slots", "no file, with --reward and a readout that subtracts prototypes",
                         "a file of prototypes");
    }
    if (!needs_centres && slots.file) {
        throw UsageError("--slots", "a file with --reward, which needs no prototypes", "a number, or no --reward");
    }
}

}  // namespace detail

/// Refuses options of slots that do not go together, and says what the readout reads.
inline void check_slots(const Options& options, Settings& settings) {
    const SlotSettings& slots = settings.slots;
    settings.reads_mass = settings.readout == ReadoutName::joint;
    if (!slots.wanted()) return detail::check_no_slots(options, settings);
    if (slots.system) {
        const std::string with_system = "none with --system " + name_of(system_names, *slots.system);
        if (!slots.count && !slots.file && !settings.reward) {
            throw UsageError("--slots", with_system, "a number of slots, a file of prototypes, or --reward");
        }
        if (*slots.system == SystemName::salad && !slots.dustbin) {
            throw UsageError("--dustbin", with_system, "the dustbin's reward");
        }
        if (*slots.system == SystemName::otsurv && !slots.partial) {
            throw UsageError("--partial", with_system, "the mass that the slots get");
        }
    }
    const otpool::RealMatrix any_prototype = otpool::RealMatrix::Zero(1, 1);
    const AnyReadout readout = slot_pooling(settings, any_prototype).readout;
    detail::check_prototypes(options, settings, needs_centres(readout));
    settings.reads_mass = reads_mass(readout);
}

namespace detail {

/// What a solver must know of a problem.
struct ProblemKind {
    bool quadratic = false;
    bool is_limit = false;     ///< alpha0 = 0
    bool closed_form = false;  ///< Whether there is one, and it may be used.
    AnySolver usual = {};      ///< The solver if none is named.

    ProblemKind(const Settings& settings, bool closed_forms)
        : quadratic(settings.regularizer == RegularizerName::quadratic) {
        double alpha0 = std::numeric_limits<double>::infinity();
        bool free_side = true;
        if (settings.slots.wanted()) {
            const otpool::RealMatrix any_prototype = otpool::RealMatrix::Zero(1, 1);
            const auto pooling = slot_pooling(settings, any_prototype);
            const bool free_slots = pooling.parameters.features.alpha == 0 && pooling.dummy.dummy.index() == 0;
            alpha0 = pooling.parameters.alpha0;
            free_side = free_slots || pooling.parameters.instances.alpha == 0;
            usual = pooling.solver;
        } else if (settings.pooling == PoolingName::uot) {
            const auto of = parameters<double>(settings);
            alpha0 = of.alpha0;
            free_side = of.features.alpha == 0 || of.instances.alpha == 0;
        } else {
            alpha0 = alpha0_of(settings);
        }
        is_limit = alpha0 == 0;
        closed_form = closed_forms && free_side;
    }

    bool fits(SolverName solver) const {
        const bool scaling = solver == SolverName::sinkhorn || solver == SolverName::newton;
        if (solver == SolverName::sinkhorn && quadratic) return false;
        return !(scaling && is_limit && !closed_form) && !(solver == SolverName::active_set && !is_limit);
    }

private:
    /// alpha0 of a pooling that has a name, whatever that pooling calls it.
    static double alpha0_of(const Settings& settings) {
        switch (settings.pooling) {
            case PoolingName::softmax:
            case PoolingName::lse: return settings.temperature;
            case PoolingName::max:
            case PoolingName::min:
            case PoolingName::mixed: return 0;
            default: return std::numeric_limits<double>::infinity();
        }
    }
};

/// Refuses a solver that the user names and that does not solve the problem.
inline void check_solver(const Options& options, const GivenSolver& given, const Settings& settings,
                         const ProblemKind& problem) {
    if (!given.solver || problem.fits(*given.solver)) return;
    const std::string named = name_of(solver_names, *given.solver);
    const std::string or_automatic = "above 0 with --solver " + named + ", or --solver automatic";
    if (*given.solver == SolverName::active_set) {
        throw UsageError("--solver", named, "active-set only where alpha0 is 0");
    }
    if (problem.quadratic && *given.solver == SolverName::sinkhorn) {
        throw UsageError("--solver", named, "automatic, newton or badmm with --regularizer quadratic");
    }
    if (options.given("--alpha0")) throw UsageError("--alpha0", "0 and no closed form", or_automatic);
    if (options.given("--temperature")) throw UsageError("--temperature", "0 with --iterate", or_automatic);
    if (settings.slots.system) {
        throw UsageError(
            "--solver", named,
            "automatic, active-set or badmm with --system " + name_of(system_names, *settings.slots.system));
    }
    throw UsageError("--solver", named,
                     "automatic with --iterate --pooling " + name_of(pooling_names, settings.pooling));
}

}  // namespace detail

/// Takes the named solver. If none is named: the system's, if there is one that solves the problem, else the one that
/// chooses. A system that takes a number of steps gives way where the user wants a tolerance.
inline void choose_solver(const Options& options, const GivenSolver& given, Settings& settings) {
    const detail::ProblemKind problem(settings, given.options.closed_forms);
    detail::check_solver(options, given, settings, problem);
    AnySolver solver = problem.usual;
    const bool to_tolerance = given.options.tolerance || given.options.max_iterations;
    if (!problem.fits(solver.name) || (solver.options.iterations && to_tolerance)) solver = {};
    if (given.solver && *given.solver != solver.name) solver = {.name = *given.solver};
    otpool::Options& of = solver.options;
    if (given.options.iterations) of.iterations = given.options.iterations;
    of.tolerance = given.options.tolerance;
    of.max_iterations = given.options.max_iterations;
    of.closed_forms = given.options.closed_forms;
    solver.rho = given.rho;

    const std::string named = name_of(solver_names, solver.name);
    if (solver.name == SolverName::active_set && of.iterations) {
        throw UsageError("--iterations", "given with --solver " + named, "--max-iterations instead");
    }
    if (solver.rho && solver.name != SolverName::badmm) {
        throw UsageError("--rho", "with the solver " + named, "only with --solver badmm");
    }
#ifndef POOL_HAS_TBB
    if (settings.threads != 1) {
        throw UsageError("--threads", std::to_string(settings.threads),
                         "1, for this program was built without TBB (Debian: libtbb-dev)");
    }
#endif
    settings.solver = solver;
}

}  // namespace pool
