// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// The priors of a problem as logarithms, over the features and over the active instances: those of prior > 0.
struct Priors {
    RealVector log_p;
    Buffer<Real> log_q;
    std::vector<Index> active;

    Priors() = default;
    template <class Scalar, class R>
    explicit Priors(const UotProblem<Scalar, R>& problem) {
        set(problem);
    }

    template <class Scalar, class R>
    void set(const UotProblem<Scalar, R>& problem) {
        set_log_prior(problem.features.prior, problem.reward.rows(), log_p);
        set_log_prior(problem.instances.prior, problem.reward.cols(), log_q);
        if (problem.instances.prior.size() == 0) {
            active.resize(static_cast<std::size_t>(log_q.size()));
            std::iota(active.begin(), active.end(), Index{0});
            return;
        }
        active.clear();
        active.reserve(static_cast<std::size_t>(log_q.size()));
        for (Index n = 0; n < log_q.size(); ++n) {
            if (log_q[n] == -std::numeric_limits<Real>::infinity()) continue;
            log_q[static_cast<Index>(active.size())] = log_q[n];
            active.push_back(n);
        }
        log_q.resize(static_cast<Index>(active.size()));
    }
};

/// The potential of all `size` instances, given that of the k-th active one: the lowest finite number where q0 is zero.
template <BagScalar Scalar, class PotentialOf>
Vector<Scalar> on_all_instances(Index size, const std::vector<Index>& active, const PotentialOf& potential_of) {
    Vector<Scalar> potential = Vector<Scalar>::Constant(size, std::numeric_limits<Scalar>::lowest());
    for (std::size_t k = 0; k < active.size(); ++k) potential[active[k]] = potential_of(static_cast<Index>(k));
    return potential;
}

}  // namespace otpool::detail
