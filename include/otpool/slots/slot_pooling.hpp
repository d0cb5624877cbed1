// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/plan/slot_means.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/batch.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/slots/dummy_slot.hpp"
#include "otpool/slots/slot_readouts.hpp"
#include "otpool/slots/slot_rewards.hpp"
#include "otpool/slots/slot_values.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

/// Pooling to K slots (prototypes, queries, clusters) by unbalanced optimal transport: from a bag of N instances with D
/// features to K vectors. The plan's rows are slots, and a slot draws on whole instances:
///
///     S = reward(bag) (K x N),  P = solver's plan of the UOT problem with reward S,  y_k = readout(P_k, values(bag))
///
/// `parameters.features` is the marginal of the slots, `parameters.instances` that of the instances. If the bag has a
/// reward (K x N), S is that, and -inf forbids a slot to draw on an instance; if it has a prior, that is q0; an
/// instance of prior 0 is excluded. Values are D' x N: the instances (D' = D), or another function of the bag. The
/// result is D' x K, for a batch of B bags (D' K) x B: a column is a bag's D' x K matrix, column by column, which is an
/// array of shape (B, K, D') in C's order.
///
/// A value type; calls are const and thread-safe. Cost: the reward's, the solver's, and a product of matrices for the
/// readout. Memory: the reward, K x N, values other than the instances, D' x N, and O(D' K); never K x N x D'.
template <BagScalar Scalar, class Reward, class Solver = Sinkhorn, class Readout = ConditionalSlots,
          class Dummy = NoDummySlot, Regularizer R = Entropy, class Values = InstancesAsValues>
struct SlotPooling {
    static_assert(SolverOf<Solver, Scalar, R>, "otpool: a solver has solve(problem, run) -> Solution");

    Reward reward = {};                         ///< S, if the bag has no reward.
    PoolingParameters<Scalar> parameters = {};  ///< Of the UOT problem; its features are the slots.
    Solver solver = {};                         ///< Finds the plan.
    Readout readout = {};                       ///< Computes a slot's vector from what it draws.
    Dummy dummy = {};                           ///< NoDummySlot, PartialSlots or Dustbin.
    Values values = {};                         ///< What the slots pool; the instances by default.
    std::optional<Scalar> empty_bag = {};       ///< Fills an empty bag's result; if unset, an empty bag is an error.
    /// Runs the bags of a batch, and parts of a bag that dominates the batch; Sequential by default.
    Execution execution = {};
    [[no_unique_address]] R regularizer = {};  ///< R, if it has settings, as KSparse and TopK have.

    /// The UOT problem of one bag. With a dummy slot, that is the last row. Throws InvalidArgument.
    UotProblem<Scalar, R> problem(const Bag<Scalar>& bag) const { return stated(bag, execution).problem; }

    /// The solution of one bag's problem, of which it keeps the reward.
    Solution<Scalar, R> solve(const Bag<Scalar>& bag) const {
        return solver.solve(problem(bag), {.execution = execution});
    }

    /// What the readout makes of the solution of this bag's problem: D' x K.
    Matrix<Scalar> read(const Solution<Scalar, R>& solution, const Bag<Scalar>& bag) const {
        return read(solution.log_plan, bag, execution);
    }

    /// P, K x N, without the dummy slot. Its columns sum to the mass that the slots draw from an instance.
    Matrix<Scalar> plan(const Bag<Scalar>& bag) const {
        const Stated of_bag = stated(bag, execution);
        return solver.solve(of_bag.problem, {.execution = execution}).plan().topRows(of_bag.slots);
    }

    /// Pools one bag: D' x K.
    Matrix<Scalar> operator()(const Bag<Scalar>& bag) const {
        Workspace workspace;
        return pool(bag, execution, workspace);
    }
    /// Pools one bag without its own reward or prior.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances) const { return (*this)(Bag<Scalar>{instances}); }

    /// Pools a batch of B bags: (D' K) x B. Bags with a reward of their own have one of K x sum N.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        Workspaces workspaces;
        return (*this)(bags, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next batch can reuse.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags, Workspaces& workspaces) const {
        workspaces.prepare(execution);
        const Index slots = slots_of(bags.reward());
        return detail::pool_batch<Scalar>(
            values.rows(bags.features()) * slots, bags, empty_bag, execution, [&](const detail::BagTask<Scalar>& task) {
                const Matrix<Scalar> pooled = pool(task.bag, task.inside, workspaces.of(task.worker));
                std::copy_n(pooled.data(), pooled.size(), PooledVector<Scalar>(task.pooled).data());
            });
    }

private:
    struct Stated {
        UotProblem<Scalar, R> problem;
        Index slots = 0;  ///< K, without the dummy slot.
    };

    /// q0, by the bag's own prior if it has one.
    const Vector<Scalar>& prior_of(const Bag<Scalar>& bag) const {
        return bag.prior.size() > 0 ? bag.prior : parameters.instances.prior;
    }

    Stated stated(const Bag<Scalar>& bag, const Execution& inside) const {
        Stated of_bag;
        UotProblem<Scalar, R>& problem = of_bag.problem;
        problem.alpha0 = parameters.alpha0;
        problem.regularizer = regularizer;
        problem.features = parameters.features;
        problem.instances = parameters.instances;
        problem.instances.prior = prior_of(bag);
        problem.mass = parameters.mass;
        const Index instances = bag.instances.cols();
        const Vector<Scalar>& q0 = problem.instances.prior;
        detail::require_prior(q0, instances, true, "q0", problem.instances.has_masses);
        detail::require_that(bag.reward.empty() || bag.reward.cols() == instances, "columns of the reward",
                             bag.reward.cols(), detail::text(instances, ", the number of instances"));
        problem.reward = bag.reward.empty() ? MatrixView<Scalar>(computed_reward(bag, q0, inside)) : bag.reward;
        of_bag.slots = problem.reward.rows();
        const Real mass = dummy.mass(of_bag.slots, detail::active_instances(problem));
        detail::append_dummy_slot(problem, mass, dummy.reward);
        // A problem with a reward of -inf needs values of its own. Slots pool the bag's instead.
        if (!bag.reward.empty() && !bag.reward.all_finite()) {
            problem.values = Matrix<Scalar>::Zero(problem.reward.rows(), instances).eval();
        }
        return of_bag;
    }

    /// S, with zeros for excluded instances, whose numbers may be anything.
    Matrix<Scalar> computed_reward(const Bag<Scalar>& bag, const Vector<Scalar>& q0, const Execution& inside) const {
        Matrix<Scalar> computed;
        if constexpr (requires { reward(bag.instances, q0, inside); }) {
            computed = reward(bag.instances, q0, inside);
        } else {
            computed = reward(bag.instances, q0);
        }
        for (Index n = 0; n < q0.size(); ++n) {
            if (q0[n] == 0) computed.col(n).setZero();
        }
        return computed;
    }

    /// K, by the bag's own reward if it has one.
    Index slots_of(const MatrixView<Scalar>& own_reward) const {
        return own_reward.empty() ? reward.slots() : own_reward.rows();
    }

    /// log P, to pool from: with no Solution where the solver can do without.
    detail::LogPlan log_plan(const UotProblem<Scalar, R>& problem, const Run<Scalar, R>& run) const {
        if constexpr (requires { solver.log_plan(problem, run); }) {
            return solver.log_plan(problem, run);
        } else {
            return solver.solve(problem, run).log_plan;
        }
    }

    Matrix<Scalar> pool(const Bag<Scalar>& bag, const Execution& inside, Workspace& workspace) const {
        const Stated of_bag = stated(bag, inside);
        return read(log_plan(of_bag.problem, {.execution = inside, .workspace = &workspace}), bag, inside);
    }

    Matrix<Scalar> read(const detail::LogPlan& plan, const Bag<Scalar>& bag, const Execution& inside) const {
        const Index slots = slots_of(bag.reward);
        const MatrixView<Scalar> of_bag = values(bag.instances, prior_of(bag));
        const detail::SlotMeans<> means(plan, slots, of_bag, inside);
        Matrix<Scalar> pooled(of_bag.rows(), slots);
        detail::read_slots(readout, means.mean, means.mass, static_cast<Index>(plan.active().size()), pooled.data());
        return pooled;
    }
};

}  // namespace otpool
