// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "otpool/core/buffer.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// Some instances, and the logarithms of their priors.
using LogPriors = std::vector<std::pair<Index, Real>>;

/// Logarithms of a problem's priors over the features and the active instances (those of prior > 0).
struct Priors {
    RealVector log_p;
    Buffer<Real> log_q;
    std::vector<Index> active;
    /// Instances that are left out though their prior is > 0, and its logarithm: no feature may draw on them.
    LogPriors forbidden;
    /// The sum that a prior keeps if one of its entries changes; 0 if its other entries stay.
    Real kept_sum_of_p = 1, kept_sum_of_q = 1;

    Priors() = default;
    template <class Scalar, class R>
    explicit Priors(const UotProblem<Scalar, R>& problem) {
        set(problem);
    }

    template <class Scalar, class R>
    void set(const UotProblem<Scalar, R>& problem) {
        const Real mass = prior_mass(problem.features);
        const bool both_hard = alphas_of(problem.features).all_hard() && alphas_of(problem.instances).all_hard();
        const Real mass_of_q = both_hard ? mass : prior_mass(problem.instances);
        set_log_prior(problem.features.prior, problem.reward.rows(), mass, log_p);
        set_log_prior(problem.instances.prior, problem.reward.cols(), mass_of_q, log_q);
        kept_sum_of_p = both_hard || !problem.features.has_masses ? mass : 0;
        kept_sum_of_q = both_hard || !problem.instances.has_masses ? mass_of_q : 0;
        active.resize(static_cast<std::size_t>(log_q.size()));
        std::iota(active.begin(), active.end(), Index{0});
        forbidden.clear();
        if (problem.instances.prior.size() == 0) return;
        keep([&](Index n) { return problem.instances.prior[n] > 0; });
    }

    /// Leaves out the active instances n that do not fulfil keeps(n).
    void keep(const auto& keeps) {
        std::size_t kept = 0;
        for (std::size_t k = 0; k < active.size(); ++k) {
            const Index n = active[k];
            const Real log_prior = log_q[static_cast<Index>(k)];
            if (keeps(n)) {
                log_q[static_cast<Index>(kept)] = log_prior;
                active[kept++] = n;
            } else if (std::isfinite(log_prior)) {
                forbidden.emplace_back(n, log_prior);
            }
        }
        active.resize(kept);
        log_q.resize(static_cast<Index>(kept));
    }
};

}  // namespace otpool::detail
