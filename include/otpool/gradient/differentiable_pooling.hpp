// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
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
#include "otpool/pooling/batch.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/solver/solver.hpp"

namespace otpool {

/// Pooling with a backward pass. The type `Mode` says what is differentiated: Implicit<Solver> the optimum,
/// Unrolled<Solver> the K steps of a layer.
///
/// A value type; forward and backward are const and thread-safe. Cost: see the mode.
template <BagScalar Scalar, class Mode, Regularizer R = Entropy, class Readout = ConditionalReadout>
struct DifferentiablePooling {
    PoolingParameters<Scalar> parameters = {};  ///< Of the UOT problem.
    Mode mode = {};                             ///< Solves the problem and differentiates the plan.
    Readout readout = {};                       ///< Computes the pooled vector from the plan.
    Execution execution = {};                   ///< Runs the bags of a batch, in both passes; Sequential by default.
    [[no_unique_address]] R regularizer = {};   ///< R, if it has settings, as KSparse has.

    /// The pooled bags, and what backward() needs. Views the bags, which must outlive it.
    struct Forward {
        Matrix<Scalar> pooled;                                       ///< D x B
        std::vector<typename Mode::template Tape<Scalar, R>> tapes;  ///< One per bag.
    };

    /// The pooling that forward() computes, but without the steps' own parameters, if the mode has any.
    auto without_tapes() const {
        return Pooling<Scalar, decltype(mode.solver), R, Readout>{.parameters = parameters,
                                                                  .solver = mode.solver,
                                                                  .readout = readout,
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
        forward.tapes.resize(static_cast<std::size_t>(bags.size()));
        workspaces.prepare(execution);
        constexpr bool pooled_only = detail::MultipleOfMean<Readout>;
        forward.pooled = detail::pool_batch<Scalar>(bags, {}, execution, [&](const detail::BagTask<Scalar>& task) {
            auto& tape = forward.tapes[static_cast<std::size_t>(task.number)];
            const Bag<Scalar> kept = bags.indices() ? bags[task.number] : task.bag;
            tape = mode.solve(pooling.problem(kept), pooled_only, workspaces.of(task.worker));
            const Vector<Scalar> y = detail::read(readout, tape);
            PooledVector<Scalar> pooled = task.pooled;
            std::copy(y.begin(), y.end(), pooled.data());
        });
        return forward;
    }

    /// The gradient of L, given dL/dpooled (D x B). `reward`, `values` and `log_q0` are side by side like the bags; the
    /// others are summed over the bags. Pass an old gradient as `batch` to reuse its memory.
    ProblemGradient<Scalar> backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled,
                                     ProblemGradient<Scalar> batch = {}) const {
        Workspaces workspaces;
        return backward(forward, dL_dpooled, std::move(batch), workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    ProblemGradient<Scalar> backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled,
                                     ProblemGradient<Scalar> batch, Workspaces& workspaces) const {
        detail::require_gradient_of(forward.pooled, dL_dpooled);
        std::vector<Index> first_of = {0};
        first_of.reserve(forward.tapes.size() + 1);
        for (const auto& tape : forward.tapes) first_of.push_back(first_of.back() + tape.problem.reward.cols());
        if (forward.tapes.empty()) {
            batch.resize(problem_without_instances(dL_dpooled.rows()), 0, mode.parameters());
        } else {
            batch.resize(forward.tapes[0].problem, first_of.back(), mode.parameters());
        }
        detail::SharedGradients<Scalar> shared(batch, dL_dpooled.cols());
        workspaces.prepare(execution);
        execution.for_each(dL_dpooled.cols(), [&](Index bag, Index worker) {
            const auto b = static_cast<std::size_t>(bag);
            RealVector dL_dy(dL_dpooled.rows());
            for (Index d = 0; d < dL_dy.size(); ++d) dL_dy[d] = static_cast<Real>(dL_dpooled(d, bag));
            detail::BagGradient<Scalar> of_bag(batch, shared, bag, first_of[b], first_of[b + 1] - first_of[b]);
            mode.add_gradient(readout, forward.tapes[b], dL_dy, of_bag, workspaces.of(worker));
        });
        shared.add_to(batch, dL_dpooled.cols());
        return batch;
    }

private:
    /// What all bags have in common.
    UotProblem<Scalar, R> problem_without_instances(Index features) const {
        return {.reward = Matrix<Scalar>(features, 0),
                .alpha0 = parameters.alpha0,
                .features = parameters.features,
                .instances = parameters.instances};
    }
};

}  // namespace otpool
