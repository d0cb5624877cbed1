// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/batch.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/pooling/own_prior.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/pooling/transform.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

struct Sinkhorn;  // the default solver; only declared, because a pooling by another solver need not include it.
template <class S>
struct Streamed;  // likewise; streamed/streamed.hpp has it, and pool_streamed()
template <class S>
struct StreamedBags;  // likewise; streamed/streamed_bags.hpp
template <class S>
struct Shared;  // likewise; streamed/shared.hpp

/// The parameters of a pooling's UOT problem, with the same names as in UotProblem.
template <BagScalar Scalar>
struct PoolingParameters {
    Scalar alpha0 = 1;                            ///< Strength of the regulariser, in [0, inf].
    Marginal<Scalar> features = {.alpha = hard};  ///< alpha1 and p0 (D entries).
    Marginal<Scalar> instances = {.alpha = 0};    ///< alpha2 and q0 (N entries).
    std::optional<Scalar> mass = {};              ///< m, if the plan's mass is fixed.
};

/// Global pooling by unbalanced optimal transport: from a bag of N instances with D features to D numbers.
///
///     X = reward(bag),  q0 = prior(bag),  P = solver's plan of the UOT problem,  y = output(readout(P, bag))
///
/// If the bag has its own prior, q0 is the product of the two, normalised. An instance whose own prior is 0 is excluded:
/// neither prior nor reward are computed from it.
///
/// The policies are members with settings of their own. The named poolings (named_poolings.hpp) are this functor with
/// particular policies and parameters. A value type; calls are const and thread-safe.
/// Cost: the solver's, and two passes for the readout; a reward other than Identity allocates one D x N matrix.
template <BagScalar Scalar, class Solver = Sinkhorn, Regularizer R = Entropy, class Readout = ConditionalReadout,
          class Prior = UniformPrior, class Reward = Identity, class Output = Identity>
struct Pooling {
    /// The type of the problem's numbers, which is what the reward returns: Logarithm computes in double for bags of
    /// float too.
    using Number = std::decay_t<std::invoke_result_t<const Reward&, Scalar>>;
    static_assert(SolverOf<Solver, Number, R>,
                  "otpool: a solver has solve(problem, run) -> Solution; of problems with Quadratic BregmanAdmm has");

    PoolingParameters<Number> parameters = {};  ///< Of the UOT problem.
    Solver solver = {};                         ///< Finds the plan.
    Readout readout = {};                       ///< Computes the pooled vector from the plan.
    Prior prior = {};                      ///< Computes q0; multiplied by the bag's or parameters.instances' prior.
    Reward reward = {};                    ///< X, if the bag has no reward.
    Output output = {};                    ///< Applied to every entry of the pooled vector.
    std::optional<Scalar> empty_bag = {};  ///< Fills an empty bag's pooled vector; if unset, an empty bag is an error.
    /// Runs the bags of a batch, and parts of a bag that dominates the batch; Sequential by default.
    Execution execution = {};
    [[no_unique_address]] R regularizer = {};  ///< R, if it has settings, as KSparse has.

    /// The solution of one bag's problem, which views the bag. Throws InvalidArgument.
    Solution<Number, R> solve(const Bag<Scalar>& bag) const { return solve(bag, {.execution = execution}); }
    /// The same with a run's own warm start, observer, execution and workspace.
    Solution<Number, R> solve(const Bag<Scalar>& bag, const Run<Number, R>& run) const {
        return solver.solve(problem(bag), run);
    }

    /// The UOT problem of one bag.
    UotProblem<Number, R> problem(const Bag<Scalar>& bag) const {
        UotProblem<Number, R> problem;
        set(problem, bag);
        return problem;
    }

    /// y, D entries.
    Vector<Scalar> read(const Solution<Number, R>& solution) const {
        Vector<Scalar> y(solution.problem.reward.rows());
        set_output(readout(solution), y);
        return y;
    }

    /// Pools one bag.
    Vector<Scalar> operator()(const Bag<Scalar>& bag) const {
        Workspace workspace;
        Vector<Scalar> y(bag.instances.rows());
        pool(bag, execution, workspace, y);
        return y;
    }
    /// Pools one bag without its own reward or prior.
    Vector<Scalar> operator()(const MatrixView<Scalar>& instances) const { return (*this)(Bag<Scalar>{instances}); }

    /// Pools one bag that is read piece by piece. Include otpool/streamed/streamed.hpp, which says what it takes.
    template <class S>
    Vector<Scalar> operator()(const Streamed<S>& bag) const {
        return pool_streamed(*this, bag).pooled;
    }

    /// Pools one bag that is spread over several processes. Include otpool/streamed/shared.hpp.
    template <class S>
    Vector<Scalar> operator()(const Shared<S>& bag) const {
        return pool_streamed(*this, bag).pooled;
    }

    /// Pools a batch of bags that is read piece by piece: D x B. Include otpool/streamed/streamed_bags.hpp.
    template <class S>
    Matrix<Scalar> operator()(const StreamedBags<S>& bags) const {
        return pool_streamed(*this, bags);
    }

    /// Pools a batch of B bags: D x B.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        Workspaces workspaces;
        return (*this)(bags, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next batch can reuse.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags, Workspaces& workspaces) const {
        workspaces.prepare(execution);
        return detail::pool_batch<Scalar>(bags, empty_bag, execution, [&](const detail::BagTask<Scalar>& task) {
            pool(task.bag, task.inside, workspaces.of(task.worker), task.pooled);
        });
    }

private:
    static constexpr bool converts = !std::same_as<Number, Scalar>;

    /// The matrix in the problem's numbers: a copy only if these are of another type.
    static MatrixView<Number> converted(const MatrixView<Scalar>& matrix) {
        if constexpr (converts) {
            return Matrix<Number>(matrix.matrix().template cast<Number>());
        } else {
            return matrix;
        }
    }

    void set(UotProblem<Number, R>& problem, const Bag<Scalar>& bag) const {
        detail::require_reward_shape(bag.reward, bag.instances);
        problem.alpha0 = parameters.alpha0;
        problem.regularizer = regularizer;
        problem.features = parameters.features;
        problem.instances = parameters.instances;
        problem.mass = parameters.mass;
        set_prior(problem.instances.prior, bag);
        problem.reward = converted(bag.reward);
        problem.values = {};
        if (bag.reward.empty() && std::same_as<Reward, Identity>) {
            problem.reward = converted(bag.instances);
            return;
        }
        if (bag.reward.empty()) {
            detail::require_finite(bag.instances, "bag");
            problem.reward = detail::transformed<Number>(bag.instances, problem.instances.prior, reward);
        }
        problem.values = converted(bag.instances);
    }

    /// q0 <- the bag's own prior, or the parameters', which it already is, times what the functor computes.
    void set_prior(Vector<Number>& q0, const Bag<Scalar>& bag) const {
        if (bag.prior.size() > 0) q0 = bag.prior.template cast<Number>();
        if constexpr (!std::same_as<Prior, UniformPrior>) {
            if (bag.instances.empty()) return;
            const Vector<Scalar> own = q0.template cast<Scalar>();
            q0 = detail::prior_of(prior, bag.instances, own).template cast<Number>();
        }
    }

    /// Whether the solver can compute the conditional mean without a Solution, and the readout is a multiple of it.
    static constexpr bool pools_directly =
        requires(const Solver& s, const UotProblem<Number, R>& p, PooledVector<Number> y, const Run<Number, R>& run) {
        { s.pool(p, y, run) } -> std::same_as<Outcome>;
    }
    &&requires(const Readout& r) { r.factor(Index{}); };

    /// y <- the pooled bag. Reuses the memory of `workspace` as far as the solver does.
    void pool(const Bag<Scalar>& bag, const Execution& inside, Workspace& workspace, PooledVector<Scalar> y) const {
        auto& problem = workspace.get<UotProblem<Number, R>>();
        set(problem, bag);
        const Run<Number, R> run{.execution = inside, .workspace = &workspace};
        if constexpr (!pools_directly) {
            set_output(readout(solver.solve(problem, run)), y);
        } else if constexpr (converts) {
            Vector<Number> mean(y.size());
            solver.pool(problem, mean, run);
            set_output(mean, y, readout.factor(detail::active_instances(problem)));
        } else {
            solver.pool(problem, y, run);
            set_output(y, y, readout.factor(detail::active_instances(problem)));
        }
    }

    /// y_d <- output(factor number_d), within the range of Scalar. They may be the same.
    void set_output(const Eigen::Ref<const Vector<Number>>& numbers, PooledVector<Scalar> y, Real factor = 1) const {
        for (Index d = 0; d < y.size(); ++d) {
            const Real scaled = factor * static_cast<Real>(numbers[d]);
            y[d] = detail::saturated<Scalar>(static_cast<Real>(output(detail::saturated<Number>(scaled))));
        }
    }
};

/// Pooling{parameters, solver}: Entropy and the conditional readout.
template <class Scalar, class Solver>
Pooling(PoolingParameters<Scalar>, Solver) -> Pooling<Scalar, Solver>;
/// Pooling{parameters, solver, JointReadout{}}: Entropy and the joint readout.
template <class Scalar, class Solver>
Pooling(PoolingParameters<Scalar>, Solver, JointReadout) -> Pooling<Scalar, Solver, Entropy, JointReadout>;

}  // namespace otpool
