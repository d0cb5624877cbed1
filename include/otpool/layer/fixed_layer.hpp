// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <utility>

#include "otpool/core/bags.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/differentiable_pooling.hpp"
#include "otpool/gradient/implicit.hpp"
#include "otpool/layer/layer_gradient.hpp"
#include "otpool/layer/learned_prior.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/solver/closed_form.hpp"

namespace otpool {

/// The learnable numbers of a FixedLayer: its prior's, if any.
template <BagScalar Scalar, class Prior>
struct PriorParameters {
    Prior prior = {};  ///< Computes q0; learned if it is a LearnedPrior.

    /// visit(name, array) for every array that is learned.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        if constexpr (LearnedPrior<Prior, Scalar>) {
            prior.for_each_array([&](const std::string& name, auto& array) { visit("prior." + name, array); });
        }
    }
};

/// A layer whose alphas are fixed so that it has a closed form: mean, max, softmax, or attention, whose prior is
/// learned. If a bag has its own prior, the learned one is multiplied by it and normalised: what the bag excludes (0)
/// stays excluded. A value type; forward and backward are const and thread-safe.
template <BagScalar Scalar, class Prior = UniformPrior>
struct FixedLayer {
    using Parameters = PriorParameters<Scalar, Prior>;   ///< What is learned.
    using Gradient = LayerGradient<Scalar, Parameters>;  ///< What backward() returns.

    PoolingParameters<Scalar> problem = {};  ///< The fixed alphas and priors.
    Parameters parameters = {};              ///< What is learned.
    Execution execution = {};                ///< Runs the bags of a batch, in both passes; Sequential by default.

    /// The pooled bags, and what backward() needs. Views the bags, which must outlive it.
    struct Forward {
        Matrix<Scalar> pooled;  ///< D x B
        Bags<Scalar> bags;      ///< The bags that were pooled.
        /// The result of the pooling.
        typename DifferentiablePooling<Scalar, Implicit<ClosedForm>>::Forward pooling;
    };

    /// Pools the bags. Throws InvalidArgument.
    Forward forward(const Bags<Scalar>& bags) const {
        auto pooling = this->pooling().forward(with_prior(bags));
        return {pooling.pooled, bags, std::move(pooling)};
    }

    /// The pooled bags, D x B.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const { return forward(bags).pooled; }

    /// The gradient of L with respect to bags and parameters, given dL/dpooled (D x B). Pass an old gradient to reuse
    /// its memory.
    Gradient backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled, Gradient gradient = {}) const {
        ProblemGradient<Scalar> of =
            pooling().backward(forward.pooling, dL_dpooled, {.reward = std::move(gradient.instances)});
        gradient = {detail::of_instances(of), {}};
        gradient.parameters.prior = detail::pull_back_prior(forward.bags, parameters.prior, problem.instances.prior,
                                                            of.log_q0, gradient.instances, execution);
        gradient.instances = detail::of_columns(forward.bags, std::move(gradient.instances));
        return gradient;
    }

    /// visit(name, array) for every array that is learned; see named_arrays().
    template <class Visit>
    void for_each_array(const Visit& visit) {
        parameters.for_each_array(visit);
    }

private:
    Bags<Scalar> with_prior(const Bags<Scalar>& bags) const {
        return detail::with_prior(bags, parameters.prior, problem.instances.prior, execution);
    }
    DifferentiablePooling<Scalar, Implicit<ClosedForm>> pooling() const {
        return {.parameters = problem, .execution = execution};
    }
};

/// y = mean of the instances.
template <BagScalar Scalar>
FixedLayer<Scalar> mean_layer() {
    return {.problem = {.alpha0 = infinity}};
}

/// y = max of the instances.
template <BagScalar Scalar>
FixedLayer<Scalar> max_layer() {
    return {.problem = {.alpha0 = 0}};
}

/// y = sum_n softmax(scores(bag))_n x_n, with the scores of Attention, GatedAttention, MeanMaxGate or Mixture.
template <BagScalar Scalar, class Prior>
FixedLayer<Scalar, Prior> attention_layer(Prior prior) {
    return {.problem = {.alpha0 = infinity, .instances = {.alpha = hard}}, .parameters = {std::move(prior)}};
}

}  // namespace otpool
