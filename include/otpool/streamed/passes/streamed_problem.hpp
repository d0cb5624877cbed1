// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/streamed/column_blocks.hpp"
#include "otpool/streamed/passes/block_tree.hpp"
#include "otpool/streamed/passes/rank_messages.hpp"
#include "otpool/streamed/passes/streamed_scaling.hpp"

namespace otpool::detail {

/// The columns of a bag that this process has, and how it tells others of its sums: null if it has all columns.
struct OwnColumns {
    ColumnBlocks blocks;
    RankMessages* messages = nullptr;
};

/// The sum of one number for each of all columns, of which this process has its own. The bits depend on the bag alone.
template <class Scalar>
Real sum_of_columns(const Vector<Scalar>& numbers, const OwnColumns& own) {
    const auto join = [](Real& sum, Real next) { sum += next; };
    BlockTree<Real> tree(own.blocks);
    for (Index block = 0; block < own.blocks.count(); ++block) {
        Real sum = 0;
        for (Index k = 0; k < own.blocks.size(block); ++k)
            sum += static_cast<Real>(numbers[own.blocks.first(block) + k]);
        tree.add(0, own.blocks.number(block), own.blocks.size(block), sum, join);
    }
    if (own.messages != nullptr) {
        own.messages->add_up(
            RankMessages::Kind::prior, tree, [](Real sum, Real* to) { *to = sum; },
            [](Real& sum, const Real* from) { sum = *from; }, join);
    }
    return tree.nodes()[0].sums;
}

/// The problem in the form that streams. `q0`: of this process's columns, or empty; takes its memory.
template <class Scalar, EntropicRegularizer R>
StreamedProblem streamed_problem(const UotProblem<Scalar, R>& problem, Vector<Scalar>&& q0, const OwnColumns& own,
                                 bool has_prior) {
    StreamedProblem streamed;
    streamed.alpha0 = Real(problem.alpha0);
    streamed.alpha1 = Real(problem.features.alpha);
    streamed.alpha2 = Real(problem.instances.alpha);
    streamed.prior_weight = R::prior_weight;
    const Real mass = prior_mass(problem.features);
    const bool both_hard = std::isinf(streamed.alpha1) && std::isinf(streamed.alpha2);
    set_log_prior(problem.features.prior, problem.reward.rows(), mass, streamed.log_p);
    if (!has_prior) {
        streamed.uniform_log_q = std::log((both_hard ? mass : 1) / static_cast<Real>(problem.reward.cols()));
        return streamed;
    }
    const Real sum = sum_of_columns(q0, own);
    if (own.messages != nullptr) {
        require_that(std::abs(sum - 1) <= 1e-3, "sum of q0 over all ranks", sum, "1, within 0.001");
    }
    const Real unit = both_hard ? sum / mass : problem.instances.has_masses ? 1 : sum;
    streamed.log_q.resize(q0.size());
    for (Index n = 0; n < q0.size(); ++n) streamed.log_q[n] = std::log(static_cast<Real>(q0[n]) / unit);
    Vector<Scalar>().swap(q0);
    return streamed;
}

}  // namespace otpool::detail
