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
#include "otpool/pooling/dummy_slot.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/pooling/slot_readouts.hpp"
#include "otpool/pooling/slot_rewards.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

/// Pooling to K slots (prototypes, queries, clusters) by unbalanced optimal transport: from a bag of N instances with D
/// features to K vectors. The plan's rows are slots, and a slot draws on whole instances:
///
///     S = reward(bag) (K x N),  P = solver's plan of the UOT problem with reward S,  y_k = readout(P_k, values)
///
/// `parameters.features` is the marginal of the slots, `parameters.instances` that of the instances. If the bag has a
/// reward (K x N), S is that; if it has a prior, that is q0; an instance of prior 0 is excluded. Values are the
/// instances, D' = D. The result is D x K, for a batch of B bags (D K) x B: a column is a bag's D x K matrix, column by
/// column, which is an array of shape (B, K, D) in C's order.
///
/// A value type; calls are const and thread-safe. Cost: the reward's, the solver's, and a product of matrices for the
/// readout. Memory: the reward, K x N, and O(D K); never K x N x D.
template <BagScalar Scalar, class Reward, class Solver = Sinkhorn, class Readout = ConditionalSlots,
          class Dummy = NoDummySlot, Regularizer R = Entropy>
struct SlotPooling {
    static_assert(SolverOf<Solver, Scalar, R>, "otpool: a solver has solve(problem, run) -> Solution");

    Reward reward = {};                         ///< S, if the bag has no reward.
    PoolingParameters<Scalar> parameters = {};  ///< Of the UOT problem; its features are the slots.
    Solver solver = {};                         ///< Finds the plan.
    Readout readout = {};                       ///< Computes a slot's vector from what it draws.
    Dummy dummy = {};                           ///< NoDummySlot, PartialSlots or Dustbin.
    std::optional<Scalar> empty_bag = {};       ///< Fills an empty bag's result; if unset, an empty bag is an error.
    /// Runs the bags of a batch, and parts of a bag that dominates the batch; Sequential by default.
    Execution execution = {};
    [[no_unique_address]] R regularizer = {};  ///< R, if it has settings, as KSparse and TopK have.

    /// The UOT problem of one bag. With a dummy slot, that is the last row. Throws InvalidArgument.
    UotProblem<Scalar, R> problem(const Bag<Scalar>& bag) const { return stated(bag).problem; }

    /// The solution of one bag's problem, of which it keeps the reward.
    Solution<Scalar, R> solve(const Bag<Scalar>& bag) const {
        return solver.solve(problem(bag), {.execution = execution});
    }

    /// P, K x N, without the dummy slot. Its columns sum to the mass that the slots draw from an instance.
    Matrix<Scalar> plan(const Bag<Scalar>& bag) const {
        const Stated of_bag = stated(bag);
        return solver.solve(of_bag.problem, {.execution = execution}).plan().topRows(of_bag.slots);
    }

    /// Pools one bag: D x K.
    Matrix<Scalar> operator()(const Bag<Scalar>& bag) const { return pool(bag, execution); }
    /// Pools one bag without its own reward or prior.
    Matrix<Scalar> operator()(const MatrixView<Scalar>& instances) const { return (*this)(Bag<Scalar>{instances}); }

    /// Pools a batch of B bags: (D K) x B. Bags with a reward of their own have one of K x sum N.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        const Index slots = bags.reward().empty() ? reward.slots() : bags.reward().rows();
        return detail::pool_batch<Scalar>(
            bags.features() * slots, bags, empty_bag, execution, [&](const detail::BagTask<Scalar>& task) {
                const Matrix<Scalar> pooled = pool(task.bag, task.inside);
                std::copy_n(pooled.data(), pooled.size(), PooledVector<Scalar>(task.pooled).data());
            });
    }

private:
    struct Stated {
        UotProblem<Scalar, R> problem;
        Index slots = 0;  ///< K, without the dummy slot.
    };

    Stated stated(const Bag<Scalar>& bag) const {
        Stated of_bag;
        UotProblem<Scalar, R>& problem = of_bag.problem;
        problem.alpha0 = parameters.alpha0;
        problem.regularizer = regularizer;
        problem.features = parameters.features;
        problem.instances = parameters.instances;
        problem.mass = parameters.mass;
        if (bag.prior.size() > 0) problem.instances.prior = bag.prior;
        const Index instances = bag.instances.cols();
        const Vector<Scalar>& q0 = problem.instances.prior;
        detail::require_prior(q0, instances, true, "q0", problem.instances.has_masses);
        detail::require_that(bag.reward.empty() || bag.reward.cols() == instances, "columns of the reward",
                             bag.reward.cols(), detail::text(instances, ", the number of instances"));
        problem.reward =
            bag.reward.empty() ? MatrixView<Scalar>(without_excluded(reward(bag.instances, q0), q0)) : bag.reward;
        of_bag.slots = problem.reward.rows();
        const Real mass = dummy.mass(of_bag.slots, detail::active_instances(problem));
        detail::append_dummy_slot(problem, mass, dummy.reward);
        return of_bag;
    }

    /// The reward with zeros for excluded instances, whose numbers may be anything.
    static Matrix<Scalar> without_excluded(Matrix<Scalar> reward, const Vector<Scalar>& q0) {
        for (Index n = 0; n < q0.size(); ++n) {
            if (q0[n] == 0) reward.col(n).setZero();
        }
        return reward;
    }

    Matrix<Scalar> pool(const Bag<Scalar>& bag, const Execution& inside) const {
        const auto [problem, slots] = stated(bag);
        const Solution<Scalar, R> solution = solver.solve(problem, {.execution = inside});
        const detail::SlotMeans<> means(solution.log_plan, slots, bag.instances, inside);
        const auto instances = static_cast<Index>(solution.log_plan.active().size());
        Matrix<Scalar> pooled(bag.instances.rows(), slots);
        for (Index k = 0; k < slots; ++k) {
            const RealVector y = readout(k, means.mean.col(k), means.mass[k], instances);
            for (Index d = 0; d < y.size(); ++d) pooled(d, k) = detail::saturated<Scalar>(y[d]);
        }
        return pooled;
    }
};

}  // namespace otpool
