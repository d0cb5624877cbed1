// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/layer/published_steps.hpp"
#include "otpool/problem/regularizers.hpp"

// The released plans with a structural term, rot_sinkhorn, rot_badmm and rot_badmm2, step by step. Like the other
// released layers they do not solve the problem they are named after (layer/published.md); otpool::Structural does.

namespace otpool::published {

/// What a plan with a structural term is computed from.
struct RotInputs {
    RealMatrix reward;            ///< X, D x N
    StructureMatrices structure;  ///< C1 and C2
    RealVector p0;                ///< The features' prior, D entries.
    RealVector q0;                ///< The instances' prior, N entries.
    /// Added to q0 before its logarithm is taken: 1e-8 in the layers, so that q0_n = 0 does not exclude instance n.
    Real added_to_q0 = 1e-8;
};

namespace detail {

inline void validate(const RotInputs& inputs, int steps) {
    using otpool::detail::require_that;
    using otpool::detail::shape_text;
    const auto& [reward, structure, p0, q0, added] = inputs;
    const Index D = reward.rows();
    const Index N = reward.cols();
    const auto require_square = [](const RealMatrix& C, Index size, const char* name) {
        require_that(C.rows() == size && C.cols() == size, name, shape_text(C.rows(), C.cols()),
                     shape_text(size, size));
    };
    require_that(reward.size() > 0, "shape of the reward", shape_text(D, N), "at least one feature and one instance");
    require_square(structure.C1, D, "shape of C1");
    require_square(structure.C2, N, "shape of C2");
    require_that(p0.size() == D, "length of p0", p0.size(), D);
    require_that(q0.size() == N, "length of q0", q0.size(), N);
    require_that(added >= 0, "added_to_q0", added, "at least 0");
    require_that(steps >= 1, "steps", steps, "at least 1");
}

}  // namespace detail

/// The plan of rot_sinkhorn, D x N, from T = p0 q0^T by `steps` proximal steps of strength tau: each takes `inner` of
/// SinkhornSteps, from potentials 0, on the reward X + alpha_s C1 T C2 + tau log T at alpha0 + tau.
///
/// A fixed point would be one of the problem with the term -(alpha_s / 2) <C1 T C2, T>, but SinkhornSteps solve their
/// problem only at alpha0 + tau = 1, and slowly. Throws InvalidArgument. Cost of a step: D N (D + N) multiplications,
/// two exps per element for each inner step.
inline RealMatrix rot_sinkhorn(const RotInputs& inputs, const Step& step, Real tau, int steps, int inner = 5) {
    detail::validate(inputs, steps);
    otpool::detail::require_that(inner >= 1, "inner steps", inner, "at least 1");
    const detail::LogPriors prior(inputs.p0, inputs.q0, inputs.added_to_q0);
    RealMatrix log_plan =
        prior.features.rowwise().replicate(inputs.reward.cols()).rowwise() + prior.instances.transpose();
    Step proximal = step;
    proximal.alpha0 += tau;
    for (int k = 0; k < steps; ++k) {
        const RealMatrix plan = detail::exp(log_plan);
        const RealMatrix reward = inputs.structure.added_to(inputs.reward, step.alpha_s, plan) + tau * log_plan;
        SinkhornSteps sinkhorn(reward, prior, proximal);
        for (int i = 0; i < inner; ++i) sinkhorn.step(proximal);
        log_plan = sinkhorn.log_plan();
    }
    return detail::exp(log_plan);
}

/// The plan T of rot_badmm ("badmm-e", R = Entropy) or rot_badmm2 ("badmm-q", Quadratic), D x N: so many
/// BregmanAdmmSteps with the structural term. As there, alpha1 and alpha2 have no effect. Throws InvalidArgument. Cost
/// of a step: 2 D N (D + N) multiplications, four exps per element.
template <class R = Entropy>
RealMatrix rot_badmm(const RotInputs& inputs, const Step& step, int steps) {
    detail::validate(inputs, steps);
    BregmanAdmmSteps<R> state(inputs.reward, detail::LogPriors(inputs.p0, inputs.q0, inputs.added_to_q0),
                              inputs.structure);
    for (int k = 0; k < steps; ++k) state.step(step);
    return state.plan();
}

}  // namespace otpool::published
