// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/forward_pass.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/slot_readout_reverse.hpp"
#include "otpool/gradient/reverse/slot_reward_reverse.hpp"
#include "otpool/gradient/slot_gradient.hpp"
#include "otpool/plan/slot_means.hpp"
#include "otpool/pooling/batch.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/slots/slot_pooling.hpp"

namespace otpool {

/// Pooling to slots with a backward pass. The type `Mode` says what is differentiated: Implicit<Solver> the optimum,
/// Unrolled<Solver> the K steps of a layer. The members are those of SlotPooling.
///
/// The reward is differentiated if it is DotProduct, SquaredDistance or RelativeDistance, whose largest distance counts as
/// a constant. Of any other, or a bag's own, the derivative is dL/dS: SlotGradient::problem.reward.
///
/// A value type; forward and backward are const and thread-safe. Cost of backward: the mode's, and products of matrices:
/// two for the values, two for the reward. Memory: a few K x N matrices for each bag at work, D K numbers for each bag;
/// never K x N x D.
template <BagScalar Scalar, class Reward, class Mode, class Readout = ConditionalSlots, class Dummy = NoDummySlot,
          Regularizer R = Entropy>
struct DifferentiableSlotPooling {
    Reward reward = {};                         ///< S, if the bag has no reward.
    PoolingParameters<Scalar> parameters = {};  ///< Of the UOT problem; its features are the slots.
    Mode mode = {};                             ///< Solves the problem and differentiates the plan.
    Readout readout = {};                       ///< Computes a slot's vector from what it draws.
    Dummy dummy = {};                           ///< NoDummySlot, PartialSlots or Dustbin.
    Execution execution = {};                   ///< Runs the bags of a batch, in both passes; Sequential by default.
    [[no_unique_address]] R regularizer = {};   ///< R, if it has settings, as KSparse has.

    /// What backward() needs of one bag.
    struct Tape {
        typename Mode::template Tape<Scalar, R> solved;  ///< The mode's own.
        MatrixView<Scalar> instances;                    ///< D x N: the values.
        bool has_reward = false;                         ///< Whether S is the bag's own.
        RealMatrix mean;                                 ///< D x K: the conditional mean of each slot.
        RealVector mass;                                 ///< K: r_k
    };
    /// The pooled bags, and what backward() needs. Views the bags, which must outlive it.
    struct Forward {
        Matrix<Scalar> pooled;    ///< (D K) x B, as SlotPooling returns it.
        std::vector<Tape> tapes;  ///< One per bag.
        Index slots = 0;          ///< K
    };

    /// The pooling that forward() computes, but without the steps' own parameters, if the mode has any.
    auto without_tapes() const {
        return SlotPooling<Scalar, Reward, decltype(mode.solver), Readout, Dummy, R>{.reward = reward,
                                                                                     .parameters = parameters,
                                                                                     .solver = mode.solver,
                                                                                     .readout = readout,
                                                                                     .dummy = dummy,
                                                                                     .execution = execution,
                                                                                     .regularizer = regularizer};
    }

    /// Pools the bags. Throws InvalidArgument that names the bag.
    Forward forward(const Bags<Scalar>& bags) const {
        Workspaces workspaces;
        return forward(bags, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    Forward forward(const Bags<Scalar>& bags, Workspaces& workspaces) const {
        const auto pooling = without_tapes();
        Forward forward;
        forward.slots = bags.reward().empty() ? reward.slots() : bags.reward().rows();
        forward.tapes.resize(static_cast<std::size_t>(bags.size()));
        workspaces.prepare(execution);
        const Index numbers = bags.features() * forward.slots;
        forward.pooled =
            detail::pool_batch<Scalar>(numbers, bags, {}, execution, [&](const detail::BagTask<Scalar>& task) {
                Tape& tape = forward.tapes[static_cast<std::size_t>(task.number)];
                const Bag<Scalar> kept = bags.indices() ? bags[task.number] : task.bag;
                tape.instances = kept.instances;
                tape.has_reward = !kept.reward.empty();
                tape.solved = mode.solve(pooling.problem(kept), false, workspaces.of(task.worker));
                read(tape, forward.slots, task.inside, task.pooled);
            });
        return forward;
    }

    /// The gradient of L, given dL/dpooled, (D K) x B. What is per instance is side by side like the bags; all else is
    /// summed over the bags.
    SlotGradient<Scalar> backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled) const {
        Workspaces workspaces;
        return backward(forward, dL_dpooled, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    SlotGradient<Scalar> backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled,
                                  Workspaces& workspaces) const {
        detail::require_gradient_of(forward.pooled, dL_dpooled);
        std::vector<Index> first_of = {0};
        for (const Tape& tape : forward.tapes) first_of.push_back(first_of.back() + tape.instances.cols());
        SlotGradient<Scalar> batch = zeros(forward, first_of.back());
        std::vector<SlotGradient<Scalar>> parts(forward.tapes.size());
        workspaces.prepare(execution);
        execution.for_each(dL_dpooled.cols(), [&](Index bag, Index worker) {
            const auto b = static_cast<std::size_t>(bag);
            const Vector<Scalar> of_bag = dL_dpooled.matrix().col(bag);
            const Eigen::Map<const Matrix<Scalar>> G(of_bag.data(), features(forward), forward.slots);
            parts[b] = zeros(forward, 0);
            add_bag(forward.tapes[b], G, first_of[b], batch, parts[b], workspaces.of(worker));
        });
        for (const SlotGradient<Scalar>& part : parts) batch.add_shared(part);  // in the order of the bags
        return batch;
    }

private:
    static Index features(const Forward& forward) {
        return forward.slots == 0 ? 0 : forward.pooled.rows() / forward.slots;
    }

    /// y <- the pooled vectors of one bag, as SlotPooling computes them; keeps their means and masses.
    void read(Tape& tape, Index slots, const Execution& inside, PooledVector<Scalar> y) const {
        const detail::LogPlan& plan = tape.solved.solution.value().log_plan;
        detail::SlotMeans<> means(plan, slots, tape.instances, inside);
        tape.mean = std::move(means.mean);
        tape.mass = std::move(means.mass);
        detail::read_slots(readout, tape.mean, tape.mass, static_cast<Index>(plan.active().size()), y.data());
    }

    /// Zeros, or space, for bags of this many instances in all.
    SlotGradient<Scalar> zeros(const Forward& forward, Index instances) const {
        SlotGradient<Scalar> gradient;
        const Index rows = features(forward);
        gradient.instances.resize(rows, instances);
        UotProblem<Scalar, R> like{.reward = Matrix<Scalar>(forward.slots, 0)};
        like.features.alphas = parameters.features.alphas;
        like.instances.alphas = parameters.instances.alphas;
        gradient.problem.resize(like, instances, mode.parameters());
        if constexpr (requires { reward.prototypes; }) gradient.prototypes.setZero(rows, forward.slots);
        if constexpr (requires { reward.bias; }) gradient.bias.setZero(forward.slots);
        if constexpr (requires { readout.centres; }) gradient.centres.setZero(rows, forward.slots);
        return gradient;
    }

    /// Sets what is per instance in `batch`, and adds all else to `part`.
    void add_bag(const Tape& tape, const Matrix<Scalar>& G, Index first, SlotGradient<Scalar>& batch,
                 SlotGradient<Scalar>& part, Workspace& workspace) const {
        const UotProblem<Scalar, R>& problem = tape.solved.problem;
        const Index slots = G.cols();
        const Index size = tape.instances.cols();
        const Vector<Scalar>& q0 = problem.instances.prior;
        const auto active = static_cast<Index>(tape.solved.solution->log_plan.active().size());
        const detail::PlanGradient of_plan = detail::pull_back_slots(readout, tape.mean, tape.mass, tape.instances, q0,
                                                                     active, problem.reward.rows(), G, part);
        ProblemGradient<Scalar> of;
        of.resize(problem, size, mode.parameters());
        of.values.resize(problem.reward.rows(), size);
        detail::SharedGradients<Scalar> shared(of, 1);
        detail::BagGradient<Scalar> all(of, shared, 0, 0, size);
        mode.add_gradient_of_plan(tape.solved, of_plan, all, workspace);
        shared.add_to(of, 1);

        const Matrix<Scalar> of_reward = of.reward.topRows(slots);
        auto of_instances = batch.instances.middleCols(first, size);
        of_instances.noalias() = G * of.values.topRows(slots);
        batch.problem.reward.middleCols(first, size) = of_reward;
        batch.problem.log_q0.segment(first, size) = of.log_q0;
        if (batch.problem.alphas2.size() > 0) batch.problem.alphas2.segment(first, size) = of.alphas2;
        part.problem.alpha0 = of.alpha0;
        part.problem.alpha1 = of.alpha1;
        part.problem.alpha2 = of.alpha2;
        part.problem.rho = of.rho;
        part.problem.mass = of.mass;
        add_features(problem, of, part);
        if (!tape.has_reward) {
            const Matrix<Scalar> S = problem.reward.matrix().topRows(slots);
            detail::pull_back_reward(reward, tape.instances, q0, S, of_reward, part,
                                     Eigen::Ref<Matrix<Scalar>>(of_instances));
        }
        detail::saturate(of_instances.data(), of_instances.size());
        saturate(part);
    }

    /// Makes finite what was summed or multiplied.
    static void saturate(SlotGradient<Scalar>& part) {
        const auto make_finite = [](auto& numbers) { detail::saturate(numbers.data(), numbers.size()); };
        make_finite(part.prototypes);
        make_finite(part.bias);
        make_finite(part.centres);
        make_finite(part.problem.alpha1);
        make_finite(part.problem.log_p0);
        for (Real* number : {&part.scale, &part.dummy_reward, &part.dummy_m}) detail::saturate(number, 1);
    }

    /// The derivatives with respect to the slots' marginal and the dummy slot, which is the last row if there is one: its
    /// prior is its mass, and the others' is p0 times 1 - mass.
    void add_features(const UotProblem<Scalar, R>& problem, const ProblemGradient<Scalar>& of,
                      SlotGradient<Scalar>& part) const {
        const Index slots = part.problem.log_p0.size();
        if (part.problem.alphas1.size() > 0) {
            part.problem.alphas1 = of.alphas1.head(slots);
        } else if (of.alphas1.size() > 0) {  // all that are soft have one, the dummy slot is hard
            part.problem.alpha1[part.problem.alpha1.size() - 1] += of.alphas1.head(slots).sum();
        }
        part.problem.log_p0 = of.log_p0.head(slots);
        if (of.log_p0.size() == slots) return;
        const Real mass = static_cast<Real>(problem.features.prior[slots]);
        const Scalar of_slots = part.problem.log_p0.sum();
        part.problem.log_p0 -= of_slots / static_cast<Scalar>(1 - mass) * problem.features.prior.head(slots);
        part.dummy_reward = of.reward.row(slots).template cast<Real>().sum();
        if constexpr (requires { dummy.m; }) {
            part.dummy_m = static_cast<Real>(of_slots) / (1 - mass) - static_cast<Real>(of.log_p0[slots]) / mass;
        }
    }
};

}  // namespace otpool
