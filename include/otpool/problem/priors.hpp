// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <limits>
#include <numeric>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// Logarithms of a problem's priors, over the features and the active instances (those of prior > 0).
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
        const bool all = problem.instances.prior.size() == 0;
        active.resize(static_cast<std::size_t>(log_q.size()));
        std::iota(active.begin(), active.end(), Index{0});
        if (!all) leave_out_excluded();
    }

private:
    void leave_out_excluded() {
        active.clear();
        for (Index n = 0; n < log_q.size(); ++n) {
            if (log_q[n] == -std::numeric_limits<Real>::infinity()) continue;
            log_q[static_cast<Index>(active.size())] = log_q[n];
            active.push_back(n);
        }
        log_q.resize(static_cast<Index>(active.size()));
    }
};

}  // namespace otpool::detail
