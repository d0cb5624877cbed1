#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/progress.hpp"
#include "poolings.hpp"

namespace reproduce {

inline constexpr std::array solver_names = {"Sinkhorn", "BregmanAdmm", "Newton"};

/// One pooling by one solver, over all bags.
struct Outcome {
    double error = 0;                    ///< largest |y - y computed directly|, over the bag's spread
    int iterations = 0;                  ///< largest number
    std::map<otpool::Status, int> bags;  ///< how many ended with each status
    std::string refusal;                 ///< why the solver did not take the problem; then all else is empty
    Matrix plan;                         ///< of the first bag
};

/// One pooling: of all bags by every solver, and the first bag's plan computed directly.
struct Comparison {
    PoolingName name;
    Matrix plan = {};
    std::array<Outcome, solver_names.size()> outcomes = {};
    /// Bags with several best plans. These pool differently, but to the same mean, which is the transport's
    /// value and what is compared.
    int ambiguous = 0;
};

namespace detail {

template <class Solver>
void add(Outcome& outcome, PoolingName name, const Input& input, const Vector& expected, bool sums,
         const Solver& solver) {
    try {
        const Pooled found = iterated(name, input, solver);
        const Vector difference = found.vector - expected;
        const double off = sums ? std::abs(difference.mean()) : difference.cwiseAbs().maxCoeff();
        if (!(off / input.spread <= outcome.error)) outcome.error = off / input.spread;  // NaN counts
        outcome.iterations = std::max(outcome.iterations, found.iterations);
        if (outcome.bags.empty()) outcome.plan = found.plan;
        ++outcome.bags[found.status];
    } catch (const otpool::UnsupportedProblem& error) {
        outcome.refusal = error.what();
    }
}

}  // namespace detail

/// Pools every bag in every way, by every solver. `options` says how they iterate.
inline std::vector<Comparison> compare(const otpool::Bags<double>& bags, const otpool::Options& options) {
    std::vector<Comparison> comparisons;
    for (const PoolingName name : pooling_names) comparisons.push_back({name});
    support::ProgressBar progress("pooling", static_cast<std::size_t>(bags.size()) * comparisons.size());
    for (otpool::Index b = 0; b < bags.size(); ++b) {
        const Input input(bags[b].instances.matrix());
        for (Comparison& comparison : comparisons) {
            const PoolingName name = comparison.name;
            const Pooled direct = computed_directly(name, input);
            const bool ambiguous = name == PoolingName::exact_transport && !has_one_best_plan(input.bag);
            auto& [sinkhorn, admm, newton] = comparison.outcomes;
            detail::add(sinkhorn, name, input, direct.vector, ambiguous, otpool::Sinkhorn{options});
            detail::add(admm, name, input, direct.vector, ambiguous, otpool::BregmanAdmm{options});
            detail::add(newton, name, input, direct.vector, ambiguous, otpool::Newton{options});
            if (ambiguous) ++comparison.ambiguous;
            if (b == 0) comparison.plan = direct.plan;
            progress.advance();
        }
    }
    return comparisons;
}

}  // namespace reproduce
