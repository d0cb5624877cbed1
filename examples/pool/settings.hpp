#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>

#include <otpool/otpool.hpp>

#include <otpool/adapter/dtype.hpp>
#include "any_solver.hpp"

namespace pool {

enum class PoolingName { uot, mean, max, min, sum, softmax, lse, attention, mixed };
enum class RegularizerName { entropy, relative_entropy, quadratic };
enum class ReadoutName { conditional, joint, residual, joint_residual };
enum class EmptyBags { error, zeros };
enum class SystemName { otke, salad, otsurv, motcat, netvlad, slot_attention, lot };
enum class CostName { sqdist, dot, reldist, relsqdist };
enum class PrototypesName { kmeans, sample };

using File = std::optional<std::filesystem::path>;

/// The options of a pooling to slots. What is not given is the system's, if there is one, or the library's default.
struct SlotSettings {
    std::optional<int> count;  ///< K, if --slots gives a number.
    File file;                 ///< The prototypes, if it gives a file.
    std::optional<SystemName> system;
    std::optional<CostName> cost;
    std::optional<double> dustbin;  ///< Its reward.
    std::optional<double> partial;  ///< The mass that the slots get.
    bool unit = false;              ///< Whether instances and prototypes become unit vectors.

    PrototypesName prototypes = PrototypesName::kmeans;  ///< Where K prototypes come from.
    int seed = 1;
    File save;  ///< Where prototypes are written.

    bool wanted() const { return count || file || system; }
};

/// The command line, checked as far as possible without reading a file.
struct Settings {
    std::filesystem::path input;
    File ptr, batch, reward, p0, q0, scores, coords;
    EmptyBags empty = EmptyBags::error;
    File output, plan, weights, heatmap, report;
    bool force = false;  ///< Whether an output may replace an input.

    PoolingName pooling = PoolingName::uot;
    double temperature = 1;
    double weight = 0.5;
    std::optional<double> alpha0, alpha1, alpha2;
    RegularizerName regularizer = RegularizerName::entropy;
    std::optional<ReadoutName> readout;
    SlotSettings slots;

    // What follows from all of these:
    AnySolver solver;
    bool reads_mass = false;  ///< Whether the pooled vectors grow with the plan's mass.

    std::optional<otpool::Dtype> dtype = {};  ///< Left empty: the input's.
    int threads = 1;                          ///< 0: one per processor.
    std::optional<std::int64_t> memory = {};  ///< In bytes; left empty: half of what is free.

    File checkpoint;              ///< Where the state of a bag that is being pooled is kept,
    int checkpoint_seconds = 60;  ///< and how often.

    bool wants_weights() const { return weights || heatmap; }
};

/// An option with a value that is not allowed: "--weight: found 2, allowed 0 to 1".
struct UsageError : otpool::Error {
    UsageError(const std::string& option, const std::string& found, const std::string& allowed)
        : otpool::Error(option + ": found " + found + ", allowed " + allowed) {}
};

}  // namespace pool
