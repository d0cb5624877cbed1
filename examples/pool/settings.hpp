#pragma once

#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

#include <otpool/otpool.hpp>

#include "../support/dtype.hpp"

namespace pool {

enum class PoolingName { uot, mean, max, min, sum, softmax, lse, attention, mixed };
enum class RegularizerName { entropy, relative_entropy, quadratic };
enum class SolverName { automatic, sinkhorn, newton, active_set, badmm };
enum class ReadoutName { conditional, joint };
enum class EmptyBags { error, zeros };

/// The command line, checked as far as possible without reading a file.
struct Settings {
    using File = std::optional<std::filesystem::path>;

    std::filesystem::path input;
    File ptr, batch, reward, p0, q0, scores;
    EmptyBags empty = EmptyBags::error;
    File output, plan, weights, report;
    bool force = false;  ///< Whether an output may replace an input.

    PoolingName pooling = PoolingName::uot;
    double temperature = 1;
    double weight = 0.5;
    double alpha0 = 1;
    double alpha1 = std::numeric_limits<double>::infinity();
    double alpha2 = 0;
    RegularizerName regularizer = RegularizerName::entropy;
    ReadoutName readout = ReadoutName::conditional;

    SolverName solver = SolverName::automatic;
    otpool::Options options = {};
    std::optional<double> rho = {};

    std::optional<support::Dtype> dtype = {};  ///< Left empty: the input's.
    int threads = 1;                           ///< 0: one per processor.
};

/// The problem's alpha0, whatever name the pooling gives it.
inline double effective_alpha0(const Settings& settings) {
    switch (settings.pooling) {
        case PoolingName::uot: return settings.alpha0;
        case PoolingName::softmax:
        case PoolingName::lse: return settings.temperature;
        case PoolingName::max:
        case PoolingName::min:
        case PoolingName::mixed: return 0;
        case PoolingName::mean:
        case PoolingName::sum:
        case PoolingName::attention: break;
    }
    return std::numeric_limits<double>::infinity();
}

/// An option with a value that is not allowed: "--weight: found 2, allowed 0 to 1".
struct UsageError : std::runtime_error {
    UsageError(const std::string& option, const std::string& found, const std::string& allowed)
        : std::runtime_error(option + ": found " + found + ", allowed " + allowed) {}
};

}  // namespace pool
