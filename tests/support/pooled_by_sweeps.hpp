#pragma once

#include <optional>

#include "otpool/solver/admm/admm_pooling.hpp"

namespace tests {

/// detail::pool_by_sweeps() in a workspace of its own.
template <otpool::BagScalar Scalar, otpool::EntropicRegularizer R>
std::optional<otpool::RealVector> pooled_by_sweeps(const otpool::UotProblem<Scalar, R>& problem, double rho,
                                                   int steps) {
    otpool::Workspace workspace;
    otpool::RealVector mean;
    const otpool::detail::Inspection inspected(problem);
    if (!otpool::detail::pool_by_sweeps<Scalar>(inspected, rho, steps, {}, workspace, mean)) return {};
    return mean;
}

}  // namespace tests
