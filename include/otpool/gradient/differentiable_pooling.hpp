// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <string>
#include <utility>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/implicit.hpp"
#include "otpool/gradient/problem_gradient.hpp"
#include "otpool/gradient/unrolled.hpp"
#include "otpool/pooling/batch.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/regularizer.hpp"

namespace otpool {

/// Pooling with a backward pass. How it is differentiated is the type `Mode`: Implicit<Solver>, the optimum, or
/// Unrolled<Solver>, the K steps of a layer.
///
/// A value type; forward and backward are const and thread-safe. Cost: see the mode.
template <BagScalar Scalar, class Mode, Regularizer R = Entropy, class Readout = ConditionalReadout>
struct DifferentiablePooling {
    PoolingParameters<Scalar> parameters = {};
    Mode mode = {};
    Readout readout = {};
    Execution execution = {};  ///< What the bags of a batch are shared out by, in both passes; Sequential by default.

    /// The pooled bags, D x B, and what backward() needs. Views the bags, which must outlive it.
    struct Forward {
        Matrix<Scalar> pooled;
        std::vector<typename Mode::template Tape<Scalar, R>> tapes;  ///< One a bag.
    };

    /// Throws InvalidArgument, naming the bag.
    Forward forward(const Bags<Scalar>& bags) const {
        const Pooling<Scalar, decltype(mode.solver), R, Readout> pooling{
            .parameters = parameters, .solver = mode.solver, .readout = readout};
        Forward forward;
        forward.tapes.resize(static_cast<std::size_t>(bags.size()));
        forward.pooled =
            detail::pool_batch<Scalar>(bags, {}, execution, [&](const detail::BagTask<Scalar>& task, auto y) {
                auto& tape = forward.tapes[static_cast<std::size_t>(task.number)];
                tape = solve(pooling.problem(task.bag));
                y = pooling.read(tape.solution);
            });
        return forward;
    }

    /// The gradient of L, given dL/dpooled, D x B: `reward`, `values` and `log_q0` side by side as the bags are, the
    /// others summed over the bags.
    ProblemGradient<Scalar> backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled) const {
        using detail::shape_text;
        detail::require(
            dL_dpooled.rows() == forward.pooled.rows() && dL_dpooled.cols() == forward.pooled.cols(),
            "shape of dL/dpooled", shape_text(dL_dpooled.rows(), dL_dpooled.cols()),
            detail::text(shape_text(forward.pooled.rows(), forward.pooled.cols()), ", the shape of what was pooled"));
        detail::require_finite(dL_dpooled, "dL/dpooled");
        if (forward.tapes.size() == 1) {
            return mode.backward(readout, forward.tapes[0], Vector<Scalar>(dL_dpooled.matrix().col(0)));
        }
        Index instances = 0;
        std::vector<Index> first_of;
        for (const auto& tape : forward.tapes) {
            first_of.push_back(instances);
            instances += tape.solution.problem.reward.cols();
        }
        ProblemGradient<Scalar> batch{.reward = Matrix<Scalar>(dL_dpooled.rows(), instances)};
        batch.log_q0.resize(instances);
        const bool has_values = !forward.tapes.empty() && !forward.tapes[0].solution.problem.values.empty();
        if (has_values) batch.values.resize(batch.reward.rows(), batch.reward.cols());
        std::vector<ProblemGradient<Scalar>> of(forward.tapes.size());
        execution.for_each(static_cast<Index>(of.size()), [&](Index b, Index) {
            const Vector<Scalar> dL_dy = dL_dpooled.matrix().col(b);
            ProblemGradient<Scalar>& bag = of[static_cast<std::size_t>(b)];
            bag = mode.backward(readout, forward.tapes[static_cast<std::size_t>(b)], dL_dy);
            const Index first = first_of[static_cast<std::size_t>(b)];
            const Index size = bag.reward.cols();
            batch.reward.middleCols(first, size) = std::exchange(bag.reward, {});
            if (has_values) batch.values.middleCols(first, size) = std::exchange(bag.values, {});
            batch.log_q0.segment(first, size) = bag.log_q0;
        });
        for (std::size_t b = 0; b < of.size(); ++b) {
            const ProblemGradient<Scalar>& bag = of[b];
            if (b == 0) {
                batch.alpha0 = batch.alpha1 = batch.alpha2 = batch.rho = RealVector::Zero(bag.alpha0.size());
                batch.log_p0 = Vector<Scalar>::Zero(bag.log_p0.size());
            }
            batch.alpha0 += bag.alpha0;
            batch.alpha1 += bag.alpha1;
            batch.alpha2 += bag.alpha2;
            batch.rho += bag.rho;
            batch.log_p0 += bag.log_p0;
        }
        return batch;
    }

private:
    auto solve(const UotProblem<Scalar, R>& problem) const {
        if constexpr (requires { mode.solve(problem, true); }) {
            return mode.solve(problem, std::same_as<Readout, ConditionalReadout>);
        } else {
            return mode.solve(problem);
        }
    }
};

}  // namespace otpool
