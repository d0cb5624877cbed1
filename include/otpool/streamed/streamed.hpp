// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "otpool/closed_form/closed_form_of.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/solved_plan.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/pooling/transform.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "otpool/solver/steps/iterations.hpp"
#include "otpool/streamed/any_columns.hpp"
#include "otpool/streamed/column_blocks.hpp"
#include "otpool/streamed/column_source.hpp"
#include "otpool/streamed/passes/rank_messages.hpp"
#include "otpool/streamed/passes/streamed_problem.hpp"
#include "otpool/streamed/passes/streamed_scaling.hpp"
#include "otpool/streamed/stream_options.hpp"

namespace otpool {

/// A bag that is read piece by piece, pass after pass, because it does not fit in memory:
///
///     otpool::MatrixColumns<float> source{matrix};                           // or a file: any ColumnSource
///     Eigen::VectorXf y = pool(otpool::Streamed{source, {.memory = 512 << 20}});
///
/// A pooling takes it if its solver is Sinkhorn, or if its problem has a closed form: entropic, with KullbackLeibler and
/// one alpha for each side, and no fixed mass. Other problems throw UnsupportedProblem. Everything is computed in double;
/// the pooled vector is that of the bag in memory up to rounding. Its bits do not depend on memory, readers, execution or
/// source.
///
/// Cost: a closed form takes one or two passes, Sinkhorn one more than its iterations. Memory is O(D) and what the
/// options allow; a prior is copied, as double. The first pass checks that all entries are finite.
template <class S>
struct Streamed {
    static_assert(ColumnSource<S>, "otpool: a source has rows(), cols() and read(first, count, to)");

    S source;                               ///< D x N, column n is instance n.
    StreamOptions options = {};             ///< Memory, threads that read, progress.
    Vector<typename S::Scalar> prior = {};  ///< q0, N entries >= 0 that sum to 1, or empty; 0 excludes an instance.
};

/// Streamed{source, {.memory = 512 << 20}}
template <class S>
Streamed(S) -> Streamed<S>;
/// The same with options.
template <class S>
Streamed(S, StreamOptions) -> Streamed<S>;
/// The same with a prior.
template <class S, class Prior>
Streamed(S, StreamOptions, const Prior&) -> Streamed<S>;

/// A streamed bag's pooled vector, and what a Solution would say of it.
template <BagScalar Scalar>
struct StreamedResult {
    Vector<Scalar> pooled;  ///< y, D entries
    Outcome outcome = {};   ///< How the solve ended.
    double log_mass = 0;    ///< log sum P
};

namespace detail {

inline constexpr const char* streamed_pooling = "A pooling of a streamed bag";

/// Throws InvalidArgument if the problem is not well formed but for the entries of its reward, UnsupportedProblem if it is
/// not one that streams.
template <class Scalar, class R>
void validate_streamed(const UotProblem<Scalar, R>& problem) {
    validate_fields(problem);
    if (!EntropicRegularizer<R>) {
        throw UnsupportedProblem(streamed_pooling, "a regulariser that is not entropic", "Entropy or RelativeEntropy");
    }
    require_kullback_leibler(streamed_pooling, problem);
    require_common_alphas(streamed_pooling, problem);
    if (fixed_mass(problem)) {
        throw UnsupportedProblem(streamed_pooling, "a fixed mass", "no mass, or a hard side");
    }
    if (problem.alpha0 == 0 && problem.instances.alpha != 0) {
        throw UnsupportedProblem(streamed_pooling, "alpha0 = 0 and instances that are not free",
                                 "alpha0 > 0, or alpha2 = 0");
    }
}

/// One half step each, which solve a problem with a free side or alpha0 = inf: see ClosedFormOf.
template <class Scaling>
void take_half_steps(Scaling& scaling) {
    scaling.start();
    scaling.update_features();
    if (!scaling.has_free_instances()) scaling.update_instances();
}

/// Gives the features' potentials after every step to those who want them.
struct PotentialTape {
    const StreamOptions& options;
    std::vector<double> f = {};

    void begin(const auto& /*scaling*/) const {}
    void keep(const auto& scaling, Real /*translation*/) {
        if (!options.potential) return;
        f.resize(static_cast<std::size_t>(scaling.features().kernel.size()));
        for (std::size_t d = 0; d < f.size(); ++d) f[d] = scaling.feature_potential(static_cast<Index>(d));
        options.potential(f);
    }
};

/// Sinkhorn's iterations. Returns how they ended.
template <class Scaling>
Outcome take_iterations(Scaling& scaling, const Sinkhorn& sinkhorn, double tolerance, const StreamOptions& options) {
    const Observer nobody;
    Iterations iterations(sinkhorn.options, tolerance, Sinkhorn::default_limit, nobody);
    Workspace workspace;
    scaling.start();
    if (options.start.size() > 0)
        scaling.restart({options.start.data(), static_cast<std::size_t>(options.start.size())});
    sinkhorn_steps(scaling, iterations, sinkhorn.translation, false,
                   sinkhorn.options.iterations ? 0 : sinkhorn.acceleration.memory, workspace, PotentialTape{options});
    return iterations.outcome();
}

/// Throws InvalidArgument unless a start, if there is one, is one of so many features.
inline void require_start(const RealVector& start, Index rows) {
    if (start.size() == 0) return;
    require_that(start.size() == rows, "length of start", start.size(), text(rows, ", the number of features"));
    for (Index d = 0; d < rows; ++d)
        require_that(std::isfinite(start[d]), text("start[", d, "]"), start[d], "finite numbers");
}

/// Throws UnsupportedProblem unless the solver iterates over streamed bags.
template <class Solver>
void require_streaming(const Solver& solver) {
    if constexpr (std::same_as<Solver, Sinkhorn>) {
        validate(solver.acceleration);
        if (solver.first == HalfStep::features) return;
        throw UnsupportedProblem(streamed_pooling, "Sinkhorn's half step of the instances first",
                                 "the half step of the features first");
    } else {
        throw UnsupportedProblem(streamed_pooling, "no closed form, and a solver other than Sinkhorn",
                                 "Sinkhorn, or a free side or alpha0 = inf");
    }
}

/// What the readout makes of a solved problem. Numbers are within the range of `Number`.
template <class Number, class Readout>
class StreamedReadout {
public:
    /// Throws UnsupportedProblem for a readout that does not go with the problem.
    explicit StreamedReadout(const Readout& readout, Real alpha2) : readout_(readout) {
        static_assert(scales_mean || is_joint || is_log_mean_exp,
                      "otpool: a streamed bag is read out by Conditional-, Sum-, Joint- or LogMeanExpReadout");
        if (is_log_mean_exp && alpha2 != 0) {
            throw UnsupportedProblem(streamed_pooling, "LogMeanExpReadout and instances that are not free",
                                     "alpha2 = 0");
        }
    }

    template <class Scaling>
    RealVector operator()(Scaling& scaling, Index rows) const {
        if constexpr (is_log_mean_exp) {
            return scaling.log_mean_exp();
        } else {
            RealVector y(rows);
            for (Index d = 0; d < rows; ++d) y[d] = factor(scaling, d, rows) * scaling.conditional_mean(d);
            return y;
        }
    }

private:
    static constexpr bool scales_mean = requires(const Readout& r) { r.factor(Index{}); };
    static constexpr bool is_joint = std::same_as<Readout, JointReadout>;
    static constexpr bool is_log_mean_exp = std::same_as<Readout, LogMeanExpReadout>;

    template <class Scaling>
    Real factor(const Scaling& scaling, Index d, Index rows) const {
        if constexpr (scales_mean) {
            return readout_.factor(scaling.active_instances());
        } else {
            const Real mass = static_cast<Real>(saturated_exp<Number>(scaling.log_row_mass(d)));
            return saturated<Real>(static_cast<Real>(rows) * mass);
        }
    }

    const Readout& readout_;
};

/// What is found of one bag; the plan has neither potentials nor entries.
struct StreamedPlan {
    RealVector y;
    SolvedPlan found;
};

/// Pools one bag. `problem`: the bag's, whose reward has only its shape, and no q0. `q0`: as in streamed_problem().
template <class PoolingType, class Number, EntropicRegularizer R>
StreamedPlan pool_columns(const PoolingType& pooling, const UotProblem<Number, R>& problem, Vector<Number>&& q0,
                          bool has_prior, const AnyColumns& columns, const OwnColumns& own,
                          const StreamOptions& options) {
    using Solver = std::decay_t<decltype(pooling.solver)>;
    validate(pooling.solver.options);
    const bool closed = pooling.solver.options.closed_forms && has_closed_form(problem);
    if (!closed) require_streaming(pooling.solver);
    require_start(options.start, columns.rows());
    const StreamedReadout<Number, std::decay_t<decltype(pooling.readout)>> readout(pooling.readout,
                                                                                   Real(problem.instances.alpha));
    Index vectors = 1;  // y
    if constexpr (std::same_as<Solver, Sinkhorn>) vectors += 2 * pooling.solver.acceleration.memory + 4;
    StreamedScaling<> scaling(columns, own.blocks, own.messages,
                              streamed_problem(problem, std::move(q0), own, has_prior), options, pooling.execution,
                              vectors);
    StreamedPlan plan;
    if (closed) {
        take_half_steps(scaling);
        plan.found.outcome.status = Status::converged;
    } else if constexpr (std::same_as<Solver, Sinkhorn>) {
        const double tolerance = pooling.solver.options.tolerance.value_or(default_tolerance<Number>);
        plan.found.outcome = take_iterations(scaling, pooling.solver, tolerance, options);
    }
    plan.found.log_mass = scaling.log_mass();
    check_mass_range(plan.found, std::same_as<Number, float>);
    plan.y = readout(scaling, columns.rows());
    if (options.weights) scaling.for_each_weight(options.weights);
    return plan;
}

/// A pooling's problem of so many features and instances, without q0.
template <BagScalar Scalar, class Solver, Regularizer R, class Readout, class Prior, class Reward, class Output>
auto problem_of_shape(const Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>& pooling, Index rows,
                      Index cols) {
    using Number = typename Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>::Number;
    static_assert(std::same_as<Prior, UniformPrior>, "otpool: a streamed bag has its prior beside it: Streamed::prior");
    UotProblem<Number, R> problem{.reward = Eigen::Map<const Matrix<Number>>(nullptr, rows, cols)};
    problem.alpha0 = pooling.parameters.alpha0;
    problem.features = pooling.parameters.features;
    problem.instances = pooling.parameters.instances;
    problem.mass = pooling.parameters.mass;
    return problem;
}

/// The result of a plan's readout.
template <BagScalar Scalar, class Number>
StreamedResult<Scalar> result_of(const auto& pooling, StreamedPlan&& plan) {
    StreamedResult<Scalar> result{.pooled = Vector<Scalar>(plan.y.size())};
    for (Index d = 0; d < plan.y.size(); ++d) {
        const Number number = saturated<Number>(plan.y[d]);
        result.pooled[d] = saturated<Scalar>(static_cast<Real>(pooling.output(number)));
    }
    result.outcome = std::move(plan.found.outcome);
    result.log_mass = plan.found.log_mass;
    return result;
}

/// The same of the columns [first, first + cols) of a source, with this prior.
template <BagScalar Scalar, class Solver, Regularizer R, class Readout, class Prior, class Reward, class Output,
          class S>
StreamedResult<Scalar> pool_columns(const Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>& pooling,
                                    const S& source, Index first, Index cols, const Vector<Scalar>& prior,
                                    const StreamOptions& options) {
    static_assert(std::same_as<Scalar, typename S::Scalar>, "otpool: a pooling and its source have the same scalar");
    using Number = typename Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>::Number;
    auto problem = problem_of_shape(pooling, source.rows(), cols);
    if (prior.size() > 0) problem.instances.prior = prior.template cast<Number>();
    validate_streamed(problem);
    if constexpr (EntropicRegularizer<R>) {
        const AnyColumns columns(source, first, cols, pooling.reward, std::same_as<Reward, Identity>);
        Vector<Number> q0 = std::exchange(problem.instances.prior, {});
        const bool has_prior = q0.size() > 0;
        const OwnColumns own{ColumnBlocks(source.rows(), cols)};
        return result_of<Scalar, Number>(
            pooling, pool_columns(pooling, problem, std::move(q0), has_prior, columns, own, options));
    }
    return {};
}

}  // namespace detail

/// What Pooling does with a streamed bag, and how its solve ended. Throws as Streamed says, and what the source throws.
template <BagScalar Scalar, class Solver, Regularizer R, class Readout, class Prior, class Reward, class Output,
          class S>
StreamedResult<Scalar> pool_streamed(const Pooling<Scalar, Solver, R, Readout, Prior, Reward, Output>& pooling,
                                     const Streamed<S>& bag) {
    const Index rows = bag.source.rows();
    const Index cols = bag.source.cols();
    if (cols == 0 && pooling.empty_bag) {
        return {.pooled = Vector<Scalar>::Constant(rows, *pooling.empty_bag), .outcome = {.status = Status::converged}};
    }
    return detail::pool_columns(pooling, bag.source, 0, cols, bag.prior, bag.options);
}

}  // namespace otpool
