// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/streamed/any_columns.hpp"
#include "otpool/streamed/column_blocks.hpp"
#include "otpool/streamed/column_source.hpp"
#include "otpool/streamed/common_facts.hpp"
#include "otpool/streamed/passes/rank_messages.hpp"
#include "otpool/streamed/passes/streamed_sums.hpp"
#include "otpool/streamed/rank_errors.hpp"
#include "otpool/streamed/ranks.hpp"
#include "otpool/streamed/stream_options.hpp"
#include "otpool/streamed/streamed.hpp"

namespace otpool {

/// One bag whose instances are spread over several processes. Each has some neighbouring columns, in the order of ranks, in
/// memory or streamed; all pool it together, and get the same pooled vector:
///
///     otpool::MatrixColumns<float> own{matrix};                       // or a file: any ColumnSource, of this rank's columns
///     Eigen::VectorXf y = pool(otpool::Shared{own, otpool::MpiRanks{MPI_COMM_WORLD}});
///
/// It takes the problems that Streamed takes, and gives its result: the same bits, for any number of ranks, if they hold the
/// columns that columns_of_rank() says. If they hold others, a block of columns may be cut, and the result is the same up
/// to rounding. A rank may have no columns, but must know D. All ranks have processors of one kind, or a result may differ
/// in its last bits from rank to rank.
///
/// If a rank throws, all ranks throw the same, as on_every_rank() says, and none waits for ever. So do they if parameters,
/// or options that say what is computed, are not the same on all ranks (a reward's own settings are not compared).
///
/// A rank's options are its own: memory, threads, progress. `weights` gets a rank's own instances, by their number in the
/// bag; all ranks set it, or none.
///
/// Cost: Streamed's for a rank's own columns, and in every pass one message of about 2 log2(blocks) (5 D + 8) doubles a
/// rank at most, which all ranks get.
template <class S>
struct Shared {
    static_assert(ColumnSource<S>, "otpool: a source has rows(), cols() and read(first, count, to)");

    S source;                               ///< This rank's columns: D x N_r, where the N_r sum to N.
    AnyRanks ranks;                         ///< Who shares the bag.
    StreamOptions options = {};             ///< As Streamed's.
    Vector<typename S::Scalar> prior = {};  ///< q0 of this rank's columns, or empty on all ranks; all of it sums to 1.
};

/// Shared{source, ranks}
template <class S, class R>
Shared(S, R) -> Shared<S>;
/// The same with options.
template <class S, class R>
Shared(S, R, StreamOptions) -> Shared<S>;
/// The same with a prior.
template <class S, class R, class Prior>
Shared(S, R, StreamOptions, const Prior&) -> Shared<S>;

namespace detail {

/// What must be the same on all ranks for a bag.
template <class S>
std::vector<CommonFact> common_facts(const auto& pooling, const Shared<S>& bag) {
    const auto& of = pooling.parameters;
    const otpool::Options& options = pooling.solver.options;
    constexpr double none = -1;
    std::vector<CommonFact> facts = {{"number of features", static_cast<double>(bag.source.rows())},
                                     {"bytes of a number", sizeof(typename S::Scalar)},
                                     {"alpha0", static_cast<double>(of.alpha0)},
                                     {"alpha1", static_cast<double>(of.features.alpha)},
                                     {"alpha2", static_cast<double>(of.instances.alpha)},
                                     {"digest of p0", digest(of.features.prior)},
                                     {"number of iterations", static_cast<double>(options.iterations.value_or(0))},
                                     {"max_iterations", static_cast<double>(options.max_iterations.value_or(0))},
                                     {"tolerance", options.tolerance.value_or(none)},
                                     {"closed_forms", options.closed_forms ? 1.0 : 0.0},
                                     {"digest of start", digest(bag.options.start)},
                                     {"whether there are weights", bag.options.weights ? 1.0 : 0.0}};
    if constexpr (requires { pooling.solver.translation; }) {
        facts.push_back({"translation", pooling.solver.translation ? 1.0 : 0.0});
        facts.push_back({"memory of the acceleration", static_cast<double>(pooling.solver.acceleration.memory)});
    }
    return facts;
}

/// The first column of every rank, and at last N; whether a rank gives a prior.
struct SharedColumns {
    std::vector<Index> begins = {0};
    bool has_prior = false;
};

/// Exchanges what ranks have. Throws InvalidArgument, on all ranks the same.
template <class S>
SharedColumns shared_columns(const Shared<S>& bag) {
    const auto size = static_cast<std::size_t>(bag.ranks.size());
    const std::array<double, 2> own = {static_cast<double>(bag.source.cols()), static_cast<double>(bag.prior.size())};
    std::vector<double> all(2 * size);
    bag.ranks.gather(own, std::vector<Index>(size, 2), all);
    SharedColumns shared;
    for (std::size_t r = 0; r < size; ++r) {
        shared.begins.push_back(shared.begins.back() + static_cast<Index>(all[2 * r]));
        shared.has_prior = shared.has_prior || all[2 * r + 1] > 0;
    }
    for (std::size_t r = 0; r < size && shared.has_prior; ++r) {
        require_that(all[2 * r] == all[2 * r + 1], text("length of the prior on rank ", r), all[2 * r + 1],
                     text(all[2 * r], ", as many as its columns"));
    }
    return shared;
}

/// Throws InvalidArgument unless the numbers are a part of a prior.
template <class Scalar>
void require_part_of_prior(const Vector<Scalar>& prior, Index first) {
    for (Index n = 0; n < prior.size(); ++n) {
        require_that(std::isfinite(prior[n]) && prior[n] >= 0, text("q0[", first + n, "]"), prior[n],
                     "finite and >= 0");
    }
}

/// Pools this rank's columns; `messages` are to the other ranks.
template <BagScalar Scalar, class Solver, Regularizer R, class Readout, class Prior, class Reward, class Output,
          class S>
StreamedResult<Scalar> pool_shared(const Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>& pooling,
                                   const Shared<S>& bag, const SharedColumns& shared, RankMessages& messages) {
    using Number = typename Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>::Number;
    const Index rows = bag.source.rows();
    const Index first = shared.begins[static_cast<std::size_t>(bag.ranks.rank())];
    const auto problem = problem_of_shape(pooling, rows, shared.begins.back());
    require_that(problem.instances.prior.size() == 0, "prior of the pooling's instances", "given",
                 "none, as every rank has its own part: Shared::prior");
    if (problem.instances.has_masses) {
        throw UnsupportedProblem("A pooling of a shared bag", "instances whose prior has masses",
                                 "a prior that sums to 1");
    }
    validate_streamed(problem);
    require_part_of_prior(bag.prior, first);
    StreamedResult<Scalar> result;
    if constexpr (EntropicRegularizer<R>) {
        const Index cols = bag.source.cols();
        const AnyColumns columns(bag.source, 0, cols, pooling.reward, std::same_as<Reward, Identity>, first);
        const OwnColumns own{ColumnBlocks(rows, shared.begins.back(), first, first + cols), &messages};
        Vector<Number> q0 = bag.prior.template cast<Number>();
        result = result_of<Scalar, Number>(
            pooling, pool_columns(pooling, problem, std::move(q0), shared.has_prior, columns, own, bag.options));
    }
    messages.end();
    return result;
}

}  // namespace detail

/// What Pooling does with a shared bag, and how its solve ended: the same on all ranks. Throws as Streamed says.
template <BagScalar Scalar, class Solver, Regularizer R, class Readout, class Prior, class Reward, class Output,
          class S>
StreamedResult<Scalar> pool_streamed(const Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>& pooling,
                                     const Shared<S>& bag) {
    static_assert(std::same_as<Scalar, typename S::Scalar>, "otpool: a pooling and its source have the same scalar");
    detail::require_common(bag.ranks, detail::common_facts(pooling, bag));
    const detail::SharedColumns shared = detail::shared_columns(bag);
    const Index rows = bag.source.rows();
    if (shared.begins.back() == 0 && pooling.empty_bag) {
        return {.pooled = Vector<Scalar>::Constant(rows, *pooling.empty_bag), .outcome = {.status = Status::converged}};
    }
    detail::RankMessages messages(bag.ranks, shared.begins, rows, detail::StreamedSums<>::numbers(rows));
    try {
        return detail::pool_shared(pooling, bag, shared, messages);
    } catch (...) {
        messages.fail(std::current_exception());
    }
}

}  // namespace otpool
