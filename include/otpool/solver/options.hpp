// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <functional>
#include <optional>

#include "otpool/core/error.hpp"

namespace otpool {

/// How long a solver iterates. The first member of every solver: `Sinkhorn{{.iterations = 4}}`.
struct Options {
    /// Exactly this many iterations, at least 1: a layer of K steps. Empty: until the residual is within `tolerance`.
    std::optional<int> iterations = {};
    /// The residual (Solution::residual) that counts as converged, in (0, inf). Empty: 1e-8 for double, 1e-6 for float.
    std::optional<double> tolerance = {};
    /// At most this many iterations, at least 1. Empty: 200 for Newton, 10000 for the other solvers.
    std::optional<int> max_iterations = {};
    /// If there is a closed form (closed_form/), use it instead of iterating.
    bool closed_forms = true;
    /// Keep the residual of every iteration in Solution::history.
    bool history = false;
};

/// Called after every iteration with its number, from 1, and the residual; `true` stops the solver.
using Observer = std::function<bool(int iteration, double residual)>;

namespace detail {

inline void validate(const Options& options) {
    require_that(options.iterations.value_or(1) >= 1, "iterations", options.iterations.value_or(1), "at least 1");
    require_that(options.max_iterations.value_or(1) >= 1, "max_iterations", options.max_iterations.value_or(1),
                 "at least 1");
    const double tolerance = options.tolerance.value_or(1);
    require_that(tolerance > 0 && std::isfinite(tolerance), "tolerance", tolerance, "finite and > 0");
}

}  // namespace detail
}  // namespace otpool
