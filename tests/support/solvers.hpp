#pragma once

#include "otpool/otpool.hpp"

namespace tests {

/// Calls visit(solver, its name) with each of the three solvers.
template <class Visit>
void for_each_solver(const otpool::Options& options, const Visit& visit) {
    visit(otpool::Sinkhorn{options}, "Sinkhorn");
    visit(otpool::BregmanAdmm{options}, "BregmanAdmm");
    visit(otpool::Newton{options}, "Newton");
}

/// The bound on the error of a closed form, relative to the spread of the rewards.
template <class Scalar>
inline constexpr double closed_form_tolerance = sizeof(Scalar) == 8 ? 1e-12 : 3e-6;

}  // namespace tests
